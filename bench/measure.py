"""Measures every figure of bench/README.md and writes the page anew: `make bench`."""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import tinyc
from bench.models import BY_NAME, MODELS, ROOT, SHARED, TINY, RealModel
from tinyc.compiler.graph import Array
from tinyc.compiler.verification import reference_session

CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m3", "cortex-m0plus", "rv32imc")
SAME_BYTES = ("host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
SAMPLES = 16  # real samples of int8 models, on every core
FLOAT_SAMPLES = 1  # of float models: soft-float cores take seconds for each
PAGE = Path(__file__).parent / "README.md"
TINYC = str(Path(sys.executable).parent / "tinyc")

# TFLite Micro with CMSIS-NN on Cortex-M4: cycles, arena, flash (shared/anchors.md)
TFLM = {
    "resnet8_cifar10_int8_qdq": (35_700_000, 54_996, 150_924),
    "mobilenetv1_vww_int8_qdq": (28_840_000, 100_708, 387_912),
    "dscnn_kws_int8_qdq": (9_100_000, 22_820, 108_560),
    "fcae_toycar_int8_qdq": (737_000, 2_580, 305_292),
}
FLASH_BELOW_TFLM = 25_600
MUST_ARENA = {
    "resnet8_cifar10_int8_qdq": 49_152,
    "mobilenetv1_vww_int8_qdq": 55_296,
    "dscnn_kws_int8_qdq": 16_000,
    "fcae_toycar_int8_qdq": 768,
}


# instructions that emx-onnx-cgen's C executes on Cortex-M4
EMX = {
    "resnet8_cifar10_f32": 91_400_000,
    "mobilenetv1_vww_f32": 48_600_000,
    "dscnn_kws_f32": 15_600_000,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """One model on one emulated core; the arena with inputs and outputs in it."""

    arena_bytes: int
    flash_bytes: int
    stack_bytes: int
    cycles: int
    instructions: int


def measure_cost(model: str, target: str) -> Cost:
    real = BY_NAME[model]
    artifact = tinyc.compile(real.path, target, io="arena")
    (port,) = artifact.report.inputs
    result = tinyc.run(artifact, {port.name: real.samples(1).reshape(1, *port.shape)})
    assert result.stack_bytes is not None and result.cycles is not None, f"{target} is emulated"
    flash = result.text_bytes + result.rodata_bytes
    return Cost(
        artifact.report.arena_bytes, flash, result.stack_bytes, result.cycles, result.instructions
    )


def outputs_of(model: str, target: str, count: int | None) -> Array:
    """The first output for the first `count` real samples."""
    real = BY_NAME[model]
    artifact = tinyc.compile(real.path, target)
    (port,) = artifact.report.inputs
    samples = real.samples(count)
    result = tinyc.run(artifact, {port.name: samples.reshape(len(samples), *port.shape)})
    return result.outputs[artifact.report.outputs[0].name].reshape(len(samples), -1)


def reference_of(real: RealModel, count: int | None) -> Array:
    """The same by onnxruntime, graph optimisations off."""
    session = reference_session(onnx.load(str(real.path)))
    given = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in given.shape]
    rows = [session.run(None, {given.name: x.reshape(shape)})[0] for x in real.samples(count)]
    return np.stack([row.reshape(-1) for row in rows])


def same_bytes(model: str) -> str:
    """Whether all cores give one answer; the largest difference from the host for floats."""
    count = SAMPLES if BY_NAME[model].quantized else FLOAT_SAMPLES
    host, *others = (outputs_of(model, target, count) for target in SAME_BYTES)
    if BY_NAME[model].quantized:
        same = all(np.array_equal(host, other) for other in others)
        return "same bytes" if same else "DIFFER"
    scale = np.abs(host).max()
    return f"{max(float(np.abs(o - host).max() / scale) for o in others):.1e} relative"


def accuracy(model: str) -> tuple[int, int, int]:
    """Right answers of tinyc and of onnxruntime, and how many samples there are."""
    real = BY_NAME[model]
    labels = real.answers()
    ours, theirs = (
        int((_classes(scores) == labels).sum())
        for scores in (outputs_of(model, "host", None), reference_of(real, None))
    )
    return ours, theirs, len(labels)


def _classes(scores: Array) -> Array:
    return np.asarray(scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0.5)


def deviation(model: str) -> float:
    """Largest difference from onnxruntime, relative to the largest output."""
    ours, theirs = outputs_of(model, "host", SAMPLES), reference_of(BY_NAME[model], SAMPLES)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def seconds(command: Sequence[str]) -> float:
    """Wall time of a command, the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd="/")
        best = min(best, time.perf_counter() - begin)
    return best


def table(head: str, rows: Sequence[Sequence[object]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + "---|" * columns]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


HEAD = """\
# Measured figures

Written by `make bench` (`bench/measure.py`); do not edit. Cycles, stack and sizes are measured in
tinyc's emulator on images built by arm-none-eabi-gcc 12.2 and riscv64-unknown-elf-gcc 12.2 with the
flags of the targets, zero wait states; on the same images the emulator agrees to the cycle with
the project's validated cycle model (`tests/test_emulator.py`). Flash is text plus read-only data of
the generated files' objects. TFLM figures were measured for this project on the same models.
"""


def page(jobs: int) -> Iterator[str]:
    """The sections of bench/README.md."""
    yield HEAD
    with ProcessPoolExecutor(jobs) as pool:
        yield from cost_sections(pool)
        yield from float_section(pool)
        yield from answer_sections(pool)
    yield from time_section()


def cost_sections(pool: Executor) -> Iterator[str]:
    names = [m.name for m in TINY]
    pairs = [(m, core) for m in names for core in CORES]
    measured = pool.map(measure_cost, *zip(*pairs, strict=True))
    costs: Mapping[tuple[str, str], Cost] = dict(zip(pairs, measured, strict=True))
    yield "## Cortex-M4, default options, `--io arena`\n"
    yield table(
        "model | cycles | TFLM + CMSIS-NN | arena B | must | TFLM | flash B "
        "| must (TFLM - 25 KB) | stack B",
        [_against_tflm(m, costs[m, "cortex-m4"]) for m in names],
    )
    yield "\n## Cycles on every core, millions, zero wait states\n"
    yield table(
        "model | " + " | ".join(CORES),
        [(m, *(f"{costs[m, core].cycles / 1e6:.3f}" for core in CORES)) for m in names],
    )


def float_section(pool: Executor) -> Iterator[str]:
    yield "\n## Float models on Cortex-M4: cycles, instructions, emx-onnx-cgen's instructions\n"
    costs = pool.map(measure_cost, EMX, ["cortex-m4"] * len(EMX))
    yield table(
        "model | cycles | instructions | emx-onnx-cgen | must (half) | arena B | flash B | stack B",
        [_against_emx(m, cost) for m, cost in zip(EMX, costs, strict=True)],
    )


def _against_emx(model: str, cost: Cost) -> tuple[object, ...]:
    theirs = EMX[model]
    return (
        model, f"{cost.cycles / 1e6:.3f} M", f"{cost.instructions / 1e6:.3f} M",
        f"{theirs / 1e6:.1f} M", f"{theirs / 2e6:.1f} M",
        f"{cost.arena_bytes:,}", f"{cost.flash_bytes:,}", cost.stack_bytes,
    )  # fmt: skip


def _against_tflm(model: str, cost: Cost) -> tuple[object, ...]:
    cycles, arena_bytes, flash_bytes = TFLM[model]
    return (
        model, f"{cost.cycles / 1e6:.3f} M", f"{cycles / 1e6:.3f} M",
        f"{cost.arena_bytes:,}", f"{MUST_ARENA[model]:,}", f"{arena_bytes:,}",
        f"{cost.flash_bytes:,}", f"{flash_bytes - FLASH_BELOW_TFLM:,}", cost.stack_bytes,
    )  # fmt: skip


def answer_sections(pool: Executor) -> Iterator[str]:
    names = [m.name for m in MODELS]
    yield f"\n## The same answers on {', '.join(SAME_BYTES)}\n"
    yield f"{SAMPLES} real samples of int8 models, {FLOAT_SAMPLES} of float models.\n"
    yield table("model | outputs", list(zip(names, pool.map(same_bytes, names), strict=True)))

    labelled = [m.name for m in MODELS if m.correct]
    yield "\n## Accuracy on all labelled samples, compiled for the host\n"
    yield table(
        "model | tinyc | onnxruntime here | right in models/README.md | samples",
        [
            (m, f"{ours / count:.1%} ({ours})", f"{theirs / count:.1%} ({theirs})",
             BY_NAME[m].correct, count)
            for m, (ours, theirs, count) in zip(labelled, pool.map(accuracy, labelled), strict=True)
        ],
    )  # fmt: skip

    floats = [m.name for m in MODELS if not m.quantized]
    yield "\n## Float models against onnxruntime: largest deviation, relative\n"
    found = zip(floats, pool.map(deviation, floats), strict=True)
    yield table("model | deviation", [(m, f"{d:.1e}") for m, d in found])


def time_section() -> Iterator[str]:
    yield "\n## Time on this machine (2 cores), cold process, best of three\n"
    yield "One commit took 1.35 s and, hours later, 1.49 s: compare commits side by side only.\n"
    rows = [("`tinyc --help`", f"{seconds([TINYC, '--help']):.2f} s")]
    for m in ("mobilenetv1_vww_int8_qdq", "fcae_toycar_h5_f32"):
        out = ROOT / ".cache" / "bench"
        command = [TINYC, "compile", str(BY_NAME[m].path), "--target", "cortex-m4", "-o", str(out)]
        rows.append((f"`tinyc compile {m}.onnx`", f"{seconds(command):.2f} s"))
    yield table("command | time", rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    args = parser.parse_args()
    if not SHARED.exists():
        print(f"the real models are not here: {SHARED.name} is missing beside the project")
        return 1
    text = "\n".join(page(args.jobs)) + "\n"
    PAGE.write_text(text, "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
