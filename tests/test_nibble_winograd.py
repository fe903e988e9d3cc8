"""Winograd's convolutions of weights of 4 bits, which are unpacked pair by pair of channels."""

from dataclasses import replace

import numpy as np
import pytest

from tests.test_winograd import EMPTY, M4, SAME, beside, check, convolution, strided
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType, Graph, QParams, constant
from tinyc.compiler.ops.conv2d import ALGORITHMS
from tinyc.compiler.ops.op import call_of, rule_of_thumb, schedules_of
from tinyc.compiler.ops.residual import Residual

pytestmark = pytest.mark.sampled

ALGORITHM = "nibble-winograd-4"


def with_nibbles(
    graph: Graph, dtype: DType = DType.INT4, zero: int = 0, extreme: bool = False
) -> Graph:
    """Weights over the whole range of 4 bits, or of its two ends alone."""
    tensors, (low, high) = dict(graph.tensors), dtype.limits
    for w in (graph.tensors[node.inputs[1]] for node in graph.nodes if node.op == "Conv2D"):
        assert w.quant is not None
        values = np.random.default_rng(3).integers(low, high + 1, w.shape)
        values = np.where(values <= zero, low, high) if extreme else values
        scales = tuple(8 * s for s in w.quant.scale)
        quant = QParams(scales, (zero,) * len(scales), w.quant.axis)
        tensors[w.name] = constant(w.name, values, dtype, quant)
    return replace(graph, tensors=tensors)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [4, 7])
def test_every_size(height: int, stride: int) -> None:
    graph = EMPTY
    for width in range(4, 10):
        shape = tuple(stride * size - size % stride for size in (height, width))
        graph = beside(graph, (*shape, 4), 2, strided(stride))
    check(with_nibbles(graph), Schedule(ALGORITHM), "host")


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("tiles", [1, 4, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_number_of_tiles(stride: int, tiles: int, on: str) -> None:
    attrs = strided(stride, (0, 2, 2, 1))
    graph = beside(EMPTY, (11 * stride, 14 * stride, 12), 6, attrs, x_zero=-128)
    check(with_nibbles(graph, extreme=True), Schedule(ALGORITHM, rows=tiles), on)


@pytest.mark.parametrize(("dtype", "zero"), [("int4", -8), ("int4", 7), ("uint4", 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_number_of_channels(stride: int, dtype: str, zero: int) -> None:
    graph = EMPTY
    for channels in (1, 3, 5, 72):
        shape, outputs = (5 * stride, 6 * stride, channels), 2 + channels % 4
        graph = beside(graph, shape, outputs, strided(stride), x_zero=127)
    check(with_nibbles(graph, DType(dtype), zero), Schedule(ALGORITHM), "cortex-m4")


@pytest.mark.parametrize("stride", [1, 2])
def test_layers_overlap_and_add(stride: int) -> None:
    residual = Residual(DType.INT8, QParams((0.06,), (-5,)))
    graph = beside(EMPTY, (13 * stride, 10 * stride, 8), 8)
    for i, attrs in enumerate((strided(stride), SAME, SAME)):
        attrs = replace(attrs, residual=residual if i % 2 == 0 else None)
        graph = convolution(graph, f"y{i}", f"y{i + 1}", 8, attrs)
    check(with_nibbles(graph), Schedule(ALGORITHM), "cortex-m4")


def test_the_rule_takes_it_where_it_suits() -> None:
    def rule(graph: Graph) -> str:
        (node,) = graph.nodes
        return rule_of_thumb(ALGORITHMS, call_of(graph, node), M4)

    good = with_nibbles(beside(EMPTY, (8, 8, 8), 8))
    w = good.tensors["y0_w"]
    assert w.quant is not None
    zeros = replace(w.quant, zero_point=(1, *w.quant.zero_point[1:]))
    unlike = replace(good, tensors={**good.tensors, w.name: replace(w, quant=zeros)})

    assert rule(good) == ALGORITHM
    assert rule(unlike) == "packed"
    assert rule(with_nibbles(beside(EMPTY, (3, 8, 8), 8))) == "nibble-blocks"


def test_a_schedule_is_no_twin_of_another() -> None:
    graph = with_nibbles(beside(EMPTY, (16, 16, 32), 32))
    found = [*schedules_of(ALGORITHMS, call_of(graph, graph.nodes[0]), M4)]
    assert len(found) == len(set(found)) > 12
    assert {s.weights for s in found if "winograd" in s.algorithm} == {""}
