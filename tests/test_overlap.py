"""Layers whose outputs overlap their dying inputs compute what the graph means.

Random chains of convolutions, so that blocks, bands and rows of every kind meet in the arena.
"""

import numpy as np
import pytest

from tests.harness import random_constant, random_inputs, run_c, stored
from tinyc.compiler.graph import DType, Graph, Node, QParams, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs

pytestmark = pytest.mark.sampled

LAYERS = 6


def chain(seed: int) -> Graph:
    """A random chain of 1x1, 3x3 and depthwise convolutions, pools and residual Adds."""
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([1, 3, 4, 8, 12]))
    shape = (1, int(rng.integers(3, 14)), int(rng.integers(2, 14)), channels)
    tensors = {"x": stored("x", shape, QParams((0.05,), (3,)))}
    nodes: list[Node] = []
    last = "x"
    for i in range(LAYERS):
        kind = str(rng.choice(["1x1", "3x3", "depthwise", "pool", "add"]))
        inputs, op, attrs = operation(kind, i, last, tensors, rng)
        operands = tuple(tensors[name] for name in inputs)
        ((y_shape, _),) = OPS[op].infer(operands, attrs)
        quant = tensors[last].quant if kind == "pool" else QParams((0.4,), (-3,))
        y = stored(f"y{i}", y_shape, quant)
        tensors[y.name] = y
        nodes.append(Node(f"n{i}", op, tuple(inputs), (y.name,), attrs, (f"n{i}",)))
        last = y.name
    return Graph("model", ("x",), (last,), tuple(nodes), tensors)


def operation(
    kind: str, i: int, last: str, tensors: dict[str, Tensor], rng: np.random.Generator
) -> tuple[list[str], str, object]:
    """Inputs (new constants are added to `tensors`), operator and attrs."""
    _, h, w, c = tensors[last].shape
    small = min(h, w) < 3
    stride = 1 if small else int(rng.integers(1, 3))
    if kind == "pool" and not small:
        return [last], "MaxPool2D", Pool2DAttrs((2, 2), (stride, stride))
    if kind == "add":
        return [last, last], "Add", BinaryAttrs()
    if kind == "depthwise" and c > 1:
        quant = QParams(tuple([0.02] * c), (0,) * c, 2)
        add(tensors, random_constant(f"w{i}", (3, 3, c), DType.INT8, i, quant), i, c)
        attrs = DepthwiseConv2DAttrs((stride, stride), (1, 1, 1, 1))
        return [last, f"w{i}", f"b{i}"], "DepthwiseConv2D", attrs
    size, pads = (3, (1, 1, 1, 1)) if kind == "3x3" else (1, (0, 0, 0, 0))
    outputs = int(rng.choice([2, 4, 5, 8, 16]))
    quant = QParams((0.01,), (0,))
    add(
        tensors,
        random_constant(f"w{i}", (outputs, size, size, c), DType.INT8, i, quant),
        i,
        outputs,
    )
    return [last, f"w{i}", f"b{i}"], "Conv2D", Conv2DAttrs((stride, stride), pads)


def add(tensors: dict[str, Tensor], weights: Tensor, i: int, channels: int) -> None:
    tensors[weights.name] = weights
    tensors[f"b{i}"] = constant(f"b{i}", np.arange(channels) * 100 - 300, DType.INT32)


@pytest.mark.parametrize("target", ["host", "cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("seed", range(12))
def test_overlapping_layers_compute_the_meaning(seed: int, target: str) -> None:
    graph = chain(seed)
    inputs = random_inputs(graph, seed)

    (computed,) = run_c(graph, [inputs], target, "host")

    (name,) = graph.outputs
    np.testing.assert_array_equal(computed[name], run(graph, inputs)[name])
