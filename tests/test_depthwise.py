"""Depthwise layers on planes: every shape, band and clamp gives the reference's bytes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.harness import random_constant, run_c, stored
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.depthwise_conv2d import ALGORITHMS, DepthwiseConv2DAttrs, infer
from tinyc.compiler.ops.op import Call, call_of
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

Shape = tuple[int, int, int]  # height, width, channels
Attrs = DepthwiseConv2DAttrs
SAME = Attrs(pads=(1, 1, 1, 1))
CASES: dict[str, tuple[Shape, tuple[int, int], Attrs]] = {
    "two pixels": ((1, 2, 1), (3, 3), SAME),
    "one row": ((1, 9, 4), (3, 3), SAME),
    "one column": ((7, 1, 4), (3, 3), SAME),
    "even": ((6, 6, 8), (3, 3), SAME),
    "odd": ((7, 5, 9), (3, 3), SAME),
    "wide": ((5, 37, 4), (3, 3), SAME),
    "wider, even": ((4, 48, 5), (3, 3), SAME),
    "many small channels": ((3, 3, 31), (3, 3), SAME),
    "three channels": ((6, 7, 3), (3, 3), SAME),
    "out of the reach of offsets": ((4, 30, 70), (3, 3), SAME),
    "over a thousand channels": ((2, 2, 1030), (3, 3), SAME),
    "no padding": ((6, 7, 4), (3, 3), Attrs()),
    "asymmetric padding": ((6, 7, 4), (3, 3), Attrs(pads=(2, 0, 0, 1))),
    "much padding": ((2, 3, 4), (3, 3), Attrs(pads=(5, 4, 5, 3))),
    "stride 2": ((9, 11, 6), (3, 3), Attrs((2, 2), (1, 1, 1, 1))),
    "stride 2, below and right": ((12, 24, 4), (3, 3), Attrs((2, 2), (0, 0, 1, 1))),
    "stride 2 skips the last": ((8, 8, 4), (3, 3), Attrs((2, 2))),
    "strides 2 and 1": ((9, 6, 4), (3, 3), Attrs((2, 1), (1, 1, 1, 1))),
    "strides 1 and 2": ((5, 9, 4), (3, 3), Attrs((1, 2), (1, 1, 1, 1))),
    "stride over kernel": ((13, 9, 4), (2, 1), Attrs((5, 2))),
    "5x5": ((7, 10, 5), (5, 5), Attrs(pads=(2, 2, 2, 2))),
    "4x4": ((6, 9, 4), (4, 4), Attrs(pads=(1, 1, 2, 2))),
    "2x2, stride 2": ((6, 8, 4), (2, 2), Attrs((2, 2))),
    "7x7, stride 2": ((15, 11, 4), (7, 7), Attrs((2, 2), (3, 3, 3, 3))),
    "1x1": ((3, 5, 4), (1, 1), Attrs()),
    "9x1": ((20, 1, 6), (9, 1), Attrs(pads=(4, 0, 4, 0))),
    "1x9": ((1, 20, 6), (1, 9), Attrs(pads=(0, 4, 0, 4))),
    "9x1, stride 2, dilated": ((40, 1, 5), (9, 1), Attrs((2, 1), (0, 0, 3, 0), (2, 1))),
    "11x1, stride 3": ((40, 1, 4), (11, 1), Attrs((3, 1))),
    "3x3 in one column": ((14, 3, 4), (3, 3), Attrs(pads=(1, 0, 1, 0))),
    "full height": ((12, 5, 4), (12, 3), Attrs()),
    "dilated": ((9, 11, 4), (3, 3), Attrs((1, 1), (2, 2, 2, 2), (2, 2))),
    "dilated by 3 and 1": ((9, 6, 4), (3, 2), Attrs((1, 1), (3, 0, 3, 1), (3, 1))),
    "dilated, stride 2": ((9, 13, 4), (3, 3), Attrs((2, 2), (3, 3, 3, 3), (3, 3))),
}
MULTIPLIED = ("odd", "5x5", "stride 2", "three channels", "two pixels")


def graph_of(
    shape: Shape, kernel: tuple[int, int], attrs: Attrs, multiplier: int = 1,
    zero_points: tuple[int, int] = (3, -4), seed: int = 0,
) -> Graph:  # fmt: skip
    """One layer with scales of the channels over a wide range."""
    channels = shape[2] * multiplier
    rng = np.random.default_rng(seed)
    scales = np.exp2(-rng.integers(4, 14, channels)).tolist()
    x = stored("x", (1, *shape), QParams((0.05,), (zero_points[0],)))
    quant = QParams(tuple(scales), (0,) * channels, 2)
    w = random_constant("w", (*kernel, channels), DType.INT8, seed, quant)
    b = constant("b", rng.integers(-3000, 3000, channels), DType.INT32)
    ((y_shape, _),) = infer((x, w, b), attrs)
    y = stored("y", y_shape, QParams((0.06,), (zero_points[1],)))
    node = Node("n", "DepthwiseConv2D", ("x", "w", "b"), ("y",), attrs, ("n",))
    return Graph("model", ("x",), ("y",), (node,), {t.name: t for t in (x, w, b, y)})


def samples_of(graph: Graph) -> list[dict[str, Array]]:
    """Random values, and the extremes only."""
    values = np.random.default_rng(1).integers(-128, 128, graph.tensors["x"].shape, np.int8)
    return [{"x": values}, {"x": np.where(values % 2 == 0, -128, 127).astype(np.int8)}]


def check(graph: Graph, schedule: Schedule, on: str) -> None:
    samples = samples_of(graph)

    computed = run_c(graph, samples, "cortex-m4", on, {"n": schedule})

    for sample, outputs in zip(samples, computed, strict=True):
        np.testing.assert_array_equal(outputs["y"], run(graph, sample)["y"])


def call(graph: Graph) -> Call:
    return call_of(graph, graph.nodes[0])


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", CASES)
def test_planes_give_the_same_bytes(case: str, on: str) -> None:
    graph = graph_of(*CASES[case])
    assert ALGORITHMS["planes"].suits(call(graph), load_target("cortex-m4"))

    check(graph, Schedule("planes"), on)


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", MULTIPLIED)
def test_several_outputs_a_channel(case: str, on: str) -> None:
    check(graph_of(*CASES[case], multiplier=3), Schedule("planes"), on)


def test_a_single_output_is_computed_without_planes() -> None:
    graph = graph_of((3, 3, 4), (3, 3), Attrs())

    assert not ALGORITHMS["planes"].suits(call(graph), load_target("cortex-m4"))


@pytest.mark.parametrize("case", ["odd", "wider, even", "stride 2", "5x5", "dilated"])
def test_every_schedule_gives_the_same_bytes(case: str) -> None:
    graph = graph_of(*CASES[case])
    schedules = list(ALGORITHMS["planes"].space(call(graph), load_target("cortex-m4")))

    assert len({replace(s, unroll=0) for s in schedules}) > 3
    for schedule in schedules[:: max(len(schedules) // 6, 1)]:
        check(graph, replace(schedule, algorithm="planes"), "cortex-m4")


@pytest.mark.parametrize("zero_points", [(-128, -128), (127, 127), (-128, 127)])
@pytest.mark.parametrize("on", ["host", "cortex-m4"])
def test_zero_points_at_the_ends(zero_points: tuple[int, int], on: str) -> None:
    check(graph_of(*CASES["odd"], zero_points=zero_points), Schedule("planes"), on)


@pytest.mark.parametrize("case", ["odd", "5x5"])
@pytest.mark.parametrize("on", ["host", "cortex-m4"])
def test_clamps(case: str, on: str) -> None:
    shape, kernel, attrs = CASES[case]
    check(graph_of(shape, kernel, replace(attrs, clamp=Clamp(0.0, 6.0))), Schedule("planes"), on)


def in_place_graph(channels: int) -> Graph:
    """Three layers of the same shape; the one in the middle is not the caller's on either side."""
    one = graph_of((9, 7, channels), (3, 3), SAME)
    names = ("x", "a", "b1", "y")
    quant = one.tensors["x"].quant
    tensors: dict[str, Tensor] = {t: one.tensors[t] for t in ("w", "b")}
    tensors |= {n: stored(n, one.tensors["x"].shape, quant or QParams((1.0,))) for n in names}
    nodes = tuple(
        Node(f"n{i}", "DepthwiseConv2D", (x, "w", "b"), (y,), SAME, (f"n{i}",))
        for i, (x, y) in enumerate(itertools.pairwise(names))
    )
    return Graph("model", ("x",), ("y",), nodes, tensors)


@pytest.mark.parametrize("channels", [4, 7, 2])
@pytest.mark.parametrize("on", ["host", "cortex-m4"])
def test_an_output_lies_over_its_dying_input(channels: int, on: str) -> None:
    graph = in_place_graph(channels)
    samples = samples_of(graph)

    computed = run_c(graph, samples, "cortex-m4", on)

    for sample, outputs in zip(samples, computed, strict=True):
        np.testing.assert_array_equal(outputs["y"], run(graph, sample)["y"])
