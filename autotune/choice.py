"""Which schedule each node gets: the cheapest set, in cycles, flash and RAM, for what is asked.

It depends on the graph, the core and the records alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tinyc.autotune.options import Option, options_of
from tinyc.autotune.records import Record
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.selection import Cost, Group, Objective, cost_of, select
from tinyc.compiler.artifact import Source
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.ops.workload import workload
from tinyc.targets import Target
from tinyc.targets.firmware import Io

Optimize = Literal["latency", "balanced", "size"]
# Percent of flash, or of RAM, that a percent of cycles is worth.
BALANCED_WORTH, LATENCY_WORTH = 2.0, 12.0
FIRMWARE_FLASH, FIRMWARE_RAM = 16384, 4096  # bytes, about: what any firmware has beside the model
MOST_SLOWDOWN = 2.5  # of "size" against "balanced"
WORST_FIRST: tuple[Source, ...] = ("unknown", "estimated")


@dataclass(frozen=True, slots=True)
class Choice:
    """The schedule of every node with a choice, and what it costs.

    options  by node
    """

    optimize: Optimize
    options: Mapping[str, Option]
    cost: Cost

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        return {name: option.schedule for name, option in self.options.items()}

    @property
    def source(self) -> Source:
        """Where its cycles are from: the worst that any node's are."""
        sources = {option.source for option in self.options.values()}
        return next((s for s in WORST_FIRST if s in sources), "measured")


def choices_of(
    graph: Graph, target: Target, io: Io, records: Sequence[Record]
) -> Mapping[Optimize, Choice]:
    """The choice for everything that can be asked."""
    groups = groups_of(graph, target, io, records)

    def chosen(optimize: Optimize, objective: Objective) -> Choice:
        picks = select(groups, objective)
        nodes = {n: g.options[p] for g, p in zip(groups, picks, strict=True) for n in g.nodes}
        return Choice(optimize, nodes, cost_of(groups, picks))

    def worth(percent: float) -> Objective:
        def objective(cost: Cost) -> float:
            flash, ram = cost.flash_bytes + FIRMWARE_FLASH, cost.ram_bytes + FIRMWARE_RAM
            return percent * math.log(cost.cycles) + math.log(flash) + math.log(ram)

        return objective

    balanced = chosen("balanced", worth(BALANCED_WORTH))

    def size(cost: Cost) -> float:
        over = max(cost.cycles / max(balanced.cost.cycles * MOST_SLOWDOWN, 1.0), 1.0)
        return cost.flash_bytes * over**8 + cost.cycles * 1e-9

    return {
        "latency": chosen("latency", worth(LATENCY_WORTH)),
        "balanced": balanced,
        "size": chosen("size", size),
    }


def groups_of(graph: Graph, target: Target, io: Io, records: Sequence[Record]) -> tuple[Group, ...]:
    calls: dict[str, list[Call]] = {}
    for node in graph.nodes:
        if OPS[node.op].algorithms:
            call = call_of(graph, node)
            calls.setdefault(workload(call), []).append(call)
    options = options_of({text: same[0] for text, same in calls.items()}, target, records)
    lives = _lives(graph, io)
    groups = []
    for text, same in calls.items():
        names = tuple(call.node.name for call in same)
        overlapping = [call for call in same if _is_last_reader(graph, lives, call)]
        alone = [_passing_bytes(graph, lives, call) for call in overlapping]
        apart = [_live_bytes(graph, lives, call) for call in same if call not in overlapping]
        most = (max(alone, default=None), max(apart, default=None))
        groups.append(Group(text, names, *most, options[text]))
    return tuple(groups)


Lives = Mapping[str, tuple[int, int]]  # tensors in the arena: the steps that write and last read


def _lives(graph: Graph, io: Io) -> Lives:
    place = {node.name: i for i, node in enumerate(graph.nodes)}
    callers = {*graph.inputs, *graph.outputs} if io == "caller" else set[str]()
    lives: dict[str, tuple[int, int]] = {}
    for name, tensor in graph.tensors.items():
        if tensor.data is None and name not in callers:
            readers = [place[n.name] for n in graph.readers[name]]
            producer = graph.producer(name)
            first = -1 if producer is None else place[producer.name]
            last = len(graph.nodes) if name in graph.outputs else max(readers, default=first)
            lives[name] = (first, last)
    return lives


def _is_last_reader(graph: Graph, lives: Lives, call: Call) -> bool:
    """Whether all its activations are in the arena and nobody reads its inputs later."""
    step = graph.nodes.index(call.node)
    inputs = [t.name for t in call.inputs if t.data is None]
    return all(n in lives for n in (*inputs, *call.node.outputs)) and all(
        lives[n][1] == step for n in inputs
    )


def _live_bytes(graph: Graph, lives: Lives, call: Call) -> int:
    """All that is in the arena during a call."""
    step = graph.nodes.index(call.node)
    live = [name for name, (first, last) in lives.items() if first <= step <= last]
    return sum(graph.tensors[name].bytes for name in live)


def _passing_bytes(graph: Graph, lives: Lives, call: Call) -> int:
    """What of it the call neither reads nor writes."""
    return _live_bytes(graph, lives, call) - sum(
        t.bytes for t in {t.name: t for t in (*call.inputs, *call.outputs)}.values()
        if t.data is None
    )  # fmt: skip
