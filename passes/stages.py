"""Stages: steps that run together, row by row, and the order in which their rows are computed.

In a stage of several steps the last layer that has its rows runs next, so that what a layer
writes is read soon; a tensor between two of them needs a few rows at a time, in a window that
slides. The rule is simple enough to be a loop in C: its conditions are the `Need`s and `waits`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from tinyc.compiler.graph import Array
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


@dataclass(frozen=True, slots=True)
class Need:
    """What the rows of a layer wait for: the bytes of a tensor that a layer before it writes.

    reader, writer     places in the stage
    window             None: all of the tensor
    reader_row_bytes   of a row of the tensor as the reader counts them, `rows` in all
    writer_row_bytes   as the writer counts them; 0: it writes all with its last call
    """

    reader: int
    writer: int
    storage: str
    window: Window | None
    rows: int
    reader_row_bytes: int
    writer_row_bytes: int

    def bytes_before(self, end: int) -> int:
        """Bytes that must be there before the reader's rows up to `end` are computed."""
        if self.window is None:
            return self.rows * self.reader_row_bytes
        return min(self.window.last(end), self.rows) * self.reader_row_bytes


@dataclass(frozen=True, slots=True)
class Event:
    """One call: rows begin..end of the layer at a place of the stage."""

    place: int
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Streamed:
    """A stage with its steps looked up, and what its loop does.

    Rows and bytes are counted from the end where a stage runs upwards; then `calls` are `mirrored`.

    calls         the steps of the stage
    units, waits  as in Stage
    bytes         of every storage
    """

    calls: tuple[Step, ...]
    units: tuple[int, ...]
    waits: Mapping[int, int]
    bytes: Mapping[str, int]

    @cached_property
    def needs(self) -> tuple[Need, ...]:
        writers = {name: p for p, step in enumerate(self.calls) for name in step.writes}
        found = []
        for reader, step in enumerate(self.calls):
            for name in step.reads:
                writer = writers.get(name, reader)
                if writer >= reader:
                    continue
                rows = step.input_rows.get(name, 1)
                sizes = (self.bytes[name] // rows, self.row_bytes(writer, name))
                found += [
                    Need(reader, writer, name, window, rows, *sizes)
                    for window in step.windows.get(name) or (None,)
                ]
        return tuple(found)

    def row_bytes(self, place: int, storage: str) -> int:
        """Of an output row; 0 for a layer that writes with its last call."""
        step = self.calls[place]
        return 0 if step.accumulates else self.bytes[storage] // step.rows

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The calls in the order in which they run: the last layer that has its rows comes next."""
        done, places = [0] * len(self.calls), range(len(self.calls))
        waiting = [[q for q in places[p + 1 :] if self._follows(q, p)][::-1] for p in places]
        order = list(places[::-1])
        events: list[Event] = []
        for _ in range(sum(-(-s.rows // u) for s, u in zip(self.calls, self.units, strict=True))):
            place = next((p for p in order if self._ready(p, done)), None)
            assert place is not None, f"the rows of {[s.node for s in self.calls]} wait in a circle"
            end = min(done[place] + self.units[place], self.calls[place].rows)
            events.append(Event(place, done[place], end))
            done[place] = end
            # layers behind it that have nothing new were not ready before, and are not now
            order = [*waiting[place], *places[place::-1]]
        return tuple(events)

    def _follows(self, place: int, earlier: int) -> bool:
        """Whether rows of an earlier layer may be what one waits for."""
        reads = any(need.writer == earlier for need in self._needs_of[place])
        return reads or self.waits.get(place) == earlier

    @cached_property
    def _needs_of(self) -> tuple[tuple[Need, ...], ...]:
        """By place."""
        places = range(len(self.calls))
        return tuple(tuple(n for n in self.needs if n.reader == place) for place in places)

    def _ready(self, place: int, done: Sequence[int]) -> bool:
        step = self.calls[place]
        if done[place] == step.rows:
            return False
        end = min(done[place] + self.units[place], step.rows)
        if place in self.waits and done[self.waits[place]] < end:
            return False
        for need in self._needs_of[place]:
            there = self.written(need.writer, need.storage, done[need.writer])
            if there < need.bytes_before(end):
                return False
        return True

    def written(self, place: int, storage: str, rows: int) -> int:
        """Bytes of its output that are there after `rows` rows."""
        step = self.calls[place]
        if step.accumulates:
            return self.bytes[storage] if rows == step.rows else 0
        return rows * (self.bytes[storage] // step.rows)

    def oldest(self, storage: str) -> Array:
        """At each event, the first byte of a tensor that is read then or later; int64 [events]."""
        size = self.bytes[storage]
        oldest = np.full(len(self.events), size, np.int64)
        for place, step in enumerate(self.calls):
            if storage in step.reads:
                oldest = np.minimum(oldest, self._oldest_of(place, storage))
        return oldest

    def _oldest_of(self, place: int, storage: str) -> Array:
        """The same for one reader."""
        step, size = self.calls[place], self.bytes[storage]
        windows, rows = step.windows.get(storage), step.input_rows.get(storage, 1)
        calls = np.flatnonzero(self.at(place))
        begins = self._columns[1, calls]
        firsts = [begins * w.stride - w.before for w in windows or ()]
        first = np.min(firsts, axis=0) if firsts else np.zeros_like(begins)
        read = np.clip(first, 0, rows) * (size // rows)
        least = np.minimum.accumulate(np.append(read, size)[::-1])[::-1]
        return least[np.searchsorted(calls, np.arange(len(self.events)))]

    def tops(self, storage: str) -> Array:
        """At each event, how many bytes of a tensor that the stage writes are there after it."""
        tops = np.zeros(len(self.events), np.int64)
        for place, step in enumerate(self.calls):
            if storage in step.writes:
                calls, size = self.at(place), self.bytes[storage]
                ends = self._columns[2, calls]
                rows = ends * (size // step.rows)
                tops[calls] = size * (ends == step.rows) if step.accumulates else rows
        return np.maximum.accumulate(tops)

    @cached_property
    def phases(self) -> int:
        """1, or 2: each call of a stage reads, then writes, as far as layers gather."""
        return 2 if any(step.gathers for step in self.calls) else 1

    def oldest_by_phase(self, storage: str) -> Array:
        """Like `oldest`, at each phase of each event."""
        oldest = self.oldest(storage)
        if self.phases == 1:
            return oldest
        later = np.append(oldest[1:], self.bytes[storage])
        gathers = np.array([storage in step.gathers for step in self.calls])
        gathered = gathers[self._columns[0]]
        return np.stack([oldest, np.where(gathered, later, oldest)], axis=1).reshape(-1)

    def tops_by_phase(self, storage: str) -> Array:
        """Like `tops`, at each phase of each event."""
        tops = self.tops(storage)
        if self.phases == 1:
            return tops
        before = np.concatenate([[0], tops[:-1]])
        gathering = np.array([bool(step.gathers) for step in self.calls])[self._columns[0]]
        return np.stack([np.where(gathering, before, tops), tops], axis=1).reshape(-1)

    def moved_bytes(self, place: int) -> int:
        """What windows of a layer's outputs move: after each read, what is left."""
        total = 0
        for name in self.calls[place].writes:
            tops, oldest = self.tops(name), self.oldest(name)
            after = np.append(oldest[1:], self.bytes[name])
            slides = (after > oldest) & (after < tops)
            total += int((tops - after)[slides].sum())
        return total

    def reads(self, storage: str) -> Array:
        """Which events read a tensor; bool [events]."""
        readers = [place for place, step in enumerate(self.calls) if storage in step.reads]
        return np.isin(self._columns[0], readers)

    def at(self, place: int) -> Array:
        """Which events are calls of the layer; bool [events]."""
        return np.asarray(self._columns[0] == place)

    @cached_property
    def _columns(self) -> Array:
        """Place, begin and end of the events; int64 [3, events]."""
        rows = [(event.place, event.begin, event.end) for event in self.events]
        return np.array(rows, np.int64).reshape(-1, 3).T


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
