"""Executes a memory plan on tagged bytes: proves that every read sees what was written.

Shares no code with the planner. Every byte of the arena carries the tag of the tensor byte that
was last written there. A step is executed row by row in the order the kernels work: a row's
inputs are checked, its scratch is poisoned, its outputs are written.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tinyc.passes.memory_plan import MemoryPlan, scratch_name
from tinyc.passes.storage import Step, Storage

POISON = -1


def check_plan(
    plan: MemoryPlan, steps: Sequence[Step], storages: Sequence[Storage], alignment: int
) -> None:
    """An assertion fails when a byte is read that no longer holds what it should."""
    arena = _Arena(plan, storages, alignment)
    for storage in storages:
        if storage.first < 0:
            arena.write(storage.name, 0, storage.bytes)
    for step in steps:
        if step.element_order:
            _run_elements(arena, step)
        else:
            for row in range(0, step.rows, step.band):
                _run_rows(arena, step, row, min(row + step.band, step.rows))
    for storage in storages:
        if storage.kept:
            arena.read(storage.name, 0, storage.bytes, "the caller")


class _Arena:
    """The tagged bytes. State is the point here: it is a machine being simulated."""

    def __init__(self, plan: MemoryPlan, storages: Sequence[Storage], alignment: int) -> None:
        self.plan = plan
        self.sizes = {s.name: s.bytes for s in storages}
        self.tags = np.full(plan.arena_bytes, POISON, np.int64)
        starts = np.cumsum([0, *self.sizes.values()])
        self.first_tag: Mapping[str, int] = dict(zip(self.sizes, starts.tolist(), strict=False))
        for name, offset in plan.offsets.items():
            assert offset >= 0 and offset % alignment == 0, f"'{name}' at {offset} is not aligned"

    def holds(self, name: str) -> bool:
        return name in self.sizes and name in self.plan.offsets

    def write(self, name: str, begin: int, end: int) -> None:
        if self.holds(name):
            at = self.plan.offsets[name]
            assert at + end <= len(self.tags), f"'{name}' ends behind the arena"
            first = self.first_tag[name]
            self.tags[at + begin : at + end] = np.arange(first + begin, first + end)

    def read(self, name: str, begin: int, end: int, reader: str) -> None:
        if self.holds(name):
            at, first = self.plan.offsets[name], self.first_tag[name]
            seen = self.tags[at + begin : at + end]
            wrong = np.flatnonzero(seen != np.arange(first + begin, first + end))
            assert not wrong.size, f"{reader} reads '{name}' byte {begin + wrong[0]}: overwritten"

    def poison(self, step: Step) -> tuple[int, int]:
        """Mark the scratch of `step` as used; its range in the arena."""
        begin = self.plan.offsets.get(scratch_name(step.node), 0)
        end = begin + step.scratch_bytes
        assert end <= len(self.tags) or not step.scratch_bytes, "the scratch ends behind the arena"
        self.tags[begin:end] = POISON
        return begin, end


def _run_rows(arena: _Arena, step: Step, begin: int, end: int) -> None:
    """A kernel may write its first pixel before it reads the inputs of the last one.

    One that writes over its input all at once is trusted: the tags cannot tell the two apart.
    """
    in_place = set(step.reads) & set(step.writes)
    assert not in_place or (begin, end) == (0, step.rows), f"'{step.node}' overwrites its input"
    scratch = arena.poison(step)
    _read_rows(arena, step, begin, end)
    for name in step.writes:
        row_bytes = arena.sizes[name] // step.rows
        arena.write(name, begin * row_bytes, end * row_bytes)
    _read_rows(arena, step, begin, end)
    assert (arena.tags[slice(*scratch)] == POISON).all(), f"'{step.node}' overwrites its scratch"


def _read_rows(arena: _Arena, step: Step, begin: int, end: int) -> None:
    for name in step.reads:
        window = step.windows.get(name)
        if window is None:
            arena.read(name, 0, arena.sizes[name], step.node)
            continue
        row_bytes = arena.sizes[name] // step.input_rows[name]
        first = max(begin * window.stride - window.before, 0)
        last = (end - 1) * window.stride - window.before + window.size
        last = min(last, step.input_rows[name])
        if first < last:
            arena.read(name, first * row_bytes, last * row_bytes, step.node)


def _run_elements(arena: _Arena, step: Step) -> None:
    arena.poison(step)
    (output,) = step.writes
    for name in step.reads:
        arena.read(name, 0, arena.sizes[name], step.node)
        if not (arena.holds(name) and arena.holds(output)) or name == output:
            continue
        behind = arena.plan.offsets[output] - arena.plan.offsets[name]
        overlap = -arena.sizes[output] < behind < arena.sizes[name]
        ascending = name in step.aligned_reads and behind <= 0
        assert ascending or not overlap, f"'{step.node}' overwrites '{name}' before reading it"
    arena.write(output, 0, arena.sizes[output])
