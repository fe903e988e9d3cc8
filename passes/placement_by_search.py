"""Buffers placed by first fit over several orders, improved by a seeded local search."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinyc.passes.placement import Gap, Neighbour, Placement, Problem, gaps_of, neighbours_of

PEAK_MOVES = 4  # all moves but one of so many are of buffers at the peak


@dataclass(frozen=True, slots=True)
class Layout:
    """Buffers in the order in which they are placed, each at its lowest safe offset."""

    order: tuple[int, ...]
    late: tuple[bool, ...]
    upwards: frozenset[int] = frozenset()


def searched(problem: Problem, bound: int, two_ways: Sequence[int], turns: int) -> Placement:
    """The least arena that is found in so many turns; the search ends at `bound` bytes.

    two_ways  stages that may run upwards
    """
    neighbours, gaps = neighbours_of(problem), gaps_of(problem)
    best, layout = min(
        ((_first_fit(problem, layout, neighbours, gaps), layout) for layout in _starts(problem)),
        key=lambda found: found[0].bytes,
    )
    chooser = random.Random(0)
    for _ in range(turns if len(problem.buffers) > 2 else 0):
        if best.bytes <= bound:
            break
        moved = _moved(problem, layout, best, neighbours, two_ways, chooser)
        placement = _first_fit(problem, moved, neighbours, gaps)
        if placement.bytes <= best.bytes:
            best, layout = placement, moved
    return best


def _starts(problem: Problem) -> list[Layout]:
    buffers = problem.buffers
    numbers = range(len(buffers))
    early = tuple(False for _ in numbers)
    keys: tuple[Callable[[int], tuple[int, int]], ...] = (
        lambda i: (-buffers[i].bytes, min(buffers[i].claims)),
        lambda i: (min(buffers[i].claims), -buffers[i].bytes),
        lambda i: (-max(buffers[i].claims), -buffers[i].bytes),
    )
    return [Layout(tuple(sorted(numbers, key=key)), early) for key in keys]


def _moved(
    problem: Problem,
    layout: Layout,
    best: Placement,
    neighbours: Sequence[Sequence[Neighbour]],
    two_ways: Sequence[int],
    chooser: random.Random,
) -> Layout:
    """Another place in the order for one buffer; a window slides, or a stage runs, another way.

    Mostly a buffer that ends with the arena, or one that it meets: others change nothing there.
    """
    order, late, upwards = list(layout.order), list(layout.late), set(layout.upwards)
    buffers = problem.buffers
    if chooser.randrange(PEAK_MOVES):
        tops = [i for i, b in enumerate(buffers) if best.offsets[i] + b.bytes == best.bytes]
        top = chooser.choice(tops)
        moving = chooser.choice([top, *(u for u, _ in neighbours[top])])
    else:
        moving = chooser.choice(order)
    order.remove(moving)
    order.insert(chooser.randrange(len(order) + 1), moving)
    if buffers[moving].window and chooser.randrange(2):
        late[moving] = not late[moving]
    if two_ways and chooser.randrange(3) == 0:
        mine = [stage for stage in two_ways if stage in buffers[moving].claims]
        upwards ^= {chooser.choice(mine or two_ways)}
    return Layout(tuple(order), tuple(late), frozenset(upwards))


def _first_fit(
    problem: Problem,
    layout: Layout,
    neighbours: Sequence[Sequence[Neighbour]],
    gaps: Callable[[int, int, frozenset[int], bool, bool], tuple[Gap, ...]],
) -> Placement:
    """Each buffer of the order at its lowest safe offset."""
    late, upwards, alignment = layout.late, layout.upwards, problem.alignment
    offsets = [-1 for _ in problem.buffers]
    end = 0
    for v in layout.order:
        blocked = [
            (offsets[u] + low, offsets[u] + high)
            for u, turning in neighbours[v]
            if offsets[u] >= 0
            for low, high in gaps(u, v, turning & upwards if turning else turning, late[u], late[v])
        ]
        at = 0
        for low, high in sorted(blocked):  # by the lower end, so one sweep is enough
            if low < at < high:
                at = -(-high // alignment) * alignment
        offsets[v] = at
        end = max(end, at + problem.buffers[v].bytes)
    return Placement(end, tuple(offsets), late, upwards)
