"""The least RAM: arenas of `--optimize ram` against the fastest plan and what others need."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from bench.costs import KWS, MUST_BALANCED, RESNET, TFLM, TOYCAR, VWW, measure_cost
from bench.tables import table
from tinyc.autotune.choice import Optimize
from tinyc.targets.firmware import Io


@dataclass(frozen=True, slots=True)
class Limit:
    """Bytes of the arena: what must hold, what is aimed at, the best that is published."""

    must: int
    aim: int
    published: str = ""


MODES: tuple[Optimize, ...] = ("latency", "ram")
LIMITS: dict[tuple[str, Io], Limit] = {
    (RESNET, "arena"): Limit(16_384, 12_736, "21,104 at 1.84 times the time"),
    (VWW, "arena"): Limit(28_672, 28_140, "55,296"),
    (VWW, "rows"): Limit(14_336, 10_752),
    (KWS, "arena"): Limit(5_632, 3_886, "16,000"),
    (TOYCAR, "arena"): Limit(768, 768, "768"),
}
MOST_SLOWDOWN, MOST_STACK = 1.3, 600  # against "latency"; bytes


def ram_section(pool: Executor) -> Iterator[str]:
    runs = [(m, "cortex-m4", mode, io) for m, io in LIMITS for mode in MODES]
    costs = dict(zip(runs, pool.map(measure_cost, *zip(*runs, strict=True)), strict=True))
    yield "## The least RAM on Cortex-M4: `--optimize ram`, inputs, outputs and scratch included\n"
    rows = []
    for (model, io), limit in LIMITS.items():
        fast, small = (costs[model, "cortex-m4", mode, io] for mode in MODES)
        rows.append((
            model, f"`{io}`", f"{small.arena_bytes:,}", f"{limit.must:,}", f"{limit.aim:,}",
            limit.published, f"{TFLM[model].arena_bytes:,}", f"{small.cycles / 1e6:.3f}",
            f"{small.cycles / fast.cycles:.2f}", f"{small.flash_bytes:,}", small.stack_bytes,
        ))  # fmt: skip
    yield table(
        "model | `--io` | arena B | must | aim | best published | TFLM | M cycles | times latency "
        f"(must {MOST_SLOWDOWN}) | flash B | stack B",
        rows,
    )
    slowest = ", ".join(f"{m} {most} M" for m, most in MUST_BALANCED.items())
    yield f"\n`balanced` must stay below 1.05 times the cycles it had without streaming: {slowest}."
