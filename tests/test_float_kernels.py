"""The float kernels of cores with an FPU: every block, on this machine and on emulated cores."""

import math

import numpy as np
import pytest

from tests.harness import random_inputs, run_c
from tests.test_overlap import LAYERS
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, Shape, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.op import call_of, schedules_of
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.residual import Residual
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

RELU, RELU6 = Clamp(0.0), Clamp(0.0, 6.0)
ADDED = Residual(DType.FLOAT32, None, RELU)
TARGETS = (("cortex-m4", "cortex-m4"), ("cortex-m7", "cortex-m7"), ("cortex-m7", "host"))
TOLERANCE = 1e-5  # of the largest output

Layer = tuple[str, Shape, Shape, object]  # operator, input, weights, attrs
CASES: dict[str, Layer] = {
    "conv 1x1": ("Conv2D", (1, 4, 6, 5), (8, 1, 1, 5), Conv2DAttrs(clamp=RELU6)),
    "conv 1x1, odd channels": ("Conv2D", (1, 3, 5, 3), (7, 1, 1, 3), Conv2DAttrs(clamp=RELU)),
    "conv 1x1, one value": ("Conv2D", (1, 1, 1, 1), (1, 1, 1, 1), Conv2DAttrs()),
    "conv 1x1, stride 2": ("Conv2D", (1, 7, 9, 4), (4, 1, 1, 4), Conv2DAttrs((2, 2))),
    "conv 3x3": ("Conv2D", (1, 6, 9, 3), (6, 3, 3, 3), Conv2DAttrs(pads=(1, 1, 1, 1), clamp=RELU)),
    "conv 3x3, inside": ("Conv2D", (1, 5, 12, 9), (4, 3, 3, 9), Conv2DAttrs()),
    "conv 3x3, added": ("Conv2D", (1, 5, 7, 2), (5, 3, 3, 2),
                        Conv2DAttrs(pads=(1, 1, 1, 1), residual=ADDED)),
    "conv 3x3, added, whole": ("Conv2D", (1, 4, 4, 4), (4, 3, 3, 4),
                               Conv2DAttrs(pads=(1, 1, 1, 1), residual=ADDED)),
    "conv 1x1, added": ("Conv2D", (1, 5, 4, 2), (4, 1, 1, 2), Conv2DAttrs(residual=ADDED)),
    "conv 3x3, asymmetric": ("Conv2D", (1, 7, 8, 4), (8, 3, 3, 4),
                             Conv2DAttrs((2, 2), (0, 1, 1, 0))),
    "conv 3x3, one sided": ("Conv2D", (1, 5, 6, 4), (4, 3, 3, 4), Conv2DAttrs(pads=(2, 0, 0, 2))),
    "conv 3x3, small": ("Conv2D", (1, 1, 1, 4), (4, 3, 3, 4), Conv2DAttrs(pads=(1, 1, 1, 1))),
    "winograd": ("Conv2D", (1, 8, 8, 8), (8, 3, 3, 8), Conv2DAttrs(pads=(1, 1, 1, 1), clamp=RELU)),
    "winograd, odd": ("Conv2D", (1, 5, 9, 9), (10, 3, 3, 9), Conv2DAttrs(pads=(1, 1, 1, 1))),
    "winograd, inside": ("Conv2D", (1, 6, 7, 8), (8, 3, 3, 8), Conv2DAttrs(clamp=RELU6)),
    "winograd, one sided": ("Conv2D", (1, 4, 5, 8), (9, 3, 3, 8), Conv2DAttrs(pads=(2, 0, 1, 2))),
    "winograd, added": ("Conv2D", (1, 5, 7, 8), (11, 3, 3, 8),
                        Conv2DAttrs(pads=(1, 1, 1, 1), residual=ADDED)),
    "conv 5x3, dilated": ("Conv2D", (1, 9, 11, 2), (3, 5, 3, 2),
                          Conv2DAttrs(pads=(2, 3, 4, 2), dilations=(2, 3))),
    "conv 2x2, stride 3": ("Conv2D", (1, 7, 8, 3), (5, 2, 2, 3), Conv2DAttrs((3, 3))),
    "conv 10x4": ("Conv2D", (1, 25, 10, 1), (8, 10, 4, 1),
                   Conv2DAttrs((2, 2), (4, 1, 5, 1), clamp=RELU)),
    "depthwise": ("DepthwiseConv2D", (1, 6, 5, 3), (3, 3, 3),
                  DepthwiseConv2DAttrs(pads=(1, 1, 1, 1), clamp=RELU)),
    "depthwise, odd rows": ("DepthwiseConv2D", (1, 5, 8, 4), (3, 3, 4),
                            DepthwiseConv2DAttrs(pads=(1, 1, 1, 1), clamp=RELU6)),
    "depthwise, one pixel": ("DepthwiseConv2D", (1, 1, 1, 2), (3, 3, 2),
                             DepthwiseConv2DAttrs(pads=(1, 1, 1, 1))),
    "depthwise, inside": ("DepthwiseConv2D", (1, 7, 6, 5), (3, 3, 5), DepthwiseConv2DAttrs()),
    "depthwise, stride 2": ("DepthwiseConv2D", (1, 8, 8, 3), (3, 3, 3),
                            DepthwiseConv2DAttrs((2, 2), (0, 0, 1, 1), clamp=RELU)),
    "depthwise, stride 2, odd": ("DepthwiseConv2D", (1, 7, 5, 3), (3, 3, 3),
                                 DepthwiseConv2DAttrs((2, 2), (1, 1, 1, 1))),
    "depthwise, strides 2 and 1": ("DepthwiseConv2D", (1, 7, 5, 2), (3, 3, 2),
                                   DepthwiseConv2DAttrs((2, 1), (1, 1, 0, 0))),
    "dense": ("Dense", (1, 13), (17, 13), DenseAttrs(RELU)),
    "dense, rows": ("Dense", (3, 8), (10, 8), DenseAttrs()),
    "dense, one value": ("Dense", (1, 1), (1, 1), DenseAttrs()),
}  # fmt: skip


def floats(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def graph_of(layer: Layer) -> Graph:
    """One node with its weights and a bias, and the residual where it has one."""
    op, x_shape, w_shape, attrs = layer
    channels = w_shape[-1] if op == "DepthwiseConv2D" else w_shape[0]
    constants = (
        constant("w", floats(1, *w_shape), DType.FLOAT32),
        constant("b", floats(2, channels), DType.FLOAT32),
    )
    x = Tensor("x", x_shape, DType.FLOAT32)
    ((shape, _),) = OPS[op].infer((x, *constants), attrs)
    y = Tensor("y", shape, DType.FLOAT32)
    r = Tensor("r", shape, DType.FLOAT32)
    added = [r] if getattr(attrs, "residual", None) is not None else []
    node = Node("node", op, ("x", "w", "b", *(t.name for t in added)), ("y",), attrs, ("node",))
    tensors = {t.name: t for t in (x, *constants, *added, y)}
    return Graph("model", ("x", *(t.name for t in added)), ("y",), (node,), tensors)


def close(computed: Array, expected: Array) -> None:
    scale = max(float(np.abs(expected).max()), 1e-6)
    np.testing.assert_allclose(computed, expected, rtol=0, atol=TOLERANCE * scale)


def schedules(graph: Graph, target: str) -> list[Schedule]:
    """Every schedule of the float algorithms that suit the only node."""
    call = call_of(graph, graph.nodes[0])
    every = schedules_of(OPS[graph.nodes[0].op].algorithms, call, load_target(target))
    return [s for s in every if s.algorithm.startswith("float")]


@pytest.mark.parametrize(("target", "machine"), TARGETS)
@pytest.mark.parametrize("name", CASES, ids=list(CASES))
def test_the_rule_computes_the_meaning(name: str, target: str, machine: str) -> None:
    graph = graph_of(CASES[name])
    inputs = random_inputs(graph)
    assert schedules(graph, target), "a float algorithm suits"

    (computed,) = run_c(graph, [inputs], target, machine)

    close(computed["y"], run(graph, inputs)["y"])


@pytest.mark.parametrize(
    "name", ["conv 1x1", "conv 3x3", "conv 3x3, added", "winograd, added", "depthwise", "dense"]
)
def test_every_schedule_computes_the_meaning(name: str) -> None:
    graph = graph_of(CASES[name])
    inputs = random_inputs(graph)
    expected = run(graph, inputs)["y"]

    for schedule in schedules(graph, "cortex-m4"):
        (computed,) = run_c(graph, [inputs], "cortex-m4", schedules={"node": schedule})

        close(computed["y"], expected)


@pytest.mark.parametrize("clamp", [NO_CLAMP, RELU, RELU6, Clamp(-1.0, 1.0), Clamp(-math.inf, 0.5)])
def test_every_clamp_is_kept(clamp: Clamp) -> None:
    graph = graph_of(("Conv2D", (1, 4, 4, 3), (4, 1, 1, 3), Conv2DAttrs(clamp=clamp)))
    inputs = {"x": 4 * random_inputs(graph)["x"]}

    (computed,) = run_c(graph, [inputs], "cortex-m4")

    close(computed["y"], run(graph, inputs)["y"])


def chain(seed: int) -> Graph:
    """A random chain of float layers, as in tests/test_overlap.py."""
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([1, 3, 4, 8, 9]))
    height, width = (int(side) for side in rng.integers(3, 14, 2))
    tensors = {"x": Tensor("x", (1, height, width, channels), DType.FLOAT32)}
    nodes: list[Node] = []
    last = "x"
    for i in range(LAYERS):
        kind = str(rng.choice(["1x1", "3x3", "depthwise", "pool", "add"]))
        inputs, op, attrs = operation(kind, i, last, tensors, rng)
        ((shape, _),) = OPS[op].infer(tuple(tensors[n] for n in inputs), attrs)
        tensors[f"y{i}"] = Tensor(f"y{i}", shape, DType.FLOAT32)
        nodes.append(Node(f"n{i}", op, inputs, (f"y{i}",), attrs, (f"n{i}",)))
        last = f"y{i}"
    return Graph("model", ("x",), (last,), tuple(nodes), tensors)


def operation(
    kind: str, i: int, last: str, tensors: dict[str, Tensor], rng: np.random.Generator
) -> tuple[tuple[str, ...], str, object]:
    """Inputs (new weights are added to `tensors`), operator and attrs."""
    _, h, w, c = tensors[last].shape
    stride = 1 if min(h, w) < 3 else int(rng.integers(1, 3))
    if kind == "pool" and min(h, w) > 2:
        return (last,), "MaxPool2D", Pool2DAttrs((2, 2), (stride, stride))
    if kind == "add":
        return (last, last), "Add", BinaryAttrs()
    size = 3 if kind == "3x3" else 1
    attrs: object = Conv2DAttrs((stride, stride), (size // 2,) * 4)
    shape: Shape = (int(rng.choice([2, 4, 5, 8, 9])), size, size, c)
    if kind == "depthwise":
        shape, attrs = (3, 3, c), DepthwiseConv2DAttrs((stride, stride), (1,) * 4, clamp=RELU)
    weights = constant(f"w{i}", floats(i, *shape) / 3, DType.FLOAT32)
    tensors[weights.name] = weights
    return (last, weights.name), "DepthwiseConv2D" if kind == "depthwise" else "Conv2D", attrs


@pytest.mark.parametrize("machine", ["cortex-m4", "host"])
@pytest.mark.parametrize("seed", range(12))
def test_overlapping_layers_compute_the_meaning(seed: int, machine: str) -> None:
    graph = chain(seed)
    inputs = random_inputs(graph, seed)

    (computed,) = run_c(graph, [inputs], "cortex-m4", machine)

    (name,) = graph.outputs
    close(computed[name], run(graph, inputs)[name])
