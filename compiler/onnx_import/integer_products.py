"""ConvInteger and MatMulInteger: int32 sums of products of 8-bit integers without their zeros."""

from dataclasses import replace

import numpy as np
import onnx

from tinyc.compiler.graph import EIGHT_BITS, Array, DType, QParams, Tensor
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.linear import matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.quantized import with_axis
from tinyc.compiler.onnx_import.single_node import single_node_model
from tinyc.compiler.onnx_import.spatial import convolution
from tinyc.compiler.onnx_import.spelled_quantization import cast
from tinyc.compiler.ops.onnx_evaluator import onnx_evaluator


def read_matmul_integer(build: Builder, node: ModelNode) -> Tensor:
    """(a - za) @ (b - zb)."""
    if _known(build, node, 2) and _known(build, node, 3):
        a, b = _integers(build, node, 0, 2), _integers(build, with_axis(node, -1), 1, 3)
        return matrix_product(build, node, a, b)
    a, b = _eight_bits(build, node, 0), _eight_bits(build, node, 1)
    if b.data is None or len(b.shape) != 2 or not _known(build, node, 3):
        wide = [_centred(build, node, t, at) for t, at in ((a, 2), (b, 3))]
        return matrix_product(build, node, wide[0], wide[1])
    weights = _integers(build, with_axis(node, -1), 1, 3)
    raw = matrix_product(build, node, build.as_stored(node, a, QParams((1.0,))), weights)
    assert weights.quant is not None and weights.data is not None
    centred = weights.data.astype(np.int64) - np.array(weights.quant.zero_point)
    sums = build.constant(f"{node.name}/sums", centred.sum(axis=0), DType.INT32)
    return _without_zero(build, node, raw, _zero(build, node, 2, a), sums)


def read_matmul_integer_to_float(build: Builder, node: ModelNode) -> Tensor:
    """(a - za) @ (b - zb) * (sa * sb) + bias; inputs a, b, sa, sb, za, zb, bias."""
    order = (0, 1, 4, 5)
    inputs = tuple(node.inputs[i] if i < len(node.inputs) else "" for i in order)
    sums = read_matmul_integer(build, replace(node, inputs=inputs))
    scale = build.binary(node, "Mul", build.operand(node, 2), build.operand(node, 3))
    y = build.binary(node, "Mul", cast(build, node, sums, DType.FLOAT32), scale)
    bias = build.optional(node, 6)
    return y if bias is None else build.binary(node, "Add", y, bias)


def read_conv_integer(build: Builder, node: ModelNode) -> Tensor:
    """(x - zx) convolved with (w - zw); the padding is zx."""
    if build.operand(node, 1).data is None or not _known(build, node, 3):
        wide = [_centred(build, node, _eight_bits(build, node, i), i + 2) for i in (0, 1)]
        return convolution(build, node, wide[0], wide[1], None)
    x, w = _eight_bits(build, node, 0), _integers(build, with_axis(node, 0), 1, 3)
    if _known(build, node, 2):
        return convolution(build, node, _integers(build, node, 0, 2), w, None)
    raw = convolution(build, node, build.as_stored(node, x, QParams((1.0,))), w, None)
    sums = build.constant(f"{node.name}/sums", _sums_of_weights(node, x, w), DType.INT32)
    return _without_zero(build, node, raw, _zero(build, node, 2, x), sums)


def _sums_of_weights(node: ModelNode, x: Tensor, w: Tensor) -> Array:
    """The sum of the weights that are not on padding, for each output; one a channel if equal."""
    assert w.data is not None and w.quant is not None
    zeros = np.array(w.quant.zero_point).reshape(-1, *[1] * (w.data.ndim - 1))
    ones = np.ones(x.shape, np.float64)
    constants = {"w": w.data.astype(np.float64) - zeros}
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.op_type = "Conv"  # of whole numbers below 2^53: exact
    proto.ClearField("input")
    proto.input.extend(["x", "w"])
    model = single_node_model(proto, node.opset, {"x": ("float64", x.shape)}, constants)
    sums = guarded(
        lambda: np.asarray(onnx_evaluator(model).run(None, {"x": ones})[0]),
        "bad-model",
        "it cannot be evaluated",
        node.where,
    )
    inner = tuple(slice(0, 1) if axis > 1 else slice(None) for axis in range(sums.ndim))
    return sums[inner] if bool((sums == sums[inner]).all()) else sums


def _without_zero(
    build: Builder, node: ModelNode, raw: Tensor, zero: Tensor, sums: Tensor
) -> Tensor:
    return build.binary(node, "Sub", raw, build.binary(node, "Mul", zero, sums))


def _centred(build: Builder, node: ModelNode, x: Tensor, zero_at: int) -> Tensor:
    """`x` without its zero point, int32."""
    wide = cast(build, node, x, DType.INT32)
    if build.optional(node, zero_at) is None:
        return wide
    return build.binary(node, "Sub", wide, _zero(build, node, zero_at, x))


def _zero(build: Builder, node: ModelNode, at: int, x: Tensor) -> Tensor:
    """Zero point `at` as int32 that broadcasts to `x`: of the whole, or of rows or columns."""
    zero = cast(build, node, build.operand(node, at), DType.INT32)
    if zero.elements == 1:
        return build.reshaped(node, zero, ())
    rows_of_a = node.op != "ConvInteger" and at == 2 and len(zero.shape) == 1
    channels_of_w = node.op == "ConvInteger" and at == 3
    if rows_of_a:
        return build.reshaped(node, zero, (zero.elements, 1))
    if channels_of_w:
        return build.reshaped(node, zero, (zero.elements, *(1,) * (len(x.shape) - 1)))
    return zero


def _known(build: Builder, node: ModelNode, zero_at: int) -> bool:
    """Whether the zero point is a constant that QParams can hold."""
    zero = build.optional(node, zero_at)
    return zero is None or (zero.data is not None and len(zero.shape) < 2)


def _eight_bits(build: Builder, node: ModelNode, at: int) -> Tensor:
    x = build.operand(node, at)
    if x.dtype not in EIGHT_BITS:
        node.malformed(f"input {at} is {x.dtype}, it must be int8 or uint8")
    return x


def _integers(build: Builder, node: ModelNode, at: int, zero_at: int) -> Tensor:
    """Input `at` as stored integers of scale 1; its zero point is known."""
    x, zero = _eight_bits(build, node, at), build.optional(node, zero_at)
    if zero is None or zero.data is None:
        return build.as_stored(node, x, QParams((1.0,)))
    zero_points = tuple(int(v) for v in zero.data.reshape(-1).tolist())
    axis = None
    if len(zero_points) != 1:
        axis = positive_axis(node, node.integer("axis", 0), len(x.shape))
        if not x.shape or x.shape[axis] != len(zero_points) or x.data is None:
            node.refuse(f"{len(zero_points)} zero points for axis {axis} of {list(x.shape)}")
    return build.as_stored(node, x, QParams((1.0,) * len(zero_points), zero_points, axis))
