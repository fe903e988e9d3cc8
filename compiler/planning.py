"""The plan that is asked for: choices are made by estimates, and held against exact plans."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tinyc.autotune.choice import Choice, Choices, Limits, Optimize, byte_cycles, problems_of
from tinyc.autotune.options import by_rows
from tinyc.autotune.records import Record
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.selection import Cost, Objective
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.program import Program, build_program, choose_kernels
from tinyc.passes.fusions import CYCLES_PER_CALL
from tinyc.passes.memory_check import Checked, check_plan
from tinyc.passes.placement import LEAST_RAM
from tinyc.passes.storage import materialize_outputs
from tinyc.targets import Target
from tinyc.targets.firmware import Io

MOST_TRIES = 4  # until a plan that was estimated to fit does
NEXT_RATIO = 0.95  # of limits, where the sum of several memories is enough and they are not
MOST_COMPARED = 3  # choices whose exact plans are compared
NEAR = 0.1  # of the best estimate, in logarithms: what may be better when planned exactly


def limits_of(target: Target, max_ram: int | None = None, max_flash: int | None = None) -> Limits:
    """What may be used: what the target has, or less."""
    ram = target.ram_bytes if max_ram is None else min(max_ram, target.ram_bytes)
    flash = target.flash_bytes if max_flash is None else min(max_flash, target.flash_bytes)
    return Limits(ram, flash)


@dataclass(frozen=True, eq=False)
class Task:
    """A model to plan for a target, and what there is to choose."""

    graph: Graph
    target: Target
    io: Io
    choices: Choices

    def within(self, ram_bytes: int) -> "Task":
        """With other bytes of RAM as the limit."""
        limits = replace(self.choices.limits, ram_bytes=ram_bytes)
        return replace(self, choices=Choices(self.choices.problems, limits))


def task_of(
    graph: Graph, target: Target, io: Io, records: Sequence[Record], limits: Limits
) -> Task:
    return Task(graph, target, io, Choices(problems_of(graph, target, io, records), limits))


def plan_best(task: Task, optimize: Optimize) -> tuple[Program, Choice]:
    """The best plan within the limits; the smallest arena that was found when none is."""
    most, within, tried = task.choices.limits.ram_bytes, task, list[tuple[Program, Choice]]()
    for _ in range(MOST_TRIES):
        tried.append(_best_exact(within, optimize))
        program = tried[-1][0]
        arena_bytes = program.plan.total_bytes
        if program.fits and arena_bytes <= most:
            return tried[-1]
        ratio = most / arena_bytes if arena_bytes > most else NEXT_RATIO
        within = within.within(max(int(within.choices.limits.ram_bytes * ratio), 1))
    return min(tried, key=lambda plan: plan[0].plan.total_bytes)


def _best_exact(task: Task, optimize: Optimize) -> tuple[Program, Choice]:
    """Of the choices with the best estimates, the one whose exact arena makes it best."""
    choices, objective = task.choices, task.choices.objectives[optimize]
    least = [objective(problem.least) for problem in choices.problems]
    found: dict[int, Choice] = {}  # by problem
    worst = math.inf
    for i in sorted(range(len(least)), key=lambda i: least[i]):
        if least[i] > worst:
            break  # neither this one nor the rest can come near
        found[i] = choices.of(optimize, i)
        worst = min(worst, objective(found[i].cost) + NEAR)
    ranked = sorted(sorted(found), key=lambda i: objective(found[i].cost))
    near = [found[i] for i in ranked if objective(found[i].cost) <= worst][:MOST_COMPARED]
    plans = [(plan_choice(task, choice, objective), choice) for choice in near]
    return min(plans, key=lambda plan: objective(exact_cost(*plan)))


def exact_cost(program: Program, choice: Choice) -> Cost:
    """With the arena of the plan, and the cycles of running upwards."""
    steps = [program.steps[s.steps[0]].node for s in program.stages if s.upwards and not s.streams]
    up = sum(_up_cycles(program.graph, choice, node, program.kernels[node]) for node in steps)
    arena = max(program.plan.total_bytes, 1)
    return replace(choice.cost, cycles=choice.cost.cycles + up, ram_bytes=arena)


def plan_choice(task: Task, choice: Choice, objective: Objective) -> Program:
    """The exact plan of a choice that was made for `objective`."""

    def up_cycles(node: str, kernel: Kernel) -> int:
        return _up_cycles(task.graph, choice, node, kernel)

    worth = byte_cycles(objective, choice.cost)
    kernels = choose_kernels(task.graph, task.target, choice.schedules)
    streams = choice.fusion.streams
    return build_program(task.graph, task.target, task.io, kernels, streams, worth, up_cycles)


def _up_cycles(graph: Graph, choice: Choice, name: str, kernel: Kernel) -> int:
    """What it costs to call a kernel band by band, about."""
    calls, option = -(-kernel.rows // kernel.band), choice.options.get(name)
    cycles = CYCLES_PER_CALL * max(calls - 1, 0)
    if option is not None and kernel.rows:
        node = next(n for n in graph.nodes if n.name == name)
        factor = by_rows(call_of(graph, node), option.schedule, kernel.band)
        cycles += int(option.cycles * (factor - 1))
    return max(cycles, 0)


def plan_program(
    graph: Graph,
    target: Target,
    io: Io = "caller",
    schedules: Mapping[str, Schedule] = {},
    streams: Sequence[Sequence[str]] = (),
    byte_cycles: float = LEAST_RAM.byte_cycles,
    up_cycles: Callable[[str, Kernel], int] = lambda node, kernel: 0,
) -> Program:
    """Kernels chosen and memory planned, and the plan proved; see `build_program`."""
    graph = materialize_outputs(graph)
    kernels = choose_kernels(graph, target, schedules)
    program = build_program(graph, target, io, kernels, streams, byte_cycles, up_cycles)
    prove(program)
    return program


def prove(program: Program) -> Checked | None:
    """Execute the plan on tagged bytes; None when it does not fit, which is refused anyway.

    An assertion fails when a byte is read that no longer holds what it should.
    """
    if not program.fits:
        return None
    alignment = program.target.alignment
    return check_plan(program.plan, program.stages, program.steps, program.storages, alignment)
