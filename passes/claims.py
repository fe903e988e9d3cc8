"""Which bytes of the arena every activation and scratch claims while the stages run.

Buffers claim bytes at events, the calls of a stage. While a layer writes its output from the top,
the part of its dying input that it has read is free again, so an output may start below its input
and run into it. A tensor between two layers of a stage claims a window of rows, which slides:

    early  the rows that are left move to the window's beginning right after they were read
    late   they move right before the next ones are written: until then the beginning is free

so that an early window may share the place of its last rows with the first rows of a late one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.passes.stages import Stage, Streamed
from tinyc.passes.storage import Step, Storage

Slide = Literal["early", "late"]


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """One storage's claim on the arena.

    claims  by stage: the claimed range at each of its events, int64 [events, 2] (bottom, top) in
            bytes of the buffer; a range of one stands for all events of the stage
    window  whether it is a window that slides; `claims` are those of an early one, and
    late    those of a late one
    """

    name: str
    bytes: int
    claims: Mapping[int, Array]
    window: bool = False
    late: Mapping[int, Array] | None = None


def scratch_name(node: str) -> str:
    """The buffer of a node's scratch; no tensor has this name, ONNX has no tab in names."""
    return f"{node}\tscratch"


def streamed(stage: Stage, steps: Sequence[Step], sizes: Mapping[str, int]) -> Streamed:
    """The stage with its steps; one alone runs band by band within its only call."""
    calls = tuple(steps[i] for i in stage.steps)
    return Streamed(calls, stage.units if stage.streams else (calls[0].band,), stage.waits, sizes)


def buffers_of(
    stages: Sequence[Stage],
    steps: Sequence[Step],
    storages: Sequence[Storage],
    alignment: int,
) -> list[Buffer]:
    """The claims of every storage, and of the scratch of every step."""
    sizes = {s.name: s.bytes for s in storages}
    runs = [streamed(stage, steps, sizes) for stage in stages]
    stage_of = {step: i for i, stage in enumerate(stages) for step in stage.steps}
    stage_of |= {-1: -1, len(steps): len(stages)}
    buffers = []
    for storage in storages:
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
            for place, s in enumerate(run.calls)
            if s.scratch_bytes
        ]
    return buffers


def claims_of_stage(stage: Stage, run: Streamed, storages: Sequence[Storage]) -> list[Array]:
    """What every storage claims while one stage runs, windows those of an early one."""
    first, last = stage.steps[0], stage.steps[-1]
    claims = []
    for storage in storages:
        if storage.first > last or storage.last < first:
            continue
        born, dying = storage.first >= first, storage.last <= last
        if born and dying and not storage.kept and stage.streams:
            claims += _window(storage, 0, run, 1).claims.values()
        else:
            claims.append(_claim(storage, run, born, dying))
    return claims


def _claim(storage: Storage, run: Streamed | None, born: bool, dying: bool) -> Array:
    """Of a whole tensor during a stage that writes it first, reads it last, or leaves it alone."""
    whole = np.array([[0, storage.bytes]], np.int64)
    if run is None:
        return whole
    born = born and any(storage.name in step.writes for step in run.calls)
    dying = dying and not storage.kept
    if len(run.calls) == 1 and run.calls[0].element_order:
        return _claim_of_elements(storage, run.calls[0], born, dying)
    if len(run.calls) == 1 and (run.calls[0].rows <= 1 or storage.name in _in_place(run.calls[0])):
        return whole
    if born:
        tops = run.tops(storage.name)
        return np.stack([np.zeros_like(tops), tops], axis=1)
    if dying and any(storage.name in step.reads for step in run.calls):
        bottoms = run.oldest(storage.name)
        return np.stack([bottoms, np.full_like(bottoms, storage.bytes)], axis=1)
    return whole


def _in_place(step: Step) -> set[str]:
    return set(step.reads) & set(step.writes)


def _claim_of_elements(storage: Storage, step: Step, born: bool, dying: bool) -> Array:
    """Byte by byte at the first, the last but one and the last: a byte is read, then written."""
    size = storage.bytes
    if born:
        return np.array([[0, 1], [0, max(size - 1, 1)], [0, size]], np.int64)
    if dying and storage.name in step.aligned_reads:
        return np.array([[1, size], [max(size - 1, 1), size], [size, size]], np.int64)
    return np.array([[0, size]], np.int64)


def _window(storage: Storage, index: int, run: Streamed, alignment: int) -> Buffer:
    """Of a tensor that is born and dies in a stage that streams."""
    tops, needed = run.tops(storage.name), run.oldest(storage.name)
    before = np.concatenate([[0], tops[:-1]])
    after = np.concatenate([needed[1:], [storage.bytes]])  # the first byte that is read later
    writes, reads = tops > before, run.reads(storage.name)

    def starts(slides: Array, first: Array) -> Array:
        """At each event, the first byte in the window: it is set where it slides."""
        return np.maximum.accumulate(np.where(slides, first // alignment * alignment, 0))

    left = starts(reads, np.minimum(after, tops))
    early_start = np.concatenate([[0], left[:-1]])
    late_start = starts(writes, np.minimum(needed, before))
    size = int(max((tops - early_start)[writes].max(), (tops - late_start)[writes].max()))
    live = writes | (tops > needed)
    kept = np.minimum(needed, before) // alignment * alignment
    early = np.stack([np.zeros_like(tops), np.where(live, tops - early_start, 0)], axis=1)
    bottoms = np.where(live, np.maximum(kept - late_start, 0), size)
    late = np.stack([bottoms, np.where(live, tops - late_start, size)], axis=1)
    return Buffer(storage.name, size, {index: early}, True, {index: late})


def _scratch(run: Streamed, place: int) -> Array:
    """At the calls of its layer; of one that accumulates, from the first to the last."""
    step, used = run.calls[place], run.at(place)
    if step.accumulates:
        used = np.maximum.accumulate(used) & np.maximum.accumulate(used[::-1])[::-1]
    tops = np.where(used, step.scratch_bytes, 0).astype(np.int64)
    return np.stack([np.zeros_like(tops), tops], axis=1)
