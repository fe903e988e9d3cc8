"""Graphs for the tests of passes: each has what one pass looks for, or must not take for it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.harness import random_constant
from tinyc.compiler.graph import DType, Graph, Node, QParams, Shape, Tensor, constant
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.gate_activations import Activation
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.recurrent import RecurrentAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

RELU = UnaryAttrs("identity", (), Clamp(low=0.0))
NHWC, NCHW = TransposeAttrs((0, 2, 3, 1)), TransposeAttrs((0, 3, 1, 2))
X_QUANT, Y_QUANT = QParams((0.05,), (3,)), QParams((0.3,), (-10,))
W_QUANT = QParams((0.01, 0.02, 0.015), (0, 0, 0), 0)

NO_QUANTS: Mapping[str, QParams] = {}

Step = tuple[str, str, Sequence[str], Any]  # output, operator, inputs, attrs


def graph_of(
    x: Tensor,
    constants: Sequence[Tensor],
    steps: Sequence[Step],
    quants: Mapping[str, QParams] = NO_QUANTS,
) -> Graph:
    """The graph of `steps`; `quants` says which outputs hold int8. The last output is returned."""
    tensors = {t.name: t for t in (x, *constants)}
    nodes = []
    for output, op, inputs, attrs in steps:
        ((shape, dtype),) = OPS[op].infer(tuple(tensors[n] for n in inputs), attrs)
        quant = quants.get(output)
        tensors[output] = Tensor(output, shape, DType.INT8 if quant else dtype, None, quant)
        nodes.append(Node(f"node_{output}", op, tuple(inputs), (output,), attrs, (output,)))
    return Graph("model", (x.name,), (steps[-1][0],), tuple(nodes), tensors)


def real(*shape: int) -> Tensor:
    return Tensor("x", shape, DType.FLOAT32)


def floats(name: str, *shape: int) -> Tensor:
    return random_constant(name, shape, DType.FLOAT32)


def weights(shape: Shape) -> Tensor:
    return random_constant("w", shape, DType.INT8, quant=W_QUANT)


def constants_alone() -> Graph:
    steps = [
        ("s", "Add", ["a", "b"], BinaryAttrs()),
        ("d", "Dequantize", ["q"], None),
        ("e", "Add", ["x", "s"], BinaryAttrs()),
        ("y", "Add", ["e", "d"], BinaryAttrs()),
    ]
    stored = random_constant("q", (3,), DType.INT8, quant=X_QUANT)
    return graph_of(real(2, 3), [floats("a", 3), floats("b", 3), stored], steps)


def one_thing_twice() -> Graph:
    steps = [
        ("a", "Unary", ["x"], UnaryAttrs("tanh")),
        ("b", "Unary", ["x"], UnaryAttrs("tanh")),
        ("y", "Add", ["a", "b"], BinaryAttrs()),
    ]
    return graph_of(real(4), [], steps)


def unread_result() -> Graph:
    steps = [
        ("a", "Unary", ["x"], UnaryAttrs("exp")),
        ("y", "Unary", ["x"], UnaryAttrs("tanh")),
    ]
    return graph_of(real(4), [], steps)


def reshapes() -> Graph:
    steps = [
        ("a", "Reshape", ["x"], ReshapeAttrs((6,))),
        ("b", "Reshape", ["a"], ReshapeAttrs((3, 2))),
        ("c", "Reshape", ["b"], ReshapeAttrs((3, 2))),
        ("y", "Unary", ["c"], UnaryAttrs("tanh")),
    ]
    return graph_of(real(2, 3), [], steps)


def split_hard_swish() -> Graph:
    steps = [
        ("a", "Unary", ["x"], UnaryAttrs("hard_sigmoid", (1 / 6, 0.5))),
        ("y", "Mul", ["a", "x"], BinaryAttrs()),
    ]
    return graph_of(real(2, 5), [], steps)


def mean_over_image() -> Graph:
    return graph_of(
        real(1, 4, 5, 2), [], [("y", "Reduce", ["x"], ReduceAttrs("mean", (1, 2), False))]
    )


def transposes_around_relu() -> Graph:
    steps = [
        ("a", "Conv2D", ["x", "w"], Conv2DAttrs()),
        ("b", "Transpose", ["a"], NCHW),
        ("c", "Unary", ["b"], RELU),
        ("d", "Add", ["c", "k"], BinaryAttrs()),
        ("e", "Transpose", ["d"], NHWC),
        ("y", "Conv2D", ["e", "v"], Conv2DAttrs()),
    ]
    constants = [floats("w", 3, 2, 2, 2), floats("v", 2, 1, 1, 3), floats("k", 3, 1, 1)]
    return graph_of(real(1, 4, 5, 2), constants, steps)


def concat_of_transposes() -> Graph:
    steps = [
        ("a", "Transpose", ["x"], NCHW),
        ("b", "Unary", ["a"], UnaryAttrs("tanh")),
        ("c", "Concat", ["a", "b"], ConcatAttrs(1)),
        ("y", "Transpose", ["c"], NHWC),
    ]
    return graph_of(real(1, 3, 4, 2), [], steps)


def transpose_before_dense() -> Graph:
    steps = [
        ("a", "Transpose", ["x"], NCHW),
        ("b", "Reshape", ["a"], ReshapeAttrs((1, 24))),
        ("y", "Dense", ["b", "w"], DenseAttrs()),
    ]
    return graph_of(real(1, 3, 4, 2), [floats("w", 5, 24)], steps)


def pad_before_conv() -> Graph:
    steps = [
        ("a", "Pad", ["x"], PadAttrs(((0, 0), (1, 0), (2, 1), (0, 0)))),
        ("y", "Conv2D", ["a", "w"], Conv2DAttrs(pads=(0, 0, 1, 0))),
    ]
    return graph_of(real(1, 4, 5, 2), [floats("w", 3, 3, 3, 2)], steps)


def pad_that_is_not_zero() -> Graph:
    steps = [
        ("a", "Pad", ["x"], PadAttrs(((0, 0), (1, 1), (1, 1), (0, 0)), value=1.5)),
        ("y", "Conv2D", ["a", "w"], Conv2DAttrs()),
    ]
    return graph_of(real(1, 4, 5, 2), [floats("w", 3, 3, 3, 2)], steps)


def added_bias() -> Graph:
    steps = [
        ("a", "Dense", ["x", "w"], DenseAttrs()),
        ("y", "Add", ["b", "a"], BinaryAttrs()),
    ]
    return graph_of(real(2, 4), [floats("w", 3, 4), floats("b", 1, 3)], steps)


def scaled_conv() -> Graph:
    steps = [
        ("a", "Conv2D", ["x", "w", "b"], Conv2DAttrs(pads=(1, 1, 1, 1))),
        ("m", "Mul", ["a", "s"], BinaryAttrs()),
        ("y", "Add", ["m", "t"], BinaryAttrs()),
    ]
    constants = [floats("w", 3, 3, 3, 2), floats("b", 3), floats("s", 3), floats("t", 3)]
    return graph_of(real(1, 4, 5, 2), constants, steps)


def scaled_after_relu() -> Graph:
    """Does not fold: a negative factor turns the clamp around."""
    steps = [
        ("a", "Conv2D", ["x", "w"], Conv2DAttrs(clamp=Clamp(low=0.0))),
        ("y", "Mul", ["a", "s"], BinaryAttrs()),
    ]
    factors = constant("s", [-1.0, 0.5, 2.0], DType.FLOAT32)
    return graph_of(real(1, 4, 5, 2), [floats("w", 3, 3, 3, 2), factors], steps)


def added_after_relu() -> Graph:
    """No bias: the clamp comes first."""
    steps = [
        ("a", "Dense", ["x", "w"], DenseAttrs(clamp=Clamp(low=0.0))),
        ("y", "Add", ["a", "b"], BinaryAttrs()),
    ]
    return graph_of(real(2, 4), [floats("w", 3, 4), floats("b", 3)], steps)


def two_clamps() -> Graph:
    steps = [
        ("a", "Conv2D", ["x", "w"], Conv2DAttrs()),
        ("b", "Unary", ["a"], RELU),
        ("y", "Unary", ["b"], UnaryAttrs("identity", (), Clamp(high=1.0))),
    ]
    return graph_of(real(1, 4, 5, 2), [floats("w", 3, 3, 3, 2)], steps)


def conv_and_add() -> Graph:
    steps = [
        ("r", "Unary", ["x"], UnaryAttrs("tanh")),
        ("c", "Conv2D", ["x", "w", "b"], Conv2DAttrs(pads=(1, 1, 1, 1), clamp=Clamp(low=0.0))),
        ("y", "Add", ["r", "c"], BinaryAttrs(Clamp(high=2.0))),
    ]
    return graph_of(real(1, 4, 4, 3), [floats("w", 3, 3, 3, 3), floats("b", 3)], steps)


def last_step_of_a_layer() -> Graph:
    """An RNN whose last step alone is read, and which gives its last state to nobody."""
    layer = RecurrentAttrs("rnn", (False,), ((Activation("tanh"),),))
    constants = [floats("w", 2, 3), floats("r", 2, 2)]
    steps = [
        ("s", "Recurrent", ["x", "w", "r"], layer),
        ("t", "Transpose", ["s"], TransposeAttrs((2, 0, 1, 3))),
        ("u", "Reshape", ["t"], ReshapeAttrs((1, 4, 2))),
        ("y", "Slice", ["u"], SliceAttrs((0, 3, 0), (1, 1, 1), (1, 1, 2))),
    ]
    h = Tensor("unread", (1, 1, 2), DType.FLOAT32)
    graph = graph_of(real(4, 1, 3), constants, steps)
    both = replace(layer, results=("sequence", "h"))
    first = replace(graph.nodes[0], outputs=("s", "unread"), attrs=both)
    return graph.with_nodes((first, *graph.nodes[1:]), (h,))


def branches_side_by_side() -> Graph:
    """Two branches that are wide in the middle; both are wide at once as they stand."""
    constants = [floats("wide", 16, 1, 1, 2), floats("narrow", 2, 1, 1, 16)]
    steps = [
        ("a", "Conv2D", ["x", "wide"], Conv2DAttrs()),
        ("b", "Conv2D", ["x", "wide"], Conv2DAttrs(clamp=Clamp(low=0.0))),
        ("c", "Conv2D", ["a", "narrow"], Conv2DAttrs()),
        ("d", "Conv2D", ["b", "narrow"], Conv2DAttrs()),
        ("y", "Add", ["c", "d"], BinaryAttrs()),
    ]
    return graph_of(real(1, 4, 4, 2), constants, steps)
