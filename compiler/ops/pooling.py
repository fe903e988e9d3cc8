"""MaxPool2D and AveragePool2D on NHWC tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, Array, DType, Tensor
from tinyc.compiler.kernels import pool, pool_words, running_pool
from tinyc.compiler.ops.accumulate import plane_outputs, sums_fit, window_slices
from tinyc.compiler.ops.averaging import average_requantization
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, stored_bounds
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import Requantization, requantize
from tinyc.compiler.ops.op import (
    Algorithm,
    Algorithms,
    Call,
    Op,
    RowWindows,
    Type,
    Window,
    kernel_by,
)


@dataclass(frozen=True, slots=True)
class Pool2DAttrs:
    """kernel, strides, dilations: (height, width); pads: top, left, bottom, right.

    include_pad  AveragePool2D divides by the whole kernel, the padding counts as zeros
    """

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    include_pad: bool = False
    clamp: Clamp = NO_CLAMP


def infer_max(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("MaxPool", inputs[0], (DType.FLOAT32, *EIGHT_BITS))
    return infer(inputs, attrs)


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    n, h, w, c = inputs[0].shape
    oh, ow = plane_outputs((h, w), attrs.kernel, attrs)
    return (((n, oh, ow, c), inputs[0].dtype),)


def infer_average(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("AveragePool", inputs[0], (DType.FLOAT32,))
    return infer(inputs, attrs)


def windows(call: Call) -> RowWindows | None:
    a = call.attrs
    if call.inputs[0].shape[0] != 1:
        return None
    return (Window((a.kernel[0] - 1) * a.dilations[0] + 1, a.strides[0], a.pads[0]),)


def _cells(call: Call) -> Iterator[tuple[int, int, slice, slice, slice, slice]]:
    """For each kernel position: the outputs that have it inside the input, and the inputs read."""
    a = call.attrs
    _, h, w, _ = call.inputs[0].shape
    _, oh, ow, _ = call.output.shape
    for i in range(a.kernel[0]):
        for j in range(a.kernel[1]):
            rows = window_slices(i * a.dilations[0] - a.pads[0], a.strides[0], h, oh)
            columns = window_slices(j * a.dilations[1] - a.pads[1], a.strides[1], w, ow)
            yield i, j, *rows, *columns


def reference_max(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,) = arrays
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    result = np.full(call.output.shape, lowest, x.dtype)
    for _, _, rows, h, columns, w in _cells(call):
        result[:, rows, columns] = np.maximum(result[:, rows, columns], x[:, h, w])
    if call.output.quant is not None:
        return (np.clip(result, *stored_bounds(call.output, call.attrs.clamp)).astype(x.dtype),)
    return (np.clip(result, call.attrs.clamp.low, call.attrs.clamp.high).astype(x.dtype),)


def reference_average(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a, y = arrays, call.attrs, call.output
    wide = np.int64 if call.quantized else np.float64
    total, count = np.zeros(y.shape, wide), np.zeros((1, *y.shape[1:3], 1), np.int64)
    for _, _, rows, h, columns, w in _cells(call):
        total[:, rows, columns] += x[:, h, w]
        count[:, rows, columns] += 1
    divisor = np.full_like(count, a.kernel[0] * a.kernel[1]) if a.include_pad else count
    if not call.quantized:
        result = np.clip(total / divisor, a.clamp.low, a.clamp.high)
        return (result.astype(np.float32),)
    assert call.inputs[0].quant and y.quant
    to = average_requantization(call)
    zero_point, bounds = y.quant.zero_point[0], stored_bounds(y, a.clamp)
    acc = total - count * call.inputs[0].quant.zero_point[0]
    one_each = Requantization(
        to.multipliers[(divisor - 1) % to.multipliers.size],
        None if to.shifts is None else to.shifts[(divisor - 1) % to.multipliers.size],
    )
    return (requantize(acc, one_each, zero_point, *bounds).astype(y.dtype.value),)


def max_can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    return x.quant == y.quant and x.dtype == y.dtype and x.dtype in (*EIGHT_BITS, *SIXTEEN_BITS)


def average_can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    return per_tensor and sums_fit(x, y, call.attrs.kernel[0] * call.attrs.kernel[1])


MAX_ALGORITHMS: Algorithms = {
    "words": Algorithm(pool_words.suits_max, pool_words.kernel_max),
    "direct": Algorithm(pool.suits, pool.kernel_max),
    "running": Algorithm(running_pool.suits, running_pool.kernel_max),
}
AVERAGE_ALGORITHMS: Algorithms = {
    "words": Algorithm(pool_words.suits_average, pool_words.kernel_average),
    "direct": Algorithm(pool.suits, pool.kernel_average),
    "running": Algorithm(running_pool.suits, running_pool.kernel_average),
}

MAX_POOL = Op(
    "MaxPool2D", infer_max, reference_max, kernel_by(MAX_ALGORITHMS), windows,
    quantize=max_can_quantize, algorithms=MAX_ALGORITHMS,
)  # fmt: skip
AVERAGE_POOL = Op(
    "AveragePool2D", infer_average, reference_average, kernel_by(AVERAGE_ALGORITHMS), windows,
    quantize=average_can_quantize, algorithms=AVERAGE_ALGORITHMS,
)  # fmt: skip
