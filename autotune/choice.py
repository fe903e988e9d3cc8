"""Which schedule each node gets: the cheapest set, in cycles, flash and RAM, for what is asked.

It depends on the graph, the core and the records alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np

from tinyc.autotune.lives import is_last_reader, live_bytes, lives_of, passing_bytes
from tinyc.autotune.options import Option, options_of, streaming_options
from tinyc.autotune.records import Record
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.selection import Cost, Group, Groups, Objective, cost_of, least_cost, select
from tinyc.autotune.single_kernels import cycles_of
from tinyc.compiler.artifact import Source
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.workload import workload
from tinyc.passes.fusions import ACCUMULATING, Fusion, fusions_of
from tinyc.passes.placement import LEAST_RAM
from tinyc.passes.storage import joins
from tinyc.targets import Target
from tinyc.targets.firmware import Io

Optimize = Literal["latency", "balanced", "size", "ram"]
LATENCY_WORTH = 12.0  # percent of flash, or of RAM, that a percent of cycles is worth
# Bytes that are worth as much as all cycles, for "balanced": a percent is 600 B, or 120 B
FLASH_PRICE, RAM_PRICE = 60_000.0, 12_000.0
FIRMWARE_FLASH, FIRMWARE_RAM = 16384, 4096  # bytes, about: what any firmware has beside the model
# The most cycles against "latency"; a little is left for what estimates are off
BALANCED_SLOWDOWN, RAM_SLOWDOWN, SIZE_SLOWDOWN = 1.103, 1.28, 2.5
STEEP = 50.0  # what a percent beyond costs
WORST_FIRST: tuple[Source, ...] = ("unknown", "estimated")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes that may be used."""

    ram_bytes: int
    flash_bytes: int

    def over(self, cost: Cost) -> Any:
        """1 within the limits, else by what factor they are passed."""
        return np.maximum(
            np.maximum(cost.ram_bytes / self.ram_bytes, cost.flash_bytes / self.flash_bytes), 1.0
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The schedule of every node with a choice, which nodes stream, and what that costs.

    options  by node
    """

    optimize: Optimize
    options: Mapping[str, Option]
    fusion: Fusion
    cost: Cost

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        return {name: option.schedule for name, option in self.options.items()}

    @property
    def source(self) -> Source:
        """Where its cycles are from: the worst that any node's are.

        Kernels that accumulate take few cycles, and nobody measures them.
        """
        sources = {
            option.source
            for option in self.options.values()
            if option.schedule.algorithm != ACCUMULATING
        }
        return next((s for s in WORST_FIRST if s in sources), "measured")


@dataclass(frozen=True, slots=True)
class Problem:
    """Nodes to choose schedules for when those of a fusion stream.

    least   no choice costs less
    cycles  of layers without a choice, as far as they are known
    turns   whether parts of an image stream
    """

    fusion: Fusion
    groups: Groups
    least: Cost
    cycles: int = 0
    turns: bool = False

    def whole(self, cost: Cost) -> Cost:
        """With the cycles and the RAM of layers without a choice; of numbers or arrays."""
        ram = np.maximum(cost.ram_bytes, self.fusion.bytes)
        return replace(
            cost, cycles=cost.cycles + self.cycles, ram_bytes=ram if ram.ndim else int(ram)
        )


def choose(optimize: Optimize, problem: Problem, objective: Objective) -> Choice:
    """The best schedules for one fusion."""
    picks = select(problem.groups, lambda cost: objective(problem.whole(cost)))
    chosen = zip(problem.groups.groups, picks, strict=True)
    nodes = {name: group.options[pick] for group, pick in chosen for name in group.nodes}
    return Choice(optimize, nodes, problem.fusion, problem.whole(cost_of(problem.groups, picks)))


@dataclass(frozen=True, eq=False)
class Choices:
    """The best choice for everything that can be asked within limits; each is searched once.

    Beyond the limits everything costs too much.
    """

    problems: tuple[Problem, ...]
    limits: Limits

    @cached_property
    def objectives(self) -> Mapping[Optimize, Objective]:
        """What each mode wants least of."""
        fastest = self._best("latency", self._latency).cost.cycles

        def within(slowdown: float, objective: Objective) -> Objective:
            most = max(fastest * slowdown, 1.0)
            return self._limited(
                lambda cost: objective(cost) + STEEP * np.maximum(np.log(cost.cycles / most), 0.0)
            )

        return {
            "latency": self._latency,
            "balanced": within(BALANCED_SLOWDOWN, balance),
            "size": within(SIZE_SLOWDOWN, lambda c: np.log(c.flash_bytes) + c.cycles * 1e-12),
            "ram": within(RAM_SLOWDOWN, least_ram),
        }

    def across(self, optimize: Optimize) -> Objective:
        """What is wanted least of when the plans of two graphs are compared.

        With "ram" no graph is taken whose arena is larger, whatever cycles the others take.
        """
        return self._limited(least_ram) if optimize == "ram" else self.objectives[optimize]

    def of(self, optimize: Optimize, problem: int) -> Choice:
        """For one of the problems."""
        return self._of(optimize, problem, self.objectives[optimize])

    @cached_property
    def best(self) -> Mapping[Optimize, Choice]:
        """Of all problems."""
        return {optimize: self._best(optimize, o) for optimize, o in self.objectives.items()}

    @cached_property
    def _latency(self) -> Objective:
        """Parts of an image stream for the limits' sake alone: that takes cycles, if few."""
        free = self._limited(worth(LATENCY_WORTH))
        fast = [choose("latency", p, free).cost for p in self.problems if not p.turns]
        if not fast or len(fast) == len(self.problems):
            return free
        most = min(fast, key=free).cycles
        return lambda cost: free(cost) + STEEP * np.maximum(np.log(cost.cycles / most), 0.0)

    def _limited(self, objective: Objective) -> Objective:
        return lambda cost: objective(cost) + 1e3 * np.log(self.limits.over(cost))

    @cached_property
    def _found(self) -> dict[tuple[Optimize, int], Choice]:
        return {}

    def _of(self, optimize: Optimize, problem: int, objective: Objective) -> Choice:
        key = (optimize, problem)
        if key not in self._found:
            self._found[key] = choose(optimize, self.problems[problem], objective)
        return self._found[key]

    def _best(self, optimize: Optimize, objective: Objective) -> Choice:
        """Fusions that cannot be better are left out."""
        best: Choice | None = None
        least = [objective(problem.least) for problem in self.problems]
        for i in sorted(range(len(least)), key=lambda i: least[i]):
            if best is None or least[i] < objective(best.cost):
                found = self._of(optimize, i, objective)
                if best is None or objective(found.cost) < objective(best.cost):
                    best = found
        assert best is not None, "there is one problem at least, without streams"
        return best


def byte_cycles(objective: Objective, cost: Cost) -> float:
    """How many cycles a byte of RAM is worth where a plan costs `cost`."""
    at, percent = objective(cost), 0.01
    more_ram = replace(cost, ram_bytes=math.ceil(cost.ram_bytes * (1 + percent)))
    slower = replace(cost, cycles=math.ceil(cost.cycles * (1 + percent)))
    of_byte = (objective(more_ram) - at) / (more_ram.ram_bytes - cost.ram_bytes)
    of_cycle = (objective(slower) - at) / (slower.cycles - cost.cycles)
    return float(min(max(of_byte, 0.0) / max(of_cycle, 1e-18), LEAST_RAM.byte_cycles))


def balance(cost: Cost) -> Any:
    """A percent of cycles is worth a percent of FLASH_PRICE or of RAM_PRICE."""
    return np.log(cost.cycles) + cost.flash_bytes / FLASH_PRICE + cost.ram_bytes / RAM_PRICE


def least_ram(cost: Cost) -> Any:
    """Cycles decide between equal arenas."""
    return np.log(cost.ram_bytes) + cost.cycles * 1e-10


def worth(percent: float) -> Objective:
    """A percent of cycles is worth `percent` of flash, or of RAM."""

    def objective(cost: Cost) -> Any:
        flash, ram = cost.flash_bytes + FIRMWARE_FLASH, cost.ram_bytes + FIRMWARE_RAM
        return percent * np.log(cost.cycles) + np.log(flash) + np.log(ram)

    return objective


def problems_of(
    graph: Graph, target: Target, io: Io, records: Sequence[Record]
) -> tuple[Problem, ...]:
    """One for each set of layers that may stream."""
    calls = {n.name: call_of(graph, n) for n in graph.nodes if OPS[n.op].algorithms}
    texts = {name: workload(call) for name, call in calls.items()}
    distinct = {text: calls[name] for name, text in reversed(texts.items())}
    options = options_of(distinct, target, records)
    lives = lives_of(graph, io)

    @cache
    def streaming(text: str, accumulates: bool) -> tuple[Option, ...]:
        return streaming_options(distinct[text], target, options[text], accumulates)

    def group(text: str, names: tuple[str, ...], fusion: Fusion) -> Group:
        streamed = tuple(fusion.layers[name] for name in names if name in fusion.layers)
        if streamed:
            return Group(
                text, names, None, None, streaming(text, streamed[0].accumulates), streamed
            )
        same = [calls[name] for name in names]
        overlapping = [call for call in same if is_last_reader(graph, lives, call)]
        alone = [passing_bytes(graph, lives, call) for call in overlapping]
        apart = [live_bytes(graph, lives, call) for call in same if call not in overlapping]
        most = (max(alone, default=None), max(apart, default=None))
        return Group(text, names, *most, options[text])

    def problem(fusion: Fusion) -> Problem:
        alike: dict[tuple[str, bool], list[str]] = {}
        for name, text in texts.items():
            alike.setdefault((text, name in fusion.layers), []).append(name)
        groups = Groups(
            tuple(group(text, tuple(same), fusion) for (text, _), same in alike.items())
        )
        turns = [fusion.layers[name].cycles for name in joining if name in fusion.layers]
        open_ = Problem(fusion, groups, least_cost(groups), single + sum(turns), bool(turns))
        return replace(open_, least=open_.whole(open_.least))

    single = cycles_of(graph, target)
    joining = [node.name for node in graph.nodes if joins(node)]
    return tuple(map(problem, fusions_of(graph, target, io)))
