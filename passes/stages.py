"""Stages: steps that run together, row by row; `stage_events.py` says in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tinyc.compiler.ops.op import Window
from tinyc.passes.storage import Step

MOST_EVENTS = 4096  # of a layer: one with more bands is planned several bands at a time


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps that follow each other and run together.

    steps  their numbers
    units  rows that one call of each computes; the last call of a step may compute fewer
    waits  places of layers that run only after another one that reads the same rows: a shortcut
           beside a larger window would else run ahead and keep its rows for longer, and so would
           each of the layers that compute the parts of an image
    upwards  the last rows come first: the output may then lie above the dying input
    """

    steps: tuple[int, ...]
    units: tuple[int, ...]
    waits: Mapping[int, int] = field(default_factory=dict)
    upwards: bool = False

    @property
    def streams(self) -> bool:
        """Whether several layers run row by row."""
        return len(self.steps) > 1

    @property
    def loops(self) -> bool:
        """Whether it is a loop over rows; else it is one call."""
        return self.streams or self.upwards


def stage_of(steps: Sequence[Step], numbers: Sequence[int], units: Sequence[int]) -> Stage:
    """The stage of these steps, in their order."""
    writers = {name: p for p, n in enumerate(numbers) for name in steps[n].writes}
    after = [{writers[name] for name in steps[n].reads if name in writers} for n in numbers]
    turns = _turns([steps[n] for n in numbers], writers)
    waits = dict(turns)
    for p, q in turns.items():
        after[p] = {*after[p], q}
    for p, n in enumerate(numbers):
        for q, m in enumerate(numbers):
            alike = steps[n].rows == steps[m].rows and units[p] == units[q]
            ordered = p == q or q in waits or p in turns
            if ordered or not alike or not _reads_less(steps[n], steps[m]):
                continue
            if p not in _all_before(q, after):  # else both would wait for each other
                waits[p] = q
                after[p] = {*after[p], q}
    return Stage(tuple(numbers), tuple(units), waits)


def _turns(calls: Sequence[Step], writers: Mapping[str, int]) -> dict[int, int]:
    """Of the layers that compute the parts of an image, each waits for the one before."""
    turns: dict[int, int] = {}
    for step in calls:
        parts = sorted({writers[n] for n in step.reads if n in writers}) if step.joins else []
        turns |= {p: q for q, p in pairwise(parts) if calls[p].rows == calls[q].rows}
    return turns


def _all_before(place: int, after: Sequence[set[int]]) -> set[int]:
    """What a layer comes after, directly or by way of others."""
    found, new = {place}, {place}
    while new:
        new = set[int]().union(*(after[p] for p in new)) - found
        found |= new
    return found


def can_run_upwards(calls: Sequence[Step]) -> bool:
    """Whether all layers work by rows, in any order of the rows.

    One alone that goes element by element keeps its own order, in which it needs least.
    """
    if len(calls) == 1 and calls[0].element_order:
        return False
    return all(
        s.band < s.rows <= MOST_EVENTS * s.band and s.windows and not (s.accumulates or s.pushed)
        for s in calls
    )


def mirrored(step: Step) -> Step:
    """The step with its rows, and those of its inputs, counted from the end."""

    def turned(window: Window, rows: int) -> Window:
        return replace(window, before=window.last(step.rows) - rows)

    windows = {
        name: tuple(turned(window, step.input_rows[name]) for window in windows)
        for name, windows in step.windows.items()
    }
    return replace(step, windows=windows)


def _reads_less(step: Step, other: Step) -> bool:
    """Whether both read a tensor by rows, and `step` no more of it for the same output rows."""
    for name in set(step.windows) & set(other.windows):
        mine, its = step.windows[name], other.windows[name]
        strides = {w.stride for w in (*mine, *its)}
        if len(strides) == 1 and max(w.last(1) for w in mine) < max(w.last(1) for w in its):
            return True
    return False
