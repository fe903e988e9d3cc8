"""Depthwise 3x3 row by row with little scratch: the reference's bytes on the core and its twin."""

from dataclasses import replace

import numpy as np
import pytest

from tests.row_parts import odd_parts, parts_of, run_parts
from tests.test_depthwise import SAME, Attrs, Shape, call, graph_of, samples_of
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.depthwise_conv2d import ALGORITHMS
from tinyc.compiler.ops.op import Algorithm
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

M4 = load_target("cortex-m4")
ROW_WORDS: Algorithm = ALGORITHMS["row-words"]
STRIDED = Attrs((2, 2), (1, 1, 1, 1))
CASES: dict[str, tuple[Shape, Attrs]] = {
    "one row": ((1, 9, 4), SAME),
    "one column": ((7, 1, 4), SAME),
    "five wide": ((6, 5, 8), SAME),
    "odd channels": ((5, 5, 9), SAME),
    "two wide": ((3, 2, 6), SAME),
    "even": ((4, 6, 4), SAME),
    "in tiles": ((3, 27, 5), SAME),
    "in tiles, even": ((3, 48, 4), SAME),
    "no padding": ((6, 7, 4), Attrs()),
    "no padding, in tiles": ((4, 38, 4), Attrs()),
    "left": ((4, 8, 4), Attrs(pads=(0, 1, 1, 0))),
    "right": ((4, 8, 4), Attrs(pads=(1, 0, 0, 1))),
    "right, odd": ((4, 7, 7), Attrs(pads=(1, 0, 0, 1))),
    "stride 2": ((9, 11, 6), STRIDED),
    "stride 2, even": ((8, 12, 4), STRIDED),
    "stride 2, in tiles": ((5, 47, 4), STRIDED),
    "stride 2, in tiles, even": ((4, 50, 4), STRIDED),
    "stride 2, below and right": ((8, 24, 4), Attrs((2, 2), (0, 0, 1, 1))),
    "stride 2, no padding": ((9, 37, 4), Attrs((2, 2))),
    "stride 2 skips the last": ((8, 8, 4), Attrs((2, 2))),
    "stride 2, two outputs": ((3, 5, 4), Attrs((2, 2))),
    "seven wide, eight channels": ((3, 7, 8), SAME),
}


def check(graph: Graph, on: str) -> None:
    """Every schedule, all rows at once and in parts."""
    assert ROW_WORDS.suits(call(graph), M4)
    samples = samples_of(graph)
    schedules = [Schedule(), *ROW_WORDS.space(call(graph), M4)]
    rows = graph.tensors["y"].shape[1]
    cuts = ([0, rows], parts_of(rows, 1), odd_parts(rows))
    variants = [
        (replace(schedule, algorithm="row-words"), cuts[i % 3])
        for i, schedule in enumerate(schedules)
    ]

    results = run_parts(graph, samples, "cortex-m4", on, variants)

    for sample, computed in zip(samples, results, strict=True):
        expected = run(graph, sample)["y"]
        for y, variant in zip(computed, variants, strict=True):
            np.testing.assert_array_equal(y, expected, f"{variant}")


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", CASES)
def test_rows_give_the_same_bytes(case: str, on: str) -> None:
    shape, attrs = CASES[case]
    check(graph_of(shape, (3, 3), attrs), on)


@pytest.mark.parametrize("zero_points", [(-128, -128), (127, 127), (-128, 127), (-1, 0)])
@pytest.mark.parametrize("on", ["host", "cortex-m4"])
def test_zero_points_at_the_ends(zero_points: tuple[int, int], on: str) -> None:
    check(graph_of((4, 5, 5), (3, 3), SAME, zero_points=zero_points), on)


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
def test_clamps(on: str) -> None:
    attrs = replace(SAME, clamp=Clamp(0.0, 6.0))
    check(graph_of((4, 14, 6), (3, 3), attrs), on)


def test_what_it_is_not_for() -> None:
    for graph in (
        graph_of((5, 5, 3), (3, 3), SAME),
        graph_of((3, 3, 4), (3, 3), Attrs()),
        graph_of((5, 5, 4), (3, 3), SAME, multiplier=2),
        graph_of((9, 9, 4), (5, 5), SAME),
        graph_of((9, 9, 4), (3, 3), Attrs((1, 2), (1, 1, 1, 1))),
        graph_of((9, 9, 4), (3, 3), Attrs(pads=(2, 2, 2, 2))),
        graph_of((9, 9, 4), (3, 3), Attrs(dilations=(2, 2))),
    ):
        assert not ROW_WORDS.suits(call(graph), M4)


def test_the_scratch_is_little() -> None:
    for width in (5, 12, 24, 96):
        for attrs in (SAME, STRIDED):
            kernel = ROW_WORDS.kernel(call(graph_of((4, width, 8), (3, 3), attrs)), M4, Schedule())
            assert kernel.scratch_bytes <= 400
