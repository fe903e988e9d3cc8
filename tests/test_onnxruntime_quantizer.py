"""Models as the quantizer of onnxruntime writes them, in all its modes, against onnxruntime."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.graph import Array

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Whatever test ran before."""
    RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def network() -> onnx.ModelProto:
    """Every operator that the quantizer has a quantized form of, where that takes one input."""
    nodes = [
        make_node("Conv", ["x", "w", "b"], ["conv"], pads=[1, 1, 1, 1]),
        make_node("Relu", ["conv"], ["relu"]),
        make_node("AveragePool", ["relu"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        make_node("LeakyRelu", ["pool"], ["leaky"], alpha=0.1),
        make_node("Sigmoid", ["leaky"], ["gate"]),
        make_node("Mul", ["leaky", "gate"], ["product"]),
        make_node("Concat", ["product", "gate"], ["both"], axis=1),
        make_node("ReduceMean", ["both"], ["mean"], axes=[2, 3], keepdims=0),
        make_node("Gemm", ["mean", "g", "gb"], ["gemm"], transB=1),
        make_node("MatMul", ["gemm", "m"], ["matrix"]),
        make_node("Add", ["matrix", "gemm"], ["sum"]),
        make_node("Softmax", ["sum"], ["y"], axis=-1),
    ]
    constants = {
        "w": floats(6, 3, 3, 3), "b": floats(6), "g": floats(8, 12), "gb": floats(8),
        "m": floats(8, 8),
    }  # fmt: skip
    types = {"x": ("float32", (1, 3, 8, 8))}, {"y": ("float32", (1, 8))}
    return onnx_model(nodes, *types, constants, opset=13)


class Samples(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Random inputs of the network."""

    def __init__(self) -> None:
        self.left: Iterator[dict[str, Array]] = iter([{"x": floats(1, 3, 8, 8)} for _ in range(8)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.left, None)


def static(**options: Any) -> Callable[[Path, Path], None]:
    return lambda model, result: quantize_static(str(model), str(result), Samples(), **options)


def dynamic(**options: Any) -> Callable[[Path, Path], None]:
    return lambda model, result: quantize_dynamic(str(model), str(result), **options)


OPERATORS = QuantFormat.QOperator
MODES: dict[str, Callable[[Path, Path], None]] = {
    "operators": static(quant_format=OPERATORS),
    "operators uint8": static(
        quant_format=OPERATORS, activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8
    ),
    "operators uint8 by int8": static(
        quant_format=OPERATORS, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
    ),
    "operators per channel": static(
        quant_format=OPERATORS, per_channel=True, activation_type=QuantType.QInt8
    ),
    "qdq": static(quant_format=QuantFormat.QDQ),
    "qdq uint8 per channel": static(
        quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8
    ),
    "qdq of 16 bits": static(
        quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt16,
        extra_options={"UseQDQContribOps": True},
    ),
    "dynamic": dynamic(),
    "dynamic uint8": dynamic(weight_type=QuantType.QUInt8),
    "dynamic per channel": dynamic(per_channel=True),
}  # fmt: skip


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name: str, tmp_path: Path) -> None:
    """Probabilities differ by a step or two of 1/256 at most."""
    source, result = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(network(), str(source))
    MODES[name](source, result)
    model = onnx.load(str(result))
    sample = {"x": floats(1, 3, 8, 8)}
    (computed,) = run_c(optimized(read_model(model, tmp_path)), [sample])
    expected = run_onnxruntime(model, sample)["y"]
    assert np.abs(computed["y"] - expected).max() <= 2.01 / 256


@pytest.mark.parametrize(("bits", "zeros"), [(4, True), (4, False), (8, True)])
def test_weights_of_few_bits(bits: int, zeros: bool, tmp_path: Path) -> None:
    n, k, block = 6, 40, 16
    blocks, each = -(-k // block), block * bits // 8
    constants: dict[str, Array] = {
        "w": RNG.integers(0, 256, (n, blocks, each)).astype(np.uint8),
        "s": np.abs(floats(n * blocks)) + 0.1,
    }
    if zeros:
        width = -(-blocks * bits // 8)
        constants["z"] = RNG.integers(0, 256, n * width).astype(np.uint8)
    node = make_node(
        "MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft",
        N=n, K=k, bits=bits, block_size=block,
    )  # fmt: skip
    types = {"x": ("float32", (2, k))}, {"y": ("float32", (2, n))}
    model = onnx_model([node], *types, constants, domains=["com.microsoft"])
    sample = {"x": floats(2, k)}
    (computed,) = run_c(optimized(read_model(model, tmp_path)), [sample])
    expected = run_onnxruntime(model, sample)["y"]
    np.testing.assert_allclose(computed["y"], expected, 1e-4, 1e-4)


def test_constants_of_four_bits(tmp_path: Path) -> None:
    """Blocked weights of int4 are dequantized at import; what is quantized to int4 is clipped."""
    stored = RNG.integers(-8, 8, (8, 6)).astype(np.int8)
    nodes = [
        make_node("DequantizeLinear", ["w", "s"], ["real"], axis=0, block_size=4),
        make_node("MatMul", ["x", "real"], ["y"]),
        make_node("QuantizeLinear", ["y", "t", "z"], ["q"]),
        make_node("DequantizeLinear", ["q", "t", "z"], ["r"]),
    ]
    types = {"x": ("float32", (3, 8))}, {"y": ("float32", (3, 6)), "r": ("float32", (3, 6))}
    model = onnx_model(
        nodes, *types, {"s": np.abs(floats(2, 6)), "t": np.float32(0.5).reshape(())}, opset=21
    )
    int4 = onnx.TensorProto.INT4
    model.graph.initializer.extend(
        [
            onnx.helper.make_tensor("w", int4, stored.shape, stored.reshape(-1).tolist()),
            onnx.helper.make_tensor("z", int4, (), [1]),
        ]
    )
    sample = {"x": floats(3, 8)}
    (computed,) = run_c(optimized(read_model(model, tmp_path)), [sample])
    expected = run_onnxruntime(model, sample)
    for name in ("y", "r"):
        np.testing.assert_allclose(computed[name], expected[name], 1e-4, 1e-4)
