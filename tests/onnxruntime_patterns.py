"""Models with onnxruntime's operators on stored integers, each with inputs and weights."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx.helper import make_node as node

from tests.harness import onnx_model
from tinyc.compiler.graph import Array

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
