"""The cheapest way to divide layers into stages that keep below a limit of RAM.

Dynamic programming over the layers in their order; a stage of one layer is not charged for.
"""

from collections.abc import Callable, Iterator, Sequence

Cost = Callable[[int, int], tuple[int, int]]  # first, last -> bytes, cycles
MOST_LAYERS = 24  # of a stage


def cheapest_stages(
    solo: Sequence[int], between: Sequence[int], cost: Cost, limit: int
) -> tuple[tuple[int, int], ...] | None:
    """First and last layer of each stage: the fewest cycles with every stage below `limit` bytes.

    solo     bytes of each layer alone
    between  bytes of whole tensors before each layer and after the last

    None when there is no way.
    """
    count = len(solo)
    best: list[tuple[int, int] | None] = [(0, 0), *([None] * count)]  # cycles, first of the stage
    found: list[tuple[int, int]] = []  # stages that stream below the limit
    for last in range(count):
        for first, cycles in _ends(solo, between, cost, limit, last, found):
            before = best[first]
            if before is not None:
                total = before[0] + cycles
                known = best[last + 1]
                if known is None or total < known[0]:
                    best[last + 1] = total, first
    if best[count] is None or not count:
        return None
    stages, end = [], count
    while end:
        chosen = best[end]
        assert chosen is not None, "every prefix of the best way was reached"
        stages.append((chosen[1], end - 1))
        end = chosen[1]
    return tuple(stages[::-1])


def _ends(
    solo: Sequence[int],
    between: Sequence[int],
    cost: Cost,
    limit: int,
    last: int,
    found: list[tuple[int, int]],
) -> Iterator[tuple[int, int]]:
    """Beginnings of stages that end with `last`, and their cycles; only where one has to stream.

    A stage around one of `found` with no other layer that has to is no better than that one.
    """
    if solo[last] < limit:
        yield last, 0
    if between[last + 1] >= limit:
        return
    hot = {last} if solo[last] >= limit else set[int]()
    for first in range(last - 1, max(last - MOST_LAYERS, -1), -1):
        hot |= {first} if solo[first] >= limit else set()
        covered = any(f >= first and hot <= set(range(f, e + 1)) for f, e in found)
        if hot and between[first] < limit and not covered:
            needed, cycles = cost(first, last)
            if needed < limit:
                found.append((first, last))
                yield first, cycles
