"""Graphs with stored integers for the tests of passes, as in `pass_graphs.py`."""

import numpy as np

from tests.harness import random_constant, stored
from tests.pass_graphs import NCHW, NHWC, X_QUANT, Y_QUANT, Step, floats, graph_of, real, weights
from tinyc.compiler.graph import DType, Graph, QParams, constant
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.conv_nd import ConvNDAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.gate_activations import Activation
from tinyc.compiler.ops.recurrent import RecurrentAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.unary import UnaryAttrs


def stored_transposes() -> Graph:
    """The first Transpose stays before its Dequantize; the others cancel."""
    x = stored("x", (1, 2, 3, 4), X_QUANT)
    steps = [
        ("a", "Transpose", ["x"], NHWC),
        ("b", "Transpose", ["a"], NCHW),
        ("c", "Transpose", ["b"], NHWC),
        ("d", "Dequantize", ["c"], None),
        ("y", "Unary", ["d"], UnaryAttrs("tanh")),
    ]
    return graph_of(x, [], steps, {"a": X_QUANT, "b": X_QUANT, "c": X_QUANT})


def swish_of_stored_values() -> Graph:
    steps = [
        ("a", "Unary", ["x"], UnaryAttrs("sigmoid")),
        ("y", "Mul", ["a", "x"], BinaryAttrs()),
    ]
    return graph_of(stored("x", (2, 5), X_QUANT), [], steps, {"a": Y_QUANT, "y": X_QUANT})


def moves_between_quantizations() -> Graph:
    x = stored("x", (1, 2, 3, 4), X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("b", "Transpose", ["a"], NHWC),
        ("c", "Reshape", ["b"], ReshapeAttrs((1, 24))),
        ("y", "Unary", ["c"], UnaryAttrs("tanh")),
    ]
    return graph_of(x, [], steps)


def transposed_conv() -> Graph:
    """Windows of 2x2 side by side: four phases of one weight each."""
    x = stored("x", (1, 2, 3, 4), X_QUANT)
    attrs = ConvNDAttrs((2, 2), (0, 0), (4, 6), (1, 1))
    bias = constant("b", [9, -7, 5], DType.INT32)
    steps: list[Step] = [("y", "ConvTranspose", ["x", "w", "b"], attrs)]
    return graph_of(x, [weights((3, 2, 2, 4)), bias], steps, {"y": Y_QUANT})


def quantized_dense() -> Graph:
    x = stored("x", (2, 8), X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("v", "Dequantize", ["w"], None),
        ("d", "Dense", ["a", "v", "b"], DenseAttrs(clamp=Clamp(low=-20.0))),
        ("y", "Quantize", ["d"], None),
    ]
    bias = constant("b", [9.0, -7.0, 5.0], DType.FLOAT32)
    return graph_of(x, [weights((3, 8)), bias], steps, {"y": Y_QUANT})


def float_dense_with_stored_weights() -> Graph:
    steps: list[Step] = [
        ("wf", "Dequantize", ["w"], None),
        ("y", "Dense", ["x", "wf"], DenseAttrs()),
    ]
    return graph_of(real(2, 8), [weights((3, 8))], steps)


def dense_with_halves() -> Graph:
    w = floats("w", 16, 32).data
    assert w is not None
    halves = constant("w", w.astype(np.float16), DType.FLOAT32)
    return graph_of(real(2, 32), [halves], [("y", "Dense", ["x", "w"], DenseAttrs())])


def bias_of_another_scale() -> Graph:
    """Its int32 values are not at scale(x) * scale(w)."""
    x = stored("x", (2, 8), X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("v", "Dequantize", ["w"], None),
        ("c", "Dequantize", ["b"], None),
        ("d", "Dense", ["a", "v", "c"], DenseAttrs()),
        ("y", "Quantize", ["d"], None),
    ]
    bias = constant("b", [900, -700, 500], DType.INT32, QParams((0.01,)))
    return graph_of(x, [weights((3, 8)), bias], steps, {"y": Y_QUANT})


def quantized_product_with_a_number() -> Graph:
    x = stored("x", (2, 8), X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("m", "Mul", ["a", "k"], BinaryAttrs()),
        ("y", "Quantize", ["m"], None),
    ]
    number = constant("k", 2.5, DType.FLOAT32)
    return graph_of(x, [number], steps, {"y": Y_QUANT})


def two_requantizations() -> Graph:
    x = stored("x", (2, 8), X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("b", "Quantize", ["a"], None),
        ("c", "Dequantize", ["b"], None),
        ("y", "Quantize", ["c"], None),
    ]
    return graph_of(x, [], steps, {"b": X_QUANT, "y": Y_QUANT})


def stored_conv_and_add() -> Graph:
    x = stored("x", (1, 4, 4, 3), X_QUANT)
    bias = random_constant("b", (3,), DType.INT32)
    steps = [
        ("c", "Conv2D", ["x", "w", "b"], Conv2DAttrs()),
        ("y", "Add", ["c", "x"], BinaryAttrs(Clamp(low=0.0))),
    ]
    return graph_of(x, [weights((3, 1, 1, 3)), bias], steps, {"c": Y_QUANT, "y": Y_QUANT})


def layer_of_stored_sequences() -> Graph:
    layer = RecurrentAttrs("rnn", (False,), ((Activation("tanh"),),))
    steps = [
        ("d", "Dequantize", ["x"], None),
        ("s", "Recurrent", ["d", "w", "r"], layer),
        ("y", "Quantize", ["s"], None),
    ]
    x = stored("x", (4, 1, 3), X_QUANT)
    constants = [floats("w", 2, 3), floats("r", 2, 2)]
    return graph_of(x, constants, steps, {"y": QParams((0.01,), (2,))})
