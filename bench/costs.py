"""What the models cost on every core and in every mode, against the figures to beat."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import tinyc
from bench.models import BY_NAME, TINY
from bench.tables import table
from tinyc.autotune.choice import Optimize
from tinyc.targets.firmware import Io

CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m3", "cortex-m0plus", "rv32imc")
MODES: tuple[Optimize, ...] = ("latency", "balanced", "size")
RESNET, VWW, KWS, TOYCAR = (m.name for m in TINY)


@dataclass(frozen=True, slots=True)
class Tflm:
    """TFLite Micro with CMSIS-NN on Cortex-M4 (M cycles, bytes): measured for this project."""

    cycles: float
    arena_bytes: int
    flash_bytes: int


TFLM = {
    RESNET: Tflm(35.70, 54_996, 150_924),
    VWW: Tflm(28.84, 100_708, 387_912),
    KWS: Tflm(9.10, 22_820, 108_560),
    TOYCAR: Tflm(0.737, 2_580, 305_292),
}
# M cycles that must hold and that are aimed at, and bytes of flash, by mode
MUST_AIM: Mapping[tuple[str, Optimize], tuple[float, float]] = {
    (RESNET, "latency"): (10.5, 8.4),
    (RESNET, "balanced"): (15.5, 8.4),
    (VWW, "latency"): (6.2, 5.2),
    (VWW, "balanced"): (6.2, 5.2),
    (KWS, "latency"): (3.8, 3.4),
    (KWS, "balanced"): (3.8, 3.4),
    (TOYCAR, "latency"): (0.40, 0.34),
    (TOYCAR, "balanced"): (0.40, 0.34),
}
FLASH_BYTES: Mapping[tuple[str, Optimize], int] = {(RESNET, "latency"): 230_000}
FLASH_BELOW_TFLM = 25_600  # of "balanced"
MUST_ARENA = {RESNET: 34_000, VWW: 40_000, KWS: 9_216, TOYCAR: 768}  # bytes, of "balanced"
# M cycles: 1.05 times those of "balanced" before layers streamed
MUST_BALANCED = {RESNET: 8.945, VWW: 6.112, KWS: 3.496, TOYCAR: 0.352}
MOST_SLOWDOWN = 2.5  # of "size" against "balanced"
OTHER_CORES: Mapping[tuple[str, str], tuple[float, float]] = {
    ("cortex-m0plus", RESNET): (62, 44),
    ("cortex-m0plus", VWW): (22, 17),
    ("cortex-m0plus", KWS): (14.5, 11),
    ("cortex-m0plus", TOYCAR): (1.35, 0.82),
    ("rv32imc", RESNET): (42, 32),
    ("rv32imc", VWW): (13.5, 10.5),
    ("rv32imc", KWS): (9.0, 7.0),
    ("rv32imc", TOYCAR): (1.05, 0.80),
}
OF_M4 = {"cortex-m7": 0.75, "cortex-m33": 1.0}  # cycles, times those of the Cortex-M4
# instructions that emx-onnx-cgen's C executes on Cortex-M4
EMX = {
    "resnet8_cifar10_f32": 91_400_000,
    "mobilenetv1_vww_f32": 48_600_000,
    "dscnn_kws_f32": 15_600_000,
}


Run = tuple[str, str, Optimize]  # model, core, mode


@dataclass(frozen=True, slots=True)
class Cost:
    """One model on one emulated core; the arena with inputs and outputs in it."""

    arena_bytes: int
    flash_bytes: int
    stack_bytes: int
    cycles: int
    instructions: int


def measure_cost(
    model: str, target: str, optimize: Optimize = "balanced", io: Io = "arena"
) -> Cost:
    real = BY_NAME[model]
    artifact = tinyc.compile(real.path, target, io=io, optimize=optimize)
    (port,) = artifact.report.inputs
    result = tinyc.run(artifact, {port.name: real.samples(1).reshape(1, *port.shape)})
    assert result.stack_bytes is not None and result.cycles is not None, f"{target} is emulated"
    assert result.instructions is not None
    flash = result.text_bytes + result.rodata_bytes
    return Cost(
        artifact.report.arena_bytes, flash, result.stack_bytes, result.cycles, result.instructions
    )


def cost_sections(pool: Executor) -> Iterator[str]:
    names = [m.name for m in TINY]
    runs: list[Run] = [(m, "cortex-m4", mode) for m in names for mode in MODES]
    runs += [(m, core, "balanced") for core in CORES[1:] for m in names]
    costs = dict(zip(runs, pool.map(measure_cost, *zip(*runs, strict=True)), strict=True))
    yield "## Cortex-M4 by `--optimize`, `--io arena`\n"
    yield table(
        "model | mode | M cycles | must | aim | TFLM + CMSIS-NN | flash B | at most | arena B "
        "| TFLM | stack B",
        [_mode_row(m, mode, costs) for m in names for mode in MODES],
    )
    yield "\n## Other cores, `--optimize balanced`, M cycles\n"
    yield table(
        "core | model | M cycles | must | aim | flash B | arena B | stack B",
        [_core_row(core, m, costs) for core in CORES[1:] for m in names],
    )


def most_flash_bytes(model: str, mode: Optimize) -> int:
    """What a model may take: the default stays well below TFLM."""
    if mode == "balanced":
        return TFLM[model].flash_bytes - FLASH_BELOW_TFLM
    return FLASH_BYTES.get((model, mode), TFLM[model].flash_bytes)


def _mode_row(model: str, mode: Optimize, costs: Mapping[Run, Cost]) -> tuple[object, ...]:
    cost, tflm = costs[model, "cortex-m4", mode], TFLM[model]
    must, aim = map(str, MUST_AIM.get((model, mode), ("", "")))
    if mode == "size":
        must = f"{costs[model, 'cortex-m4', 'balanced'].cycles / 1e6 * MOST_SLOWDOWN:.3f}"
    return (
        model, mode, f"{cost.cycles / 1e6:.3f}", must, aim, tflm.cycles, f"{cost.flash_bytes:,}",
        f"{most_flash_bytes(model, mode):,}", f"{cost.arena_bytes:,}", f"{tflm.arena_bytes:,}",
        cost.stack_bytes,
    )  # fmt: skip


def _core_row(core: str, model: str, costs: Mapping[Run, Cost]) -> tuple[object, ...]:
    cost = costs[model, core, "balanced"]
    must, aim = map(str, OTHER_CORES.get((core, model), ("", "")))
    if core in OF_M4:
        must = f"{costs[model, 'cortex-m4', 'balanced'].cycles / 1e6 * OF_M4[core]:.3f}"
    sizes = (f"{cost.flash_bytes:,}", f"{cost.arena_bytes:,}", cost.stack_bytes)
    return (core, model, f"{cost.cycles / 1e6:.3f}", must, aim, *sizes)


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
