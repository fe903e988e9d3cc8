"""Prices what was counted: cycles in total, by function, and by call.

Every instruction pays for itself in its context, every taken branch for its refill and for its
target, and what depends on operands was counted in cycles while it ran.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyc.targets.emulator.decoder import decoder_for
from tinyc.targets.emulator.elf import Elf
from tinyc.targets.emulator.engine import Counts
from tinyc.targets.emulator.events import Event, Events
from tinyc.targets.timing.instruction import UNCONDITIONAL, Instruction, Kind
from tinyc.targets.timing.timing import Timing


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """What the instructions of one function took; those of its callees are not in it."""

    cycles: int
    instructions: int
    calls: int

    def plus(self, other: "FunctionCost") -> "FunctionCost":
        """Both together."""
        return FunctionCost(
            self.cycles + other.cycles,
            self.instructions + other.instructions,
            self.calls + other.calls,
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Of everything between the marks; `undecoded` instructions were taken for one cycle each.

    functions  by name
    calls      the same for each element of Counts.calls; they add up to `functions`, but for what
               came before the first call
    """

    cycles: int
    instructions: int
    undecoded: int
    functions: Mapping[str, FunctionCost]
    calls: tuple[Mapping[str, FunctionCost], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Executed instructions without a gap, and their indices in Counts."""

    indices: Sequence[int]
    instructions: Sequence[Instruction]


@dataclass(frozen=True, slots=True)
class Price:
    """Cycles of one instruction where it stands.

    function       that it is of; `begins` at its first instruction
    own            each time it is executed
    arrival        more when it was branched to
    departure      more when it branches
    misprediction  on average over the whole run, each time it is executed
    """

    function: str
    begins: bool
    decoded: bool
    own: int
    arrival: int
    departure: int
    misprediction: float

    def cycles(self, event: Event) -> float:
        """Of all that happened at the instruction."""
        own = event.executed * self.own + event.skipped + event.extra
        edges = event.taken_in * self.arrival + event.taken_out * self.departure
        return own + edges + event.executed * self.misprediction


def price(counts: Counts, elf: Elf, timing: Timing) -> Cost:
    """The cycles of `counts` on a core."""
    prices: dict[int, Price] = {}
    loaded: set[int] = set()
    for block in _blocks(counts, elf):
        prices |= zip(
            block.indices, _block_prices(counts.events, block, elf, timing, loaded), strict=True
        )
    totals = _totals(counts.events, prices)
    undecoded = (e.executed for i, e in counts.events.items() if not prices[i].decoded)
    return Cost(
        cycles=round(sum(cycles for cycles, _, _ in totals.values())),
        instructions=sum(times for _, times, _ in totals.values()),
        undecoded=sum(undecoded),
        functions=_functions(totals),
        calls=tuple(_functions(_totals(events, prices)) for events in counts.calls),
    )


def _totals(events: Events, prices: Mapping[int, Price]) -> dict[str, tuple[float, int, int]]:
    """By function: cycles, instructions, times it was called."""
    totals: dict[str, tuple[float, int, int]] = {}
    for index, event in events.items():
        p = prices[index]
        cycles, instructions, calls = totals.get(p.function, (0.0, 0, 0))
        totals[p.function] = (
            cycles + p.cycles(event),
            instructions + event.executed + event.skipped,
            calls + (event.taken_in if p.begins else 0),
        )
    return totals


def _functions(totals: Mapping[str, tuple[float, int, int]]) -> dict[str, FunctionCost]:
    return {
        name: FunctionCost(round(cycles), instructions, calls)
        for name, (cycles, instructions, calls) in totals.items()
    }


def _blocks(counts: Counts, elf: Elf) -> Iterator[Block]:
    decoder = decoder_for(elf.is_arm)
    indices: list[int] = []
    instructions: list[Instruction] = []
    following = -1
    for index, event in counts.events.items():
        if not event.executed and not event.skipped:
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


def _block_prices(
    events: Events, block: Block, elf: Elf, timing: Timing, loaded: set[int]
) -> Iterator[Price]:
    """The price of each instruction of the block."""
    code = block.instructions
    own = timing.cycles(code, loaded)
    entries = _entry_costs(events, block, own, timing, loaded)
    for j, (index, i) in enumerate(zip(block.indices, code, strict=True)):
        event, function = events[index], elf.function_at(i.address)
        mispredicted = 0.0
        if i.kind is Kind.BRANCH and event.executed:
            mispredicted = timing.mispredicted(event.executed, event.taken_out) / event.executed
        yield Price(
            function=function.name,
            begins=i.address == function.start,
            decoded=i.name != "?",
            own=own[j],
            arrival=timing.target(i) + entries.get(j, 0) if event.taken_in else 0,
            departure=timing.refill(code, j) if event.taken_out else 0,
            misprediction=mispredicted,
        )


def _entry_costs(
    events: Events, block: Block, own: Sequence[int], timing: Timing, loaded: set[int]
) -> Mapping[int, int]:
    """What entering the block at an instruction costs more than falling through to it."""
    costs: dict[int, int] = {}
    code = block.instructions
    for j in range(1, len(code)):
        if events[block.indices[j]].taken_in and code[j - 1].kind not in UNCONDITIONAL:
            window = code[j : j + timing.horizon]
            costs[j] = sum(timing.cycles(window, loaded)) - sum(own[j : j + len(window)])
    return costs
