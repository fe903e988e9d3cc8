"""What placing buffers means: sizes, and gaps that offsets must keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from tinyc.compiler.graph import Array
from tinyc.passes.claims import Buffer, Claim

Gap = tuple[int, int]  # s_v - s_u must not lie strictly between the two
Neighbour = tuple[int, frozenset[int]]  # a buffer, and the stages of both that may run upwards
Ways = tuple[bool, bool, bool]  # the stage runs upwards, u slides late, v slides late


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two buffers that meet in a stage; None: in this way they never claim at one event."""

    stage: int
    gaps: Mapping[Ways, Gap | None]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Buffers to place.

    pairs      u < v -> how they meet, stage by stage
    two_ways   stages that may run upwards
    """

    buffers: tuple[Buffer, ...]
    alignment: int
    pairs: Mapping[tuple[int, int], tuple[Pair, ...]]
    two_ways: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trade:
    """What RAM is worth.

    byte_cycles  cycles that a byte of the arena is worth
    up_cycles    that running upwards costs, by stage
    """

    byte_cycles: float = 1e6
    up_cycles: Mapping[int, int] = field(default_factory=dict)

    def cost(self, placement: "Placement") -> float:
        """In cycles; of two that cost the same, the one that runs fewer stages upwards."""
        up = sum(self.up_cycles.get(stage, 0) + 1 for stage in placement.upwards)
        return placement.bytes * self.byte_cycles + up


LEAST_RAM = Trade()


@dataclass(frozen=True, slots=True)
class Placement:
    """Offsets of the buffers, which of them slide late, and which stages run upwards."""

    bytes: int
    offsets: tuple[int, ...]
    late: tuple[bool, ...]
    upwards: frozenset[int] = frozenset()


def problem_of(buffers: Sequence[Buffer], alignment: int) -> Problem:
    two_ways = sorted(
        {n for b in buffers for n, claim in b.claims.items() if claim.up is not claim.down}
    )
    pairs: dict[tuple[int, int], tuple[Pair, ...]] = {}
    for v, second in enumerate(buffers):
        for u in range(v):
            first = buffers[u]
            common = sorted(first.claims.keys() & second.claims.keys())
            met = [
                Pair(n, gaps)
                for n in common
                if any((gaps := _gaps(first.claims[n], second.claims[n], n in two_ways)).values())
            ]
            if met:
                pairs[u, v] = tuple(met)
    return Problem(tuple(buffers), alignment, pairs, tuple(two_ways))


def _gaps(u: Claim, v: Claim, both_ways: bool) -> dict[Ways, Gap | None]:
    return {
        (upwards, u_late, v_late): _gap(u.ranges(upwards, u_late), v.ranges(upwards, v_late))
        for upwards in ((False, True) if both_ways else (False,))
        for u_late in ((False, True) if u.late else (False,))
        for v_late in ((False, True) if v.late else (False,))
    }


def _gap(u: Array, v: Array) -> Gap | None:
    """Over the events at which both claim something."""
    both = (u[:, 1] > u[:, 0]) & (v[:, 1] > v[:, 0])
    if not both.any():
        return None
    below, above = u[:, 0] - v[:, 1], u[:, 1] - v[:, 0]
    return int(below[both].min()), int(above[both].max())


def neighbours_of(problem: Problem) -> tuple[tuple[Neighbour, ...], ...]:
    """For every buffer, those that it meets."""
    turning = frozenset(problem.two_ways)
    found: list[list[Neighbour]] = [[] for _ in problem.buffers]
    for (u, v), pairs in problem.pairs.items():
        stages = turning.intersection(pair.stage for pair in pairs)
        found[u].append((v, stages))
        found[v].append((u, stages))
    return tuple(map(tuple, found))


def gaps_of(problem: Problem) -> Callable[[int, int, frozenset[int], bool, bool], tuple[Gap, ...]]:
    """Where v must not lie, counted from u, when some stages run upwards and u or v slides late."""

    @cache
    def gaps(
        u: int, v: int, upwards: frozenset[int], u_late: bool, v_late: bool
    ) -> tuple[Gap, ...]:
        if u > v:
            return tuple((-high, -low) for low, high in gaps(v, u, upwards, v_late, u_late))
        met = (pair.gaps[pair.stage in upwards, u_late, v_late] for pair in problem.pairs[u, v])
        return tuple(gap for gap in met if gap is not None)

    return gaps
