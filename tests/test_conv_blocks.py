"""Conv2D by assembly blocks: every way to fill a block, as the twin on the host and on the core."""

import numpy as np
import pytest

from tests.harness import run_c, stored
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.conv2d import ALGORITHMS, Conv2DAttrs
from tinyc.compiler.ops.op import call_of, schedules_of
from tinyc.compiler.ops.residual import Residual
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

Window = tuple[int, int, int, int, int, Conv2DAttrs]  # height, width, channels, kernel, attrs
SAME = (1, 1, 1, 1)
WINDOWS: dict[str, Window] = {
    "flat": (5, 7, 8, 1, 1, Conv2DAttrs()),
    "flat, six wide": (3, 6, 20, 1, 1, Conv2DAttrs()),
    "narrow": (5, 3, 8, 1, 1, Conv2DAttrs()),
    "one pixel": (1, 1, 4, 1, 1, Conv2DAttrs()),
    "rows": (7, 9, 8, 3, 3, Conv2DAttrs((2, 3), SAME)),
    "rows, 1x1, stride over kernel": (7, 8, 4, 1, 1, Conv2DAttrs((2, 3))),
    "shared": (5, 6, 4, 3, 3, Conv2DAttrs(pads=SAME)),
    "shared, no padding": (4, 9, 16, 3, 3, Conv2DAttrs()),
    "shared, unequal padding": (4, 5, 8, 5, 2, Conv2DAttrs((2, 1), (0, 1, 3, 2))),
    "shared, stride 2": (7, 9, 8, 3, 3, Conv2DAttrs((2, 2), SAME)),
    "shared, stride 2, long": (4, 8, 20, 1, 5, Conv2DAttrs((1, 2), (0, 2, 0, 2))),
    "shared, long": (3, 5, 36, 3, 3, Conv2DAttrs(pads=SAME)),
    "gathered": (7, 9, 3, 3, 3, Conv2DAttrs((2, 2), (0, 0, 1, 1))),
    "gathered, one channel": (9, 10, 1, 5, 4, Conv2DAttrs((2, 2), (2, 1, 2, 2))),
    "gathered, no padding": (5, 6, 5, 1, 1, Conv2DAttrs()),
    "gathered, rows of seven": (6, 5, 1, 3, 7, Conv2DAttrs(pads=(1, 3, 1, 3))),
    "gathered, kernel over image": (2, 2, 2, 5, 5, Conv2DAttrs(pads=(2, 2, 2, 2))),
    "cells": (9, 9, 3, 3, 3, Conv2DAttrs(dilations=(2, 2), pads=(2, 1, 2, 1))),
    "cells, long": (4, 5, 31, 3, 3, Conv2DAttrs(pads=SAME)),
}
FORMS = ("int8", "int16")
SCHEDULES = [
    Schedule("gemm-blocks", rows=4, unroll=1, weights="int8"),
    Schedule("gemm-blocks", rows=4, unroll=2, weights="int16"),
    Schedule("gemm-blocks", rows=3, unroll=64, weights="int8"),
    Schedule("gemm-blocks", rows=2, unroll=64, weights="int16"),
]


def conv(
    window: Window, oc: int = 6, *, zero: int = -7, x_dtype: str = "int8", clamp: Clamp = NO_CLAMP,
    weights: Array | None = None, residual: bool = False,
) -> Graph:  # fmt: skip
    h, w, ic, kh, kw, attrs = window
    low = 0 if x_dtype == "uint8" else -128
    x = Tensor("x", (1, h, w, ic), DType(x_dtype), None, QParams((0.05,), (zero + 128 + low,)))
    quant = QParams(tuple(np.geomspace(0.0005, 0.02, oc)), (0,) * oc, 0)
    values = np.random.default_rng(3).integers(-127, 128, (oc, kh, kw, ic))
    if weights is not None:
        values = np.broadcast_to(weights, values.shape)
    table = constant("w", values, DType.INT8, quant)
    bias = constant("b", np.arange(oc) * 997 - 2000, DType.INT32)
    attrs = Conv2DAttrs(attrs.strides, attrs.pads, attrs.dilations, 1, clamp)
    ((shape, _),) = OPS["Conv2D"].infer((x, table, bias), attrs)
    own = QParams((0.02 * (kh * kw * ic) ** 0.5,), (zero // 2,))
    y = stored("y", shape, QParams((own.scale[0] * 1.3,), (5,)) if residual else own)
    tensors, names = [x, table, bias, y], ["x", "w", "b"]
    if residual:
        attrs = Conv2DAttrs(
            attrs.strides, attrs.pads, attrs.dilations, 1, clamp, Residual(DType.INT8, own, clamp)
        )
        tensors.append(stored("r", shape, QParams((0.11,), (-20,))))
        names.append("r")
    node = Node("n", "Conv2D", tuple(names), ("y",), attrs, ("n",))
    moving = ("x", "r") if residual else ("x",)
    return Graph("model", moving, ("y",), (node,), {t.name: t for t in tensors})


def check(graph: Graph, schedule: Schedule) -> None:
    rng = np.random.default_rng(0)

    def sample(kind: str) -> dict[str, Array]:
        values = {}
        for name in graph.inputs:
            tensor = graph.tensors[name]
            low, high = tensor.dtype.limits
            choices = {"random": range(low, high + 1), "ends": (low, high), "low": (low,)}[kind]
            values[name] = rng.choice(np.array(choices), tensor.shape).astype(tensor.dtype.value)
        return values

    inputs = [sample(kind) for kind in ("random", "ends", "low")]
    for on in ("host", "cortex-m4"):
        computed = run_c(graph, inputs, "cortex-m4", on, {"n": schedule})
        for given, got in zip(inputs, computed, strict=True):
            np.testing.assert_array_equal(got["y"], run(graph, given)["y"])


@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_gives_the_same_bytes(window: str) -> None:
    check(conv(WINDOWS[window]), Schedule("gemm-blocks"))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=range(len(SCHEDULES)))
@pytest.mark.parametrize("window", WINDOWS)
def test_every_block_gives_the_same_bytes(window: str, schedule: Schedule) -> None:
    check(conv(WINDOWS[window]), schedule)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=range(len(SCHEDULES)))
@pytest.mark.parametrize("window", ["flat, six wide", "shared, stride 2"])
def test_some_blocks_give_the_same_bytes(window: str, schedule: Schedule) -> None:
    check(conv(WINDOWS[window]), schedule)


@pytest.mark.parametrize("channels", [2, 3, 7])
@pytest.mark.parametrize("window", ["flat", "shared"])
def test_odd_and_few_channels(window: str, channels: int) -> None:
    check(conv(WINDOWS[window], channels, residual=channels == 7), Schedule("gemm-blocks"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("window", ["flat", "shared", "gathered", "cells"])
def test_unsigned_activations(window: str, form: str) -> None:
    check(conv(WINDOWS[window], x_dtype="uint8"), Schedule("gemm-blocks", weights=form))


@pytest.mark.parametrize("zero", [-128, 127])
@pytest.mark.parametrize("clamp", [NO_CLAMP, Clamp(0.0, 0.9)], ids=["", "clamp"])
def test_zero_points_and_bounds(zero: int, clamp: Clamp) -> None:
    for form in FORMS:
        graph = conv(WINDOWS["shared"], zero=zero, clamp=clamp)
        check(graph, Schedule("gemm-blocks", weights=form))


@pytest.mark.parametrize("value", [-128, -127, 127])
def test_extreme_weights(value: int) -> None:
    for form in FORMS:
        graph = conv(WINDOWS["flat"], weights=np.array(value))
        check(graph, Schedule("gemm-blocks", weights=form))


@pytest.mark.parametrize("window", ["flat", "narrow", "shared", "gathered"])
@pytest.mark.parametrize("clamp", [NO_CLAMP, Clamp(0.0, 3.0)], ids=["", "clamp"])
def test_a_residual_is_added(window: str, clamp: Clamp) -> None:
    check(conv(WINDOWS[window], clamp=clamp, residual=True), Schedule("gemm-blocks"))


def test_the_space_differs() -> None:
    graph = conv(WINDOWS["shared"])
    call = call_of(graph, graph.nodes[0])
    space = [s for s in schedules_of(ALGORITHMS, call, load_target("cortex-m4"))]
    assert len(space) == len(set(space)) and any(s.weights == "int16" for s in space)


@pytest.mark.parametrize("window", ["flat", "flat, six wide"])
@pytest.mark.parametrize("residual", [False, True])
def test_rows_of_their_own_blocks(window: str, residual: bool) -> None:
    graph = conv(WINDOWS[window], residual=residual)
    call = call_of(graph, graph.nodes[0])
    assert ALGORITHMS["row-blocks"].suits(call, load_target("cortex-m4"))

    for rows, form in ((4, "int8"), (3, "int16"), (2, "int8")):
        check(graph, Schedule("row-blocks", rows=rows, weights=form))
