"""The front of plans: arena against cycles against flash, each arena planned exactly."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from tinyc.autotune.choice import (
    FIRMWARE_FLASH,
    FIRMWARE_RAM,
    LATENCY_WORTH,
    Choice,
    Optimize,
    Problem,
    balance,
    choose,
    worth,
)
from tinyc.autotune.records import Record
from tinyc.autotune.selection import Cost, Objective
from tinyc.compiler.graph import Graph
from tinyc.compiler.memory_map import layer_name, map_of
from tinyc.compiler.options import DEFAULTS, Options
from tinyc.compiler.pipeline import read_tasks
from tinyc.compiler.planning import Task, exact_cost, limits_of, plan_choice, task_of
from tinyc.compiler.planning_graphs import plan_graphs
from tinyc.compiler.plans import Plans, Point
from tinyc.compiler.program import Program
from tinyc.targets import Target
from tinyc.targets.firmware import Io

MOST_PLANNED = 8  # an exact plan may take seconds
LEAST_ARENA: Objective = lambda cost: np.log(cost.ram_bytes) + 1e-10 * cost.cycles  # noqa: E731
CLOSE = 0.02  # plans that differ by a smaller part in everything are one to a user


def plan_model(
    model: Path,
    target: Target,
    options: Options = DEFAULTS,
    records: Sequence[Record] | None = None,
) -> Plans:
    """The plans of an ONNX file that are worth a choice, and the map of the one asked for.

    records  what was measured; None takes the package's records, the user's and the project's

    Raises CompileError when the model cannot be compiled.
    """
    tasks = read_tasks(model, target, options, records)
    front = _front_of(tasks)
    chosen = next(program for point, program in front if options.mode in point.modes)
    points = tuple(point for point, _ in front)
    return Plans(chosen.graph.name, target.name, options.io, options.mode, points, map_of(chosen))


def front_of(graph: Graph, target: Target, io: Io, records: Sequence[Record]) -> tuple[Point, ...]:
    """The plans that the modes choose, and those that no other one beats; least arena first."""
    found = _front_of([task_of(graph, target, io, records, limits_of(target))])
    return tuple(point for point, _ in found)


def _front_of(tasks: Sequence[Task]) -> list[tuple[Point, Program]]:
    """Beside what the modes choose of all graphs, plans of the fastest one."""
    task = tasks[0]
    chosen = {mode: plan_graphs(tasks, mode)[1:] for mode in get_args(Optimize)}
    wished = _candidates(task.choices.problems)
    candidates = _distinct([*(c for _, c in chosen.values()), *wished])
    modes = [tuple(m for m, (_, c) in chosen.items() if _same(c, other)) for other in candidates]
    fixed = [i for i, names in enumerate(modes) if names]
    planned = []
    for i in _worth_planning([choice.cost for choice in candidates], fixed):
        choice = candidates[i]
        known = (program for program, other in chosen.values() if _same(choice, other))
        program = next(known, None) or plan_choice(task, choice, LEAST_ARENA)
        planned.append((_point(choice, modes[i], program), program))
    costs = [Cost(p.cycles, p.flash_bytes, p.arena_bytes) for p, _ in planned]
    fixed = [i for i, (point, _) in enumerate(planned) if point.modes]
    front = [planned[i] for i in _unbeaten(costs, fixed, 0.0)]
    return sorted(front, key=lambda found: (found[0].arena_bytes, found[0].cycles))


def _candidates(problems: Sequence[Problem]) -> list[Choice]:
    """For every set of layers that may stream, what a few wishes choose."""
    wishes = (
        worth(LATENCY_WORTH),
        balance,
        *(_ram_worth(percent) for percent in (4.0, 1.0, 0.3)),
    )
    return [choose("balanced", problem, wish) for problem in problems for wish in wishes]


def _ram_worth(percent: float) -> Objective:
    """A percent of cycles is worth `percent` of RAM; ten percent of flash as much as one of RAM."""

    def objective(cost: Cost) -> Any:
        flash, ram = cost.flash_bytes + FIRMWARE_FLASH, cost.ram_bytes + FIRMWARE_RAM
        return percent * np.log(cost.cycles) + 0.1 * np.log(flash) + np.log(ram)

    return objective


def _distinct(choices: Sequence[Choice]) -> list[Choice]:
    """Without those that are the same as one before."""
    return [c for i, c in enumerate(choices) if not any(_same(c, b) for b in choices[:i])]


def _same(one: Choice, other: Choice) -> bool:
    return one.fusion.streams == other.fusion.streams and one.schedules == other.schedules


def _worth_planning(costs: Sequence[Cost], fixed: Collection[int]) -> list[int]:
    """By the estimates; what is closest to others is left out until few are left."""
    close = CLOSE
    while len(found := _unbeaten(costs, fixed, close)) > max(MOST_PLANNED, len(fixed)):
        close *= 1.5
    return found


def _unbeaten(costs: Sequence[Cost], fixed: Collection[int], close: float) -> list[int]:
    """The numbers of the costs that no kept one beats, or comes close to; `fixed` ones are kept."""
    kept = list(fixed)
    for i in sorted(range(len(costs)), key=lambda i: _product(costs[i])):
        if i not in kept and not any(_beats(costs[k], costs[i], close) for k in kept):
            kept.append(i)
    return kept


def _product(cost: Cost) -> int:
    return int(cost.cycles) * int(cost.flash_bytes) * max(int(cost.ram_bytes), 1)


def _beats(one: Cost, other: Cost, close: float) -> bool:
    """Whether it needs no more of anything, but for the part `close`."""
    return bool(
        one.cycles <= other.cycles * (1 + close)
        and one.flash_bytes <= other.flash_bytes * (1 + close)
        and one.ram_bytes <= other.ram_bytes * (1 + close)
    )


def _point(choice: Choice, modes: tuple[str, ...], program: Program) -> Point:
    plan, target, cost = program.plan, program.target, exact_cost(program, choice)
    return Point(
        plan.total_bytes,
        plan.bound_bytes,
        cost.cycles,
        choice.source,
        cost.flash_bytes,
        program.fits and cost.flash_bytes <= target.flash_bytes,
        tuple(
            tuple(layer_name(program, step) for step in stage.steps)
            for stage in program.stages
            if stage.streams
        ),
        map_of(program).peak_layers,
        modes,
    )
