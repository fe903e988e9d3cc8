"""Pools of a whole image and Dense of one, as its rows come: the bytes of all at once."""

from dataclasses import replace

import numpy as np
import pytest

from tests.harness import random_constant, random_inputs, stored
from tests.row_parts import odd_parts, run_parts
from tests.test_pooling import graph_of, samples_of
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS, dense
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.planning import plan_program
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

MACHINES = (("cortex-m4", "cortex-m4"), ("cortex-m4", "host"), ("cortex-m0plus", "host"))
POOLS: dict[str, tuple[tuple[int, int, int], Pool2DAttrs]] = {
    "global": ((5, 7, 6), Pool2DAttrs((5, 7))),
    "one pixel": ((1, 1, 1), Pool2DAttrs((1, 1))),
    "one channel": ((9, 4, 1), Pool2DAttrs((9, 4))),
    "256 cells": ((16, 16, 4), Pool2DAttrs((16, 16))),
    "more cells": ((30, 11, 5), Pool2DAttrs((30, 11))),
    "clamped": ((6, 3, 8), Pool2DAttrs((6, 3), clamp=Clamp(-1.0, 3.0))),
    "windows to the side": ((7, 12, 7), Pool2DAttrs((7, 3), (1, 2))),
    "stride over kernel": ((4, 13, 4), Pool2DAttrs((4, 2), (9, 5))),
    "padded to the side": ((4, 6, 5), Pool2DAttrs((4, 3), (1, 2), (0, 2, 0, 1))),
    "padding counts": ((4, 6, 4), Pool2DAttrs((4, 3), (1, 1), (0, 1, 0, 1), include_pad=True)),
}


def check(graph: Graph, samples: list[dict[str, Array]], target: str, on: str) -> None:
    """All rows in one call, and in parts that differ."""
    (node,) = graph.nodes
    call, machine = call_of(graph, node), load_target(target)
    assert OPS[node.op].algorithms["running"].suits(call, machine)
    build = OPS[node.op].kernel
    assert build is not None
    rows = build(call, machine, Schedule("running")).rows
    variants = [(Schedule("running"), cuts) for cuts in ([0, rows], odd_parts(rows))]
    results = run_parts(graph, samples, target, on, variants)
    for sample, computed in zip(samples, results, strict=True):
        expected = run(graph, sample)["y"]
        for y in computed:
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
            else:
                np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(("target", "on"), MACHINES)
@pytest.mark.parametrize("op", ["MaxPool2D", "AveragePool2D"])
@pytest.mark.parametrize("case", POOLS)
def test_pools(case: str, op: str, target: str, on: str) -> None:
    graph = graph_of(op, *POOLS[case], DType.INT8)
    check(graph, samples_of(graph), target, on)


@pytest.mark.parametrize(("target", "on"), MACHINES)
@pytest.mark.parametrize("op", ["MaxPool2D", "AveragePool2D"])
def test_pools_of_uint8(op: str, target: str, on: str) -> None:
    graph = graph_of(op, *POOLS["windows to the side"], DType.UINT8)
    check(graph, samples_of(graph), target, on)


@pytest.mark.parametrize(("target", "on"), MACHINES)
@pytest.mark.parametrize("op", ["MaxPool2D", "AveragePool2D"])
@pytest.mark.parametrize("case", ["one channel", "padded to the side", "clamped"])
def test_pools_of_floats(case: str, op: str, target: str, on: str) -> None:
    graph = graph_of(op, *POOLS[case], DType.INT8)
    tensors = {n: Tensor(n, t.shape, DType.FLOAT32) for n, t in graph.tensors.items()}
    graph = replace(graph, tensors=tensors)
    check(graph, [random_inputs(graph)], target, on)


@pytest.mark.parametrize("op", ["MaxPool2D", "Dense"])
def test_results_do_not_lie_over_inputs_when_all_rows_come_at_once(op: str) -> None:
    """An output is written before the inputs of the next one are read."""
    graph = dense_graph(40, 24) if op == "Dense" else graph_of(op, *POOLS["global"], DType.INT8)

    plan_program(
        graph, load_target("cortex-m4"), "arena", {graph.nodes[0].name: Schedule("running")}
    )


def dense_graph(k: int, n: int, zero_point: int = 3, clamp: Clamp = NO_CLAMP) -> Graph:
    """One row of quantized values, the scales of the channels over a wide range."""
    rng = np.random.default_rng(k)
    scales = np.exp2(-rng.integers(4, 14, n)).tolist()
    x = stored("x", (1, k), QParams((0.05,), (zero_point,)))
    w = random_constant("w", (n, k), DType.INT8, k, QParams(tuple(scales), (0,) * n, 0))
    b = constant("b", rng.integers(-3000, 3000, n), DType.INT32)
    y = stored("y", (1, n), QParams((0.3,), (-4,)))
    node = Node("n", "Dense", ("x", "w", "b"), ("y",), DenseAttrs(clamp), ("n",))
    return Graph("model", ("x",), ("y",), (node,), {t.name: t for t in (x, w, b, y)})


@pytest.mark.parametrize(("target", "on"), MACHINES)
@pytest.mark.parametrize(("k", "n"), [(1, 1), (4, 7), (63, 4), (200, 6)])
def test_dense(k: int, n: int, target: str, on: str) -> None:
    graph = dense_graph(k, n)
    check(graph, samples_of(graph), target, on)


@pytest.mark.parametrize(("target", "on"), MACHINES)
@pytest.mark.parametrize("zero_point", [-128, 127])
def test_dense_clamped(zero_point: int, target: str, on: str) -> None:
    graph = dense_graph(37, 6, zero_point, Clamp(0.0, 6.0))
    check(graph, samples_of(graph), target, on)


@pytest.mark.parametrize(("target", "on"), MACHINES)
def test_dense_of_floats(target: str, on: str) -> None:
    graph = dense_graph(45, 6)
    tensors = {
        n: Tensor(n, t.shape, DType.FLOAT32)
        if t.data is None
        else random_constant(n, t.shape, DType.FLOAT32)
        for n, t in graph.tensors.items()
    }
    graph = replace(graph, tensors=tensors)
    check(graph, [random_inputs(graph)], target, on)


def test_several_rows_are_not_one() -> None:
    graph = dense_graph(8, 3)
    tensors = {
        **graph.tensors,
        "x": replace(graph.tensors["x"], shape=(2, 8)),
        "y": replace(graph.tensors["y"], shape=(2, 3)),
    }
    graph = replace(graph, tensors=tensors)

    call = call_of(graph, graph.nodes[0])

    assert not dense.ALGORITHMS["running"].suits(call, load_target("host"))
