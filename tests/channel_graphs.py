"""Graphs with channels that never change, or that nobody uses, behind operators of every kind."""

import numpy as np

from tests.harness import random_constant, stored
from tests.pass_graphs import X_QUANT, Y_QUANT, floats, graph_of, real
from tinyc.compiler.graph import DType, Graph, Node, QParams, Tensor, constant, read_only
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.residual import Residual
from tinyc.compiler.ops.unary import UnaryAttrs

ONE = QParams((0.02,), (0,))
LOW = QParams((0.1,), (-128,))  # the zero point is the least value
RELU = Clamp(low=0.0)
SAME = (1, 1, 1, 1)


def without(name: str, shape: tuple[int, ...], axis: int, dead: list[int], seed: int = 1) -> Tensor:
    """Weights that are zero for the `dead` channels along an axis."""
    tensor = random_constant(name, shape, DType.INT8, seed, ONE)
    assert tensor.data is not None
    data = tensor.data.copy()
    data[(slice(None),) * axis + (dead,)] = 0
    return constant(name, data, DType.INT8, ONE)


def bias(name: str, size: int, dead: list[int], value: int) -> Tensor:
    values = np.arange(size) * 37 - 100
    values[dead] = value
    return constant(name, values, DType.INT32)


def chain_of_all_kinds() -> Graph:
    """Three of eight channels, constant through pools, a table, an operand and a Concat.

    A fourth saturates on its way.
    """
    dead = [1, 4, 6]
    spread = QParams(tuple([0.01] * 8), (0,) * 8, 2)
    operand = random_constant("k", (8,), DType.INT8, 5, QParams((0.03,), (4,)))
    constants = [
        without("w0", (8, 1, 1, 3), 0, dead), bias("b0", 8, dead, -500), operand,
        random_constant("w1", (3, 3, 8), DType.INT8, 2, spread), bias("b1", 8, [], 0),
        without("w2", (2, 1, 1, 3), 0, [1], 3), bias("b2", 2, [1], 700),
        random_constant("w3", (4, 1, 1, 10), DType.INT8, 4, ONE), bias("b3", 4, [], 0),
    ]  # fmt: skip
    steps = [
        ("a", "Conv2D", ["x", "w0", "b0"], Conv2DAttrs(clamp=RELU)),
        ("p", "Pad", ["a"], PadAttrs(((0, 0), (1, 1), (1, 1), (0, 0)))),
        ("m", "MaxPool2D", ["p"], Pool2DAttrs((3, 3), (1, 1))),
        ("t", "MaxPool2D", ["m"], Pool2DAttrs((1, 1))),  # below: a table, as passes make them
        ("s", "Mul", ["t", "k"], BinaryAttrs()),
        ("d", "DepthwiseConv2D", ["s", "w1", "b1"], DepthwiseConv2DAttrs()),
        ("g", "AveragePool2D", ["d"], Pool2DAttrs((1, 1))),
        ("u", "AveragePool2D", ["x"], Pool2DAttrs((3, 3))),
        ("e", "Conv2D", ["u", "w2", "b2"], Conv2DAttrs()),
        ("c", "Concat", ["g", "e"], ConcatAttrs(3)),
        ("y", "Conv2D", ["c", "w3", "b3"], Conv2DAttrs()),
    ]
    names = ("m", "p", "a", "t", "s", "d", "g", "u", "e", "c", "y")
    quants = {name: QParams((0.05,), (-20,)) for name in names}
    quants |= {name: LOW for name in ("a", "p", "m")} | {"u": X_QUANT, "d": Y_QUANT, "g": Y_QUANT}
    graph = graph_of(stored("x", (1, 5, 5, 3), X_QUANT), constants, steps, quants)
    table = Node("node_t", "Unary", ("m",), ("t",), UnaryAttrs("sigmoid"), ("t",))
    return graph.with_nodes([table if node.output == "t" else node for node in graph.nodes])


def both_branches_of_a_residual(fused: bool) -> Graph:
    """Channels 1 and 2 are constant in one branch, 2 and 3 in the other: only 2 goes."""
    constants = [
        without("w0", (4, 1, 1, 3), 0, [1, 2]), bias("b0", 4, [1, 2], 900),
        without("w1", (4, 1, 1, 3), 0, [2, 3], 2), bias("b1", 4, [2, 3], -300),
        random_constant("w2", (3, 1, 1, 4), DType.INT8, 4, ONE), bias("b2", 3, [], 0),
    ]  # fmt: skip
    inner = QParams((0.07,), (-5,))
    if fused:
        residual = Residual(DType.INT8, inner)
        middle = [
            ("s", "Conv2D", ["x", "w1", "b1", "a"], Conv2DAttrs(clamp=RELU, residual=residual))
        ]
    else:
        middle = [
            ("r", "Conv2D", ["x", "w1", "b1"], Conv2DAttrs(clamp=RELU)),
            ("s", "Add", ["r", "a"], BinaryAttrs()),
        ]
    steps = [
        ("a", "Conv2D", ["x", "w0", "b0"], Conv2DAttrs()),
        *middle,
        ("y", "Conv2D", ["s", "w2", "b2"], Conv2DAttrs()),
    ]
    quants = {"a": QParams((0.1,), (2,)), "r": inner, "s": Y_QUANT, "y": Y_QUANT}
    return graph_of(stored("x", (1, 4, 4, 3), X_QUANT), constants, steps, quants)


def fused_residual() -> Graph:
    return both_branches_of_a_residual(True)


def added_branches() -> Graph:
    return both_branches_of_a_residual(False)


def unused_behind_a_flattening() -> Graph:
    """Nobody reads channel 0 of five behind the Reshape; then nobody reads a hidden unit."""
    reader = without("w1", (6, 20), 1, [0, 5, 10, 15], 2)
    constants = [
        random_constant("w0", (5, 1, 1, 3), DType.INT8, 1, ONE), bias("b0", 5, [], 0),
        reader, bias("b1", 6, [], 0),
        without("w2", (2, 6), 1, [3], 3), bias("b2", 2, [], 0),
    ]  # fmt: skip
    steps = [
        ("a", "Conv2D", ["x", "w0", "b0"], Conv2DAttrs()),
        ("f", "Reshape", ["a"], ReshapeAttrs((1, 20))),
        ("h", "Dense", ["f", "w1", "b1"], DenseAttrs()),
        ("y", "Dense", ["h", "w2", "b2"], DenseAttrs()),
    ]
    quants = {"a": LOW, "f": LOW, "h": Y_QUANT, "y": Y_QUANT}
    return graph_of(stored("x", (1, 2, 2, 3), X_QUANT), constants, steps, quants)


def zero(tensor: Tensor, axis: int, dead: list[int], value: float = 0.0) -> Tensor:
    assert tensor.data is not None
    data = tensor.data.copy()
    data[(slice(None),) * axis + (dead,)] = value
    return Tensor(tensor.name, tensor.shape, tensor.dtype, read_only(data, "float32"))


def float_chain() -> Graph:
    """Of eight: 1 and 4 are zero by Relu, 6 is a constant that is not, nobody reads 7."""
    first = zero(floats("w0", 8, 1, 1, 3), 0, [1, 4, 6])
    constants = [
        first, zero(zero(floats("b0", 8), 0, [1, 4], -2.0), 0, [6], 3.0),
        zero(floats("w1", 3, 3, 8), 2, []), zero(floats("b1", 8), 0, [1, 4]),
        zero(floats("w2", 4, 3, 3, 8), 3, [7]), floats("b2", 4),
    ]  # fmt: skip
    steps = [
        ("a", "Conv2D", ["x", "w0", "b0"], Conv2DAttrs(clamp=RELU)),
        ("t", "Unary", ["a"], UnaryAttrs("tanh")),
        ("d", "DepthwiseConv2D", ["t", "w1", "b1"], DepthwiseConv2DAttrs(pads=SAME)),
        ("y", "Conv2D", ["d", "w2", "b2"], Conv2DAttrs(pads=SAME)),
    ]
    return graph_of(real(1, 4, 4, 3), constants, steps)


def negative_sums() -> Graph:
    """Floats that Relu leaves zero whatever comes: weights, bias and inputs of known signs."""
    minus = floats("w1", 4, 5)
    assert minus.data is not None
    data = np.where(np.arange(4)[:, None] == 2, -np.abs(minus.data), minus.data)
    constants = [
        floats("w0", 5, 3), floats("b0", 5),
        Tensor("w1", (4, 5), DType.FLOAT32, read_only(data, "float32")),
        zero(floats("b1", 4), 0, [2], -0.5), floats("w2", 2, 4), floats("b2", 2),
    ]  # fmt: skip
    steps = [
        ("a", "Dense", ["x", "w0", "b0"], DenseAttrs(RELU)),
        ("h", "Dense", ["a", "w1", "b1"], DenseAttrs(RELU)),
        ("y", "Dense", ["h", "w2", "b2"], DenseAttrs()),
    ]
    return graph_of(real(1, 3), constants, steps)


def conv_chain(bias_of_dead: int, pads: tuple[int, int, int, int]) -> Graph:
    """A convolution with 6 of 12 channels without weights, a depthwise one, one that reads both."""
    rng = np.random.default_rng(3)
    first = rng.integers(-127, 128, (12, 1, 1, 3)).astype(np.int8)
    first[[1, 2, 5, 7, 8, 11]] = 0
    bias = rng.integers(-500, 500, 12)
    bias[[1, 2, 5, 7, 8, 11]] = bias_of_dead
    one, spread = QParams((0.02,), (0,)), QParams(tuple([0.01] * 12), (0,) * 12, 2)
    constants = [
        constant("w0", first, DType.INT8, one),
        constant("b0", bias, DType.INT32),
        random_constant("w1", (3, 3, 12), DType.INT8, quant=spread),
        random_constant("b1", (12,), DType.INT32),
        random_constant("w2", (4, 3, 3, 12), DType.INT8, quant=one),
        random_constant("b2", (4,), DType.INT32),
    ]
    relu = Clamp(low=0.0)
    steps = [
        ("a", "Conv2D", ["x", "w0", "b0"], Conv2DAttrs(clamp=relu)),
        ("d", "DepthwiseConv2D", ["a", "w1", "b1"], DepthwiseConv2DAttrs(pads=(1, 1, 1, 1))),
        ("y", "Conv2D", ["d", "w2", "b2"], Conv2DAttrs(pads=pads)),
    ]
    x = stored("x", (1, 5, 5, 3), X_QUANT)
    low = QParams((0.1,), (-128,))
    return graph_of(x, constants, steps, {"a": low, "d": QParams((0.3,), (5,)), "y": Y_QUANT})


def channels_that_never_change() -> Graph:
    return conv_chain(-100, (0, 0, 0, 0))


def constants_before_padding() -> Graph:
    return conv_chain(-100, (1, 1, 1, 1))


def readers_that_share_constants() -> Graph:
    """A layer and one that reads it have the same weights; two readers have one bias."""
    first = np.random.default_rng(3).integers(-127, 128, (8, 1, 1, 8)).astype(np.int8)
    first[[1, 2, 5, 7]] = 0
    one = QParams((0.02,), (0,))
    constants = [
        constant("w", first, DType.INT8, one),
        constant("b", [500] * 8, DType.INT32),
        random_constant("v", (8, 1, 1, 8), DType.INT8, quant=one),
        random_constant("c", (8,), DType.INT32),
    ]
    steps = [
        ("a", "Conv2D", ["x", "w", "b"], Conv2DAttrs(clamp=Clamp(low=0.0))),
        ("d", "Conv2D", ["a", "w", "c"], Conv2DAttrs()),
        ("e", "Conv2D", ["a", "v", "c"], Conv2DAttrs()),
        ("y", "Add", ["d", "e"], BinaryAttrs()),
    ]
    x = stored("x", (1, 3, 3, 8), X_QUANT)
    quants = {"a": QParams((0.1,), (-128,)), "d": Y_QUANT, "e": Y_QUANT, "y": Y_QUANT}
    return graph_of(x, constants, steps, quants)
