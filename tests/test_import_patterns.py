"""Patterns of operators, each a small model: what they become means what onnxruntime computes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from tests.harness import onnx_model, optimized, random_inputs, read_model, run_c, run_onnxruntime
from tests.onnxruntime_patterns import (
    MICROSOFT_PATTERNS,
    QUANT,
    RNG,
    WITH_FLOATS,
    X8,
    conv_integer,
    floats,
    matmul_integer,
    qlinear_conv,
    qlinear_matmul,
    scale,
    stored,
    zero,
)
from tests.qdq import Q, qdq_model, random_weights
from tests.test_onnxruntime_optimizer import OPTIMIZED
from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.operators import MICROSOFT


def transpose_before_dequantize() -> onnx.ModelProto:
    """tf2onnx turns the stored input before it dequantizes it."""
    constants = {**QUANT, "w": stored(6, 4, 3, 3)}
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("DequantizeLinear", ["t", "xs", "xz"], ["r"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wr"]),
        node("Conv", ["r", "wr"], ["c"]),
        node("QuantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]
    return onnx_model(
        nodes, {"x": ("int8", (1, 5, 5, 4))}, {"y": ("int8", (1, 6, 3, 3))}, constants
    )


def dense_after_convolution() -> onnx.ModelProto:
    """Quantize, Transpose and Reshape on stored values, MatMul, the bias as a dequantized Add."""
    constants = {
        **QUANT, "w": stored(6, 4, 3, 3), "d": stored(54, 5), "shape": np.array([1, -1], np.int64),
        "b": RNG.integers(-900, 900, 5).astype(np.int32), "bs": scale(0.31 * 0.02),
        "bz": zero(0, "int32"),
    }  # fmt: skip
    nodes = [
        node("DequantizeLinear", ["x", "xs", "xz"], ["r"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wr"]),
        node("Conv", ["r", "wr"], ["c"]),
        node("QuantizeLinear", ["c", "ys", "yz"], ["q"]),
        node("Transpose", ["q"], ["t"], perm=[0, 2, 3, 1]),
        node("Reshape", ["t", "shape"], ["f"]),
        node("DequantizeLinear", ["f", "ys", "yz"], ["fr"]),
        node("DequantizeLinear", ["d", "ws", "wz"], ["dr"]),
        node("MatMul", ["fr", "dr"], ["m"]),
        node("DequantizeLinear", ["b", "bs", "bz"], ["br"]),
        node("Add", ["m", "br"], ["a"]),
        node("QuantizeLinear", ["a", "big", "yz"], ["y"]),
    ]
    constants["big"] = scale(3.1)
    return onnx_model(nodes, X8, {"y": ("int8", (1, 5))}, constants)


def relu_with_a_zero_point_inside() -> onnx.ModelProto:
    return qdq_model("Conv", [(1, 4, 5, 5)], Q(0.31, 20), (1, 6, 3, 3), [Q()],
                     [random_weights((6, 4, 3, 3))], relu=True)  # fmt: skip


def one_bias_scale() -> onnx.ModelProto:
    """The bias has one scale of shape [1], although the weights have one a channel."""
    weights = random_weights((6, 4, 3, 3), 0)
    model = qdq_model("Conv", [(1, 4, 5, 5)], Q(0.31, 2), (1, 6, 3, 3), [Q()], [weights])
    bias = RNG.integers(-2000, 2000, 6).astype(np.int32)
    for name, values in (("b", bias), ("b_s", np.array([0.0004], np.float32)),
                         ("b_z", np.array([0], np.int32))):  # fmt: skip
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.append(node("DequantizeLinear", ["b", "b_s", "b_z"], ["b_real"]))
    for n in nodes:
        if n.op_type == "Conv":
            n.input.append("b_real")
        model.graph.node.append(n)
    return model


def dequantized_pad() -> onnx.ModelProto:
    """A Pad of a dequantized zero between DequantizeLinear and Conv."""
    constants = {**QUANT, "w": stored(6, 4, 3, 3), "pads": np.array([0, 0, 1, 0, 0, 0, 2, 1]),
                 "p": zero(4)}  # fmt: skip
    nodes = [
        node("DequantizeLinear", ["x", "xs", "xz"], ["r"]),
        node("DequantizeLinear", ["p", "xs", "xz"], ["pr"]),
        node("Pad", ["r", "pads", "pr"], ["padded"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wr"]),
        node("Conv", ["padded", "wr"], ["c"]),
        node("QuantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]
    return onnx_model(nodes, X8, {"y": ("int8", (1, 6, 6, 4))}, constants)


def split_hard_swish() -> onnx.ModelProto:
    nodes = [
        node("HardSigmoid", ["x"], ["g"], alpha=1 / 6, beta=0.5),
        node("Mul", ["x", "g"], ["y"]),
    ]
    return onnx_model(nodes, {"x": ("float32", (1, 9))}, {"y": ("float32", (1, 9))})


def batchnorm(name: str, channels: int) -> tuple[list[str], dict[str, Array]]:
    values = [floats(channels), floats(channels), floats(channels), np.abs(floats(channels)) + 1]
    names = [f"{name}{i}" for i in range(4)]
    return names, {n: v.astype(np.float32) for n, v in zip(names, values, strict=True)}


def batchnorm_after_gemm_behind_a_reshape() -> onnx.ModelProto:
    names, constants = batchnorm("n", 6)
    constants |= {"w": floats(4, 6), "shape": np.array([0, 6, 1], np.int64)}
    nodes = [
        node("Gemm", ["x", "w"], ["g"]),
        node("Reshape", ["g", "shape"], ["r"]),
        node("BatchNormalization", ["r", *names], ["y"]),
    ]
    return onnx_model(nodes, {"x": ("float32", (1, 4))}, {"y": ("float32", (1, 6, 1))}, constants)


def batchnorm_before_a_padded_convolution() -> onnx.ModelProto:
    names, constants = batchnorm("n", 4)
    constants |= {"w": floats(3, 4, 3, 3)}
    nodes = [
        node("BatchNormalization", ["x", *names], ["n"]),
        node("Conv", ["n", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return onnx_model(
        nodes, {"x": ("float32", (1, 4, 5, 5))}, {"y": ("float32", (1, 3, 5, 5))}, constants
    )


def constant_nodes_and_foreign_domains() -> onnx.ModelProto:
    value = onnx.numpy_helper.from_array(np.array([0, 0, -1], np.int64))
    nodes = [node("Constant", [], ["shape"], value=value), node("Reshape", ["x", "shape"], ["y"])]
    shapes = {"x": ("float32", (2, 3, 4))}, {"y": ("float32", (2, 3, 4))}
    return onnx_model(nodes, *shapes, domains=["ai.onnx.ml", "com.microsoft"])


def old_opset() -> onnx.ModelProto:
    nodes = [node("Unsqueeze", ["x"], ["u"], axes=[0]), node("Softmax", ["u"], ["y"], axis=1)]
    shapes = {"x": ("float32", (2, 3))}, {"y": ("float32", (1, 2, 3))}
    return onnx_model(nodes, *shapes, opset=7)


def two_parts() -> onnx.ModelProto:
    constants = {"parts": np.array([1, 3], np.int64)}
    nodes = [node("Split", ["x", "parts"], ["a", "b"], axis=1), node("Relu", ["b"], ["y"])]
    return onnx_model(nodes, {"x": ("float32", (2, 4))},
                      {"a": ("float32", (2, 1)), "y": ("float32", (2, 3))}, constants)  # fmt: skip


def cast_to_integers() -> onnx.ModelProto:
    nodes = [node("Cast", ["x"], ["y"], to=onnx.TensorProto.INT32)]
    return onnx_model(nodes, {"x": ("float32", (2, 4))}, {"y": ("int32", (2, 4))})


@dataclass(frozen=True, slots=True)
class Pattern:
    """floats: how many Quantize and Dequantize nodes are left."""

    build: Callable[[], onnx.ModelProto]
    quantized: bool = True


PATTERNS = (
    Pattern(qlinear_conv),
    Pattern(qlinear_matmul),
    Pattern(conv_integer),
    Pattern(matmul_integer),
    *(Pattern(build, op not in WITH_FLOATS) for op, build in MICROSOFT_PATTERNS.items()),
    Pattern(transpose_before_dequantize),
    Pattern(dense_after_convolution),
    Pattern(relu_with_a_zero_point_inside),
    Pattern(one_bias_scale),
    Pattern(dequantized_pad),
    Pattern(split_hard_swish, quantized=False),
    Pattern(batchnorm_after_gemm_behind_a_reshape, quantized=False),
    Pattern(batchnorm_before_a_padded_convolution, quantized=False),
    Pattern(constant_nodes_and_foreign_domains, quantized=False),
    Pattern(old_opset, quantized=False),
    Pattern(two_parts, quantized=False),
    Pattern(cast_to_integers, quantized=False),
)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.build.__name__)
def test_a_pattern_means_what_onnxruntime_computes(pattern: Pattern, tmp_path: Path) -> None:
    model = pattern.build()
    graph = optimized(read_model(model, tmp_path))
    inputs = random_inputs(graph)

    (computed,) = run_c(graph, [inputs])

    for name, expected in run_onnxruntime(model, inputs).items():
        if pattern.quantized:
            assert np.abs(computed[name].astype(int) - expected.astype(int)).max() <= 1
        else:
            np.testing.assert_allclose(computed[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "pattern", [p for p in PATTERNS if p.quantized], ids=lambda p: p.build.__name__
)
def test_a_quantized_pattern_leaves_no_float(pattern: Pattern, tmp_path: Path) -> None:
    graph = optimized(read_model(pattern.build(), tmp_path))

    assert [t.name for t in graph.tensors.values() if t.dtype.is_float] == []


def test_every_operator_of_onnxruntime_has_a_pattern() -> None:
    exchanged = {"QuantizeLinear", "DequantizeLinear"}  # the readers of the standard's
    elsewhere = {op for op in MICROSOFT if op.startswith("Skip")}  # test_normalizations.py
    elsewhere |= {"DynamicQuantizeLSTM"}  # test_recurrent.py
    elsewhere |= OPTIMIZED  # test_onnxruntime_optimizer.py

    assert set(MICROSOFT) - exchanged - elsewhere == set(MICROSOFT_PATTERNS)


def test_hard_swish_is_one_node(tmp_path: Path) -> None:
    graph = optimized(read_model(split_hard_swish(), tmp_path))

    assert [n.op for n in graph.nodes] == ["Unary"]


def test_batchnorm_folds_into_the_layer_before_it(tmp_path: Path) -> None:
    graph = optimized(read_model(batchnorm_after_gemm_behind_a_reshape(), tmp_path))

    assert [n.op for n in graph.nodes] == ["Dense", "Reshape"]
