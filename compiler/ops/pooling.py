"""MaxPool2D and AveragePool2D on NHWC tensors."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import output_extent, window_slices
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float, stored_bounds
from tinyc.compiler.ops.fixed_point import Requantization, requantization, requantize
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, RowWindows, Type, Window
from tinyc.compiler.ops.requantize import Requantizer, requantizer
from tinyc.targets import Target


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


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    n, h, w, c = inputs[0].shape
    top, left, bottom, right = attrs.pads
    (kh, kw), (sh, sw), (dh, dw) = attrs.kernel, attrs.strides, attrs.dilations
    oh = output_extent(h, kh, sh, dh, top, bottom)
    ow = output_extent(w, kw, sw, dw, left, right)
    return (((n, oh, ow, c), inputs[0].dtype),)


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


def average_requantization(call: Call) -> Requantization:
    """One multiplier, or one for every count of cells where borders count fewer."""
    (x,), a, y = call.inputs, call.attrs, call.output
    assert x.quant and y.quant
    cells = a.kernel[0] * a.kernel[1]
    ratio = np.float64(x.quant.scale[0]) / y.quant.scale[0]
    counts = np.arange(1, cells + 1) if any(a.pads) and not a.include_pad else np.array([cells])
    return requantization(ratio / counts)


def max_can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    return x.quant == y.quant and x.dtype == y.dtype and x.dtype in EIGHT_BITS


def average_can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    small = call.attrs.kernel[0] * call.attrs.kernel[1] < 1 << 22  # 511 * cells fits int32
    return per_tensor and x.dtype in EIGHT_BITS and y.dtype in EIGHT_BITS and small


def kernel_max(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    wide = "float32" if x.dtype.is_float else "int32"
    best = loops.local("best", wide)
    lowest = loops.const(-math.inf, wide) if x.dtype.is_float else loops.const(x.dtype.limits[0])

    def start() -> list[Any]:
        return [*loops.declare(best), loops.store(best, 0, lowest)]

    def take(value: Any) -> list[Any]:
        return [loops.store(best, 0, loops.maximum(loops.load(best, 0), value.astype(wide)))]

    def finish(at: Any, result: Any) -> list[Any]:
        value = loops.load(best, 0)
        if y.quant is not None:
            value = loops.clamp(value, *stored_bounds(y, call.attrs.clamp))
        elif y.dtype.is_float:
            value = clamp_float(value, call.attrs.clamp)
        return [loops.store(result, at, value)]

    return _pool("max_pool", call, start, take, finish, None)


def kernel_average(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    cells = a.kernel[0] * a.kernel[1]
    counted = any(a.pads) and not a.include_pad
    wide = "int32" if call.quantized else "float32"
    total, count = loops.local("total", wide), loops.local("count")
    to = requantizer(average_requantization(call), target) if call.quantized else None
    zero = x.quant.zero_point[0] if x.quant else 0

    def start() -> list[Any]:
        lines = [*loops.declare(total), loops.store(total, 0, loops.const(0, wide))]
        if counted:
            lines += [*loops.declare(count), loops.store(count, 0, loops.const(0))]
        return lines

    def take(value: Any) -> list[Any]:
        value = value.astype(wide) if not call.quantized else value.astype("int32") - zero
        lines = [loops.store(total, 0, loops.load(total, 0) + value)]
        return [*lines, loops.store(count, 0, loops.load(count, 0) + 1)] if counted else lines

    def finish(at: Any, result: Any) -> list[Any]:
        if to is not None:
            assert y.quant is not None
            cell = loops.load(count, 0) - 1 if counted else loops.const(0)
            value = to.apply(loops.load(total, 0), cell, y.quant.zero_point[0])
            return [loops.store(result, at, loops.clamp(value, *stored_bounds(y, a.clamp)))]
        divisor = (
            loops.load(count, 0).astype("float32") if counted else loops.const(float(cells), wide)
        )
        return [loops.store(result, at, clamp_float(loops.load(total, 0) / divisor, a.clamp))]

    return _pool("average_pool", call, start, take, finish, to)


def _pool(
    name: str, call: Call, start: Any, take: Any, finish: Any, to: Requantizer | None
) -> Kernel:
    """The loops of both pools: start, take every cell inside, finish, for each output."""
    (x,), y, a = call.inputs, call.output, call.attrs
    (batch, h, w, c), (_, oh, ow, _) = x.shape, y.shape
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def cell(n: Any, iy: Any, ix: Any, channel: Any) -> list[Any]:
        checks = [iy >= 0] if a.pads[0] else []
        checks += [iy < h] if a.pads[2] else []
        checks += [ix >= 0] if a.pads[1] else []
        checks += [ix < w] if a.pads[3] else []
        taken = take(loops.load(source, ((n * h + iy) * w + ix) * c + channel))
        return [loops.when(loops.every(checks), taken)] if checks else list(taken)

    def output(n: Any, oy: Any, ox: Any, channel: Any) -> list[Any]:
        return [
            *start(),
            loops.loop("ky", a.kernel[0], lambda ky: [
                loops.loop("kx", a.kernel[1], lambda kx: cell(
                    n,
                    oy * a.strides[0] + ky * a.dilations[0] - a.pads[0],
                    ox * a.strides[1] + kx * a.dilations[1] - a.pads[1],
                    channel,
                ))
            ]),
            *finish(((n * oh + oy) * ow + ox) * c + channel, result),
        ]  # fmt: skip

    def image(n: Any, first: Any, rows: Any) -> Any:
        return loops.loop("oy", rows, lambda oy: [
            loops.loop("ox", ow, lambda ox: [
                loops.loop("c", c, lambda channel: output(n, oy, ox, channel))
            ])
        ], first)  # fmt: skip

    constants, tables = (to.constants, to.buffers) if to else ((), ())
    parameters = [source, result, *tables]
    if batch == 1:
        function = loops.function([*parameters, begin, end], [image(0, begin, end - begin)])
        return Kernel(name, function, constants, rows=oh, float_code=x.dtype.is_float)
    body = [loops.loop("n", batch, lambda n: [image(n, 0, oh)])]
    return Kernel(name, loops.function(parameters, body), constants, float_code=x.dtype.is_float)


MAX_POOL = Op("MaxPool2D", infer, reference_max, kernel_max, windows, quantize=max_can_quantize)
AVERAGE_POOL = Op(
    "AveragePool2D",
    infer,
    reference_average,
    kernel_average,
    windows,
    quantize=average_can_quantize,
)
