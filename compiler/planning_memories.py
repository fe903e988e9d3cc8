"""The plan for several memories: what needs the slower ones against what does without."""

from collections.abc import Sequence
from dataclasses import replace

from tinyc.autotune.choice import Choice, Limits, Optimize, Problem
from tinyc.compiler.graph import Graph
from tinyc.compiler.planning import plan_best
from tinyc.compiler.program import Program
from tinyc.compiler.reporting_memories import waits_of
from tinyc.targets import Target
from tinyc.targets.firmware import Io


def plan_in_memories(
    graph: Graph,
    target: Target,
    io: Io,
    problems: Sequence[Problem],
    optimize: Optimize,
    limits: Limits,
) -> tuple[Program, Choice]:
    """The best plan within the limits; of several memories, that with the fewest cycles and waits.

    The smallest arenas when none is within the limits.
    """
    found = [plan_best(graph, target, io, problems, optimize, limits)]
    least = min(problem.least.ram_bytes for problem in problems)
    for room in _faster(target) if optimize != "ram" else ():
        if least <= room < min(limits.ram_bytes, found[0][0].plan.total_bytes):
            within = replace(limits, ram_bytes=room)
            found.append(plan_best(graph, target, io, problems, optimize, within))
    return min(found, key=lambda plan: _cost(*plan))


def _faster(target: Target) -> list[int]:
    """Bytes of the RAM regions without the slower ones, for each way to draw the line."""
    rams = target.rams
    ends = [i for i in range(1, len(rams)) if rams[i - 1].wait_cycles < rams[i].wait_cycles]
    return [sum(region.bytes for region in rams[:end]) for end in ends]


def _cost(program: Program, choice: Choice) -> tuple[int, int]:
    """The bytes of arenas of which one does not fit its region, then cycles and waits."""
    misfit = 0 if program.fits else program.plan.total_bytes
    return misfit, choice.cost.cycles + waits_of(program)
