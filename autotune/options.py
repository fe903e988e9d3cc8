"""The schedules that a workload may get, with what they cost: measured, or estimated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tinyc.autotune.estimates import Estimate, Fits, block_sizes, estimates_of, fits_of
from tinyc.autotune.records import Record, useful
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.artifact import Source
from tinyc.compiler.ops import OPS, kernel_of
from tinyc.compiler.ops.op import Call, band_by, rule_of_thumb, schedules_of
from tinyc.compiler.program import arena_alone
from tinyc.passes.fusions import ACCUMULATING
from tinyc.targets import Target

BLOCKS_OF_ROWS = "row-blocks"  # the algorithm whose blocks end with the rows
PIXELS, SINGLE = 4, 0.4  # of a block; gemm-blocks 4x2 and 3x2 with 64 channels on Cortex-M4
UNKNOWN_CYCLES = 3  # of a multiply-accumulate where nothing is on record; a guess, not shown
MOST_ESTIMATED = 5  # schedules of a workload that was not measured


@dataclass(frozen=True, slots=True)
class Option:
    """One schedule of a workload; sizes and `kernel` as in Record.

    source  where the cycles are from
    band    rows that are computed together; only known where layers stream
    """

    schedule: Schedule
    source: Source
    cycles: int
    tables_bytes: int
    own_bytes: int
    blocks: Mapping[str, int]
    scratch_bytes: int
    arena_bytes: int
    kernel: str = ""
    band: int = 1

    @property
    def flash_bytes(self) -> int:
        """All that it needs when it is alone."""
        return self.tables_bytes + self.own_bytes + sum(self.blocks.values())


def options_of(
    calls: Mapping[str, Call], target: Target, records: Sequence[Record]
) -> Mapping[str, tuple[Option, ...]]:
    """By workload, one at least: its records, else the best estimates, else the rule of thumb."""
    measured: dict[str, list[Record]] = {}
    for record in records:
        if record.workload in calls and _suits(calls[record.workload], target, record.schedule):
            measured.setdefault(record.workload, []).append(record)
    fits = fits_of(records) if any(text not in measured for text in calls) else {}
    sizes = block_sizes(records)
    return {
        text: tuple(map(_option, useful(measured[text])))
        if text in measured
        else _estimated(text, call, target, fits, sizes) or (_rule(call, target),)
        for text, call in calls.items()
    }


def streaming_options(
    call: Call, target: Target, options: Sequence[Option], accumulates: bool
) -> tuple[Option, ...]:
    """The options of a layer in a stage that streams, with their bands."""
    if accumulates:
        return (_unknown(call, target, Schedule(ACCUMULATING)),)
    algorithms = OPS[call.node.op].algorithms
    bands = [band_by(algorithms, call, target, option.schedule) for option in options]
    return tuple(
        replace(o, band=band, cycles=int(o.cycles * by_rows(call, o.schedule, band)))
        for o, band in zip(options, bands, strict=True)
    )


def by_rows(call: Call, schedule: Schedule, rows: int) -> float:
    """How many times the cycles a kernel takes that is called for `rows` rows at a time, about.

    A 1x1 convolution runs over the ends of rows in blocks of pixels; what is left of each call
    are blocks of one pixel, which take SINGLE of a whole one's time.
    """
    if call.node.op != "Conv2D" or schedule.algorithm == BLOCKS_OF_ROWS:
        return 1.0
    a, (_, height, width, _) = call.attrs, call.output.shape
    if call.inputs[1].shape[1:3] != (1, 1) or a.strides != (1, 1) or any(a.pads):
        return 1.0
    block = schedule.rows or PIXELS

    def blocks(pixels: int) -> float:
        return pixels // block + SINGLE * (pixels % block)

    return height / rows * blocks(rows * width) / blocks(height * width)


def _suits(call: Call, target: Target, schedule: Schedule) -> bool:
    """Whether the algorithm exists and computes these weights; records know shapes only."""
    algorithm = OPS[call.node.op].algorithms.get(schedule.algorithm)
    return algorithm is not None and algorithm.suits(call, target)


def _option(record: Record) -> Option:
    return Option(
        record.schedule, "measured", record.cycles, record.tables_bytes, record.own_bytes,
        record.blocks, record.scratch_bytes, record.arena_bytes, record.kernel,
    )  # fmt: skip


def _estimated(
    text: str, call: Call, target: Target, fits: Fits, sizes: Mapping[str, int]
) -> tuple[Option, ...]:
    """The best estimates of those that differ in more than code, and the best of each algorithm."""
    if not fits:
        return ()
    algorithms = OPS[call.node.op].algorithms
    rule = rule_of_thumb(algorithms, call, target)
    ranked = estimates_of(fits, text, schedules_of(algorithms, call, target), rule)
    differing: dict[object, Estimate] = {}
    firsts: dict[str, Estimate] = {}
    for estimate in ranked:
        s = estimate.schedule
        differing.setdefault((s.algorithm, s.rows, s.weights), estimate)
        firsts.setdefault(s.algorithm, estimate)
    best = [*differing.values()][:MOST_ESTIMATED]
    chosen = {e.schedule: e for e in (*best, *firsts.values())}
    return tuple(_unmeasured(call, target, e, sizes) for e in chosen.values())


def _unmeasured(call: Call, target: Target, e: Estimate, sizes: Mapping[str, int]) -> Option:
    """With the code of the record that is most like it, where no block of that name is known."""
    kernel = kernel_of(call, target, e.schedule)
    block_bytes = [*e.like.blocks.values()]
    unknown = round(sum(block_bytes) / max(len(block_bytes), 1))
    return Option(
        e.schedule, "estimated", e.cycles, sum(c.array.nbytes for c in kernel.constants),
        e.like.own_bytes, {m.name: sizes.get(m.name, unknown) for m in kernel.microkernels},
        kernel.scratch_bytes, arena_alone(call, target, kernel),
    )  # fmt: skip


def _rule(call: Call, target: Target) -> Option:
    return _unknown(
        call, target, Schedule(rule_of_thumb(OPS[call.node.op].algorithms, call, target))
    )


def _unknown(call: Call, target: Target, schedule: Schedule) -> Option:
    kernel = kernel_of(call, target, schedule)
    tables = sum(c.array.nbytes for c in kernel.constants)
    arena = arena_alone(call, target, kernel)
    work = OPS[call.node.op].macs(call) or call.inputs[0].elements
    cycles = UNKNOWN_CYCLES * work  # so that what streaming costs has a measure
    return Option(schedule, "unknown", cycles, tables, 0, {}, kernel.scratch_bytes, arena)
