"""Of the graphs that compute a model in different ways, the one with the best plan."""

from collections.abc import Callable, Sequence

from tinyc.autotune.choice import Choice, Optimize
from tinyc.compiler.planning import Task, exact_cost, plan_best
from tinyc.compiler.program import Program

Planned = tuple[Task, Program, Choice]


def plan_graphs(
    tasks: Sequence[Task],
    optimize: Optimize,
    plan: Callable[[Task, Optimize], tuple[Program, Choice]] = plan_best,
) -> Planned:
    """The best plan of all, by what the first task wants least of.

    A graph is left out whose estimates are no better than a plan that was found.
    """
    objective = tasks[0].choices.across(optimize)

    def value(planned: Planned) -> tuple[bool, float]:
        _, program, choice = planned
        return not program.fits, objective(exact_cost(program, choice))

    found: list[Planned] = []
    for task in tasks:
        least = min(objective(problem.least) for problem in task.choices.problems)
        if not found or (False, least) < min(map(value, found)):
            found.append((task, *plan(task, optimize)))
    return min(found, key=value)
