"""How good estimates are: every layer on record estimated from those of other shapes alone.

True cycles are all that were ever measured for the package's records (.cache/records), where they
are still there; a schedule that is missing is measured.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from bench.records import FOLDER, distinct_calls, models_for
from bench.shapes import network_graphs
from bench.tables import table
from tinyc.autotune.estimates import Estimate, estimates_of, fits_of
from tinyc.autotune.measure import measure
from tinyc.autotune.records import Record, core_of, known_records, read_records
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.workload_sizes import operator_of, shape_of, sizes_of
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, rule_of_thumb, schedules_of
from tinyc.compiler.ops.workload import workload
from tinyc.targets import Target, load_target

CORES = ("cortex-m4", "cortex-m0plus", "rv32imc")
HEAD = """
## Estimates for layers that were not measured

Each layer on record is estimated from the records of all layers of other shapes. Off by: estimated
cycles against measured ones, of every schedule that is estimated. Chosen: cycles of the schedule
with the fewest estimated cycles, above the fewest that were ever measured for the layer.
"""


@dataclass(frozen=True, slots=True)
class Guess:
    """errors of every estimate, by algorithm; `chosen` and `best` in measured cycles."""

    operator: str
    errors: tuple[tuple[str, float], ...]
    chosen: int
    best: int


def guesses(core: str) -> list[Guess]:
    """For every layer with weights on record."""
    target = load_target(core)
    records, calls = known_records(target), _calls(target)
    measured: dict[str, dict[Schedule, int]] = {}
    for record in (*read_records(FOLDER / f"{core}.jsonl"), *records):
        if record.core == core_of(target):
            measured.setdefault(record.workload, {})[record.schedule] = record.cycles
    texts = sorted({r.workload for r in records if sizes_of(r.workload) and r.workload in calls})
    found = []
    for text in texts:
        others = [r for r in records if shape_of(r.workload) != shape_of(text)]
        algorithms = OPS[calls[text].node.op].algorithms
        schedules = schedules_of(algorithms, calls[text], target)
        rule = rule_of_thumb(algorithms, calls[text], target)
        estimates = estimates_of(fits_of(others), text, schedules, rule)
        if estimates:
            found.append(_judged(estimates, measured[text], calls[text], target))
    return found


def _calls(target: Target) -> Mapping[str, Call]:
    graphs = [*models_for(target), *network_graphs()]
    return {workload(call): call for call in distinct_calls(graphs)}


def _judged(
    estimates: list[Estimate], measured: Mapping[Schedule, int], call: Call, target: Target
) -> Guess:
    first = estimates[0].schedule
    if first not in measured:
        (result,) = measure(call, target, [first])
        assert isinstance(result, Record), f"{result}"
        measured = {**measured, first: result.cycles}
    errors = tuple(
        (e.schedule.algorithm, abs(e.cycles / measured[e.schedule] - 1))
        for e in estimates
        if e.schedule in measured
    )
    operator = operator_of(workload(call))
    return Guess(operator, errors, measured[first], min(measured.values()))


def estimates_section(pool: Executor) -> Iterator[str]:
    yield HEAD
    found = dict(zip(CORES, pool.map(guesses, CORES), strict=True))
    errors: dict[tuple[str, str, str], list[float]] = {}
    above: dict[tuple[str, str], list[float]] = {}
    for core, core_guesses in found.items():
        for guess in core_guesses:
            above.setdefault((core, guess.operator), []).append(guess.chosen / guess.best - 1)
            for algorithm, error in guess.errors:
                errors.setdefault((core, guess.operator, algorithm), []).append(error)
    spread = "median | 90 % below | worst"
    yield table(
        f"core | operator | layers | chosen, {spread}",
        [(*key, len(values), *_spread(values)) for key, values in above.items()],
    )
    for core, core_guesses in found.items():
        values = [g.chosen / g.best - 1 for g in core_guesses]
        lost = sum(g.chosen for g in core_guesses) / sum(g.best for g in core_guesses) - 1
        median, _, worst = _spread(values)
        yield f"\n{core}, all layers: median {median}, worst {worst}, of all cycles {lost:.1%}."
    yield ""
    yield table(
        f"core | operator | algorithm | estimates | off by, {spread}",
        [(*key, len(values), *_spread(values)) for key, values in sorted(errors.items())],
    )


def _spread(values: list[float]) -> tuple[str, ...]:
    return tuple(f"{v:.1%}" for v in (np.median(values), np.quantile(values, 0.9), max(values)))
