"""Small quantized ONNX models: an operator between DequantizeLinear and QuantizeLinear."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tests.harness import onnx_model
from tinyc.compiler.graph import Array


@dataclass(frozen=True, slots=True)
class Q:
    """Scale, zero point and stored type of one tensor."""

    scale: float = 0.05
    zero_point: int = 3
    dtype: str = "int8"


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Stored constant weights; several scales go along `axis`."""

    values: Array
    scale: Array
    zero_point: int = 0
    axis: int = 0


def qdq_model(
    op: str,
    shapes: Sequence[tuple[int, ...]],
    output: Q,
    output_shape: tuple[int, ...],
    inputs: Sequence[Q],
    weights: Sequence[Weights] = (),
    bias: Array | None = None,
    relu: bool = False,
    opset: int = 17,
    **attributes: Any,
) -> onnx.ModelProto:
    """Stored inputs -> Dequantize -> op (-> Relu) -> Quantize -> the stored output `y`.

    bias  int32, at scale(x) * scale(w)
    """
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    operands: list[str] = []

    def dequantize(name: str, scale: Array, zero: Array, axis: int | None = None) -> None:
        constants[f"{name}_scale"], constants[f"{name}_zero"] = scale, zero
        extra = {} if axis is None else {"axis": axis}
        names = [name, f"{name}_scale", f"{name}_zero"]
        node = onnx.helper.make_node("DequantizeLinear", names, [f"{name}_real"], **extra)
        nodes.append(node)
        operands.append(f"{name}_real")

    for i, q in enumerate(inputs):
        dequantize(f"x{i}", np.array(q.scale, np.float32), np.array(q.zero_point, q.dtype))
    for i, w in enumerate(weights):
        constants[f"w{i}"] = w.values
        scales = w.scale.astype(np.float32)
        zeros = np.full(scales.shape, w.zero_point, w.values.dtype)
        dequantize(f"w{i}", scales, zeros, w.axis if scales.ndim else None)
    if bias is not None:
        constants["b"] = bias
        scales = (weights[0].scale * np.float32(inputs[0].scale)).astype(np.float32)
        dequantize("b", scales, np.zeros(scales.shape, np.int32), 0 if scales.ndim else None)
    nodes.append(onnx.helper.make_node(op, operands, ["real"], name="the_op", **attributes))
    last = "real"
    if relu:
        nodes.append(onnx.helper.make_node("Relu", [last], ["positive"]))
        last = "positive"
    constants["y_scale"] = np.array(output.scale, np.float32)
    constants["y_zero"] = np.array(output.zero_point, output.dtype)
    nodes.append(onnx.helper.make_node("QuantizeLinear", [last, "y_scale", "y_zero"], ["y"]))
    given = {f"x{i}": (q.dtype, shapes[i]) for i, q in enumerate(inputs)}
    return onnx_model(nodes, given, {"y": (output.dtype, output_shape)}, constants, opset)


def random_weights(
    shape: tuple[int, ...], channels_axis: int | None = None, seed: int = 7, spread: int = 4,
    dtype: str = "int8", zero_point: int = 0,
) -> Weights:  # fmt: skip
    """Weights over the whole range; per-channel scales span 2^spread."""
    rng = np.random.default_rng(seed)
    low, high = (-127, 128) if dtype == "int8" else (0, 256)
    values = rng.integers(low, high, shape).astype(dtype)
    if channels_axis is None:
        return Weights(values, np.array(0.01, np.float32), zero_point)
    exponents = rng.uniform(-spread, 0, shape[channels_axis])
    return Weights(values, (0.02 * 2.0**exponents).astype(np.float32), zero_point, channels_axis)
