"""The last form before C: kernels, steps, storages and offsets of one graph."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyc.autotune.schedule import DEFAULT, Schedule
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, call_of
from tinyc.passes.accesses import accesses_of, tables_of
from tinyc.passes.claims import buffers_of, scratch_name, streamed
from tinyc.passes.input_rows import STATE, state_of
from tinyc.passes.memory_plan import MemoryPlan, directed, plan_memory
from tinyc.passes.memory_regions import plan_regions
from tinyc.passes.placement import LEAST_RAM, Trade
from tinyc.passes.stages import Stage, stage_of
from tinyc.passes.storage import Step, Storage, callers_arrays, steps_of, storages_of
from tinyc.targets import Target
from tinyc.targets.firmware import Io

STATE_ACCESSES = 64  # bytes read and written of it for each row of a layer, about


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A graph with its kernels chosen and its memory planned.

    kernels  by node name; aliases (Reshape) have none
    io       "caller": inputs and outputs are the caller's arrays; "arena": they are planned too;
             "rows": the outputs are, and the caller hands in the input row by row
    stages   the steps that run together
    """

    graph: Graph
    target: Target
    io: Io
    kernels: Mapping[str, Kernel]
    steps: tuple[Step, ...]
    stages: tuple[Stage, ...]
    storages: tuple[Storage, ...]
    plan: MemoryPlan

    @property
    def fits(self) -> bool:
        """Whether every arena fits its region."""
        rooms = {region.name: region.bytes for region in self.target.rams}
        first = next(iter(rooms.values()), 0)
        others = self.plan.more_bytes.items()
        return self.plan.arena_bytes <= first and all(rooms[name] >= size for name, size in others)

    def region(self, buffer: str) -> str:
        """The RAM region that a buffer of the plan lies in."""
        fastest = self.target.rams[0].name if self.target.rams else ""
        return self.plan.regions.get(buffer, fastest)

    def storage(self, tensor: str) -> Storage:
        """The storage that holds an activation."""
        return next(s for s in self.storages if tensor in s.tensors)

    @property
    def calls(self) -> Iterator[int]:
        """The step of each kernel call of a run, in order."""
        sizes = {s.name: s.bytes for s in self.storages}
        for stage in self.stages:
            if stage.loops:
                events = streamed(stage, self.steps, sizes).events
                yield from (stage.steps[event.place] for event in events)
            else:
                yield from stage.steps

    def arena_in_use(self, step: int) -> int:
        """Bytes of the arena that hold something during a step; what shares bytes counts once."""
        live = {s.name: s.bytes for s in self.storages if s.first <= step <= s.last}
        live |= {n: size for n, size in self.plan.windows.items() if n in live}
        live[scratch_name(self.steps[step].node)] = self.steps[step].scratch_bytes
        plan = self.plan
        total = end = 0
        for at, name in sorted((plan.address(name), name) for name in live if name in plan.offsets):
            total += max(at + live[name] - max(at, end), 0)
            end = max(end, at + live[name])
        return total


def choose_kernels(
    graph: Graph, target: Target, schedules: Mapping[str, Schedule]
) -> dict[str, Kernel]:
    """By node name: kernels by `schedules`, else by the rule of thumb."""
    kernels: dict[str, Kernel] = {}
    for node in graph.nodes:
        build = OPS[node.op].kernel
        if build is not None:
            schedule = schedules.get(node.name, DEFAULT)
            kernels[node.name] = build(call_of(graph, node), target, schedule)
    return kernels


def build_program(
    graph: Graph,
    target: Target,
    io: Io,
    kernels: Mapping[str, Kernel],
    streams: Sequence[Sequence[str]] = (),
    byte_cycles: float = LEAST_RAM.byte_cycles,
    up_cycles: Callable[[str, Kernel], int] = lambda node, kernel: 0,
) -> Program:
    """Plan the arena of chosen kernels.

    streams      names of nodes that run together, row by row
    byte_cycles  cycles that a byte of the arena is worth
    up_cycles    what it costs to run a node from the last row to the first
    """
    names = {name for stream in streams for name in stream}
    steps = steps_of(graph, kernels, names)
    stages = _stages_of(steps, streams)
    storages = storages_of(graph, steps, kernels, names)
    if io == "rows":
        assert steps[0].pushed and stages[0].streams, "the first stage takes the input's rows"
        storages = (state_of(stages[0], storages, len(steps)), *storages)
    arrays = callers_arrays(graph, io)
    callers = {s.name for s in storages if not arrays.isdisjoint(s.tensors)}
    buffers = buffers_of(stages, steps, storages, target.alignment, callers)
    alone = {i: steps[s.steps[0]].node for i, s in enumerate(stages) if not s.streams}
    costs = {i: up_cycles(node, kernels[node]) for i, node in alone.items()}
    trade = Trade(byte_cycles, costs)
    fastest = target.rams[0].wait_cycles if target.rams else 0
    if len(target.rams) > 1 or target.flash_wait_cycles > fastest:
        tables, accesses = tables_of(graph, kernels), accesses_of(graph, steps, storages)
        if io == "rows":  # the state is asked before each call
            accesses = {**accesses, STATE: STATE_ACCESSES * sum(s.rows for s in steps)}
        plan = plan_regions(buffers, tables, accesses, target, trade)
    else:
        plan = plan_memory(buffers, target.alignment, trade)
    return Program(graph, target, io, kernels, steps, directed(stages, plan), storages, plan)


def _stages_of(steps: Sequence[Step], streams: Sequence[Sequence[str]]) -> tuple[Stage, ...]:
    """Steps in their order; those of a stream are one stage."""
    numbers = {step.node: i for i, step in enumerate(steps)}
    together = {numbers[nodes[0]]: [numbers[n] for n in nodes] for nodes in streams}
    stages, i = [], 0
    while i < len(steps):
        members = together.get(i, [i])
        assert members == list(range(i, i + len(members))), "the nodes of a stream are neighbours"
        stages.append(stage_of(steps, members, [steps[m].band for m in members]))
        i += len(members)
    return tuple(stages)


def graph_alone(call: Call) -> Graph:
    """One call as a model of its own."""
    tensors = {t.name: t for t in (*call.inputs, *call.outputs)}
    inputs = dict.fromkeys(t.name for t in call.inputs if t.data is None)
    return Graph("call", tuple(inputs), call.node.outputs, (call.node,), tensors)


def arena_alone(call: Call, target: Target, kernel: Kernel) -> int:
    """Bytes of the arena that a call alone needs, its inputs and outputs in it."""
    if kernel.in_place:  # which the arrays of a model's caller are not
        return call.inputs[0].bytes + kernel.scratch_bytes
    kernels = {call.node.name: kernel}
    return build_program(graph_alone(call), target.flat, "arena", kernels).plan.arena_bytes
