"""Places every activation and scratch in one arena; what is alive together never collides.

For two buffers u and v that claim [bottom, top) of themselves at common events, both of these
orders are safe (memory offsets s_u, s_v):

    v below u:  s_v - s_u <= min over events of (bottom_u - top_v)
    v above u:  s_v - s_u >= max over events of (top_u - bottom_v)

Ordinary disjoint buffers are the case bottom = 0, top = size. The same condition covers outputs
that overlap their dying inputs, windows in the dead part of an input, and scratch. Directions of
stages and ways to slide are chosen with the offsets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.passes.claims import Buffer, Slide
from tinyc.passes.placement import LEAST_RAM, Placement, Problem, Trade, problem_of
from tinyc.passes.placement_by_search import searched
from tinyc.passes.stages import Stage

# Buffers that the local search places, before the solver and where the solver proves nothing; in
# turns that place them all
FEW_PLACED, MANY_PLACED = 2_300, 46_000
FEW_BUFFERS = 4  # which the local search places well enough
MANY_PAIRS = 600  # of buffers that meet: the solver takes long to build, and finds no more


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Byte offsets into the arena by buffer name.

    Where a target has several RAM regions, each has an arena, and the fields `arena_bytes` and
    `bound_bytes` are those of the fastest one.

    bound_bytes  no plan of these claims is smaller, as far as it is proved
    windows      the bytes of every tensor that has a window only
    slides       when they move
    upwards      numbers of the stages that run from the last row to the first
    regions      by buffer, the RAM region of those that are not in the fastest one
    more_bytes   by RAM region, the arena of those others that hold something
    copies       by table of constants, the RAM region of those that are copied to RAM
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    bound_bytes: int
    windows: Mapping[str, int] = field(default_factory=dict)
    slides: Mapping[str, Slide] = field(default_factory=dict)
    upwards: frozenset[int] = frozenset()
    regions: Mapping[str, str] = field(default_factory=dict)
    more_bytes: Mapping[str, int] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """Of all arenas."""
        return self.arena_bytes + sum(self.more_bytes.values())

    def address(self, buffer: str) -> int:
        """Its offset, were the arenas one after the other."""
        starts, end = {}, self.arena_bytes
        for region, size in self.more_bytes.items():
            starts[region], end = end, end + size
        return starts.get(self.regions.get(buffer, ""), 0) + self.offsets[buffer]


def plan_memory(buffers: Sequence[Buffer], alignment: int, trade: Trade = LEAST_RAM) -> MemoryPlan:
    """The best arena that first fit with a local search, or the solver, finds.

    The same buffers give the same plan on every machine: both stop after a number of steps.
    """
    problem, bound = problem_of(buffers, alignment), bound_of(buffers)
    few, many = (placed // max(len(buffers), 1) for placed in (FEW_PLACED, MANY_PLACED))
    best = searched(problem, bound, (), few)
    if best.bytes > bound:
        found = [best, searched(problem, bound, problem.two_ways, few)]
        if len(buffers) <= FEW_BUFFERS:
            return plan_of(problem, min(found, key=trade.cost), bound)
        best, proved, optimal = min(found, key=trade.cost), bound, False
        if len(problem.pairs) <= MANY_PAIRS:
            from tinyc.passes.placement_by_solver import solved  # OR-Tools loads slowly

            best, proved, optimal = solved(problem, bound, found, trade)
        if not optimal:
            found = [best, searched(problem, proved, problem.two_ways, many)]
            best = min(found, key=trade.cost)
        bound = max(bound, min(proved, best.bytes))
    return plan_of(problem, best, bound)


def directed(stages: Sequence[Stage], plan: MemoryPlan) -> tuple[Stage, ...]:
    """The stages in the directions of the plan."""
    return tuple(replace(stage, upwards=i in plan.upwards) for i, stage in enumerate(stages))


def plan_of(problem: Problem, placement: Placement, bound: int) -> MemoryPlan:
    buffers = problem.buffers
    slides: dict[str, Slide] = {
        b.name: "late" if late else "early"
        for b, late in zip(buffers, placement.late, strict=True)
        if b.window
    }
    return MemoryPlan(
        {b.name: offset for b, offset in zip(buffers, placement.offsets, strict=True)},
        placement.bytes,
        bound,
        {b.name: b.bytes for b in buffers if b.window},
        slides,
        placement.upwards,
    )


def bound_of(buffers: Sequence[Buffer]) -> int:
    """The most bytes claimed at one event, with every stage in its better direction."""
    stages: dict[int, list[tuple[Array, Array]]] = {}
    for b in buffers:
        for stage, claim in b.claims.items():
            sizes = claim.down[:, 1] - claim.down[:, 0], claim.up[:, 1] - claim.up[:, 0]
            stages.setdefault(stage, []).append(sizes)
    return max((_least_peak(claims) for claims in stages.values()), default=0)


def _least_peak(claims: Sequence[tuple[Array, Array]]) -> int:
    down = np.sum(np.broadcast_arrays(*(c[0] for c in claims)), axis=0)
    up = np.sum(np.broadcast_arrays(*(c[1] for c in claims)), axis=0)
    return int(min(down.max(), up.max()))
