"""Pools of 8-bit values, four channels a word: the reference's bytes on the core and its twin."""

from dataclasses import replace

import numpy as np
import pytest

from tests.harness import run_c
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.pooling import AVERAGE_ALGORITHMS, MAX_ALGORITHMS, Pool2DAttrs, infer
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

Shape = tuple[int, int, int]  # height, width, channels
BORDERS = Pool2DAttrs((3, 3), (1, 1), (1, 1, 1, 1))
CASES: dict[str, tuple[Shape, Pool2DAttrs]] = {
    "global": ((5, 7, 6), Pool2DAttrs((5, 7))),
    "global, 256 cells": ((16, 16, 4), Pool2DAttrs((16, 16))),
    "one cell": ((3, 3, 4), Pool2DAttrs((1, 1))),
    "2x2": ((6, 6, 8), Pool2DAttrs((2, 2), (2, 2))),
    "odd channels": ((6, 5, 7), Pool2DAttrs((2, 3), (2, 1))),
    "borders": ((5, 5, 5), BORDERS),
    "padding counts": ((5, 5, 5), replace(BORDERS, include_pad=True)),
    "asymmetric": ((6, 7, 4), Pool2DAttrs((3, 3), (2, 2), (0, 1, 2, 0))),
    "above and below": ((6, 7, 4), Pool2DAttrs((3, 7), (1, 1), (1, 0, 1, 0))),
    "stride over kernel": ((9, 9, 4), Pool2DAttrs((2, 2), (3, 4))),
}
ALGORITHMS = {"MaxPool2D": MAX_ALGORITHMS, "AveragePool2D": AVERAGE_ALGORITHMS}


def graph_of(op: str, shape: Shape, attrs: Pool2DAttrs, dtype: DType) -> Graph:
    zero = 3 if dtype == DType.INT8 else 131
    x = Tensor("x", (1, *shape), dtype, None, QParams((0.1,), (zero,)))
    ((y_shape, _),) = infer((x,), attrs)
    quant = x.quant if op == "MaxPool2D" else QParams((0.07,), (zero - 7,))
    y = Tensor("y", y_shape, dtype, None, quant)
    return Graph("model", ("x",), ("y",), (Node("n", op, ("x",), ("y",), attrs),), {"x": x, "y": y})


def samples_of(graph: Graph) -> list[dict[str, Array]]:
    """Random values, the extremes only, and the lowest only."""
    x = graph.tensors["x"]
    low, high = x.dtype.limits
    values = np.random.default_rng(1).integers(low, high + 1, x.shape).astype(x.dtype.value)
    ends = np.where(values % 2 == 0, low, high).astype(x.dtype.value)
    return [{"x": values}, {"x": ends}, {"x": np.full_like(values, low)}]


def check(graph: Graph, on: str) -> None:
    (node,) = graph.nodes
    assert ALGORITHMS[node.op]["words"].suits(call_of(graph, node), load_target("cortex-m4"))
    samples = samples_of(graph)

    computed = run_c(graph, samples, "cortex-m4", on, {"n": Schedule("words")})

    for sample, outputs in zip(samples, computed, strict=True):
        np.testing.assert_array_equal(outputs["y"], run(graph, sample)["y"])


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("op", ALGORITHMS)
@pytest.mark.parametrize("case", CASES)
def test_words_give_the_same_bytes(case: str, op: str, on: str) -> None:
    check(graph_of(op, *CASES[case], DType.INT8), on)


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("op", ALGORITHMS)
@pytest.mark.parametrize("case", ["odd channels", "borders", "global, 256 cells"])
def test_words_of_uint8(case: str, op: str, on: str) -> None:
    check(graph_of(op, *CASES[case], DType.UINT8), on)


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("op", ALGORITHMS)
@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8])
def test_clamps(dtype: DType, op: str, on: str) -> None:
    shape, attrs = CASES["borders"]
    check(graph_of(op, shape, replace(attrs, clamp=Clamp(-1.0, 3.0)), dtype), on)
