"""The plan that is asked for: choices are made by estimates, and held against exact plans."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tinyc.autotune.choice import Choice, Limits, Optimize, Problem, choices_of, ranked
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Graph
from tinyc.compiler.program import Program, build_program
from tinyc.passes.memory_check import check_plan
from tinyc.passes.storage import materialize_outputs
from tinyc.targets import Target
from tinyc.targets.firmware import Io

MOST_TRIES = 4  # until a plan that was estimated to fit does
MOST_RANKED = 3  # plans that are compared for the least RAM


def limits_of(target: Target, max_ram: int | None = None, max_flash: int | None = None) -> Limits:
    """What may be used: what the target has, or less."""
    ram = target.ram_bytes if max_ram is None else min(max_ram, target.ram_bytes)
    flash = target.flash_bytes if max_flash is None else min(max_flash, target.flash_bytes)
    return Limits(ram, flash)


def plan_best(
    graph: Graph,
    target: Target,
    io: Io,
    problems: Sequence[Problem],
    optimize: Optimize,
    limits: Limits,
) -> tuple[Program, Choice]:
    """The best plan within the limits; the smallest arena when none is."""
    if optimize != "ram":
        within = limits
        for _ in range(MOST_TRIES):
            choice = choices_of(problems, within)[optimize]
            program = _planned(graph, target, io, choice)
            if program.plan.arena_bytes <= limits.ram_bytes:
                return program, choice
            ratio = limits.ram_bytes / program.plan.arena_bytes
            within = replace(within, ram_bytes=int(within.ram_bytes * ratio))
    choices = ranked(problems, "ram", limits)[:MOST_RANKED]
    plans = [(_planned(graph, target, io, choice), choice) for choice in choices]
    return min(plans, key=lambda plan: plan[0].plan.arena_bytes)


def _planned(graph: Graph, target: Target, io: Io, choice: Choice) -> Program:
    return plan_program(graph, target, io, choice.schedules, choice.fusion.streams)


def plan_program(
    graph: Graph,
    target: Target,
    io: Io = "caller",
    schedules: Mapping[str, Schedule] = {},
    streams: Sequence[Sequence[str]] = (),
) -> Program:
    """Kernels chosen and memory planned, and the plan proved.

    streams  names of nodes that run together, row by row
    """
    program = build_program(materialize_outputs(graph), target, io, schedules, streams)
    if program.plan.arena_bytes <= target.ram_bytes:  # else emit_artifact refuses it, at once
        check_plan(program.plan, program.stages, program.steps, program.storages, target.alignment)
    return program
