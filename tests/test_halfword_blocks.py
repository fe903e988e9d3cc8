"""Layers of int16 values by assembly blocks, as the twin on the host and on the core."""

import numpy as np
import pytest

from tests.test_conv_blocks import SAME, WINDOWS, Window, check
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor, constant
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.conv2d import ALGORITHMS, Conv2DAttrs
from tinyc.compiler.ops.dense import ALGORITHMS as DENSE
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import ALGORITHMS as DEPTHWISE
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs as DepthwiseAttrs
from tinyc.compiler.ops.op import Call, call_of, rule_of_thumb, schedules_of
from tinyc.compiler.ops.residual import Residual
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

ALGORITHM = "halfword-blocks"
X_SCALE = 0.0002
RELU = Clamp(0.0, float("inf"))


def conv(
    window: Window, oc: int = 6, *, zero: int = 0, out: tuple[str, int] = ("int16", 0),
    clamp: Clamp = NO_CLAMP, weights: Array | None = None, bias: int = 99_700, steep: float = 0.05,
    residual: bool = False,
) -> Graph:  # fmt: skip
    """out: type and zero point of the result; steep: the largest scale, times sqrt(products)."""
    h, w, ic, kh, kw, attrs = window
    x = Tensor("x", (1, h, w, ic), DType.INT16, None, QParams((X_SCALE,), (zero,)))
    scales = QParams(tuple(np.geomspace(0.0005, 0.02, oc)), (0,) * oc, 0)
    values = np.random.default_rng(3).integers(-127, 128, (oc, kh, kw, ic))
    if weights is not None:
        values = np.broadcast_to(weights, values.shape)
    table = constant("w", values, DType.INT8, scales)
    biases = constant("b", np.arange(oc) * bias - 200_000, DType.INT32)
    attrs = Conv2DAttrs(attrs.strides, attrs.pads, attrs.dilations, 1, clamp)
    ((shape, _),) = OPS["Conv2D"].infer((x, table, biases), attrs)
    dtype, step = DType(out[0]), X_SCALE * 0.02 * (kh * kw * ic) ** 0.5 / steep
    own = QParams((step * (256 if dtype == DType.INT8 else 1),), (out[1],))
    quant = QParams((own.scale[0] * 1.3,), (out[1] + 5,)) if residual else own
    tensors, names = [x, table, biases, Tensor("y", shape, dtype, None, quant)], ["x", "w", "b"]
    if residual:
        extra = Residual(dtype, own, clamp)
        attrs = Conv2DAttrs(attrs.strides, attrs.pads, attrs.dilations, 1, clamp, extra)
        r = QParams((own.scale[0] * 0.7,), (-20,))
        tensors.append(Tensor("r", shape, dtype, None, r))
        names.append("r")
    node = Node("n", "Conv2D", tuple(names), ("y",), attrs, ("n",))
    moving = ("x", "r") if residual else ("x",)
    return Graph("model", moving, ("y",), (node,), {t.name: t for t in tensors})


def the_call(graph: Graph) -> Call:
    return call_of(graph, graph.nodes[0])


@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_gives_the_same_bytes(window: str) -> None:
    graph = conv(WINDOWS[window])
    assert rule_of_thumb(ALGORITHMS, the_call(graph), load_target("cortex-m4")) == ALGORITHM
    check(graph, Schedule())


@pytest.mark.parametrize("form", ["int8", "int16"])
@pytest.mark.parametrize("rows", [2, 3, 4])
@pytest.mark.parametrize("window", ["flat, six wide", "shared, stride 2", "gathered"])
def test_every_block_gives_the_same_bytes(window: str, rows: int, form: str) -> None:
    turn = {2: 2, 3: 16, 4: 8}[rows]
    check(conv(WINDOWS[window]), Schedule(ALGORITHM, rows=rows, unroll=turn, weights=form))


@pytest.mark.parametrize("channels", [2, 3, 7])
@pytest.mark.parametrize("window", ["flat", "shared"])
def test_odd_and_few_channels(window: str, channels: int) -> None:
    check(conv(WINDOWS[window], channels, residual=channels == 7), Schedule(ALGORITHM))


@pytest.mark.parametrize("out", [("int16", 3000), ("int8", -7), ("int16", -32768)])
@pytest.mark.parametrize("clamp", [NO_CLAMP, RELU, Clamp(0.0, 0.5)], ids=["", "relu", "clamp"])
@pytest.mark.parametrize("zero", [-32768, 32767, 300])
def test_zero_points_and_bounds(zero: int, clamp: Clamp, out: tuple[str, int]) -> None:
    graph = conv(WINDOWS["shared"], zero=zero, clamp=clamp, out=out)
    check(graph, Schedule())


@pytest.mark.parametrize("clamp", [RELU, Clamp(0.0, 0.03)], ids=["relu", "clamp"])
def test_bounds_of_results_without_zero_point(clamp: Clamp) -> None:
    check(conv(WINDOWS["shared"], clamp=clamp), Schedule(ALGORITHM))


@pytest.mark.parametrize("value", [-128, 127])
@pytest.mark.parametrize("steep", [0.05, 1.0])
def test_extreme_weights_saturate(value: int, steep: float) -> None:
    check(conv(WINDOWS["shared"], weights=np.array(value), steep=steep), Schedule(ALGORITHM))


@pytest.mark.parametrize("window", ["flat", "narrow", "shared", "gathered"])
@pytest.mark.parametrize("clamp", [NO_CLAMP, RELU], ids=["", "relu"])
def test_a_residual_is_added(window: str, clamp: Clamp) -> None:
    check(conv(WINDOWS[window], clamp=clamp, residual=True), Schedule(ALGORITHM))


def test_sums_of_64_bits_are_left_to_others() -> None:
    """512 products of 127 and 32768 stay below 2^31, with the bias of 2^17 too; 517 do not."""
    fits = conv((2, 2, 512, 1, 1, Conv2DAttrs()), weights=np.array(127), bias=0)
    beyond = conv((2, 2, 517, 1, 1, Conv2DAttrs()), weights=np.array(127), bias=0)
    suits = ALGORITHMS[ALGORITHM].suits
    assert suits(the_call(fits), load_target("cortex-m4"))
    assert not suits(the_call(beyond), load_target("cortex-m4"))
    check(fits, Schedule(ALGORITHM))


def test_scales_beyond_the_form_are_left_to_others() -> None:
    """r >= 33: a scale of 0.25 and more has no low word to leave out."""
    for steep, is_fit in ((0.2499, True), (0.2501, False)):
        graph = conv((3, 3, 16, 1, 1, Conv2DAttrs()), steep=steep * 4)
        assert ALGORITHMS[ALGORITHM].suits(the_call(graph), load_target("cortex-m4")) == is_fit
        check(graph, Schedule())


def test_the_space_differs() -> None:
    call = the_call(conv(WINDOWS["shared"]))
    space = list(schedules_of(ALGORITHMS, call, load_target("cortex-m4")))
    assert len(space) == len(set(space)) and any(s.weights == "int16" for s in space)


def dense(
    rows: int, n: int, k: int, out: tuple[str, int] = ("int16", 0), clamp: Clamp = NO_CLAMP
) -> Graph:
    x = Tensor("x", (rows, k), DType.INT16, None, QParams((X_SCALE,), (-300,)))
    scales = QParams(tuple(np.geomspace(0.0005, 0.02, n)), (0,) * n, 0)
    values = np.random.default_rng(3).integers(-128, 128, (n, k))
    w = constant("w", values, DType.INT8, scales)
    b = constant("b", np.arange(n) * 99_700 - 200_000, DType.INT32)
    step = X_SCALE * 0.02 * k**0.5 / 0.05 * (256 if out[0] == "int8" else 1)
    y = Tensor("y", (rows, n), DType(out[0]), None, QParams((step,), (out[1],)))
    node = Node("n", "Dense", ("x", "w", "b"), ("y",), DenseAttrs(clamp), ("n",))
    return Graph("model", ("x",), ("y",), (node,), {t.name: t for t in (x, w, b, y)})


@pytest.mark.parametrize("n", [2, 3, 5, 8, 19, 33])
@pytest.mark.parametrize("k", [1, 2, 13, 64, 301])
def test_a_row_gives_the_same_bytes(n: int, k: int) -> None:
    graph = dense(1, n, k)
    assert rule_of_thumb(DENSE, the_call(graph), load_target("cortex-m4")) == ALGORITHM
    check(graph, Schedule())


@pytest.mark.parametrize(("rows", "k"), [(3, 32), (4, 10), (9, 64), (6, 700)])
def test_several_rows_give_the_same_bytes(rows: int, k: int) -> None:
    check(dense(rows, 7, k), Schedule(ALGORITHM))


@pytest.mark.parametrize("out", [("int16", 3000), ("int8", -7)])
@pytest.mark.parametrize("clamp", [NO_CLAMP, RELU], ids=["", "relu"])
def test_results_of_a_row(clamp: Clamp, out: tuple[str, int]) -> None:
    check(dense(1, 10, 40, out, clamp), Schedule())


@pytest.mark.parametrize("form", ["int8", "int16"])
@pytest.mark.parametrize("columns", [2, 4, 6, 8])
def test_blocks_of_a_row(columns: int, form: str) -> None:
    turn = {2: 1, 4: 4, 6: 2, 8: 16}[columns]
    check(dense(1, 21, 50), Schedule(ALGORITHM, columns=columns, unroll=turn, weights=form))


@pytest.mark.parametrize("rows", [1, 8])
def test_the_space_of_dense_differs(rows: int) -> None:
    call = the_call(dense(rows, 20, 32))
    space = list(schedules_of(DENSE, call, load_target("cortex-m4")))
    assert len(space) == len(set(space))
    for schedule in space:
        if schedule.algorithm == ALGORITHM:
            assert DENSE[ALGORITHM].kernel(call, load_target("cortex-m4"), schedule).constants


def depthwise(
    height: int, width: int, n: int, attrs: DepthwiseAttrs, out: tuple[str, int] = ("int16", 0),
    zero: int = 0,
) -> Graph:  # fmt: skip
    x = Tensor("x", (1, height, width, n), DType.INT16, None, QParams((X_SCALE,), (zero,)))
    scales = QParams(tuple(np.geomspace(0.0005, 0.02, n)), (0,) * n, 2)
    values = np.random.default_rng(3).integers(-128, 128, (3, 3, n))
    w = constant("w", values, DType.INT8, scales)
    b = constant("b", np.arange(n) * 99_700 - 200_000, DType.INT32)
    ((shape, _),) = OPS["DepthwiseConv2D"].infer((x, w, b), attrs)
    step = X_SCALE * 0.02 * 3 / 0.1 * (256 if out[0] == "int8" else 1)
    y = Tensor("y", shape, DType(out[0]), None, QParams((step,), (out[1],)))
    node = Node("n", "DepthwiseConv2D", ("x", "w", "b"), ("y",), attrs, ("n",))
    return Graph("model", ("x",), ("y",), (node,), {t.name: t for t in (x, w, b, y)})


DEPTHWISE_CASES = {
    "same": (5, 6, 4, DepthwiseAttrs(pads=SAME)),
    "no padding": (4, 9, 6, DepthwiseAttrs()),
    "wider than a tile": (4, 19, 2, DepthwiseAttrs(pads=SAME)),
    "odd channels": (5, 5, 7, DepthwiseAttrs(pads=SAME)),
    "stride 2": (7, 9, 8, DepthwiseAttrs((2, 2), (0, 0, 1, 1))),
    "one pixel": (1, 1, 3, DepthwiseAttrs(pads=SAME)),
    "dilated": (9, 9, 4, DepthwiseAttrs(dilations=(2, 3), pads=(2, 3, 2, 3))),
    "unequal padding": (6, 7, 4, DepthwiseAttrs((1, 3), (2, 0, 0, 1))),
}


@pytest.mark.parametrize("case", DEPTHWISE_CASES)
@pytest.mark.parametrize("out", [("int16", 0), ("int16", -3000), ("int8", -7)])
def test_depthwise_gives_the_same_bytes(case: str, out: tuple[str, int]) -> None:
    graph = depthwise(*DEPTHWISE_CASES[case], out, zero=-300)
    name = rule_of_thumb(DEPTHWISE, the_call(graph), load_target("cortex-m4"))
    assert name == "halfword-pairs"
    check(graph, Schedule())


@pytest.mark.parametrize("clamp", [RELU, Clamp(0.0, 0.03)], ids=["relu", "clamp"])
@pytest.mark.parametrize("out", [("int16", 0), ("int8", -128)])
def test_bounds_of_depthwise_results(clamp: Clamp, out: tuple[str, int]) -> None:
    attrs = DepthwiseAttrs(pads=SAME, clamp=clamp)
    check(depthwise(5, 6, 4, attrs, out, zero=32767), Schedule())


@pytest.mark.parametrize("tile", [1, 3, 16])
def test_tiles_of_depthwise(tile: int) -> None:
    graph = depthwise(*DEPTHWISE_CASES["stride 2"])
    check(graph, Schedule("halfword-pairs", rows=tile))
