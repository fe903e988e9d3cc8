"""Weights of 4 bits by assembly blocks, as the twin on the host and on the core."""

from dataclasses import replace

import numpy as np
import pytest

from tests.test_conv_blocks import WINDOWS, Window, check, conv
from tests.test_dense_blocks import check as check_dense
from tests.test_dense_blocks import dense
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, QParams, constant
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.conv2d import ALGORITHMS
from tinyc.compiler.ops.dense import ALGORITHMS as DENSE
from tinyc.compiler.ops.op import call_of, rule_of_thumb, schedules_of
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

ALGORITHM = "nibble-blocks"


def with_nibbles(
    graph: Graph,
    dtype: DType = DType.INT4,
    zero: int = 0,
    values: Array | None = None,
    steep: int = 16,
) -> Graph:
    """Weights over the whole range of 4 bits; steep: times the scales of 8 bits."""
    w = graph.tensors["w"]
    assert w.quant is not None
    low, high = dtype.limits
    if values is None:
        values = np.random.default_rng(3).integers(low, high + 1, w.shape)
    scales = tuple(steep * s for s in w.quant.scale)
    quant = QParams(scales, (zero,) * len(scales), w.quant.axis)
    return replace(graph, tensors={**graph.tensors, "w": constant("w", values, dtype, quant)})


@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_gives_the_same_bytes(window: str) -> None:
    check(with_nibbles(conv(WINDOWS[window])), Schedule(ALGORITHM))


@pytest.mark.parametrize("window", ["flat", "gathered", "shared, no padding"])
def test_the_rule_takes_it_where_no_transform_suits(window: str) -> None:
    graph = with_nibbles(conv(WINDOWS[window]))
    call = call_of(graph, graph.nodes[0])
    assert rule_of_thumb(ALGORITHMS, call, load_target("cortex-m4")) == ALGORITHM


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("turn", [1, 4, 64])
@pytest.mark.parametrize("window", ["flat, six wide", "shared, stride 2", "gathered"])
def test_every_block_gives_the_same_bytes(window: str, turn: int, rows: int) -> None:
    check(with_nibbles(conv(WINDOWS[window])), Schedule(ALGORITHM, rows=rows, unroll=turn))


@pytest.mark.parametrize(("dtype", "zero"), [("int4", -8), ("int4", 7), ("uint4", 3)])
@pytest.mark.parametrize("x_dtype", ["int8", "uint8"])
def test_zero_points(dtype: str, zero: int, x_dtype: str) -> None:
    for window in ("shared", "cells"):
        graph = conv(WINDOWS[window], zero=-128 if zero < 0 else 127, x_dtype=x_dtype)
        check(with_nibbles(graph, DType(dtype), zero), Schedule(ALGORITHM))


@pytest.mark.parametrize("value", [-8, 7])
def test_extreme_weights(value: int) -> None:
    window: Window = WINDOWS["shared, long"]
    graph = conv(window)
    check(with_nibbles(graph, values=np.full(graph.tensors["w"].shape, value)), Schedule(ALGORITHM))


@pytest.mark.parametrize("window", ["flat", "narrow", "shared", "gathered"])
@pytest.mark.parametrize("clamp", [NO_CLAMP, Clamp(0.0, 3.0)], ids=["", "clamp"])
def test_a_residual_is_added(window: str, clamp: Clamp) -> None:
    graph = conv(WINDOWS[window], 7, clamp=clamp, residual=True)
    check(with_nibbles(graph), Schedule(ALGORITHM))


@pytest.mark.parametrize(("rows", "k", "n"), [(1, 1, 2), (1, 36, 17), (3, 13, 7), (9, 20, 5)])
def test_dense_gives_the_same_bytes(rows: int, k: int, n: int) -> None:
    graph = with_nibbles(dense(rows, k, n), steep=1)
    call = call_of(graph, graph.nodes[0])
    assert rule_of_thumb(DENSE, call, load_target("cortex-m4")) == ALGORITHM
    check_dense(graph, Schedule())


def test_zero_points_that_differ_are_left_to_others() -> None:
    graph = with_nibbles(conv(WINDOWS["flat"]))
    w = graph.tensors["w"]
    assert w.quant is not None
    quant = replace(w.quant, zero_point=(1, *w.quant.zero_point[1:]))
    graph = replace(graph, tensors={**graph.tensors, "w": replace(w, quant=quant)})
    call = call_of(graph, graph.nodes[0])
    assert not ALGORITHMS[ALGORITHM].suits(call, load_target("cortex-m4"))
    check(graph, Schedule())


def test_the_space_differs() -> None:
    graph = with_nibbles(conv(WINDOWS["shared"]))
    call = call_of(graph, graph.nodes[0])
    space = [s for s in schedules_of(ALGORITHMS, call, load_target("cortex-m4"))]
    assert len(space) == len(set(space)) > 3
