"""MaxPool2D and AveragePool2D, output by output, for every core and for floats."""

import math
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.kernels.reduction import Reduction
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.averaging import average_requantization
from tinyc.compiler.ops.clamp import clamp_float, stored_bounds
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.requantize import requantizer
from tinyc.targets import Target

MOST_NARROW = 128  # cells whose values, less a zero point, add up to an int16


def suits(call: Call, target: Target) -> bool:
    """Everything."""
    return True


def kernel_max(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return _pool(call, maximum(call), counted=False)


def kernel_average(call: Call, target: Target, schedule: Schedule) -> Kernel:
    a = call.attrs
    return _pool(call, average(call, target), any(a.pads) and not a.include_pad)


def maximum(call: Call) -> Reduction:
    (x,), y = call.inputs, call.output
    wide = "float32" if x.dtype.is_float else "int32"
    best, result = loops.local("best", wide), loops.buffer("y", y.elements, y.dtype)
    lowest = loops.const(-math.inf, wide) if x.dtype.is_float else loops.const(x.dtype.limits[0])

    def take(value: Any) -> list[Any]:
        return [loops.store(best, 0, loops.maximum(loops.load(best, 0), value.astype(wide)))]

    def finish(count: Any, at: Any) -> list[Any]:
        value = loops.load(best, 0)
        if y.quant is not None:
            value = loops.clamp(value, *stored_bounds(y, call.attrs.clamp))
        elif y.dtype.is_float:
            value = clamp_float(value, call.attrs.clamp)
        return [loops.store(result, at, value)]

    return Reduction("max_pool", result, (best,), (lowest,), take, finish, x.dtype)


def average(call: Call, target: Target) -> Reduction:
    (x,), y, a = call.inputs, call.output, call.attrs
    cells = a.kernel[0] * a.kernel[1]
    counted = any(a.pads) and not a.include_pad
    wide = "int32" if call.quantized else "float32"
    total, result = loops.local("total", wide), loops.buffer("y", y.elements, y.dtype)
    to = requantizer(average_requantization(call), target) if call.quantized else None
    zero = x.quant.zero_point[0] if x.quant else 0

    def take(value: Any) -> list[Any]:
        value = value.astype(wide) if not call.quantized else value.astype("int32") - zero
        return [loops.store(total, 0, loops.load(total, 0) + value)]

    def finish(count: Any, at: Any) -> list[Any]:
        if to is not None:
            assert y.quant is not None
            cell = count - 1 if counted else loops.const(0)
            value = to.apply(loops.load(total, 0), cell, y.quant.zero_point[0])
            return [loops.store(result, at, loops.clamp(value, *stored_bounds(y, a.clamp)))]
        divisor = count.astype("float32") if counted else loops.const(float(cells), wide)
        return [loops.store(result, at, clamp_float(loops.load(total, 0) / divisor, a.clamp))]

    kept = "int16" if call.quantized and cells <= MOST_NARROW else wide
    constants, tables = (to.constants, to.buffers) if to else ((), ())
    first = loops.const(0, wide)
    return Reduction(
        "average_pool", result, (total,), (first,), take, finish, kept, constants, tables
    )


def _pool(call: Call, reduction: Reduction, counted: bool) -> Kernel:
    """The loops of both pools: begin, take every cell inside, finish, for each output.

    counted  whether what is finished depends on the number of cells
    """
    (x,), y, a = call.inputs, call.output, call.attrs
    (batch, h, w, c), (_, oh, ow, _) = x.shape, y.shape
    source, count = loops.buffer("x", x.elements, x.dtype), loops.local("count")
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def cell(n: Any, iy: Any, ix: Any, channel: Any) -> list[Any]:
        checks = [iy >= 0] if a.pads[0] else []
        checks += [iy < h] if a.pads[2] else []
        checks += [ix >= 0] if a.pads[1] else []
        checks += [ix < w] if a.pads[3] else []
        taken = reduction.take(loops.load(source, ((n * h + iy) * w + ix) * c + channel))
        if counted:
            taken.append(loops.store(count, 0, loops.load(count, 0) + 1))
        return [loops.when(loops.every(checks), taken)] if checks else taken

    def output(n: Any, oy: Any, ox: Any, channel: Any) -> list[Any]:
        zero = [*loops.declare(count), loops.store(count, 0, loops.const(0))] if counted else []
        return [
            *reduction.begin(),
            *zero,
            loops.loop("ky", a.kernel[0], lambda ky: [
                loops.loop("kx", a.kernel[1], lambda kx: cell(
                    n,
                    oy * a.strides[0] + ky * a.dilations[0] - a.pads[0],
                    ox * a.strides[1] + kx * a.dilations[1] - a.pads[1],
                    channel,
                ))
            ]),
            *reduction.finish(loops.load(count, 0), ((n * oh + oy) * ow + ox) * c + channel),
        ]  # fmt: skip

    def image(n: Any, first: Any, rows: Any) -> Any:
        return loops.loop("oy", rows, lambda oy: [
            loops.loop("ox", ow, lambda ox: [
                loops.loop("c", c, lambda channel: output(n, oy, ox, channel))
            ])
        ], first)  # fmt: skip

    parameters, constants = [source, reduction.result, *reduction.tables], reduction.constants
    floats = x.dtype.is_float
    if batch == 1:
        function = loops.function([*parameters, begin, end], [image(0, begin, end - begin)])
        return Kernel(reduction.name, function, constants, rows=oh, float_code=floats)
    body = [loops.loop("n", batch, lambda n: [image(n, 0, oh)])]
    return Kernel(reduction.name, loops.function(parameters, body), constants, float_code=floats)
