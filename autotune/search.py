"""Which schedules of a workload to measure next: what the model ranks first, and some by chance."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyc.autotune.cost_model import CostModel
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array

BATCH = 12  # schedules that are built into one image
BY_CHANCE = 2  # of a batch: what the model has no idea of may be good
LEAST_GAIN = 0.002  # relative; a batch that gains less found nothing
PATIENCE = 2  # batches that found nothing


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """The schedules of one workload, the rule of thumb's first, with their features."""

    workload: str
    schedules: tuple[Schedule, ...]
    features: tuple[Array, ...]


def next_batch(
    space: Space, measured: Mapping[Schedule, int], model: CostModel, size: int
) -> list[Schedule]:
    """Up to `size` schedules that were not measured; the choice depends on the arguments alone."""
    open_ = [i for i, s in enumerate(space.schedules) if s not in measured]
    if len(open_) <= size:
        return [space.schedules[i] for i in open_]
    chooser = random.Random(f"{space.workload} {len(measured)}")
    first = [] if measured else _one_of_each_kind(space, open_)[:size]
    rest = [i for i in open_ if i not in first]
    ranks = model.rank([space.features[i] for i in rest])
    chooser.shuffle(order := list(range(len(rest))))  # among equals, by chance
    best = sorted(order, key=lambda k: ranks[k])
    chance = min(BY_CHANCE, max(size - len(first), 0))
    chosen = [*first, *(rest[k] for k in best[: size - len(first) - chance])]
    left = [i for i in rest if i not in chosen]
    chosen += chooser.sample(left, min(chance, len(left)))
    return [space.schedules[i] for i in chosen]


def _one_of_each_kind(space: Space, among: Sequence[int]) -> list[int]:
    """The first schedule of every algorithm and form of weights: what costs flash, and what not."""
    first: dict[tuple[str, str], int] = {}
    for i in among:
        schedule = space.schedules[i]
        first.setdefault((schedule.algorithm, schedule.weights), i)
    return list(first.values())


def exhausted(best_by_batch: Sequence[float]) -> bool:
    """Whether the last batches found nothing better."""
    if len(best_by_batch) <= PATIENCE:
        return False
    before, now = best_by_batch[-PATIENCE - 1], best_by_batch[-1]
    return now > before * (1 - LEAST_GAIN)
