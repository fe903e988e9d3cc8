"""Measures every figure of bench/README.md and writes the page anew: `make bench`."""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import tinyc  # noqa: E402
from bench.models import BY_NAME, MODELS, SHARED, TINY, RealModel  # noqa: E402

CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m3", "cortex-m0plus", "rv32imc")
SAME_BYTES = ("host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
SAMPLES = 16  # real samples of int8 models, on every core
FLOAT_SAMPLES = 1  # of float models: soft-float cores take seconds for each
PAGE = Path(__file__).parent / "README.md"

# TFLite Micro with CMSIS-NN on Cortex-M4: cycles, arena, flash (shared/anchors.md)
TFLM = {
    "resnet8_cifar10_int8_qdq": (35_700_000, 54_996, 150_924),
    "mobilenetv1_vww_int8_qdq": (28_840_000, 100_708, 387_912),
    "dscnn_kws_int8_qdq": (9_100_000, 22_820, 108_560),
    "fcae_toycar_int8_qdq": (737_000, 2_580, 305_292),
}
MUST_ARENA = {
    "resnet8_cifar10_int8_qdq": 49_152,
    "mobilenetv1_vww_int8_qdq": 55_296,
    "dscnn_kws_int8_qdq": 16_000,
    "fcae_toycar_int8_qdq": 768,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """One model on one core; the arena with inputs and outputs in it."""

    model: str
    target: str
    arena_bytes: int
    flash_bytes: int
    stack_bytes: int | None
    cycles: int | None


def measure_cost(model: str, target: str) -> Cost:
    real = BY_NAME[model]
    artifact = tinyc.compile(real.path, target, io="arena")
    (port,) = artifact.report.inputs
    result = tinyc.run(artifact, {port.name: real.samples(1).reshape(1, *port.shape)})
    flash = result.text_bytes + result.rodata_bytes
    arena = artifact.report.arena_bytes
    return Cost(model, target, arena, flash, result.stack_bytes, result.cycles)


def outputs_of(model: str, target: str, count: int | None) -> np.ndarray:  # type: ignore[type-arg]
    """The first output for the first `count` real samples."""
    real = BY_NAME[model]
    artifact = tinyc.compile(real.path, target)
    (port,) = artifact.report.inputs
    samples = real.samples(count)
    result = tinyc.run(artifact, {port.name: samples.reshape(len(samples), *port.shape)})
    return result.outputs[artifact.report.outputs[0].name].reshape(len(samples), -1)


def reference_of(real: RealModel, count: int | None) -> np.ndarray:  # type: ignore[type-arg]
    """The same by onnxruntime, graph optimisations off."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(real.path), settings)
    given = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in given.shape]
    rows = [session.run(None, {given.name: x.reshape(shape)})[0] for x in real.samples(count)]
    return np.stack([row.reshape(-1) for row in rows])


def same_bytes(model: str) -> str:
    """Whether all cores give one answer; the largest difference from the host for floats."""
    count = SAMPLES if BY_NAME[model].quantized else FLOAT_SAMPLES
    outputs = [outputs_of(model, target, count) for target in SAME_BYTES]
    if BY_NAME[model].quantized:
        same = all(np.array_equal(outputs[0], other) for other in outputs)
        return "same bytes" if same else "DIFFER"
    scale = np.abs(outputs[0]).max()
    return f"{max(float(np.abs(o - outputs[0]).max() / scale) for o in outputs):.1e} relative"


def accuracy(model: str) -> tuple[int, int, int]:
    """Right answers of tinyc and of onnxruntime, and how many samples there are."""
    real = BY_NAME[model]
    labels = real.answers()
    rights = [
        int((_classes(scores) == labels).sum())
        for scores in (outputs_of(model, "host", None), reference_of(real, None))
    ]
    return rights[0], rights[1], len(labels)


def _classes(scores: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0.5


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


def page(jobs: int) -> Iterator[str]:
    """The sections of bench/README.md."""
    names, tiny = [m.name for m in MODELS], [m.name for m in TINY]
    with ProcessPoolExecutor(jobs) as pool:
        pairs = [(m, t) for m in tiny for t in CORES]
        costs = {
            (c.model, c.target): c
            for c in pool.map(measure_cost, [p[0] for p in pairs], [p[1] for p in pairs])
        }
        yield HEAD
        rows = []
        for m in tiny:
            c, (cycles, arena, flash) = costs[m, "cortex-m4"], TFLM[m]
            assert c.cycles is not None
            rows.append((m, f"{c.cycles / 1e6:.3f} M", f"{cycles / 1e6:.3f} M",
                         f"{c.arena_bytes:,}", f"{MUST_ARENA[m]:,}", f"{arena:,}",
                         f"{c.flash_bytes:,}", f"{flash - 25_600:,}", c.stack_bytes))  # fmt: skip
        yield "## Cortex-M4, default options, `--io arena`\n"
        yield table("model | cycles | TFLM + CMSIS-NN | arena B | must | TFLM | flash B | must "
                    "(TFLM - 25 KB) | stack B", rows)  # fmt: skip
        yield "\n## Cycles on every core, millions, zero wait states\n"
        rows = [(m, *(f"{(costs[m, t].cycles or 0) / 1e6:.3f}" for t in CORES)) for m in tiny]
        yield table("model | " + " | ".join(CORES), rows)
        yield f"\n## The same answers on {', '.join(SAME_BYTES)}\n"
        yield f"{SAMPLES} real samples of int8 models, {FLOAT_SAMPLES} of float models.\n"
        yield table("model | outputs", list(zip(names, pool.map(same_bytes, names), strict=True)))
        yield "\n## Accuracy on all labelled samples, compiled for the host\n"
        labelled = [m.name for m in MODELS if m.correct]
        rows = []
        for m, (ours, theirs, count) in zip(labelled, pool.map(accuracy, labelled), strict=True):
            rows.append((m, f"{ours / count:.1%} ({ours})", f"{theirs / count:.1%} ({theirs})",
                         BY_NAME[m].correct, count))  # fmt: skip
        yield table("model | tinyc | onnxruntime here | right in models/README.md | samples", rows)
        floats = [m.name for m in MODELS if not m.quantized]
        yield "\n## Float models against onnxruntime: largest deviation, relative\n"
        rows = [(m, f"{d:.1e}") for m, d in zip(floats, pool.map(deviation, floats), strict=True)]
        yield table("model | deviation", rows)
    yield "\n## Time on this machine (2 cores), cold process, best of three\n"
    rows = [("`tinyc --help`", f"{seconds([TINYC, '--help']):.2f} s")]
    for m in ("mobilenetv1_vww_int8_qdq", "fcae_toycar_h5_f32"):
        out = ROOT / ".cache" / "bench"
        command = [TINYC, "compile", str(BY_NAME[m].path), "--target", "cortex-m4", "-o", str(out)]
        rows.append((f"`tinyc compile {m}.onnx`", f"{seconds(command):.2f} s"))
    yield table("command | time", rows)


TINYC = str(Path(sys.executable).parent / "tinyc")
HEAD = """\
# Measured figures

Written by `make bench` (`bench/measure.py`); do not edit. Cycles, stack and sizes are measured in
tinyc's emulator on images built by arm-none-eabi-gcc 12.2 and riscv64-unknown-elf-gcc 12.2 with the
flags of the targets, zero wait states; on the same images the emulator agrees to the cycle with
the project's validated cycle model (`tests/test_emulator.py`). Flash is text plus read-only data of
the generated files' objects. TFLM figures were measured for this project on the same models.
"""


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
