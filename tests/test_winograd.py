"""Winograd's convolutions give the bytes of the reference: exact for every stored value."""

import itertools

import numpy as np
import pytest

from tests.harness import random_constant, random_inputs, run_c, stored
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.conv2d import Conv2DAttrs, infer

SAME = (1, 1, 1, 1)


def graph_of(
    size: tuple[int, int], channels: tuple[int, int], pads: tuple[int, int, int, int] = SAME,
    zero_point: int = 3, extreme: bool = False,
) -> Graph:  # fmt: skip
    """One 3x3 convolution; `extreme` weights are 127 or -127."""
    inputs, outputs = channels
    scales = tuple(0.02 * 2.0 ** -(3 * i % 13) for i in range(outputs))
    weights = random_constant("w", (outputs, 3, 3, inputs), DType.INT8)
    assert weights.data is not None
    values = np.where(weights.data < 0, -127, 127) if extreme else weights.data
    bias = np.arange(outputs) * 1000 - 3000
    tensors = {
        "x": stored("x", (1, *size, inputs), QParams((0.05,), (zero_point,))),
        "w": constant("w", values, DType.INT8, QParams(scales, (0,) * outputs, 0)),
        "b": constant("b", bias, DType.INT32),
    }
    attrs = Conv2DAttrs(pads=pads)
    ((shape, _),) = infer(tuple(tensors.values()), attrs)
    tensors["y"] = stored("y", shape, QParams((0.02 * inputs**0.5,), (-5,)))
    node = Node("conv", "Conv2D", ("x", "w", "b"), ("y",), attrs, ("conv",))
    return Graph("model", ("x",), ("y",), (node,), tensors)


def saturating(graph: Graph) -> dict[str, Array]:
    """Inputs of -128 and 127 only."""
    return {
        name: np.where(values < 0, -128, 127).astype(np.int8)
        for name, values in random_inputs(graph).items()
    }


def check(graph: Graph, schedule: Schedule, on: str) -> None:
    inputs = [random_inputs(graph), saturating(graph)]

    computed = run_c(graph, inputs, "cortex-m4", on, {"conv": schedule})

    for got, given in zip(computed, inputs, strict=True):
        np.testing.assert_array_equal(got["y"], run(graph, given)["y"])


SIZES = [
    (f"winograd-{m}", height, width)
    for m in (2, 4)
    for height, width in itertools.product(range(m, 10), repeat=2)
]


@pytest.mark.parametrize(("algorithm", "height", "width"), SIZES)
def test_every_size(algorithm: str, height: int, width: int) -> None:
    check(graph_of((height, width), (4, 2)), Schedule(algorithm), "host")


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("tiles", [1, 4, 8, 16])
@pytest.mark.parametrize("algorithm", ["winograd-2", "winograd-4"])
def test_every_number_of_tiles(algorithm: str, tiles: int, on: str) -> None:
    graph = graph_of((11, 14), (12, 6), (0, 2, 2, 1), zero_point=-128, extreme=True)
    check(graph, Schedule(algorithm, rows=tiles), on)
