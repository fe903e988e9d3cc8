"""QuantizeLinear and DequantizeLinear: to and from stored integers that QParams give a meaning."""

import math
from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, FOUR_BITS, DType, QParams, Tensor
from tinyc.compiler.onnx_import.arguments import constant_values
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.element_types import onnx_element_type
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.spelled_quantization import (
    spelled_dequantize,
    spelled_quantize,
)
from tinyc.compiler.ops.quantize import quantized

STORED_TYPES = (*EIGHT_BITS, DType.INT16, DType.UINT16, DType.INT32)


def read_quantize(build: Builder, node: ModelNode) -> Tensor:
    return stored(build, node, build.operand(node, 0), 1)


def read_dequantize(build: Builder, node: ModelNode) -> Tensor:
    return real(build, node, 0)


def real(build: Builder, node: ModelNode, at: int) -> Tensor:
    """Inputs at, at + 1, at + 2 are stored integers, their scale and zero point: the reals."""
    x = build.operand(node, at)
    if x.dtype not in STORED_TYPES:
        node.refuse(f"dequantizing {x.dtype} is not supported", "quantize to int8 or uint8")
    zero_point = build.optional(node, at + 2)
    if zero_point is not None and zero_point.dtype != x.dtype:
        node.malformed(f"its zero point is {zero_point.dtype}, and what it dequantizes {x.dtype}")
    if _is_spelled(build, node, at + 1):
        return spelled_dequantize(build, node, x, at + 1)
    quant = parameters(build, node, x, at + 1)
    narrow = {t.limits: t for t in FOUR_BITS}
    dtype = narrow.get(build.narrow.get(node.inputs[at], x.dtype.limits))
    if x.data is not None and dtype is not None:
        x = build.constant(f"{x.name}/{dtype}", x.data.astype(dtype.value), dtype)
    return dequantize(build, node, x, quant)


def stored(build: Builder, node: ModelNode, x: Tensor, at: int) -> Tensor:
    """The real `x` by the output scale and zero point that are inputs at and at + 1."""
    dtype, narrow = _output_type(build, node, at + 1)
    if x.dtype != DType.FLOAT32:
        node.refuse(f"quantizing {x.dtype} is not supported", "use float32")
    if dtype == DType.INT32:
        node.refuse("quantizing to int32 is not supported", "quantize to int8 or uint8")
    if narrow or _is_spelled(build, node, at):
        return spelled_quantize(build, node, x, at, dtype, narrow or dtype.limits)
    quant = parameters(build, node, x, at)
    if x.data is not None:
        return build.constant(f"{node.name}/stored", quantized(x.data, dtype, quant), dtype, quant)
    return build.add(node, "Quantize", (x,), None, dtype, quant)


def dequantize(build: Builder, node: ModelNode, x: Tensor, quant: QParams) -> Tensor:
    return build.add(node, "Dequantize", (build.as_stored(node, x, quant),))


def parameters(build: Builder, node: ModelNode, x: Tensor, scale_at: int) -> QParams:
    """The QParams that the constant inputs scale_at and scale_at + 1 of `node` give to `x`."""
    scales = constant_values(build, node, scale_at)
    zeros = constant_values(build, node, scale_at + 1)
    if scales is None or scales.dtype != np.float32:
        node.refuse("the scale must be float32")
    zeros = np.zeros(scales.shape, np.int32) if zeros is None else zeros
    _stored_type(node, zeros.dtype.name)
    if zeros.size != scales.size or scales.ndim > 1 or not scales.size:
        node.malformed(f"{scales.size} scales on {scales.ndim} axes, {zeros.size} zero points")
    values = tuple(float(v) for v in scales.reshape(-1).tolist())
    if not all(math.isfinite(v) and v > 0 for v in values):
        node.malformed("a scale is not a positive number")
    zero_points = tuple(int(v) for v in zeros.reshape(-1).tolist())
    if len(values) == 1:  # of the whole, whatever axis is named: exporters write [1] for a scalar
        return QParams(values, zero_points)
    axis = positive_axis(node, node.integer("axis", 1), len(x.shape))
    if not x.shape or x.shape[axis] != len(values):
        node.malformed(f"{len(values)} scales for axis {axis} of {list(x.shape)}")
    return QParams(values, zero_points, axis)


def with_axis(node: ModelNode, axis: int) -> ModelNode:
    """`node`, whose per-channel weights lie along `axis`."""
    return replace(node, attributes={**node.attributes, "axis": axis})


def known_parameters(build: Builder, node: ModelNode, at: int) -> bool:
    """Whether scale and zero point, inputs at and at + 1, are constants that QParams can hold."""
    return not _is_spelled(build, node, at)


def _is_spelled(build: Builder, node: ModelNode, scale_at: int) -> bool:
    """Whether the scales are computed at run time, or there is one for each block."""
    given = [build.optional(node, i) for i in (scale_at, scale_at + 1)]
    computed = any(t is not None and build.real_constant(t) is None for t in given)
    blocked = node.integer("block_size", 0) > 0
    return computed or blocked or any(t is not None and len(t.shape) > 1 for t in given)


def _output_type(
    build: Builder, node: ModelNode, zero_at: int
) -> tuple[DType, tuple[int, int] | None]:
    """The stored type, and its limits where they are narrower than those of a whole byte."""
    zero_point = build.optional(node, zero_at)
    if zero_point is not None:
        narrow = build.narrow.get(node.inputs[zero_at])
        return _stored_type(node, zero_point.dtype), narrow
    kind = node.integer("output_dtype", 0)
    return _stored_type(node, onnx_element_type(kind, node.where)) if kind else DType.UINT8, None


def _stored_type(node: ModelNode, name: str) -> DType:
    if name not in [str(t) for t in STORED_TYPES]:
        node.refuse(f"quantization to {name} is not supported", "quantize to int8 or uint8")
    return DType(name)
