"""The loop of a stage: the order in which rows are computed, and the bytes that are there then.

In a stage of several steps the last layer that has its rows runs next, so that what a layer
writes is read soon; a tensor between two of them needs a few rows at a time, in a window that
slides. The rule is simple enough to be a loop in C: its conditions are the `Need`s and `waits`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.ops.op import Window
from tinyc.passes.storage import Step


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

    def bytes_before(self, ends: Array) -> Array:
        """Bytes that must be there before the reader's rows up to each of `ends` are computed."""
        if self.window is None:
            return np.full_like(ends, self.rows * self.reader_row_bytes)
        w = self.window
        read = (ends - 1) * w.stride - w.before + w.size
        rows: Array = np.minimum(read, self.rows)
        return rows * self.reader_row_bytes


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
        places, needed = range(len(self.calls)), self._needed_rows
        ends: list[list[int]] = [self._ends(place).tolist() for place in places]
        waiting = [[q for q in places[p + 1 :] if p in needed[q]][::-1] for p in places]
        done, turns, order = [0] * len(places), [0] * len(places), list(places[::-1])

        def ready(place: int) -> bool:
            turn = turns[place]
            return turn < len(ends[place]) and all(
                done[writer] >= rows[turn] for writer, rows in needed[place].items()
            )

        events: list[Event] = []
        for _ in range(sum(map(len, ends))):
            place = next((p for p in order if ready(p)), None)
            assert place is not None, f"the rows of {[s.node for s in self.calls]} wait in a circle"
            end = ends[place][turns[place]]
            events.append(Event(place, done[place], end))
            done[place], turns[place] = end, turns[place] + 1
            # layers behind it that have nothing new were not ready before, and are not now
            order = [*waiting[place], *places[place::-1]]
        return tuple(events)

    def _ends(self, place: int) -> Array:
        """Behind the last row of each call of a layer; int64 [calls]."""
        rows, unit = self.calls[place].rows, self.units[place]
        return np.minimum(np.arange(unit, rows + unit, unit), rows)

    @cached_property
    def _needed_rows(self) -> tuple[Mapping[int, Sequence[int]], ...]:
        """By place, for each layer that it waits for: the rows of it that each call needs."""
        needed: list[dict[int, Array]] = [{} for _ in self.calls]

        def wait(place: int, other: int, rows: Array) -> None:
            needed[place][other] = np.maximum(needed[place].get(other, 0), rows)

        for need in self.needs:
            size = need.bytes_before(self._ends(need.reader))
            wait(need.reader, need.writer, self._rows_with(need.writer, need.storage, size))
        for place, other in self.waits.items():
            wait(place, other, self._ends(place))
        return tuple({other: rows.tolist() for other, rows in all_.items()} for all_ in needed)

    def _rows_with(self, place: int, storage: str, size: Array) -> Array:
        """How many rows of its output hold so many bytes; more than it has where none do."""
        step, row_bytes = self.calls[place], self.row_bytes(place, storage)
        if row_bytes:
            return -(-size // row_bytes)
        return np.where(size > 0, step.rows if step.accumulates else step.rows + 1, 0)

    @cached_property
    def oldest(self) -> Mapping[str, Array]:
        """At each event, the first byte of a tensor that is read then or later; int64 [events]."""
        oldest = {n: np.full(len(self.events), self.bytes[n], np.int64) for n in self._storages}
        for place, step in enumerate(self.calls):
            later = np.searchsorted(self._calls[place], np.arange(len(self.events)))
            for name in dict.fromkeys(step.reads):
                oldest[name] = np.minimum(oldest[name], self._oldest_of(place, name)[later])
        return oldest

    def _oldest_of(self, place: int, storage: str) -> Array:
        """The same for the calls of one reader, and behind the last; int64 [calls + 1]."""
        step, size = self.calls[place], self.bytes[storage]
        windows, rows = step.windows.get(storage), step.input_rows.get(storage, 1)
        begins = self._columns[1, self._calls[place]]
        firsts = [begins * w.stride - w.before for w in windows or ()]
        first = np.min(firsts, axis=0) if firsts else np.zeros_like(begins)
        read = np.clip(first, 0, rows) * (size // rows)
        return np.minimum.accumulate(np.append(read, size)[::-1])[::-1]

    @cached_property
    def tops(self) -> Mapping[str, Array]:
        """At each event, the bytes of a tensor that the stage has written after it."""
        tops = {name: np.zeros(len(self.events), np.int64) for name in self._storages}
        for place, step in enumerate(self.calls):
            calls = self._calls[place]
            ends = self._columns[2, calls]
            for name in step.writes:
                size = self.bytes[name]
                rows = ends * (size // step.rows)
                tops[name][calls] = size * (ends == step.rows) if step.accumulates else rows
        return {name: np.maximum.accumulate(top) for name, top in tops.items()}

    @property
    def _storages(self) -> Sequence[str]:
        return [*dict.fromkeys(name for s in self.calls for name in (*s.reads, *s.writes))]

    @cached_property
    def phases(self) -> int:
        """1, or 2: each call of a stage reads, then writes, as far as layers gather."""
        return 2 if any(step.gathers for step in self.calls) else 1

    def oldest_by_phase(self, storage: str) -> Array:
        """Like `oldest`, at each phase of each event."""
        oldest = self.oldest[storage]
        if self.phases == 1:
            return oldest
        later = np.append(oldest[1:], self.bytes[storage])
        gathers = np.array([storage in step.gathers for step in self.calls])
        gathered = gathers[self._columns[0]]
        return np.stack([oldest, np.where(gathered, later, oldest)], axis=1).reshape(-1)

    def tops_by_phase(self, storage: str) -> Array:
        """Like `tops`, at each phase of each event."""
        tops = self.tops[storage]
        if self.phases == 1:
            return tops
        before = np.concatenate([[0], tops[:-1]])
        gathering = np.array([bool(step.gathers) for step in self.calls])[self._columns[0]]
        return np.stack([np.where(gathering, before, tops), tops], axis=1).reshape(-1)

    def moved_bytes(self, place: int) -> int:
        """What windows of a layer's outputs move: after each read, what is left."""
        total = 0
        for name in self.calls[place].writes:
            tops, oldest = self.tops[name], self.oldest[name]
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
    def _calls(self) -> tuple[Array, ...]:
        """By place, which events are calls of the layer; int64 [calls]."""
        return tuple(np.flatnonzero(self.at(place)) for place in range(len(self.calls)))

    @cached_property
    def _columns(self) -> Array:
        """Place, begin and end of the events; int64 [3, events]."""
        rows = [(event.place, event.begin, event.end) for event in self.events]
        return np.array(rows, np.int64).reshape(-1, 3).T
