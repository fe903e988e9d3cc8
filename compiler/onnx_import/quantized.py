"""QuantizeLinear, DequantizeLinear, and the QLinear and Integer operators in terms of them."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, Array, DType, QParams, Tensor
from tinyc.compiler.onnx_import.arguments import constant_values
from tinyc.compiler.onnx_import.building import Builder, positive_axis
from tinyc.compiler.onnx_import.linear import matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.movement import concatenation
from tinyc.compiler.onnx_import.pools import global_average_pool
from tinyc.compiler.onnx_import.spatial import convolution
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.quantize import quantized
from tinyc.compiler.ops.unary import UnaryAttrs

STORED_TYPES = (*EIGHT_BITS, DType.INT16, DType.UINT16, DType.INT32)
ONNX_UINT8, ONNX_INT8 = 2, 3


def read_quantize(build: Builder, node: ModelNode) -> Tensor:
    x, zero_point = build.operand(node, 0), constant_values(build, node, 2)
    kind = node.integer("output_dtype", 0) or ONNX_UINT8
    if zero_point is not None:
        dtype = _stored_type(node, zero_point)
    elif kind in (ONNX_UINT8, ONNX_INT8):
        dtype = DType.UINT8 if kind == ONNX_UINT8 else DType.INT8
    else:
        node.refuse("an output type other than uint8 and int8 needs a zero point")
    if dtype == DType.INT32:
        node.refuse("quantizing to int32 is not supported", "quantize to int8 or uint8")
    return _quantize(build, node, x, dtype, _parameters(build, node, x, 1, 2))


def read_dequantize(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    return _dequantize(build, node, x, _parameters(build, node, x, 1, 2))


def _quantize(build: Builder, node: ModelNode, x: Tensor, dtype: DType, quant: QParams) -> Tensor:
    if x.dtype != DType.FLOAT32:
        node.refuse(f"quantizing {x.dtype} is not supported", "use float32")
    if x.data is not None:
        return build.constant(f"{node.name}/stored", quantized(x.data, dtype, quant), dtype, quant)
    return build.add(node, "Quantize", (x,), None, dtype, quant)


def _dequantize(build: Builder, node: ModelNode, x: Tensor, quant: QParams) -> Tensor:
    if x.dtype not in STORED_TYPES:
        node.refuse(f"dequantizing {x.dtype} is not supported", "quantize to int8 or uint8")
    return build.add(node, "Dequantize", (build.as_stored(node, x, quant),))


def _parameters(
    build: Builder, node: ModelNode, x: Tensor, scale_index: int, zero_index: int
) -> QParams:
    """The QParams that inputs of `node` give to `x`."""
    if node.integer("block_size", 0):
        node.refuse("blocked quantization is not supported", "quantize per tensor or per channel")
    scales = constant_values(build, node, scale_index)
    zeros = constant_values(build, node, zero_index)
    if scales is None or scales.dtype != np.float32:
        node.refuse("the scale must be float32")
    zeros = np.zeros(scales.shape, np.int32) if zeros is None else zeros
    _stored_type(node, zeros)
    if zeros.size != scales.size or scales.ndim > 1 or not scales.size:
        node.malformed(f"{scales.size} scales on {scales.ndim} axes, {zeros.size} zero points")
    values = tuple(float(v) for v in scales.reshape(-1).tolist())
    if not all(math.isfinite(v) and v > 0 for v in values):
        node.malformed("a scale is not a positive number")
    zero_points = tuple(int(v) for v in zeros.reshape(-1).tolist())
    if len(values) == 1 and "axis" not in node.attributes:
        return QParams(values, zero_points)  # exporters write [1] for a scalar
    axis = positive_axis(node, node.integer("axis", 1), len(x.shape)) if scales.ndim else 0
    if len(values) == 1 and (not x.shape or x.shape[axis] != 1 or x.data is None):
        return QParams(values, zero_points)
    if not x.shape or x.shape[axis] != len(values):
        node.malformed(f"{len(values)} scales for axis {axis} of {list(x.shape)}")
    return QParams(values, zero_points, axis if len(values) > 1 else None)


def _stored_type(node: ModelNode, zero_points: Array) -> DType:
    name = zero_points.dtype.name
    if name not in [str(t) for t in STORED_TYPES]:
        node.refuse(f"quantization to {name} is not supported", "quantize to int8 or uint8")
    return DType(name)


def _real(build: Builder, node: ModelNode, at: int) -> Tensor:
    """Inputs at, at + 1, at + 2 are stored integers, their scale and zero point: the reals."""
    x = build.operand(node, at)
    return _dequantize(build, node, x, _parameters(build, node, x, at + 1, at + 2))


def _stored(build: Builder, node: ModelNode, real: Tensor, at: int) -> Tensor:
    """`real` by the output scale and zero point that are inputs at and at + 1."""
    zero_points = constant_values(build, node, at + 1)
    dtype = DType.UINT8 if zero_points is None else _stored_type(node, zero_points)
    return _quantize(build, node, real, dtype, _parameters(build, node, real, at, at + 1))


def read_qlinear_conv(build: Builder, node: ModelNode) -> Tensor:
    along_outputs = _with_axis(node, 0)
    x, bias = _real(build, node, 0), build.optional(node, 8)
    weights = _real(build, along_outputs, 3)
    if bias is not None:
        x_scale = _parameters(build, node, x, 1, 2).scale[0]
        w_scales = _parameters(build, along_outputs, build.operand(node, 3), 4, 5).scale
        scales = tuple(float(np.float32(s * x_scale)) for s in w_scales)
        axis = None if len(scales) == 1 else 0
        if axis is not None and bias.shape != (len(scales),):
            node.malformed(f"a bias {list(bias.shape)} for {len(scales)} output channels")
        bias = _dequantize(build, node, bias, QParams(scales, (0,) * len(scales), axis))
    return _stored(build, node, convolution(build, node, x, weights, bias), 6)


def read_qlinear_matmul(build: Builder, node: ModelNode) -> Tensor:
    a, b = _real(build, node, 0), _real(build, _with_axis(node, -1), 3)
    return _stored(build, node, matrix_product(build, node, a, b), 6)


def qlinear_binary(op: str) -> Callable[[Builder, ModelNode], Tensor]:
    """The reader of QLinearAdd or QLinearMul."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        a, b = _real(build, node, 0), _real(build, node, 3)
        return _stored(build, node, build.binary(node, op, a, b), 6)

    return read


def qlinear_unary(function: str, **defaults: float) -> Callable[[Builder, ModelNode], Tensor]:
    """The reader of a QLinear activation whose parameters are attributes with these defaults."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        parameters = tuple(node.real(name, value) for name, value in defaults.items())
        x = _real(build, node, 0)
        y = build.add(node, "Unary", (x,), UnaryAttrs(function, parameters))
        return _stored(build, node, y, 3)

    return read


def read_qlinear_global_average_pool(build: Builder, node: ModelNode) -> Tensor:
    if node.integer("channels_last", 0):
        node.refuse("channels_last is not supported")
    x = _real(build, node, 0)
    return _stored(build, node, global_average_pool(build, node, x), 3)


def read_qlinear_concat(build: Builder, node: ModelNode) -> Tensor:
    if len(node.inputs) < 5 or (len(node.inputs) - 2) % 3:
        node.malformed(f"it has {len(node.inputs)} inputs")
    parts = tuple(_real(build, node, at) for at in range(2, len(node.inputs), 3))
    return _stored(build, node, concatenation(build, node, parts), 0)


def read_conv_integer(build: Builder, node: ModelNode) -> Tensor:
    zeros = [build.optional(node, i) for i in (2, 3)]
    if any(zero is not None and zero.data is None for zero in zeros):
        x, w = _less_zero_point(build, node, 0, 2), _less_zero_point(build, node, 1, 3)
        return convolution(build, node, x, w, None)
    x, w = _integers(build, node, 0, 2), _integers(build, _with_axis(node, 0), 1, 3)
    return convolution(build, node, x, w, None)


def read_matmul_integer(build: Builder, node: ModelNode) -> Tensor:
    a, b = _integers(build, node, 0, 2), _integers(build, _with_axis(node, -1), 1, 3)
    return matrix_product(build, node, a, b)


def _less_zero_point(build: Builder, node: ModelNode, at: int, zero_at: int) -> Tensor:
    """Input `at` minus its zero point, computed at run time: int32."""
    x, zero = build.operand(node, at), build.optional(node, zero_at)
    if x.dtype not in EIGHT_BITS:
        node.malformed(f"input {at} is {x.dtype}, it must be int8 or uint8")
    wide = build.add(node, "Cast", (x,), CastAttrs(DType.INT32))
    if zero is None:
        return wide
    if zero.shape not in ((), (1,), (x.shape[0],)):
        node.malformed(f"a zero point {list(zero.shape)} for input {at} {list(x.shape)}")
    column = build.reshaped(node, zero, (*zero.shape, *(1,) * (len(x.shape) - 1)))
    return build.binary(
        node, "Sub", wide, build.add(node, "Cast", (column,), CastAttrs(DType.INT32))
    )


def _integers(build: Builder, node: ModelNode, at: int, zero_at: int) -> Tensor:
    """Input `at` as stored integers of scale 1."""
    x, zeros = build.operand(node, at), constant_values(build, node, zero_at)
    whole = zeros is None or zeros.dtype.kind in "iu"
    if x.dtype not in EIGHT_BITS or not whole:
        node.malformed(f"input {at} is {x.dtype}, it must be int8 or uint8")
    zero_points = (0,) if zeros is None else tuple(int(v) for v in zeros.reshape(-1).tolist())
    axis = None
    if len(zero_points) != 1:
        axis = positive_axis(node, node.integer("axis", 0), len(x.shape))
        if not x.shape or x.shape[axis] != len(zero_points) or x.data is None:
            node.refuse(f"{len(zero_points)} zero points for axis {axis} of {list(x.shape)}")
    return build.as_stored(node, x, QParams((1.0,) * len(zero_points), zero_points, axis))


def _with_axis(node: ModelNode, axis: int) -> ModelNode:
    """`node`, whose per-channel weights lie along `axis`."""
    return replace(node, attributes={**node.attributes, "axis": axis})
