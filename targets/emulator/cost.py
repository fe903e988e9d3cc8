"""Prices what was counted: cycles in total and by function.

Every instruction pays for itself in its context, every taken branch for its refill and for its
target, and what depends on operands was counted in cycles while it ran.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyc.targets.emulator.decoder import decoder_for
from tinyc.targets.emulator.elf import Elf
from tinyc.targets.emulator.engine import Counts
from tinyc.targets.timing.instruction import UNCONDITIONAL, Instruction, Kind
from tinyc.targets.timing.timing import Timing


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """What the instructions of one function took; those of its callees are not in it."""

    cycles: int
    instructions: int
    calls: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Of everything between the marks; `undecoded` instructions were taken for one cycle each."""

    cycles: int
    instructions: int
    undecoded: int
    functions: Mapping[str, FunctionCost]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Executed instructions without a gap, and their indices in Counts."""

    indices: Sequence[int]
    instructions: Sequence[Instruction]


def price(counts: Counts, elf: Elf, timing: Timing) -> Cost:
    """The cycles of `counts` on a core."""
    functions: dict[str, list[float]] = {}  # name -> cycles, instructions, calls
    undecoded = 0
    loaded: set[int] = set()
    for block in _blocks(counts, elf):
        cycles = _block_cycles(counts, block, timing, loaded)
        for index, i, own in zip(block.indices, block.instructions, cycles, strict=True):
            function = elf.function_at(i.address)
            times = counts.executed[index] + counts.skipped[index]
            total = functions.setdefault(function.name, [0.0, 0, 0])
            total[0] += own
            total[1] += times
            total[2] += counts.taken_in[index] if i.address == function.start else 0
            undecoded += counts.executed[index] if i.name == "?" else 0
    return Cost(
        cycles=round(sum(cycles for cycles, _, _ in functions.values())),
        instructions=round(sum(times for _, times, _ in functions.values())),
        undecoded=undecoded,
        functions={
            name: FunctionCost(round(cycles), round(times), round(calls))
            for name, (cycles, times, calls) in functions.items()
        },
    )


def _blocks(counts: Counts, elf: Elf) -> Iterator[Block]:
    decoder = decoder_for(elf.is_arm)
    indices: list[int] = []
    instructions: list[Instruction] = []
    following = -1
    for index, (executed, skipped) in enumerate(zip(counts.executed, counts.skipped, strict=True)):
        if not executed and not skipped:
            continue
        if index != following and indices:
            yield Block(indices, instructions)
            indices, instructions = [], []
        size = counts.sizes[index]
        code = counts.code[2 * index : 2 * index + size]
        indices.append(index)
        instructions.append(decoder.decode(code, counts.address(index)))
        following = index + size // 2
    if indices:
        yield Block(indices, instructions)


def _block_cycles(
    counts: Counts, block: Block, timing: Timing, loaded: set[int]
) -> Iterator[float]:
    """Cycles of each instruction of the block, all its executions together."""
    code = block.instructions
    own = timing.cycles(code, loaded)
    entries = _entry_costs(counts, block, own, timing, loaded)
    for j, (index, i) in enumerate(zip(block.indices, code, strict=True)):
        executed, arrived = counts.executed[index], counts.taken_in[index]
        left = counts.taken_out[index]
        cycles: float = executed * own[j] + counts.skipped[index] + counts.extra[index]
        if arrived:
            cycles += arrived * (timing.target(i) + entries.get(j, 0))
        if left:
            cycles += left * timing.refill(code, j)
        if i.kind is Kind.BRANCH:
            cycles += timing.mispredicted(executed, left)
        yield cycles


def _entry_costs(
    counts: Counts, block: Block, own: Sequence[int], timing: Timing, loaded: set[int]
) -> Mapping[int, int]:
    """What entering the block at an instruction costs more than falling through to it."""
    costs: dict[int, int] = {}
    code = block.instructions
    for j in range(1, len(code)):
        if counts.taken_in[block.indices[j]] and code[j - 1].kind not in UNCONDITIONAL:
            window = code[j : j + timing.horizon]
            costs[j] = sum(timing.cycles(window, loaded)) - sum(own[j : j + len(window)])
    return costs
