"""Which layers may run together row by row, and what that saves: from none to the least RAM.

Before kernels are chosen: layers are taken to compute one row a call, without scratch. For a limit
of RAM, `stage_search.py` finds the fewest cycles spent on calls and moved rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import call_of
from tinyc.passes.claims import claims_of_stage, streamed
from tinyc.passes.stage_search import cheapest_stages
from tinyc.passes.stages import MOST_EVENTS, stage_of
from tinyc.passes.storage import Step, Storage, callers_arrays, joins, steps_of, storages_of
from tinyc.targets import Target
from tinyc.targets.firmware import Io

ACCUMULATING = "running"  # the algorithm of a pool or Dense that sums up its input row by row
# About, on Cortex-M4: of one more call with its conditions, and of a moved byte
CYCLES_PER_CALL, CYCLES_PER_BYTE = 120, 0.7


@dataclass(frozen=True, slots=True)
class Streamable:
    """A layer in a stage that streams, one row a call.

    stream       number of the stage among those that stream
    live_bytes   in the arena at its calls, at the most; scratch comes on top
    row_bytes    what each further row of a call adds, about: the rows written and read
    cycles       of its calls, and of moving what it writes, about; fewer with more rows a call
    accumulates  it has to sum up its input
    """

    stream: int
    live_bytes: int
    row_bytes: int
    cycles: int
    accumulates: bool


@dataclass(frozen=True, slots=True)
class Fusion:
    """Which nodes run together; the others are alone.

    streams    names of the nodes of each stage, in order
    layers     those nodes, by name
    bytes      the most that is in the arena, scratch and bands left out
    """

    streams: tuple[tuple[str, ...], ...] = ()
    layers: Mapping[str, Streamable] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Outline:
    """The steps of a graph whose kernels are open: alone, and as a part of a stage.

    planned    the storages in the arena
    first_end  the last step of the first stage at the least: the last one that reads the input,
               where the caller hands it in row by row; else -1
    """

    alone: tuple[Step, ...]
    together: tuple[Step, ...]
    planned: tuple[Storage, ...]
    first_end: int

    @property
    def sizes(self) -> Mapping[str, int]:
        return {s.name: s.bytes for s in self.planned}


def fusions_of(graph: Graph, target: Target, io: Io) -> tuple[Fusion, ...]:
    """From no stage that streams to the least RAM; each next one needs less and costs more.

    Where the caller hands in the rows of the input, all of them have the stage that takes them.
    """
    outline = _outline_of(graph, target, io)
    known: dict[object, _Stage] = {}
    cost = cache(lambda first, last: _cost(outline, known, first, last))

    def bytes_and_cycles(first: int, last: int) -> tuple[int, int]:
        stage = cost(first, last)
        return stage.bytes, stage.cycles

    between = _live_between(outline)
    solo = [cost(i, i).bytes for i in range(len(outline.alone))]
    pushed = outline.first_end >= 0
    found = [] if pushed else [Fusion(bytes=max(solo, default=0))]
    limit = IMPOSSIBLE.bytes if pushed else found[0].bytes
    while (stages := cheapest_stages(solo, between, bytes_and_cycles, limit)) is not None:
        found.append(_fusion(outline, cost, stages))
        limit = found[-1].bytes
    if not found:
        reader = outline.alone[outline.first_end].node
        raise CompileError(
            "cannot-push-rows",
            "the layers that read the input's rows cannot run together row by row",
            f"node '{reader}' is the last of them",
            "use --io arena",
        )
    return tuple(found)


def _outline_of(graph: Graph, target: Target, io: Io) -> _Outline:
    """An image is written over one tensor of phases as that is read, but not over several.

    Estimates add up bytes and know no places: the join of several has no rows, so that all of them
    are there beside its output, unless they stream together.
    """
    alone: dict[str, Kernel] = {}
    together: dict[str, Kernel] = {}
    for node in graph.nodes:
        op, call = OPS[node.op], call_of(graph, node)
        if op.kernel is None:
            continue
        windows = op.windows(call)
        rows = 0 if windows is None else call.outputs[0].shape[1]
        together[node.name] = Kernel(op.name, None, rows=rows)
        alone[node.name] = Kernel(op.name, None, rows=0 if joins(node) else rows)
        running = op.algorithms.get(ACCUMULATING)
        if running is not None and running.suits(call, target):
            rows = call.inputs[0].shape[1]
            together[node.name] = Kernel(op.name, None, rows=rows, accumulates=True)
    names = set(alone)
    steps = steps_of(graph, alone, names)
    storages = storages_of(graph, steps, alone, names)
    callers = callers_arrays(graph, io)
    planned = tuple(s for s in storages if callers.isdisjoint(s.tensors))
    pushed = {name for step in steps if step.pushed for name in step.writes}
    first_end = max((s.last for s in storages if s.name in pushed), default=-1)
    return _Outline(steps, steps_of(graph, together, names), planned, first_end)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a candidate costs; `layers` of one that streams."""

    bytes: int
    cycles: int = 0
    layers: tuple[Streamable, ...] = ()


IMPOSSIBLE = _Stage(1 << 62)


def _cost(outline: _Outline, known: dict[object, _Stage], first: int, last: int) -> _Stage:
    """Of the steps first..last as one stage.

    known  the costs of stages without what only passes through, by `_shape`: blocks repeat
    """
    steps = outline.alone if first == last else outline.together
    numbers = range(first, last + 1)
    if first == 0 and last < outline.first_end:
        return IMPOSSIBLE
    if first < last and not _may_stream(steps, numbers):
        return IMPOSSIBLE
    used = {name for i in numbers for name in (*steps[i].reads, *steps[i].writes)}
    alive = [s for s in outline.planned if s.first <= last and s.last >= first]
    storages = [s for s in alive if s.name in used]
    shape = _shape([steps[i] for i in numbers], storages, first, last)
    if shape not in known:
        known[shape] = _cost_alone(steps, numbers, storages)
    stage, passing = known[shape], sum(s.bytes for s in alive if s.name not in used)
    layers = tuple(replace(x, live_bytes=x.live_bytes + passing) for x in stage.layers)
    return replace(stage, bytes=stage.bytes + passing, layers=layers)


def _shape(
    calls: Sequence[Step], storages: Sequence[Storage], first: int, last: int
) -> tuple[object, ...]:
    """All that the cost of a stage depends on; equal for blocks that repeat."""
    names: dict[str, int] = {}
    for step in calls:
        for name in (*step.reads, *step.writes):
            names.setdefault(name, len(names))

    def numbered(table: Mapping[str, object]) -> tuple[object, ...]:
        return tuple(sorted((names[name], value) for name, value in table.items()))

    return (
        tuple(
            (
                tuple(names[n] for n in step.reads), tuple(names[n] for n in step.writes),
                step.rows, numbered(step.windows), numbered(step.input_rows), step.accumulates,
                step.element_order, frozenset(names[n] for n in step.aligned_reads), step.pushed,
                step.joins,
            )
            for step in calls
        ),
        tuple((names[s.name], s.bytes, s.first >= first, s.last <= last, s.kept) for s in storages),
    )  # fmt: skip


def _cost_alone(steps: Sequence[Step], numbers: range, storages: Sequence[Storage]) -> _Stage:
    """Of a stage, and the storages that it reads and writes."""
    stage = stage_of(steps, numbers, [1] * len(numbers))
    used = {name for i in numbers for name in (*steps[i].reads, *steps[i].writes)}
    sizes = {**dict.fromkeys(used, 0), **{s.name: s.bytes for s in storages}}  # 0: the caller's
    run = streamed(stage, steps, sizes)
    claims = claims_of_stage(stage, run, storages)
    total = np.sum(np.broadcast_arrays(*(c[:, 1] - c[:, 0] for c in claims), [0]), axis=0)
    if len(numbers) == 1:
        return _Stage(int(total.max()))
    if any(need.window is None for need in run.needs):
        return IMPOSSIBLE
    total = np.broadcast_to(total, len(run.events))
    layers = tuple(
        Streamable(
            0,
            int(total[run.at(p)].max()),
            _row_bytes(step, sizes),
            CYCLES_PER_CALL * step.rows + int(CYCLES_PER_BYTE * run.moved_bytes(p)),
            step.accumulates,
        )
        for p, step in enumerate(run.calls)
    )
    return _Stage(int(total.max()), sum(layer.cycles for layer in layers), layers)


def _may_stream(steps: Sequence[Step], numbers: range) -> bool:
    """Whether every layer works by rows, and reads what others of the stage write or read.

    What joins parts reads nothing else.
    """
    seen, written = set[str](), set[str]()
    for i in numbers:
        step = steps[i]
        if not 1 < step.rows <= MOST_EVENTS or not step.windows:
            return False
        if step.wait != steps[numbers.start].wait:
            return False
        if seen and seen.isdisjoint(step.reads):
            return False
        if step.joins and not written.issuperset(step.reads):
            return False
        seen |= {*step.reads, *step.writes}
        written |= set(step.writes)
    return True


def _row_bytes(step: Step, sizes: Mapping[str, int]) -> int:
    written = 0 if step.accumulates else sum(sizes[n] // step.rows for n in step.writes)
    return written + sum(
        max(w.stride for w in windows) * (sizes[name] // step.input_rows[name])
        for name, windows in step.windows.items()
    )


def _live_between(outline: _Outline) -> list[int]:
    """Bytes of whole tensors before each step and after the last, with the step's first row."""
    sizes = outline.sizes
    return [
        sum(s.bytes for s in outline.planned if s.first < i <= s.last)
        + sum(sizes.get(name, 0) // step.rows for step in outline.alone[i : i + 1]
              for name in step.writes)
        for i in range(len(outline.alone) + 1)
    ]  # fmt: skip


def _fusion(
    outline: _Outline, cost: Callable[[int, int], _Stage], stages: Sequence[tuple[int, int]]
) -> Fusion:
    streams: list[tuple[str, ...]] = []
    layers: dict[str, Streamable] = {}
    most = 0
    for first, last in stages:
        stage = cost(first, last)
        most = max(most, stage.bytes)
        if first < last:
            names = tuple(outline.together[i].node for i in range(first, last + 1))
            numbered = (replace(layer, stream=len(streams)) for layer in stage.layers)
            layers.update(zip(names, numbered, strict=True))
            streams.append(names)
    return Fusion(tuple(streams), layers, most)
