"""The plan for several memories: what needs the slower ones against what does without."""

from tinyc.autotune.choice import Choice, Optimize
from tinyc.compiler.planning import Task, plan_best
from tinyc.compiler.program import Program
from tinyc.compiler.reporting_memories import waits_of
from tinyc.targets import Target


def plan_in_memories(task: Task, optimize: Optimize) -> tuple[Program, Choice]:
    """The best plan within the limits; of several memories, that with the fewest cycles and waits.

    The smallest arenas when none is within the limits.
    """
    found = [plan_best(task, optimize)]
    least = min(problem.least.ram_bytes for problem in task.choices.problems)
    most = min(task.choices.limits.ram_bytes, found[0][0].plan.total_bytes)
    for room in _faster(task.target) if optimize != "ram" else ():
        if least <= room < most:
            found.append(plan_best(task.within(room), optimize))
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
