"""The arena over time: which bytes every buffer claims at every kernel call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from tinyc.compiler.program import Program
from tinyc.passes.claims import Buffer, buffers_of, scratch_name, streamed
from tinyc.passes.input_rows import STATE

Kind = Literal["tensor", "window", "scratch"]


@dataclass(frozen=True, slots=True)
class Period:
    """The time of one stage, or of the caller before and after the run.

    begin, end  on the axis of time, where each layer takes 1
    layers      that run, by their names in the model; () for the caller
    upwards     the last rows come first
    """

    begin: int
    end: int
    layers: tuple[str, ...]
    upwards: bool = False

    @property
    def streams(self) -> bool:
        """Whether several layers run row by row."""
        return len(self.layers) > 1


@dataclass(frozen=True, slots=True)
class Moment:
    """One event: a kernel call, or some of the rows of one.

    layer       that runs; "" for the caller
    begin, end  on the axis of time
    """

    layer: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Area:
    """What one buffer claims.

    name    of the tensor; of scratch, that of the layer
    kind    "window": some rows of a tensor at a time, which slide
    offset  of its `bytes` in the arena
    first   its first moment
    ranges  addresses (bottom, top) at each moment from there; equal where it claims nothing
    """

    name: str
    kind: Kind
    offset: int
    bytes: int
    first: int
    ranges: tuple[tuple[int, int], ...]

    def at(self, moment: int) -> tuple[int, int]:
        """What it claims then; an empty range when nothing."""
        here = moment - self.first
        return self.ranges[here] if 0 <= here < len(self.ranges) else (0, 0)


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Time against addresses; the arenas of several memories are one after the other.

    bound_bytes  no offsets need less, as far as it is proved
    peak         the first moment at which most bytes are claimed
    peak_layers  all layers that run at such a moment
    """

    arena_bytes: int
    bound_bytes: int
    periods: tuple[Period, ...]
    moments: tuple[Moment, ...]
    areas: tuple[Area, ...]
    peak: int
    peak_bytes: int
    peak_layers: tuple[str, ...]


def map_of(program: Program) -> MemoryMap:
    """Who has which bytes when, by the claims that the arena was planned for."""
    buffers = _buffers(program)
    periods = _periods(program, buffers)
    events = {
        stage: max((_events(b, stage) for b in buffers if stage in b.claims), default=1)
        for stage in periods
    }
    starts = dict(zip(events, np.cumsum([0, *events.values()]).tolist(), strict=False))
    moments = tuple(
        moment
        for stage, period in periods.items()
        for moment in _moments(program, stage, period, events[stage])
    )
    areas = tuple(_area(program, buffer, events, starts) for buffer in buffers)
    used = _used_bytes(areas, len(moments))
    peaks = [i for i, total in enumerate(used) if 0 < total == max(used)]
    at_peak = [i for i in peaks if moments[i].layer] or peaks or [0]
    return MemoryMap(
        program.plan.total_bytes,
        program.plan.bound_bytes,
        tuple(periods.values()),
        moments,
        areas,
        at_peak[0],
        max(used, default=0),
        tuple(dict.fromkeys(moments[i].layer for i in peaks if moments[i].layer)),
    )


def layer_name(program: Program, step: int) -> str:
    """Of the nodes in the model that a step computes."""
    name = program.steps[step].node
    node = next(n for n in program.graph.nodes if n.name == name)
    return " + ".join(node.origin) or name


def _buffers(program: Program) -> list[Buffer]:
    """Those with bytes in the arena; claims know both directions, so stages have none here."""
    stages = [replace(stage, upwards=False) for stage in program.stages]
    outside = {s.name for s in program.storages} - program.plan.offsets.keys()
    alignment = program.target.alignment
    return buffers_of(stages, program.steps, program.storages, alignment, outside)


def _periods(program: Program, buffers: Sequence[Buffer]) -> dict[int, Period]:
    """By stage; where the caller has something in the arena, it is -1 and the number of stages."""
    claimed = {stage for b in buffers for stage in b.claims}
    periods: dict[int, Period] = {}
    now = 0
    for number in range(-1, len(program.stages) + 1):
        inside = 0 <= number < len(program.stages)
        if not inside and number not in claimed:
            continue
        steps = program.stages[number].steps if inside else ()
        layers = tuple(layer_name(program, step) for step in steps)
        end = now + max(len(layers), 1)
        periods[number] = Period(now, end, layers, inside and program.stages[number].upwards)
        now = end
    return periods


def _events(buffer: Buffer, stage: int) -> int:
    return len(buffer.claims[stage].down)


def _moments(program: Program, stage: int, period: Period, events: int) -> list[Moment]:
    times = np.linspace(period.begin, period.end, events + 1).tolist()
    layers = [*period.layers, ""][:1] * events
    if period.streams:
        sizes = {s.name: s.bytes for s in program.storages}
        run = streamed(program.stages[stage], program.steps, sizes)
        layers = [period.layers[e.place] for e in run.events for _ in range(run.phases)]
    return [Moment(n, *time) for n, time in zip(layers, pairwise(times), strict=True)]


def _area(
    program: Program, buffer: Buffer, events: Mapping[int, int], starts: Mapping[int, int]
) -> Area:
    plan = program.plan
    offset, late = plan.address(buffer.name), plan.slides.get(buffer.name) == "late"
    ranges = [
        np.broadcast_to(claim.ranges(stage in plan.upwards, late) + offset, (events[stage], 2))
        for stage, claim in sorted(buffer.claims.items())
    ]
    scratch = {scratch_name(step.node): i for i, step in enumerate(program.steps)}
    kind: Kind = "window" if buffer.window else "scratch" if buffer.name in scratch else "tensor"
    named = layer_name(program, scratch[buffer.name]) if kind == "scratch" else buffer.name
    return Area(
        "remembered between rows" if buffer.name == STATE else named,
        kind,
        offset,
        buffer.bytes,
        starts[min(buffer.claims)],
        tuple((bottom, top) for bottom, top in np.concatenate(ranges).tolist()),
    )


def _used_bytes(areas: Sequence[Area], moments: int) -> list[int]:
    """Claimed at each moment."""
    used = np.zeros(moments, np.int64)
    for area in areas:
        sizes = [top - bottom for bottom, top in area.ranges]
        used[area.first : area.first + len(sizes)] += np.array(sizes, np.int64)
    return used.tolist()
