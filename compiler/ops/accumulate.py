"""What Conv2D, DepthwiseConv2D and Dense share: exact accumulators and their way to the output.

Quantized: acc = sum (x - zx) * (w - zw) + bias, int32; y = requantize(acc * sx * sw[c] / sy).
Activations of 16 bits may need an int64: `accumulator_type`.

Weights of a layer that stays float may be stored, too: as integers, whose scale the sum of a
channel is multiplied by, or as float16.
"""

import math
from typing import Any

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import (
    EIGHT_BITS,
    FOUR_BITS,
    SIXTEEN_BITS,
    Array,
    DType,
    Tensor,
    read_only,
)
from tinyc.compiler.ops.clamp import Clamp, stored_bounds
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import (
    LONG_LIMIT,
    Requantization,
    long_requantization,
    requantization,
    requantize,
    wide_requantization,
)
from tinyc.compiler.ops.op import Call, dequantized


def centred(array: Array, tensor: Tensor) -> Array:
    """Stored values minus their zero points (float64: products of them are exact below 2^53)."""
    if tensor.quant is None:
        return array.astype(np.float64)
    shape = [1] * array.ndim
    if tensor.quant.axis is not None:
        shape[tensor.quant.axis] = -1
    return array.astype(np.float64) - np.array(tensor.quant.zero_point, np.float64).reshape(shape)


def factors(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, Array]:
    """What the reference multiplies (float64): stored values, or reals where x is real."""
    x, w = call.inputs[:2]
    meaning = centred if call.quantized else dequantized
    return meaning(arrays[0], x), meaning(arrays[1], w)


def weight_values(call: Call) -> Array:
    """The constant weights as a kernel's table holds them: floats, or centred whole numbers."""
    w = call.inputs[1]
    assert w.data is not None, "the weights are constant"
    return w.data if w.dtype.is_float else centred(w.data, w)


def product_scales(call: Call) -> Array:
    """scale(x) * scale(w)[c] / scale(y): what an accumulator stands for, in output steps."""
    x, w, y = call.inputs[0], call.inputs[1], call.output
    assert x.quant and w.quant and y.quant, "all three are quantized"
    weights = np.array(w.quant.scale, np.float64)
    return np.asarray(weights * np.float64(x.quant.scale[0]) / np.float64(y.quant.scale[0]))


def output_of(call: Call, acc: Array, bias: Array | None) -> Array:
    """The reference's last step: bias, then clamp or requantize; channels are the last axis."""
    y = call.output
    if bias is not None:
        acc = acc + bias.astype(np.float64)
    clamp: Clamp = call.attrs.clamp
    if y.quant is None:
        if not call.quantized:
            return np.clip(acc, clamp.low, clamp.high).astype(np.float32)
        return acc.astype(np.int64).astype(np.int32)
    low, high = stored_bounds(y, clamp)
    whole = acc.astype(np.int64)
    return requantize(whole, output_requantization(call), y.quant.zero_point[0], low, high).astype(
        y.dtype.value
    )


def output_requantization(call: Call) -> Requantization:
    x, w = call.inputs[:2]
    if x.dtype in SIXTEEN_BITS and (w.data is None or _has_long_sums(call)):
        return long_requantization(product_scales(call))
    return requantization_to(call.output.dtype, product_scales(call))


def requantization_to(
    dtype: DType, scales: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"
) -> Requantization:
    """From int32 accumulators to results of `dtype`."""
    return (wide_requantization if dtype in SIXTEEN_BITS else requantization)(scales)


def accumulator_type(call: Call) -> str:
    """The C type that holds every partial sum: "float32", "int32" or "int64"."""
    if not call.quantized:
        return "float32"
    return "int64" if call.inputs[0].dtype in SIXTEEN_BITS and _has_long_sums(call) else "int32"


def _has_long_sums(call: Call) -> bool:
    """Whether sums of 16-bit activations may leave int32."""
    return bool((_largest_sums(call) >= 1 << 31).any())


def _largest_sums(call: Call) -> Array:
    """For each output channel what no partial sum of stored values and folded bias exceeds."""
    x, w = call.inputs[:2]
    assert w.data is not None and x.quant is not None, "can_quantize has asked"
    low, high = x.dtype.limits
    depthwise = call.node.op == "DepthwiseConv2D"
    whole = np.abs(centred(w.data, w))
    sizes = whole.sum(axis=(0, 1)) if depthwise else whole.reshape(w.shape[0], -1).sum(axis=1)
    bias = call.inputs[2].data if len(call.inputs) > 2 else None
    largest = sizes * (max(-low, high) + abs(x.quant.zero_point[0]))
    return np.asarray(largest if bias is None else largest + np.abs(bias.astype(np.float64)))


def folded_bias(call: Call, weights: Array) -> Array:
    """bias[c] - zx * sum of the centred weights of c; `weights` is [channels, products].

    Of 8-bit activations clipped so far that no partial sum of the kernel leaves int32; a sum out
    there is saturated by every output scale above 2^-22.
    """
    x = call.inputs[0]
    bias = call.inputs[2].data if len(call.inputs) > 2 else None
    zero = x.quant.zero_point[0] if x.quant else 0
    whole = weights.astype(np.int64)
    folded = -zero * whole.sum(axis=1)
    if bias is not None:
        folded = folded + bias.astype(np.int64)
    if x.dtype in SIXTEEN_BITS:
        return read_only(folded, accumulator_type(call))
    room = (1 << 31) - 1 - 255 * np.abs(whole).sum(axis=1)
    if (room < 0).any():
        raise CompileError(
            "accumulator-overflow",
            f"sums of {weights.shape[1]} products do not fit 32 bits",
            f"node '{call.node.name}'",
            "split the layer in the model",
        )
    return read_only(np.clip(folded, -room, room), "int32")


def can_quantize(call: Call) -> bool:
    """8-bit activations, constant weights of 8 or 4 bits; an 8-bit result or the raw sum.

    Activations and results may have 16 bits, too.
    """
    x, w, y = call.inputs[0], call.inputs[1], call.output
    stored = (*EIGHT_BITS, *SIXTEEN_BITS)
    if w.data is None or w.quant is None or w.dtype not in (*EIGHT_BITS, *FOUR_BITS):
        return False
    if x.dtype not in stored or x.quant is None or x.quant.axis is not None:
        return False
    if y.quant is None:
        return y.dtype == DType.INT32 and len(call.inputs) == 2 and x.dtype in EIGHT_BITS
    if y.dtype not in stored or y.quant.axis is not None:
        return False
    if x.dtype in SIXTEEN_BITS and (_largest_sums(call) >= LONG_LIMIT).any():
        return False
    return float(product_scales(call).max()) < 2.0**20


def sums_fit(x: Tensor, y: Tensor, count: int) -> bool:
    """Whether `count` stored values, less their zero point, add up to an int32."""
    stored = (*EIGHT_BITS, *SIXTEEN_BITS)
    bits = 9 if x.dtype in EIGHT_BITS else 17
    return x.dtype in stored and y.dtype in stored and count < 1 << (31 - bits)


def result_type(x: Tensor, where: str) -> DType:
    """The dtype of the output of a float or raw-integer node."""
    check_type(where, x, (DType.FLOAT32, *EIGHT_BITS))
    return DType.FLOAT32 if x.dtype == DType.FLOAT32 else DType.INT32


def output_extent(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int
) -> int:
    """Outputs of a window that moves over `size` elements with padding."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def plane_outputs(plane: tuple[int, int], kernel: tuple[int, int], attrs: Any) -> tuple[int, int]:
    """Height and width of what a window gives; `attrs` has strides, dilations and pads."""
    (h, w), (kh, kw), (sh, sw), (dh, dw) = plane, kernel, attrs.strides, attrs.dilations
    top, left, bottom, right = attrs.pads
    return output_extent(h, kh, sh, dh, top, bottom), output_extent(w, kw, sw, dw, left, right)


def window_slices(offset: int, stride: int, extent: int, outputs: int) -> tuple[slice, slice]:
    """The outputs o with 0 <= o * stride + offset < extent, and the inputs they read."""
    first = max(0, math.ceil(-offset / stride))
    last = min(outputs - 1, (extent - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    begin = first * stride + offset
    return slice(first, last + 1), slice(begin, begin + (last - first) * stride + 1, stride)
