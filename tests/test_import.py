"""What real exporters write: read right, and quantized patterns absorbed whole."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from tests.harness import onnx_model, optimized, random_inputs, read_model, run_c, run_onnxruntime
from tests.qdq import Q, qdq_model, random_weights
from tests.test_onnxruntime_optimizer import OPTIMIZED
from tinyc.compiler.graph import Array, QParams
from tinyc.compiler.onnx_import.operators import MICROSOFT

RNG = np.random.default_rng(21)


def scale(value: float) -> Array:
    return np.array(value, np.float32)


def zero(value: int, dtype: str = "int8") -> Array:
    return np.array(value, dtype)


def stored(*shape: int) -> Array:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


QUANT = {"xs": scale(0.05), "xz": zero(4), "ws": scale(0.02), "wz": zero(0), "ys": scale(0.31),
         "yz": zero(-7), "ps": scale(1 / 256), "pz": zero(-128)}  # fmt: skip
X8 = {"x": ("int8", (1, 4, 5, 5))}


def qlinear_conv() -> onnx.ModelProto:
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    constants = {**QUANT, "w": stored(6, 4, 3, 3), "b": RNG.integers(-900, 900, 6).astype(np.int32)}
    constants["ws"], constants["wz"] = np.full(6, 0.02, np.float32), np.zeros(6, np.int8)
    nodes = [node("QLinearConv", names, ["y"], pads=[1, 1, 1, 1])]
    return onnx_model(nodes, X8, {"y": ("int8", (1, 6, 5, 5))}, constants)


def qlinear_matmul() -> onnx.ModelProto:
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    constants = {**QUANT, "w": stored(8, 5)}
    nodes = [node("QLinearMatMul", names, ["y"])]
    return onnx_model(nodes, {"x": ("int8", (2, 8))}, {"y": ("int8", (2, 5))}, constants)


def conv_integer() -> onnx.ModelProto:
    constants = {"w": stored(3, 4, 3, 3), "xz": zero(9, "uint8"), "wz": zero(0)}
    nodes = [node("ConvInteger", ["x", "w", "xz", "wz"], ["y"])]
    return onnx_model(
        nodes, {"x": ("uint8", (1, 4, 5, 5))}, {"y": ("int32", (1, 3, 3, 3))}, constants
    )


def matmul_integer() -> onnx.ModelProto:
    constants = {"w": stored(8, 5), "xz": zero(9), "wz": zero(0)}
    nodes = [node("MatMulInteger", ["x", "w", "xz", "wz"], ["y"])]
    return onnx_model(nodes, {"x": ("int8", (2, 8))}, {"y": ("int32", (2, 5))}, constants)


def microsoft(
    op: str, names: str, x: tuple[int, ...], y: tuple[int, ...], dtype: str = "int8",
    **attributes: object,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    """One of onnxruntime's own operators; the inputs `x` and `x2` are stored."""

    def build() -> onnx.ModelProto:
        given = {n: (dtype, x) for n in names.split() if n in ("x", "x2")}
        constants = {n: QUANT[n] for n in names.split() if n not in given}
        nodes = [node(op, names.split(), ["y"], domain="com.microsoft", **attributes)]
        return onnx_model(nodes, given, {"y": (dtype, y)}, constants, domains=["com.microsoft"])

    build.__name__ = f"microsoft_{op}"
    return build


def q_gemm() -> onnx.ModelProto:
    names = ["x", "xs", "xz", "w", "ws", "wz", "c", "ys", "yz"]
    c = RNG.integers(-900, 900, 5).astype(np.int32)
    constants = {**QUANT, "w": stored(5, 8), "c": c}
    nodes = [node("QGemm", names, ["y"], domain="com.microsoft", transB=1)]
    types = {"x": ("int8", (2, 8))}, {"y": ("int8", (2, 5))}
    return onnx_model(nodes, *types, constants, domains=["com.microsoft"])


def qlinear_where() -> onnx.ModelProto:
    names = ["c", "x", "xs", "xz", "x2", "xs", "xz", "xs", "xz"]
    nodes = [node("QLinearWhere", names, ["y"], domain="com.microsoft")]
    given = {"c": ("bool", (2, 1)), "x": ("int8", (2, 5)), "x2": ("int8", (2, 5))}
    return onnx_model(nodes, given, {"y": ("int8", (2, 5))}, QUANT, domains=["com.microsoft"])


def matmul_integer_to_float() -> onnx.ModelProto:
    names = ["x", "w", "xs", "ws", "xz", "wz", "b"]
    constants = {**QUANT, "w": stored(8, 5), "b": floats(5)}
    nodes = [node("MatMulIntegerToFloat", names, ["y"], domain="com.microsoft")]
    types = {"x": ("int8", (2, 8))}, {"y": ("float32", (2, 5))}
    return onnx_model(nodes, *types, constants, domains=["com.microsoft"])


def matmul_few_bits() -> onnx.ModelProto:
    constants = {"w": stored(6, 3, 8).view(np.uint8), "s": np.abs(floats(18)) + 1}
    attributes = {"N": 6, "K": 40, "bits": 4, "block_size": 16}
    nodes = [node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **attributes)]
    types = {"x": ("float32", (2, 40))}, {"y": ("float32", (2, 6))}
    return onnx_model(nodes, *types, constants, domains=["com.microsoft"])


SUM = "x xs xz x2 ws wz ys yz"
WITH_FLOATS = ("Gelu", "MatMulIntegerToFloat", "MatMulNBits")
MICROSOFT_PATTERNS = {
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "MatMulNBits": matmul_few_bits,
    "QGemm": q_gemm,
    "QLinearAveragePool": microsoft(
        "QLinearAveragePool",
        "x xs xz ys yz",
        (1, 6, 5, 7),
        (1, 6, 2, 3),
        kernel_shape=[2, 3],
        strides=[2, 2],
        channels_last=0,
    ),
    "QLinearSoftmax": microsoft("QLinearSoftmax", "x xs xz ps pz", (2, 30), (2, 30), opset=13),
    "QLinearWhere": qlinear_where,
    "Gelu": microsoft("Gelu", "x", (2, 5), (2, 5), "float32"),
    "QLinearAdd": microsoft("QLinearAdd", SUM, (2, 30), (2, 30)),
    "QLinearConcat": microsoft("QLinearConcat", "ys yz x xs xz x2 ws wz", (2, 30), (2, 60), axis=1),
    "QLinearGlobalAveragePool": microsoft(
        "QLinearGlobalAveragePool", "x xs xz ys yz", (1, 6, 5, 7), (1, 6, 1, 1)
    ),
    "QLinearLeakyRelu": microsoft("QLinearLeakyRelu", "x xs xz ys yz", (2, 30), (2, 30), alpha=0.1),
    "QLinearMul": microsoft("QLinearMul", SUM, (2, 30), (2, 30)),
    "QLinearSigmoid": microsoft("QLinearSigmoid", "x xs xz ps pz", (2, 30), (2, 30)),
}


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


def test_an_open_batch_is_taken_as_one_and_said(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"])]
    model = onnx_model(nodes, {"x": ("float32", ("batch", 3))}, {"y": ("float32", ("batch", 3))})

    graph = read_model(model, tmp_path)

    assert graph.tensors["x"].shape == (1, 3)
    assert "dimension 'batch' of input 'x' is taken as 1" in graph.notes


def test_nodes_may_come_in_any_order(tmp_path: Path) -> None:
    """onnxruntime sorts them, and editors of graphs leave them as they come."""
    nodes = [node("Neg", ["b"], ["y"]), node("Relu", ["a"], ["b"]), node("Abs", ["x"], ["a"])]
    model = onnx_model(nodes, {"x": ("float32", (2,))}, {"y": ("float32", (2,))})

    graph = read_model(model, tmp_path)

    assert [n.attrs.function for n in graph.nodes] == ["abs", "identity", "neg"]


def test_one_scale_is_that_of_the_whole_whatever_axis_is_named(tmp_path: Path) -> None:
    constants = {"s": np.array([0.5], np.float32), "z": np.array([0], np.int8)}
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=1)]
    model = onnx_model(nodes, {"x": ("int8", (4,))}, {"y": ("float32", (4,))}, constants)

    graph = read_model(model, tmp_path)

    assert graph.tensors["x"].quant == QParams((0.5,), (0,))


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (("float32", (1, 5)), ["'y' is declared as [1, 5], and is [1, 4]"]),
        (("float32", ("n", 4)), []),
        (("int64", (4,)), [
            "'y' is declared as int64, and is float32", "'y' is declared as [4], and is [1, 4]"
        ]),
    ],
)  # fmt: skip
def test_an_output_that_is_not_as_declared_is_said(
    declared: tuple[str, tuple[int, ...]], said: list[str], tmp_path: Path
) -> None:
    model = onnx_model([node("Relu", ["x"], ["y"])], {"x": ("float32", (1, 4))}, {"y": declared})

    assert list(read_model(model, tmp_path).notes) == said


def test_weights_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    constants = {"w": np.array([[1, np.nan]], np.float32), "b": np.array([-np.inf, 1], np.float32)}
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    ends = {"x": ("float32", (1, 1))}, {"y": ("float32", (1, 2))}

    notes = read_model(onnx_model(nodes, *ends, constants), tmp_path).notes

    assert list(notes) == ["constants of the model hold NaN: w/weights"]
