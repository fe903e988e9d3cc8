"""Every pass keeps the numbers; its result reads as expected (golden text)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.harness import random_constant, random_inputs
from tinyc.compiler.graph import (
    DType,
    Graph,
    Node,
    QParams,
    Shape,
    Tensor,
    constant,
    to_text,
    verify,
)
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.passes import FLOAT_PASSES, INT8_PASSES
from tinyc.passes.activation_fusion import fuse_activations
from tinyc.passes.batchnorm_folding import fold_batchnorms
from tinyc.passes.bias_fusion import fuse_biases
from tinyc.passes.boundary import strip_boundary_quantization
from tinyc.passes.common_subexpressions import merge_common_subexpressions
from tinyc.passes.constant_folding import fold_all_constants, fold_constants
from tinyc.passes.data_movement import move_data_in_stored_form
from tinyc.passes.dead_channels import remove_dead_channels
from tinyc.passes.dead_code import remove_dead_nodes
from tinyc.passes.dense_layout import fold_layout_into_dense
from tinyc.passes.hard_swish import recognize_hard_swish
from tinyc.passes.layout import sink_stored_transposes, sink_transposes
from tinyc.passes.pad_fusion import fuse_pads
from tinyc.passes.quantization_absorption import absorb_quantization
from tinyc.passes.requantization import simplify_requantizations
from tinyc.passes.reshape_merging import merge_reshapes
from tinyc.passes.residual_fusion import fuse_residuals
from tinyc.targets import Target, load_target

HOST = load_target("host")
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


def stored_transposes() -> Graph:
    """The first Transpose stays before its Dequantize; the others cancel."""
    x = Tensor("x", (1, 2, 3, 4), DType.INT8, None, X_QUANT)
    steps = [
        ("a", "Transpose", ["x"], NHWC),
        ("b", "Transpose", ["a"], NCHW),
        ("c", "Transpose", ["b"], NHWC),
        ("d", "Dequantize", ["c"], None),
        ("y", "Unary", ["d"], UnaryAttrs("tanh")),
    ]
    return graph_of(x, [], steps, {"a": X_QUANT, "b": X_QUANT, "c": X_QUANT})


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


def moves_between_quantizations() -> Graph:
    x = Tensor("x", (1, 2, 3, 4), DType.INT8, None, X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("b", "Transpose", ["a"], NHWC),
        ("c", "Reshape", ["b"], ReshapeAttrs((1, 24))),
        ("y", "Unary", ["c"], UnaryAttrs("tanh")),
    ]
    return graph_of(x, [], steps)


def quantized_dense() -> Graph:
    x = Tensor("x", (2, 8), DType.INT8, None, X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("v", "Dequantize", ["w"], None),
        ("d", "Dense", ["a", "v", "b"], DenseAttrs(clamp=Clamp(low=-20.0))),
        ("y", "Quantize", ["d"], None),
    ]
    bias = constant("b", [9.0, -7.0, 5.0], DType.FLOAT32)
    return graph_of(x, [weights((3, 8)), bias], steps, {"y": Y_QUANT})


def bias_of_another_scale() -> Graph:
    """Its int32 values are not at scale(x) * scale(w)."""
    x = Tensor("x", (2, 8), DType.INT8, None, X_QUANT)
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
    x = Tensor("x", (2, 8), DType.INT8, None, X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("m", "Mul", ["a", "k"], BinaryAttrs()),
        ("y", "Quantize", ["m"], None),
    ]
    number = constant("k", 2.5, DType.FLOAT32)
    return graph_of(x, [number], steps, {"y": Y_QUANT})


def two_requantizations() -> Graph:
    x = Tensor("x", (2, 8), DType.INT8, None, X_QUANT)
    steps = [
        ("a", "Dequantize", ["x"], None),
        ("b", "Quantize", ["a"], None),
        ("c", "Dequantize", ["b"], None),
        ("y", "Quantize", ["c"], None),
    ]
    return graph_of(x, [], steps, {"b": X_QUANT, "y": Y_QUANT})


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
    x = Tensor("x", (1, 5, 5, 3), DType.INT8, None, X_QUANT)
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
    x = Tensor("x", (1, 3, 3, 8), DType.INT8, None, X_QUANT)
    quants = {"a": QParams((0.1,), (-128,)), "d": Y_QUANT, "e": Y_QUANT, "y": Y_QUANT}
    return graph_of(x, constants, steps, quants)


def conv_and_add() -> Graph:
    steps = [
        ("r", "Unary", ["x"], UnaryAttrs("tanh")),
        ("c", "Conv2D", ["x", "w", "b"], Conv2DAttrs(pads=(1, 1, 1, 1), clamp=Clamp(low=0.0))),
        ("y", "Add", ["r", "c"], BinaryAttrs(Clamp(high=2.0))),
    ]
    return graph_of(real(1, 4, 4, 3), [floats("w", 3, 3, 3, 3), floats("b", 3)], steps)


def stored_conv_and_add() -> Graph:
    x = Tensor("x", (1, 4, 4, 3), DType.INT8, None, X_QUANT)
    bias = random_constant("b", (3,), DType.INT32)
    steps = [
        ("c", "Conv2D", ["x", "w", "b"], Conv2DAttrs()),
        ("y", "Add", ["c", "x"], BinaryAttrs(Clamp(low=0.0))),
    ]
    return graph_of(x, [weights((3, 1, 1, 3)), bias], steps, {"c": Y_QUANT, "y": Y_QUANT})


@dataclass(frozen=True, slots=True)
class Case:
    """steps  that a stored result may move: absorbing rounds once, the model more often."""

    run: Callable[[Graph, Target], Graph]
    build: Callable[[], Graph]
    steps: int = 0

    def __str__(self) -> str:
        return f"{self.run.__name__}-{self.build.__name__}"


CASES = (
    Case(fold_constants, constants_alone),
    Case(fold_all_constants, constants_alone),
    Case(merge_common_subexpressions, one_thing_twice),
    Case(remove_dead_nodes, unread_result),
    Case(merge_reshapes, reshapes),
    Case(recognize_hard_swish, split_hard_swish),
    Case(sink_transposes, transposes_around_relu),
    Case(sink_transposes, concat_of_transposes),
    Case(sink_stored_transposes, transposes_around_relu),
    Case(sink_stored_transposes, stored_transposes),
    Case(fold_layout_into_dense, transpose_before_dense),
    Case(fuse_pads, pad_before_conv),
    Case(fuse_pads, pad_that_is_not_zero),
    Case(fuse_biases, added_bias),
    Case(fuse_biases, added_after_relu),
    Case(fold_batchnorms, scaled_conv),
    Case(fold_batchnorms, scaled_after_relu),
    Case(fuse_activations, two_clamps),
    Case(move_data_in_stored_form, moves_between_quantizations),
    Case(absorb_quantization, quantized_dense, steps=1),
    Case(absorb_quantization, bias_of_another_scale, steps=1),
    Case(absorb_quantization, quantized_product_with_a_number, steps=1),
    Case(simplify_requantizations, two_requantizations),
    Case(fuse_residuals, conv_and_add),
    Case(remove_dead_channels, channels_that_never_change),
    Case(remove_dead_channels, constants_before_padding),
    Case(remove_dead_channels, readers_that_share_constants),
    Case(fuse_residuals, stored_conv_and_add),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_pass_keeps_the_numbers(case: Case) -> None:
    graph = case.build()
    inputs = random_inputs(graph)

    after = case.run(graph, HOST)

    verify(after)
    (expected,), (found,) = run(graph, inputs).values(), run(after, inputs).values()
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    else:
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= case.steps


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_result_of_a_pass_reads_as_expected(case: Case, golden: Callable[[str], None]) -> None:
    graph = case.build()

    after = case.run(graph, HOST)

    golden(f"{to_text(graph)}\n--- {case.run.__name__} --->\n\n{to_text(after)}")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_second_run_of_a_pass_changes_nothing(case: Case) -> None:
    once = case.run(case.build(), HOST)

    twice = case.run(once, HOST)

    assert to_text(twice) == to_text(once)


@pytest.mark.parametrize("case", [c for c in CASES if c.run is absorb_quantization], ids=str)
def test_an_absorbed_layer_has_no_float_left(case: Case) -> None:
    absorbed = case.run(case.build(), HOST)

    assert [n.name for n in absorbed.nodes if absorbed.tensors[n.output].dtype.is_float] == []


def test_constant_channels_go_but_not_before_padding() -> None:
    plain, padded = (
        remove_dead_channels(build(), HOST)
        for build in (channels_that_never_change, constants_before_padding)
    )

    assert plain.tensors["a"].shape[-1] == plain.tensors["d"].shape[-1] == 8
    assert padded.tensors["a"].shape[-1] == 12  # the border would see the zero point instead


def test_every_pass_has_a_case() -> None:
    tested = {case.run for case in CASES}

    assert [p.__name__ for p in (*FLOAT_PASSES, *INT8_PASSES) if p not in tested] == []


def test_stripping_the_boundary_gives_an_int8_interface() -> None:
    x = Tensor("x", (2, 8), DType.FLOAT32)
    stored = Tensor("q", x.shape, DType.INT8, None, X_QUANT)
    table = Tensor("t", x.shape, DType.INT8, None, Y_QUANT)
    y = Tensor("y", x.shape, DType.FLOAT32)
    nodes = (
        Node("first", "Quantize", ("x",), ("q",)),
        Node("middle", "Unary", ("q",), ("t",), UnaryAttrs("tanh")),
        Node("last", "Dequantize", ("t",), ("y",)),
    )
    graph = Graph("model", ("x",), ("y",), nodes, {t.name: t for t in (x, stored, table, y)})

    stripped = strip_boundary_quantization(graph, HOST)

    verify(stripped)
    assert [n.op for n in stripped.nodes] == ["Unary"]
    assert (stripped.tensors["x"].dtype, stripped.tensors["x"].quant) == (DType.INT8, X_QUANT)
    assert (stripped.tensors["y"].dtype, stripped.tensors["y"].quant) == (DType.INT8, Y_QUANT)
