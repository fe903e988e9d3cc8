"""Executes a memory plan on tagged bytes: proves that every read sees what was written.

Shares no code with the planner. Every byte of the arena carries the tag of the tensor byte that
was last written there. A step is executed row by row in the order the kernels work: a row's
inputs are checked, its scratch is poisoned, its outputs are written. A stage that streams is
executed as its loop in C is, windows that slide among it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.ops.op import Window
from tinyc.passes.claims import scratch_name
from tinyc.passes.memory_plan import MemoryPlan
from tinyc.passes.stages import Stage
from tinyc.passes.storage import Step, Storage

POISON = -1
MOST_BANDS = 4096  # of a layer; of more, several are executed at a time, which asks for more
STATE = -2  # of the scratch of a layer that accumulates


@dataclass(frozen=True, slots=True)
class Checked:
    """What was executed: kernel calls, and bytes that were read as they had been written."""

    calls: int
    read_bytes: int
    written_bytes: int


def check_plan(
    plan: MemoryPlan,
    stages: Sequence[Stage],
    steps: Sequence[Step],
    storages: Sequence[Storage],
    alignment: int,
) -> Checked:
    """An assertion fails when a byte is read that no longer holds what it should."""
    arena = _Arena(plan, storages, alignment)
    for storage in storages:
        if storage.first < 0:
            arena.write(storage.name, 0, storage.bytes)
    for stage in stages:
        calls = [steps[i] for i in stage.steps]
        if stage.loops:
            _Loop(arena, stage, calls).run()
        elif calls[0].element_order:
            _run_elements(arena, calls[0])
        else:
            bands = -(-calls[0].rows // (calls[0].band * MOST_BANDS))
            together = calls[0].band * max(bands, 1)
            for row in range(0, calls[0].rows, together):
                _run_rows(arena, calls[0], row, min(row + together, calls[0].rows))
    for storage in storages:
        if storage.kept:
            arena.read(storage.name, 0, storage.bytes, "the caller")
    return Checked(arena.calls, arena.read_bytes, arena.written_bytes)


class _Arena:
    """The tagged bytes. State is the point here: it is a machine being simulated.

    ends     where the arena of each RAM region ends; "" is the fastest one
    starts   by window, the first byte of the tensor that it holds
    upwards  windows of stages that run upwards: `starts` count from the tensor's end, and so do
             the places in the window
    """

    def __init__(self, plan: MemoryPlan, storages: Sequence[Storage], alignment: int) -> None:
        self.plan = plan
        self.alignment = alignment
        self.sizes = {s.name: s.bytes for s in storages}
        sizes = {"": plan.arena_bytes, **plan.more_bytes}
        ends = np.cumsum([*sizes.values()]).tolist()
        self.ends: Mapping[str, int] = dict(zip(sizes, ends, strict=True))
        self.begins = {region: self.ends[region] - size for region, size in sizes.items()}
        self.tags = np.full(sum(sizes.values()), POISON, np.int64)
        starts = np.cumsum([0, *self.sizes.values()])
        self.first_tag: Mapping[str, int] = dict(zip(self.sizes, starts.tolist(), strict=False))
        self.starts = dict.fromkeys(plan.windows, 0)
        self.upwards: set[str] = set()
        self.calls = self.read_bytes = self.written_bytes = 0
        for name, offset in plan.offsets.items():
            assert offset >= 0 and offset % alignment == 0, f"'{name}' at {offset} is not aligned"

    def at(self, name: str) -> int:
        """The first byte of a buffer."""
        return self.begins[self.plan.regions.get(name, "")] + self.plan.offsets[name]

    def end(self, name: str) -> int:
        """The end of the arena that it lies in."""
        return self.ends[self.plan.regions.get(name, "")]

    def holds(self, name: str) -> bool:
        return name in self.sizes and name in self.plan.offsets

    def place(self, name: str, begin: int, end: int) -> slice:
        """Where the bytes begin..end of a tensor lie."""
        size, start = self.sizes[name], self.starts.get(name, 0)
        room = self.plan.windows.get(name, size)
        first = size - start - room if name in self.upwards else start
        assert first <= begin and end - first <= room, f"'{name}' has no byte {begin} to {end}"
        at = self.at(name) - first
        assert at + end <= self.end(name), f"'{name}' ends behind the arena"
        assert first % self.alignment == 0, f"the window of '{name}' is not aligned"
        return slice(at + begin, at + end)

    def write(self, name: str, begin: int, end: int) -> None:
        if self.holds(name):
            self.written_bytes += end - begin
            first = self.first_tag[name]
            self.tags[self.place(name, begin, end)] = np.arange(first + begin, first + end)

    def read(self, name: str, begin: int, end: int, reader: str) -> None:
        if self.holds(name):
            self.read_bytes += end - begin
            first = self.first_tag[name]
            seen = self.tags[self.place(name, begin, end)]
            wrong = np.flatnonzero(seen != np.arange(first + begin, first + end))
            assert not wrong.size, f"{reader} reads '{name}' byte {begin + wrong[0]}: overwritten"

    def slide(self, name: str, oldest: int, end: int) -> None:
        """Bytes oldest..end of a tensor move to the beginning of its window.

        Upwards, bytes are counted from the tensor's end, and move to the window's end.
        """
        oldest = oldest // self.alignment * self.alignment
        if oldest <= self.starts[name]:
            return
        size, end = self.sizes[name], max(end, oldest)
        kept = (size - end, size - oldest) if name in self.upwards else (oldest, end)
        moving = self.tags[self.place(name, *kept)].copy()
        self.starts[name] = oldest
        self.tags[self.place(name, *kept)] = moving

    def mark(self, step: Step, tag: int) -> tuple[int, int]:
        """Put `tag` on the scratch of `step`; its range in the arena."""
        if not step.scratch_bytes:
            return 0, 0
        begin = self.at(scratch_name(step.node))
        end = begin + step.scratch_bytes
        assert end <= self.end(scratch_name(step.node)), "the scratch ends behind the arena"
        self.tags[begin:end] = tag
        return begin, end


class _Loop:
    """The loop of a stage: the last layer that has its rows runs next.

    Upwards, `rows` and `there` count from the end of the tensors.
    """

    def __init__(self, arena: _Arena, stage: Stage, calls: Sequence[Step]) -> None:
        self.arena, self.stage, self.calls = arena, stage, calls
        self.rows = [0] * len(calls)
        self.there = {name: 0 for step in calls for name in step.writes}
        if stage.upwards:
            assert not any(step.pushed for step in calls), "the input's rows come downwards"
            arena.upwards |= self.there.keys() & arena.plan.windows.keys()

    def run(self) -> None:
        while any(rows < step.rows for rows, step in zip(self.rows, self.calls, strict=True)):
            ready = [place for place in range(len(self.calls)) if self.is_ready(place)]
            assert ready, "every layer waits for another one"
            self.call(ready[-1])

    def next_rows(self, place: int) -> tuple[int, int]:
        """The output rows of the next call."""
        done, rows = self.rows[place], self.calls[place].rows
        end = min(done + self.stage.units[place], rows)
        return (rows - end, rows - done) if self.stage.upwards else (done, end)

    def reads(self, place: int, name: str) -> tuple[int, int]:
        """The first byte that the next call reads and the one behind the last; see `there`."""
        first, last = _bytes_read(self.arena, self.calls[place], name, *self.next_rows(place))
        size = self.arena.sizes[name]
        return (size - last, size - first) if self.stage.upwards else (first, last)

    def is_ready(self, place: int) -> bool:
        step, ahead = self.calls[place], self.stage.waits.get(place)
        if self.rows[place] == step.rows:
            return False
        end = min(self.rows[place] + self.stage.units[place], step.rows)
        if ahead is not None and self.rows[ahead] < end:
            return False
        return all(
            self.there[name] >= self.reads(place, name)[1]
            for name in step.reads
            if name in self.there
        )

    def call(self, place: int) -> None:
        step, (begin, end) = self.calls[place], self.next_rows(place)
        for name in step.writes:
            if self.arena.plan.slides.get(name) == "late":
                self.slide(name)
        last = self.rows[place] + end - begin == step.rows
        _run_rows(self.arena, step, begin, end, writes=last or not step.accumulates)
        self.rows[place] += end - begin
        for name in step.writes:
            size = self.arena.sizes[name]
            written = self.rows[place] * (size // step.rows)
            self.there[name] = size * last if step.accumulates else written
        for name in step.reads:
            if self.arena.plan.slides.get(name) == "early":
                self.slide(name)

    def slide(self, name: str) -> None:
        needed = [
            self.reads(place, name)[0]
            for place, step in enumerate(self.calls)
            if name in step.reads and self.rows[place] < step.rows
        ]
        self.arena.slide(name, min([*needed, self.there[name]]), self.there[name])


def _bytes_read(arena: _Arena, step: Step, name: str, begin: int, end: int) -> tuple[int, int]:
    """The first byte that rows begin..end read of an input, and the one behind the last."""
    size, windows = arena.sizes[name], step.windows.get(name)
    if not windows:
        return 0, size
    rows = step.input_rows[name]

    def first(window: Window) -> int:
        return min(max(begin * window.stride - window.before, 0), rows)

    def last(window: Window) -> int:
        return min(max((end - 1) * window.stride - window.before + window.size, 0), rows)

    row_bytes = size // rows
    return min(map(first, windows)) * row_bytes, max(map(last, windows)) * row_bytes


def _run_rows(arena: _Arena, step: Step, begin: int, end: int, writes: bool = True) -> None:
    """A kernel may write its first pixel before it reads the inputs of the last one.

    What it gathers first it does not read again. One that writes over its input all at once is
    trusted: the tags cannot tell the two apart.
    """
    arena.calls += 1
    in_place = set(step.reads) & set(step.writes)
    assert not in_place or (begin, end) == (0, step.rows), f"'{step.node}' overwrites its input"
    tag = STATE if step.accumulates else POISON
    scratch = slice(*arena.mark(step, tag)) if tag == POISON or begin == 0 else None
    _read_rows(arena, step, begin, end)
    if scratch is None:
        at = arena.at(scratch_name(step.node))
        scratch = slice(at, at + step.scratch_bytes)
        assert (arena.tags[scratch] == STATE).all(), f"the sums of '{step.node}' are overwritten"
    for name in step.writes if writes else ():
        size = arena.sizes[name]
        rows = (0, size) if step.accumulates else (begin * (size // step.rows),
                                                   end * (size // step.rows))  # fmt: skip
        arena.write(name, *rows)
    _read_rows(arena, step, begin, end, step.gathers)
    assert (arena.tags[scratch] == tag).all(), f"'{step.node}' overwrites its scratch"


def _read_rows(arena: _Arena, step: Step, begin: int, end: int, but: Collection[str] = ()) -> None:
    for name in (n for n in step.reads if n not in but):
        first, last = _bytes_read(arena, step, name, begin, end)
        if first < last:
            arena.read(name, first, last, step.node)


def _run_elements(arena: _Arena, step: Step) -> None:
    arena.calls += 1
    arena.mark(step, POISON)
    (output,) = step.writes
    for name in step.reads:
        arena.read(name, 0, arena.sizes[name], step.node)
        if not (arena.holds(name) and arena.holds(output)) or name == output:
            continue
        behind = arena.at(output) - arena.at(name)
        overlap = -arena.sizes[output] < behind < arena.sizes[name]
        ascending = name in step.aligned_reads and behind <= 0
        assert ascending or not overlap, f"'{step.node}' overwrites '{name}' before reading it"
    arena.write(output, 0, arena.sizes[output])
