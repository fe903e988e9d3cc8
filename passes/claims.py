"""Which bytes of the arena every activation and scratch claims while the stages run.

Buffers claim bytes at events, the calls of a stage. While a layer writes its output from the top,
the part of its dying input that it has read is free again, so an output may start below its input
and run into it; in a stage that runs upwards it may end above it. A tensor between two layers of
a stage claims a window of rows, which slides:

    early  the rows that are left move to the window's beginning right after they were read
    late   they move right before the next ones are written: until then the beginning is free

so that an early window may share the place of its last rows with the first rows of a late one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.passes.stage_events import Streamed
from tinyc.passes.stages import MOST_EVENTS, Stage, can_run_upwards, mirrored
from tinyc.passes.storage import Step, Storage

Slide = Literal["early", "late"]


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A buffer during one stage: the claimed range at each of its events, or of their phases.

    int64 [events, 2] (bottom, top) in bytes of the buffer; a range of one stands for all events

    down, up  for each direction of the stage; the same where it has only one
    late      of a window that slides late, in both directions; None: it is no window
    """

    down: Array
    up: Array
    late: tuple[Array, Array] | None = None

    def ranges(self, upwards: bool, late: bool) -> Array:
        if late and self.late is not None:
            return self.late[upwards]
        return self.up if upwards else self.down


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """What one storage, or scratch, claims of the arena.

    claims  by stage
    window  whether it is a window that slides
    """

    name: str
    bytes: int
    claims: Mapping[int, Claim]
    window: bool = False


def scratch_name(node: str) -> str:
    """The buffer of a node's scratch; no tensor has this name, ONNX has no tab in names."""
    return f"{node}\tscratch"


def streamed(stage: Stage, steps: Sequence[Step], sizes: Mapping[str, int]) -> Streamed:
    """The stage with its steps; one that is no loop runs band by band within its only call."""
    calls = tuple(steps[i] for i in stage.steps)
    units = stage.units if stage.loops else (_bands(calls[0]),)
    turned = tuple(map(mirrored, calls)) if stage.upwards else calls
    return Streamed(turned, units, stage.waits, sizes)


def _bands(step: Step) -> int:
    """Rows that are planned together: a band, or several where there are very many."""
    return step.band * max(-(-step.rows // (step.band * MOST_EVENTS)), 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """A stage in both directions; the same where it has only one."""

    stage: Stage
    down: Streamed
    up: Streamed

    def claim(self, ranges: Callable[[Streamed], Array], size: int) -> Claim:
        down = ranges(self.down)
        return Claim(down, down if self.up is self.down else size - ranges(self.up)[:, ::-1])


def _runs(stage: Stage, steps: Sequence[Step], sizes: Mapping[str, int], alignment: int) -> _Runs:
    down = streamed(stage, steps, sizes)
    written = [sizes[name] for step in down.calls for name in step.writes]
    aligned = not stage.streams or all(size % alignment == 0 for size in written)
    if not aligned or not can_run_upwards(down.calls):
        return _Runs(stage, down, down)
    return _Runs(stage, down, streamed(replace(stage, upwards=True), steps, sizes))


def buffers_of(
    stages: Sequence[Stage],
    steps: Sequence[Step],
    storages: Sequence[Storage],
    alignment: int,
    outside: Collection[str] = (),
) -> list[Buffer]:
    """The claims of every storage, and of the scratch of every step.

    outside  storages that are not in the arena
    """
    sizes = {s.name: s.bytes for s in storages}
    runs = [_runs(stage, steps, sizes, alignment) for stage in stages]
    stage_of = {step: i for i, stage in enumerate(stages) for step in stage.steps}
    stage_of |= {-1: -1, len(steps): len(stages)}
    buffers = []
    for storage in (s for s in storages if s.name not in outside):
        first, last = stage_of[storage.first], stage_of[storage.last]
        if first == last and not storage.kept and 0 <= first and stages[first].streams:
            buffers.append(_window(storage, first, runs[first], alignment))
            continue
        claims = {
            index: _claim(storage, runs[index] if 0 <= index < len(runs) else None, first == index,
                          last == index)
            for index in range(first, last + 1)
        }  # fmt: skip
        buffers.append(Buffer(storage.name, storage.bytes, claims))
    for index, run in enumerate(runs):
        buffers += [
            Buffer(scratch_name(s.node), s.scratch_bytes, {index: _scratch(run, place)})
            for place, s in enumerate(run.down.calls)
            if s.scratch_bytes
        ]
    return buffers


def claims_of_stage(stage: Stage, run: Streamed, storages: Sequence[Storage]) -> list[Array]:
    """What every storage claims while one stage runs down, windows those of an early one."""
    first, last = stage.steps[0], stage.steps[-1]
    runs = _Runs(stage, run, run)
    claims: list[Array] = []
    for storage in storages:
        if storage.first > last or storage.last < first:
            continue
        born, dying = storage.first >= first, storage.last <= last
        if born and dying and not storage.kept and stage.streams:
            held = run.tops[storage.name] - _early_start(storage, run, 1)
            window = _range(0, np.where(_live(storage, run), held, 0))
            claims.append(window.repeat(run.phases, axis=0))
        else:
            claims.append(_claim(storage, runs, born, dying).down)
    return claims


def _claim(storage: Storage, runs: _Runs | None, born: bool, dying: bool) -> Claim:
    """Of a whole tensor during a stage that writes it first, reads it last, or leaves it alone."""
    size = storage.bytes
    whole = np.array([[0, size]], np.int64)
    if runs is None:
        return Claim(whole, whole)
    calls = runs.down.calls
    born = born and any(storage.name in step.writes for step in calls)
    dying = dying and not storage.kept and any(storage.name in step.reads for step in calls)
    if len(calls) == 1 and calls[0].element_order:
        ranges = _claim_of_elements(storage, calls[0], born, dying)
        return Claim(ranges, ranges)
    if len(calls) == 1 and (_one_piece(calls[0]) or storage.name in _in_place(calls[0])):
        return Claim(whole, whole)
    if born:
        return runs.claim(lambda run: _range(0, run.tops_by_phase(storage.name)), size)
    if dying:
        return runs.claim(lambda run: _range(run.oldest_by_phase(storage.name), size), size)
    return Claim(whole, whole)


def _range(bottom: Array | int, top: Array | int) -> Array:
    return np.stack(np.broadcast_arrays(bottom, top), axis=1).astype(np.int64)


def _one_piece(step: Step) -> bool:
    """Whether a call of its own may write the first output before it reads the last input.

    One that accumulates does: it ends with an output before it goes on to the next one's inputs.
    """
    return step.rows <= 1 or step.accumulates


def _in_place(step: Step) -> set[str]:
    return set(step.reads) & set(step.writes)


def _claim_of_elements(storage: Storage, step: Step, born: bool, dying: bool) -> Array:
    """Byte by byte, before the first, at the first, the last but one and the last.

    A byte is read before it is written.
    """
    size = storage.bytes
    most = max(size - 1, 1)
    if born:
        return np.array([[0, 0], [0, 1], [0, most], [0, size]], np.int64)
    if dying and storage.name in step.aligned_reads:
        return np.array([[0, size], [1, size], [most, size], [size, size]], np.int64)
    return np.array([[0, size]], np.int64)


def _window(storage: Storage, index: int, runs: _Runs, alignment: int) -> Buffer:
    """Of a tensor that is born and dies in a stage that streams."""
    down, down_late, size = _sliding(storage, runs.down, alignment)
    up, up_late, up_size = down, down_late, size
    if runs.up is not runs.down:
        up, up_late, up_size = _sliding(storage, runs.up, alignment)
    size = -(-max(size, up_size) // alignment) * alignment
    if runs.up is not runs.down:
        up, up_late = size - up[:, ::-1], size - up_late[:, ::-1]
    return Buffer(storage.name, size, {index: Claim(down, up, (down_late, up_late))}, True)


def _sliding(storage: Storage, run: Streamed, alignment: int) -> tuple[Array, Array, int]:
    """The ranges of an early and of a late window, and its bytes."""
    tops, needed = run.tops[storage.name], run.oldest[storage.name]
    before, live = _before(tops), _live(storage, run)
    kept = np.minimum(needed, before) // alignment * alignment
    early_start = _early_start(storage, run, alignment)
    writes = tops > before
    late_start = _slid(writes, kept)
    size = int(max((tops - early_start)[writes].max(), (tops - late_start)[writes].max()))
    early = _range(0, np.where(live, tops - early_start, 0))
    bottoms = np.where(live, np.maximum(kept - late_start, 0), size)
    late = _range(bottoms, np.where(live, tops - late_start, size))
    return early.repeat(run.phases, axis=0), late.repeat(run.phases, axis=0), size


def _early_start(storage: Storage, run: Streamed, alignment: int) -> Array:
    """At each event, the first byte in a window that slides early."""
    after = np.append(run.oldest[storage.name][1:], storage.bytes)  # the first that is read later
    left = np.minimum(after, run.tops[storage.name]) // alignment * alignment
    return _before(_slid(run.reads(storage.name), left))


def _slid(slides: Array, first: Array) -> Array:
    """At each event, the first byte in a window: it is set where it slides."""
    return np.maximum.accumulate(np.where(slides, first, 0))


def _before(values: Array) -> Array:
    """What stood after the event before."""
    return np.concatenate([[0], values[:-1]])


def _live(storage: Storage, run: Streamed) -> Array:
    """At which events a window holds something."""
    tops = run.tops[storage.name]
    return np.asarray((tops > _before(tops)) | (tops > run.oldest[storage.name]))


def _scratch(runs: _Runs, place: int) -> Claim:
    """At the calls of its layer; of one that accumulates, from the first to the last."""
    size = runs.down.calls[place].scratch_bytes

    def ranges(run: Streamed) -> Array:
        used = run.at(place)
        if run.calls[place].accumulates:
            used = np.maximum.accumulate(used) & np.maximum.accumulate(used[::-1])[::-1]
        return _range(0, np.where(used, size, 0)).repeat(run.phases, axis=0)

    down = ranges(runs.down)
    return Claim(down, down if runs.up is runs.down else ranges(runs.up))
