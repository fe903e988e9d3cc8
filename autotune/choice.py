"""Which schedule each node gets: the cheapest set, in cycles, flash and RAM, for what is asked.

It depends on the graph, the core and the records alone.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tinyc.autotune.options import Option, options_of
from tinyc.autotune.records import Record
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.selection import Cost, Group, cost_of, select
from tinyc.compiler.artifact import Source
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.ops.workload import workload
from tinyc.targets import Target
from tinyc.targets.firmware import Io

Optimize = Literal["latency", "balanced", "size"]
# What a percent of cycles is worth: of flash, and of RAM. "balanced" takes a trade that gains more
# percent than it costs; "latency" pays up to these many percent for one.
LATENCY_WORTH = 16.0
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
    groups, base = groups_of(graph, target, io, records), _base_ram(graph, io)

    def chosen(optimize: Optimize, objective: Callable[[Cost], float]) -> Choice:
        picks = select(groups, base, objective)
        nodes = {n: g.options[p] for g, p in zip(groups, picks, strict=True) for n in g.nodes}
        return Choice(optimize, nodes, cost_of(groups, picks, base))

    def balance(cost: Cost) -> float:
        return math.log(cost.cycles) + math.log(cost.flash_bytes) + math.log(cost.ram_bytes)

    def speed(cost: Cost) -> float:
        return (LATENCY_WORTH - 1) * math.log(cost.cycles) + balance(cost)

    balanced = chosen("balanced", balance)

    def size(cost: Cost) -> float:
        over = max(cost.cycles / max(balanced.cost.cycles * MOST_SLOWDOWN, 1.0), 1.0)
        return cost.flash_bytes * over**8 + cost.cycles * 1e-9

    return {
        "latency": chosen("latency", speed),
        "balanced": balanced,
        "size": chosen("size", size),
    }


def groups_of(graph: Graph, target: Target, io: Io, records: Sequence[Record]) -> tuple[Group, ...]:
    calls: dict[str, list[Call]] = {}
    for node in graph.nodes:
        if OPS[node.op].algorithms:
            call = call_of(graph, node)
            calls.setdefault(workload(call), []).append(call)
    live = _live_bytes(graph, io)
    options = options_of({text: same[0] for text, same in calls.items()}, target, records)
    return tuple(
        Group(
            text,
            tuple(call.node.name for call in same),
            max(live[call.node.name] for call in same),
            options[text],
        )
        for text, same in calls.items()
    )


def _base_ram(graph: Graph, io: Io) -> int:
    return max(_live_bytes(graph, io).values(), default=0)


def _live_bytes(graph: Graph, io: Io) -> Mapping[str, int]:
    """By node, about: activations in the arena, a result over the input that it is the last of."""
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
    return {node.name: _live_at(graph, lives, place[node.name]) for node in graph.nodes}


def _live_at(graph: Graph, lives: Mapping[str, tuple[int, int]], step: int) -> int:
    def total(names: Iterable[str]) -> int:
        return sum(graph.tensors[name].bytes for name in names)

    born = [name for name, (first, _) in lives.items() if first == step]
    dying = [name for name, (first, last) in lives.items() if first < step == last]
    passing = [name for name, (first, last) in lives.items() if first < step < last]
    return total(passing) + max(total(born), total(dying))
