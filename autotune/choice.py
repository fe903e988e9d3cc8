"""Which schedule each node gets: the cheapest set, in cycles, flash and RAM, for what is asked.

Flash is shared: layers of one workload and schedule are one function, and blocks of equal name are
one function too. So the choice is made for the whole model, by local search from several starts;
it depends on the graph, the core and the records alone.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tinyc.autotune.options import Option, options_of
from tinyc.autotune.records import Record
from tinyc.autotune.schedule import Schedule
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
OTHER_CODE_BYTES = 2048  # what no schedule changes: pools, softmax, the run function


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one workload, which get one schedule.

    live_bytes  by node: activations in the arena during its step
    """

    workload: str
    nodes: tuple[str, ...]
    live_bytes: int
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the nodes with a choice cost together; flash with their tables and code."""

    cycles: int
    flash_bytes: int
    ram_bytes: int


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
        picks = _search(groups, base, objective)
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


def cost_of(groups: Sequence[Group], picks: Sequence[int], base_ram: int) -> Cost:
    """What the groups cost with these options."""
    cycles, flash, ram = 0, OTHER_CODE_BYTES, base_ram
    blocks: dict[str, int] = {}
    for group, pick in zip(groups, picks, strict=True):
        option = group.options[pick]
        cycles += option.cycles * len(group.nodes)
        flash += option.tables_bytes * len(group.nodes) + option.own_bytes
        blocks.update(option.blocks)
        ram = max(ram, group.live_bytes + option.scratch_bytes)
    return Cost(max(cycles, 1), flash + sum(blocks.values()), max(ram, 1))


def _search(
    groups: Sequence[Group], base_ram: int, objective: Callable[[Cost], float]
) -> tuple[int, ...]:
    """The best of the local optima that the starts lead to."""

    def value(picks: Sequence[int]) -> float:
        return objective(cost_of(groups, picks, base_ram))

    return min((_descend(groups, start, value) for start in _starts(groups)), key=value)


def _starts(groups: Sequence[Group]) -> Iterator[tuple[int, ...]]:
    """Fewest cycles, least flash, least scratch of every group by itself."""
    keys: tuple[Callable[[Option], tuple[int, int]], ...] = (
        lambda o: (o.cycles, o.flash_bytes),
        lambda o: (o.flash_bytes, o.cycles),
        lambda o: (o.scratch_bytes, o.cycles),
    )
    for key in keys:
        yield tuple(min(range(len(g.options)), key=lambda i, g=g, k=key: k(g.options[i]))  # type: ignore[misc]
                    for g in groups)  # fmt: skip


def _descend(
    groups: Sequence[Group], start: tuple[int, ...], value: Callable[[Sequence[int]], float]
) -> tuple[int, ...]:
    """Change one group, or all groups that have it to one schedule, while that helps."""
    best, lowest = start, value(start)
    improved = True
    while improved:
        improved = False
        for picks in _moves(groups, best):
            now = value(picks)
            if now < lowest - 1e-12:
                best, lowest, improved = picks, now, True
    return best


def _moves(groups: Sequence[Group], picks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for g, group in enumerate(groups):
        for option in range(len(group.options)):
            yield (*picks[:g], option, *picks[g + 1 :])
    schedules = dict.fromkeys(option.schedule for group in groups for option in group.options)
    for schedule in schedules:
        yield tuple(
            next((i for i, o in enumerate(g.options) if o.schedule == schedule), pick)
            for g, pick in zip(groups, picks, strict=True)
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
