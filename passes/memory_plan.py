"""Places every activation and scratch in one arena; what is alive together never collides.

Buffers claim bytes at events; an event is one row of one step. While a layer writes its output
from the top, the part of its dying input that it has read is free again, so an output may start
below its input and run into it. For two buffers u and v that claim [bottom, top) of themselves at
common events, both of these orders are safe (memory offsets s_u, s_v):

    v below u:  s_v - s_u <= min over events of (bottom_u - top_v)
    v above u:  s_v - s_u >= max over events of (top_u - bottom_v)

Ordinary disjoint buffers are the case bottom = 0, top = size.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.passes.storage import Step, Storage

# Moves of the local search: 400 left VWW on Cortex-M4 at 46,980 B, 1500 reached its bound
SEARCH_TURNS = 4000


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """One storage's claim on the arena.

    claims  by step: the claimed range at each of its rows, int64 [rows, 2] (bottom, top) in bytes
            of the buffer; a row range of one stands for all rows of the step
    """

    name: str
    bytes: int
    claims: Mapping[int, Array]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Byte offsets into the arena by buffer name.

    bound_bytes  no plan of these claims is smaller: the most bytes claimed at one event
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    bound_bytes: int


def buffers_of(steps: Sequence[Step], storages: Sequence[Storage]) -> list[Buffer]:
    """The claims of every storage, and of the scratch of every step."""
    buffers = []
    for storage in storages:
        claims: dict[int, Array] = {}
        for index in range(storage.first, storage.last + 1):
            step = steps[index] if 0 <= index < len(steps) else None
            claims[index] = _claim(storage, step, index)
        buffers.append(Buffer(storage.name, storage.bytes, claims))
    for index, step in enumerate(steps):
        if step.scratch_bytes:
            claim = np.array([[0, step.scratch_bytes]], np.int64)
            buffers.append(Buffer(scratch_name(step.node), step.scratch_bytes, {index: claim}))
    return buffers


def scratch_name(node: str) -> str:
    """The buffer of a node's scratch; no tensor has this name, ONNX has no tab in names."""
    return f"{node}\tscratch"


def _claim(storage: Storage, step: Step | None, index: int) -> Array:
    whole = np.array([[0, storage.bytes]], np.int64)
    if step is None:
        return whole
    dying = index == storage.last and not storage.kept
    born = index == storage.first and storage.name in step.writes
    if step.element_order and ((dying and storage.name in step.aligned_reads) or born):
        # element by element: what is written never runs ahead of what is read
        ends = np.array([[0, 0], [0, storage.bytes]] if born else [[0, 1], [1, 1]], np.int64)
        return ends if born else ends * storage.bytes
    if step.rows <= 1:
        return whole
    rows = np.arange(0, step.rows, step.band, dtype=np.int64)  # the first of each band
    if born:
        ends = np.minimum(rows + step.band, step.rows) * (storage.bytes // step.rows)
        return np.stack([np.zeros_like(rows), ends], axis=1)
    window = step.windows.get(storage.name)
    if dying and window is not None:
        row_bytes = storage.bytes // step.input_rows[storage.name]
        lowest = np.clip(rows * window.stride - window.before, 0, step.input_rows[storage.name])
        return np.stack([lowest * row_bytes, np.full_like(rows, storage.bytes)], axis=1)
    return whole


def plan_memory(buffers: Sequence[Buffer], alignment: int) -> MemoryPlan:
    """Offsets by first fit over several orders, improved by a seeded local search."""
    gaps = _gaps(buffers)
    sizes = [b.bytes for b in buffers]
    bound = _bound(buffers)
    orders = [
        sorted(range(len(buffers)), key=lambda i: (-sizes[i], min(buffers[i].claims))),
        sorted(range(len(buffers)), key=lambda i: (min(buffers[i].claims), -sizes[i])),
        sorted(range(len(buffers)), key=lambda i: (-max(buffers[i].claims), -sizes[i])),
    ]
    best_offsets, best, order = min(
        ((*_first_fit(o, sizes, gaps, alignment), o) for o in orders), key=lambda r: r[1]
    )
    chooser = random.Random(0)
    for _ in range(SEARCH_TURNS if len(buffers) > 2 else 0):
        if best <= bound:
            break
        moved = list(order)
        moved.insert(chooser.randrange(len(moved)), moved.pop(chooser.randrange(len(moved))))
        offsets, size = _first_fit(moved, sizes, gaps, alignment)
        if size <= best:
            best_offsets, best, order = offsets, size, moved
    return MemoryPlan({b.name: best_offsets[i] for i, b in enumerate(buffers)}, best, bound)


Gaps = Mapping[tuple[int, int], tuple[int, int]]


def _gaps(buffers: Sequence[Buffer]) -> Gaps:
    """For u, v with common events: s_v - s_u must not lie strictly between the two numbers."""
    gaps: dict[tuple[int, int], tuple[int, int]] = {}
    for i, u in enumerate(buffers):
        for j in range(i + 1, len(buffers)):
            v = buffers[j]
            common = u.claims.keys() & v.claims.keys()
            if not common:
                continue
            below = min(int((u.claims[e][:, 0] - v.claims[e][:, 1]).min()) for e in common)
            above = max(int((u.claims[e][:, 1] - v.claims[e][:, 0]).max()) for e in common)
            gaps[i, j] = (below, above)
            gaps[j, i] = (-above, -below)
    return gaps


def _first_fit(
    order: Sequence[int], sizes: Sequence[int], gaps: Gaps, alignment: int
) -> tuple[dict[int, int], int]:
    """Each buffer of `order` at its lowest safe offset; the offsets and the arena's size."""
    offsets: dict[int, int] = {}
    for v in order:
        blocked = sorted(
            (offsets[u] + gaps[u, v][0], offsets[u] + gaps[u, v][1])
            for u in offsets
            if (u, v) in gaps
        )
        at = 0
        for low, high in blocked:  # sorted by the lower end, so one sweep is enough
            if low < at < high:
                at = -(-high // alignment) * alignment
        offsets[v] = at
    return offsets, max((offsets[i] + sizes[i] for i in offsets), default=0)


def _bound(buffers: Sequence[Buffer]) -> int:
    events: dict[int, list[Array]] = {}
    for b in buffers:
        for event, claim in b.claims.items():
            events.setdefault(event, []).append(claim[:, 1] - claim[:, 0])
    return max(
        (int(np.sum(np.broadcast_arrays(*c), axis=0).max()) for c in events.values()), default=0
    )
