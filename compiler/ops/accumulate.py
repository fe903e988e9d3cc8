"""What Conv2D, DepthwiseConv2D and Dense share: exact accumulators and their way to the output.

Quantized: acc = sum (x - zx) * (w - zw) + bias, int32; y = requantize(acc * sx * sw[c] / sy).
"""

import math

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Tensor, read_only
from tinyc.compiler.ops.clamp import Clamp, stored_bounds
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import Requantization, requantization, requantize
from tinyc.compiler.ops.op import Call


def centred(array: Array, tensor: Tensor) -> Array:
    """Stored values minus their zero points (float64: products of them are exact below 2^53)."""
    if tensor.quant is None:
        return array.astype(np.float64)
    shape = [1] * array.ndim
    if tensor.quant.axis is not None:
        shape[tensor.quant.axis] = -1
    return array.astype(np.float64) - np.array(tensor.quant.zero_point, np.float64).reshape(shape)


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
    return requantization(product_scales(call))


def folded_bias(call: Call, weights: Array) -> Array:
    """bias[c] - zx * sum of the centred weights of c, int32; `weights` is [channels, products].

    Clipped so far that no partial sum of the kernel leaves int32; a sum out there is saturated
    by every output scale above 2^-22.
    """
    x = call.inputs[0]
    bias = call.inputs[2].data if len(call.inputs) > 2 else None
    zero = x.quant.zero_point[0] if x.quant else 0
    whole = weights.astype(np.int64)
    folded = -zero * whole.sum(axis=1)
    if bias is not None:
        folded = folded + bias.astype(np.int64)
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
    """8-bit activations and constant 8-bit weights; an 8-bit result or the raw accumulator."""
    x, w, y = call.inputs[0], call.inputs[1], call.output
    if w.data is None or w.quant is None or w.dtype not in EIGHT_BITS:
        return False
    if x.dtype not in EIGHT_BITS or x.quant is None or x.quant.axis is not None:
        return False
    if y.quant is None:
        return y.dtype == DType.INT32 and len(call.inputs) == 2
    if y.dtype not in EIGHT_BITS or y.quant.axis is not None:
        return False
    return float(product_scales(call).max()) < 2.0**20


def result_type(x: Tensor, where: str) -> DType:
    """The dtype of the output of a float or raw-integer node."""
    check_type(where, x, (DType.FLOAT32, *EIGHT_BITS))
    return DType.FLOAT32 if x.dtype == DType.FLOAT32 else DType.INT32


def output_extent(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int
) -> int:
    """Outputs of a window that moves over `size` elements with padding."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def window_slices(offset: int, stride: int, extent: int, outputs: int) -> tuple[slice, slice]:
    """The outputs o with 0 <= o * stride + offset < extent, and the inputs they read."""
    first = max(0, math.ceil(-offset / stride))
    last = min(outputs - 1, (extent - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    begin = first * stride + offset
    return slice(first, last + 1), slice(begin, begin + (last - first) * stride + 1, stride)
