"""Buffers placed by OR-Tools' CP-SAT, which proves the least arena where it ends in time."""

from collections.abc import Sequence
from typing import Any

from ortools.sat.python import cp_model

from tinyc.passes.placement import Pair, Placement, Problem, Trade

# Of one thread, counted in the solver's own steps: the same on every machine. A second or two.
MOST_EFFORT = 1.0


def solved(
    problem: Problem, bound: int, found: Sequence[Placement], trade: Trade
) -> tuple[Placement, int, bool]:
    """The best arena by `trade`, the bytes that no placement is below, and whether it is proved.

    found  placements to start from
    """
    unit, most = problem.alignment, max(placement.bytes for placement in found)
    known = min(found, key=trade.cost)
    model = cp_model.CpModel()
    arena = model.new_int_var(-(-bound // unit), -(-most // unit), "arena")
    offsets = [model.new_int_var(0, most // unit, b.name) for b in problem.buffers]
    late = {i: model.new_bool_var(b.name) for i, b in enumerate(problem.buffers) if b.window}
    up = {stage: model.new_bool_var(f"up {stage}") for stage in problem.two_ways}
    for offset, b in zip(offsets, problem.buffers, strict=True):
        model.add(offset + -(-b.bytes // unit) <= arena)
    for (u, v), pairs in problem.pairs.items():
        for pair in pairs:
            _keep_apart(model, offsets[v] - offsets[u], pair, unit, up, late.get(u), late.get(v))
    price = max(round(trade.byte_cycles * unit), 1)
    upwards = {stage: trade.up_cycles.get(stage, 0) + 1 for stage in up}
    model.minimize(arena * price + sum(upwards[stage] * bit for stage, bit in up.items()))
    _hint(model, known, unit, offsets, late, up)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = MOST_EFFORT
    solver.parameters.catch_sigint_signal = False  # else Ctrl-C kills Python from then on
    status = solver.solve(model)
    proved = int((solver.best_objective_bound - sum(upwards.values())) // price) * unit
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return known, bound, False
    placement = Placement(
        max(
            solver.value(o) * unit + b.bytes for o, b in zip(offsets, problem.buffers, strict=True)
        ),
        tuple(solver.value(offset) * unit for offset in offsets),
        tuple(bool(i in late and solver.value(late[i])) for i in range(len(offsets))),
        frozenset(stage for stage, bit in up.items() if solver.value(bit)),
    )
    best = min(placement, known, key=trade.cost)
    return best, proved, status == cp_model.OPTIMAL


def _keep_apart(
    model: cp_model.CpModel, distance: Any, pair: Pair, unit: int, up: Any, u_late: Any, v_late: Any
) -> None:
    """v below u or above it, in every way in which the stage may run and they may slide."""
    for (upwards, first, second), gap in pair.gaps.items():
        if gap is None:
            continue
        ways = []
        for bit, value in ((up.get(pair.stage), upwards), (u_late, first), (v_late, second)):
            if bit is not None:
                ways.append(bit if value else bit.negated())
        below = model.new_bool_var("")
        model.add(distance <= gap[0] // unit).only_enforce_if(below, *ways)
        model.add(distance >= -(-gap[1] // unit)).only_enforce_if(below.negated(), *ways)


def _hint(
    model: cp_model.CpModel, known: Placement, unit: int, offsets: Any, late: Any, up: Any
) -> None:
    for variable, offset in zip(offsets, known.offsets, strict=True):
        model.add_hint(variable, offset // unit)
    for i, bit in late.items():
        model.add_hint(bit, known.late[i])
    for stage, bit in up.items():
        model.add_hint(bit, stage in known.upwards)
