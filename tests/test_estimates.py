"""Cycles of layers that were not measured: what is estimated from the records of others."""

import random
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.harness import optimized, read_model
from tests.test_quantized_ops import CASES
from tinyc.autotune.estimates import Estimate, estimates_of, fits_of
from tinyc.autotune.least_squares import nonnegative
from tinyc.autotune.records import Record, known_records
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.terms import terms_of
from tinyc.autotune.workload_sizes import operator_of, shape_of, sizes_of
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.workload import workload
from tinyc.targets import load_target

CORES = ("cortex-m4", "cortex-m0plus", "rv32imc")
RECORD = Record("core", "gcc 1", "k", "w", Schedule("gemm", 2, 2), 100, 10, 20, {"b": 30}, 4, 80)
SAMPLE = 12  # layers of a core that are left out, one after the other
MEDIAN, WORST = 1.02, 1.15  # times the fewest cycles on record
ALGORITHM = RECORD.schedule.algorithm


@cache
def records_of(core: str) -> tuple[Record, ...]:
    return known_records(load_target(core))


def estimated(core: str, text: str) -> list[Estimate]:
    """Of all schedules on record, without the records of the layer's shape."""
    others = [r for r in records_of(core) if shape_of(r.workload) != shape_of(text)]
    alike = (r.schedule.algorithm for r in others if operator_of(r.workload) == operator_of(text))
    ((rule, _),) = Counter(alike).most_common(1)
    schedules = {r.schedule: 0 for r in records_of(core)}
    return estimates_of(fits_of(others), text, schedules, rule)


def conv(pixels: int, inputs: int, outputs: int, size: int = 1) -> str:
    x, y = (f"int8[1,{pixels},{pixels},{c}]" for c in (inputs, outputs))
    weights = f"const int8[{outputs},{size},{size},{inputs}] const int32[{outputs}]"
    return f"Conv2D {x} {weights} -> {y}" + (" pads=1,1,1,1" if size == 3 else "")


def test_estimates_find_the_costs_that_made_the_cycles() -> None:
    def record(pixels: int, inputs: int, outputs: int) -> Record:
        area = pixels**2
        cycles = 1.25 * area * inputs * outputs + 6 * area * outputs + 1.5 * area * inputs + 200
        return replace(RECORD, workload=conv(pixels, inputs, outputs), cycles=round(cycles))

    known = [record(p, i, o) for p in (3, 10, 30) for i in (8, 64) for o in (16, 48)]
    unseen = record(20, 32, 32)

    (estimate,) = estimates_of(fits_of(known), unseen.workload, [RECORD.schedule], ALGORITHM)

    assert estimate.cycles == pytest.approx(unseen.cycles, rel=0.01)
    assert estimate.like in known


def test_a_schedule_that_no_layer_has_on_record_is_not_estimated() -> None:
    known = [replace(RECORD, workload=conv(p, 8, 8), cycles=p * p) for p in (3, 5, 9)]

    assert not estimates_of(fits_of(known), conv(7, 8, 8), [Schedule("gemm", 4, 4)], "gemm")
    assert not estimates_of(fits_of(known), conv(7, 8, 8), [Schedule("other", 2, 2)], "other")


def test_few_layers_on_record_do_not_speak_against_the_rule_of_thumb() -> None:
    known = [replace(RECORD, workload=conv(p, 8, 8), cycles=p * p) for p in (3, 5, 9)]

    assert estimates_of(fits_of(known), conv(7, 8, 8), [RECORD.schedule], ALGORITHM)
    assert not estimates_of(fits_of(known), conv(7, 8, 8), [RECORD.schedule], "another")


def test_the_first_term_of_every_kind_of_layer_is_its_products(tmp_path: Path) -> None:
    for case in ("conv 3x3", "conv 1x1, stride 2", "depthwise 3x3", "matmul"):
        graph = optimized(read_model(CASES[case](), tmp_path))
        for node in graph.nodes:
            if OPS[node.op].algorithms:
                call = call_of(graph, node)
                sizes = sizes_of(workload(call))
                assert sizes is not None
                assert terms_of(sizes, Schedule("gemm"))[0] == OPS[node.op].macs(call)


def test_a_layer_is_the_same_shape_with_and_without_what_is_added() -> None:
    plain = conv(8, 16, 16, 3)
    added = f"{plain.replace(' ->', ' int8[1,8,8,16] ->')} residual low"

    assert shape_of(added) == shape_of(plain) != shape_of(conv(8, 16, 8, 3))


def test_coefficients_are_the_nearest_that_are_not_negative() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((40, 5))
    goal = rows @ np.array([3.0, 0.0, -2.0, 1.0, 0.0])

    found = nonnegative(rows, goal)

    slope = rows.T @ (goal - rows @ found)
    assert (found >= 0).all() and found[2] == 0
    assert np.allclose(slope[found > 0], 0, atol=1e-6) and (slope < 1e-6).all()


@pytest.mark.parametrize("core", CORES)
def test_half_the_channels_are_not_estimated_to_cost_more(core: str) -> None:
    for pixels, channels, size in ((32, 16, 3), (16, 32, 3), (8, 64, 3), (12, 64, 1), (6, 128, 1)):
        whole = conv(pixels, channels, channels, size)
        least = min(r.cycles for r in records_of(core) if shape_of(r.workload) == shape_of(whole))
        for half in (
            conv(pixels, channels, channels // 2, size),
            conv(pixels, channels // 2, channels, size),
        ):
            assert estimated(core, half)[0].cycles < least, half


@pytest.mark.parametrize("core", CORES)
def test_what_is_estimated_to_be_best_is_nearly_the_best_on_record(core: str) -> None:
    texts = sorted({r.workload for r in records_of(core) if re.match("(Conv|Depth)", r.workload)})
    ratios = []
    for text in random.Random(0).sample(texts, SAMPLE):
        measured = {r.schedule: r.cycles for r in records_of(core) if r.workload == text}
        best = next(e for e in estimated(core, text) if e.schedule in measured)
        ratios.append(measured[best.schedule] / min(measured.values()))

    assert np.median(ratios) <= MEDIAN and max(ratios) <= WORST
