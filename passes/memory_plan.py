"""Places every activation and scratch in one arena; what is alive together never collides.

For two buffers u and v that claim [bottom, top) of themselves at common events, both of these
orders are safe (memory offsets s_u, s_v):

    v below u:  s_v - s_u <= min over events of (bottom_u - top_v)
    v above u:  s_v - s_u >= max over events of (top_u - bottom_v)

Ordinary disjoint buffers are the case bottom = 0, top = size. The same condition covers outputs
that overlap their dying inputs, windows in the dead part of an input, and scratch.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.passes.claims import Buffer, Slide

# Moves of the local search: 400 left VWW on Cortex-M4 at 46,980 B, 1500 reached its bound
SEARCH_TURNS = 4000


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Byte offsets into the arena by buffer name.

    bound_bytes  no plan of these claims is smaller: the most bytes claimed at one event
    windows      the bytes of every tensor that has a window only
    slides       when they move
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    bound_bytes: int
    windows: Mapping[str, int] = field(default_factory=dict)
    slides: Mapping[str, Slide] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """Buffers in the order in which they are placed, each at its lowest safe offset.

    late  of each buffer, whether it is a window that slides late
    """

    order: tuple[int, ...]
    late: tuple[bool, ...]


class Gaps:
    """For buffers u, v with common events: s_v - s_u must not lie strictly between two numbers."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.buffers = buffers
        self.between = cache(self._between)
        stages = [b.claims.keys() for b in buffers]
        self.common = [[not s.isdisjoint(t) for t in stages] for s in stages]

    def _between(self, u: int, v: int, u_late: bool, v_late: bool) -> tuple[int, int] | None:
        ours, theirs = _claims(self.buffers[u], u_late), _claims(self.buffers[v], v_late)
        found = [_gap(ours[i], theirs[i]) for i in sorted(ours.keys() & theirs.keys())]
        met = [gap for gap in found if gap is not None]
        return (min(g[0] for g in met), max(g[1] for g in met)) if met else None


def _claims(buffer: Buffer, late: bool) -> Mapping[int, Array]:
    return buffer.late if late and buffer.late is not None else buffer.claims


def _gap(u: Array, v: Array) -> tuple[int, int] | None:
    """Over the events of one stage at which both claim something."""
    both = (u[:, 1] > u[:, 0]) & (v[:, 1] > v[:, 0])
    if not both.any():
        return None
    below, above = u[:, 0] - v[:, 1], u[:, 1] - v[:, 0]
    return int(below[both].min()), int(above[both].max())


def plan_memory(buffers: Sequence[Buffer], alignment: int) -> MemoryPlan:
    """Offsets by first fit over several orders, improved by a seeded local search."""
    sizes, gaps, bound = [b.bytes for b in buffers], Gaps(buffers), bound_of(buffers)

    def placed(layout: Layout) -> tuple[int, dict[int, int]]:
        return _first_fit(layout, sizes, gaps, alignment)

    layout, (best, offsets) = min(
        ((layout, placed(layout)) for layout in _starts(buffers)), key=lambda r: r[1][0]
    )
    chooser = random.Random(0)
    for _ in range(SEARCH_TURNS if len(buffers) > 2 else 0):
        if best <= bound:
            break
        moved = _moved(layout, buffers, chooser)
        size, found = placed(moved)
        if size <= best:
            best, offsets, layout = size, found, moved
    windows = {b.name: b.bytes for b in buffers if b.window}
    slides: dict[str, Slide] = {
        b.name: "late" if late else "early"
        for b, late in zip(buffers, layout.late, strict=True)
        if b.window
    }
    places = {b.name: offsets[i] for i, b in enumerate(buffers)}
    return MemoryPlan(places, best, bound, windows, slides)


def _starts(buffers: Sequence[Buffer]) -> list[Layout]:
    numbers = range(len(buffers))
    early = tuple(False for _ in numbers)
    keys = (
        lambda i: (-buffers[i].bytes, min(buffers[i].claims)),
        lambda i: (min(buffers[i].claims), -buffers[i].bytes),
        lambda i: (-max(buffers[i].claims), -buffers[i].bytes),
    )
    return [Layout(tuple(sorted(numbers, key=key)), early) for key in keys]


def _moved(layout: Layout, buffers: Sequence[Buffer], chooser: random.Random) -> Layout:
    """Another place in the order for one buffer, or for a window also another way to slide."""
    order, late = list(layout.order), list(layout.late)
    moving = order.pop(chooser.randrange(len(order)))
    order.insert(chooser.randrange(len(order) + 1), moving)
    if buffers[moving].window and chooser.randrange(2):
        late[moving] = not late[moving]
    return Layout(tuple(order), tuple(late))


def _first_fit(
    layout: Layout, sizes: Sequence[int], gaps: Gaps, alignment: int
) -> tuple[int, dict[int, int]]:
    """Each buffer of the order at its lowest safe offset; the arena's size and the offsets."""
    offsets: dict[int, int] = {}
    end = 0
    for v in layout.order:
        blocked = []
        for u, offset in offsets.items():
            if gaps.common[u][v]:
                gap = gaps.between(u, v, layout.late[u], layout.late[v])
                if gap is not None:
                    blocked.append((offset + gap[0], offset + gap[1]))
        at = 0
        for low, high in sorted(blocked):  # by the lower end, so one sweep is enough
            if low < at < high:
                at = -(-high // alignment) * alignment
        offsets[v] = at
        end = max(end, at + sizes[v])
    return end, offsets


def bound_of(buffers: Sequence[Buffer]) -> int:
    """The most bytes claimed at one event."""
    stages: dict[int, list[Array]] = {}
    for b in buffers:
        for stage, claim in b.claims.items():
            stages.setdefault(stage, []).append(claim[:, 1] - claim[:, 0])
    return max(
        (int(np.sum(np.broadcast_arrays(*c), axis=0).max()) for c in stages.values()), default=0
    )
