"""MaxPool2D and AveragePool2D of 8-bit values, four channels at a time as words.

The cells of a window inside the image are a rectangle: rows of neighbouring pixels, without a
check a cell. Where there are not whole words of channels, the last word is moved back.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS
from tinyc.compiler.kernels.reduction import Cells, Reduction, clipped, taken
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.averaging import average_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.requantize import requantizer
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_pool import (
    MOST_CELLS,
    add_bytes,
    extremes,
    halves,
    store_word,
)

WORD = 4  # channels of a word


def suits_max(call: Call, target: Target) -> bool:
    """8-bit values, words of channels, no dilation, on a core with the DSP extension."""
    x, a = call.inputs[0], call.attrs
    return (
        "dsp" in target.features
        and call.quantized
        and x.dtype in EIGHT_BITS
        and x.shape[3] >= WORD
        and a.dilations == (1, 1)
    )


def suits_average(call: Call, target: Target) -> bool:
    """The same, and sums that fit halfwords."""
    return suits_max(call, target) and math.prod(call.attrs.kernel) <= MOST_CELLS


def kernel_max(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return _kernel(call, maxima(call))


def kernel_average(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return _kernel(call, averages(call, target))


def maxima(call: Call) -> Reduction:
    (x,), y = call.inputs, call.output
    best, result = loops.local("best", "uint32"), loops.buffer("y", y.elements, y.dtype)
    low, high = stored_bounds(y, call.attrs.clamp)
    larger, smaller = extremes(x.dtype)
    limited = high < x.dtype.limits[1]

    def four(value: int) -> Any:
        return loops.const((value & 0xFF) * 0x01010101, "uint32")

    def take(word: Any) -> list[Any]:
        return [
            loops.store(best, 0, loops.call(larger.name, loops.load(best, 0), word, dtype="uint32"))
        ]

    def finish(count: Any, at: Any) -> list[Any]:
        value = loops.load(best, 0)
        if limited:
            value = loops.call(smaller.name, value, four(high), dtype="uint32")
        return [loops.run("tinyc_store_word", loops.pointer(result, at), value)]

    needed = (*dsp("load_word"), store_word(), larger, *((smaller,) if limited else ()))
    return Reduction(
        "max_pool", result, (best,), (four(low),), take, finish, "uint32", microkernels=needed
    )


def averages(call: Call, target: Target) -> Reduction:
    (x,), y, a = call.inputs, call.output, call.attrs
    assert x.quant is not None and y.quant is not None
    zero, zero_point, bounds = (
        x.quant.zero_point[0],
        y.quant.zero_point[0],
        stored_bounds(y, a.clamp),
    )
    to = requantizer(average_requantization(call), target)
    counted = any(a.pads) and not a.include_pad
    sums = tuple(loops.local(f"sums_{parity}", "uint32") for parity in ("even", "odd"))
    result = loops.buffer("y", y.elements, y.dtype)
    adding, parts = add_bytes(x.dtype), halves(x.dtype)

    def take(word: Any) -> list[Any]:
        return [
            loops.store(s, 0, loops.call(add.name, loops.load(s, 0), word, dtype="uint32"))
            for s, add in zip(sums, adding, strict=True)
        ]

    def finish(count: Any, at: Any) -> list[Any]:
        lines = []
        for i in range(WORD):
            total = loops.call(parts[i // 2].name, loops.load(sums[i % 2], 0))
            cell = count - 1 if counted else loops.const(0)
            value = to.apply(total - count * zero, cell, zero_point)
            lines.append(loops.store(result, at + i, loops.clamp(value, *bounds)))
        return lines

    zeros = (loops.const(0, "uint32"), loops.const(0, "uint32"))
    needed = (*dsp("load_word"), *adding, *parts)
    return Reduction(
        "average_pool", result, sums, zeros, take, finish, "uint32", to.constants, to.buffers,
        needed,
    )  # fmt: skip


def words(channels: int, word: Callable[[Any], list[Any]]) -> Any:
    """Statements for the first channel of every word; the last one is moved back."""
    if channels % WORD == 0:
        return loops.loop("c", channels // WORD, lambda c: word(c * WORD))
    last = loops.const(channels - WORD)
    count = -(-channels // WORD)
    return loops.loop("c", count, lambda c: word(loops.minimum(c * WORD, last)))


def _kernel(call: Call, reduction: Reduction) -> Kernel:
    (x,), y = call.inputs, call.output
    (batch, _, _, channels), (_, oh, ow, _) = x.shape, y.shape
    source = loops.buffer("x", x.elements, x.dtype)
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def pixel(n: Any, oy: Any, ox: Any) -> list[Any]:
        cells = _cells(call, n, oy, ox)
        at = ((n * oh + oy) * ow + ox) * channels

        def word(channel: Any) -> list[Any]:
            def cell(pixel: Any) -> list[Any]:
                place = loops.pointer(source, pixel * channels + channel)
                return reduction.take(loops.call("tinyc_load_word", place, dtype="uint32"))

            count = cells.rows * cells.columns if cells.pitch else cells.columns
            return [
                *reduction.begin(),
                *taken(cells, cell),
                *reduction.finish(count, at + channel),
            ]

        return [words(channels, word)]

    def image(n: Any, first: Any, rows: Any) -> Any:
        return loops.loop(
            "oy", rows, lambda oy: [loops.loop("ox", ow, lambda ox: pixel(n, oy, ox))], first
        )

    parameters = [source, reduction.result, *reduction.tables]
    kernel = Kernel(
        reduction.name,
        None,
        reduction.constants,
        microkernels=reduction.microkernels,
        note="4 channels as a word",
    )
    if batch == 1:
        function = loops.function([*parameters, begin, end], [image(0, begin, end - begin)])
        return replace(kernel, function=function, rows=oh)
    body = [loops.loop("n", batch, lambda n: [image(n, 0, oh)])]
    return replace(kernel, function=loops.function(parameters, body))


def _cells(call: Call, n: Any, oy: Any, ox: Any) -> Cells:
    """The part of window (oy, ox) that lies in image `n`."""
    a, (_, h, w, _) = call.attrs, call.inputs[0].shape
    top, left, bottom, right = a.pads
    first_y, rows = clipped(oy * a.strides[0] - top, a.kernel[0], h, bool(top or bottom))
    first_x, columns = clipped(ox * a.strides[1] - left, a.kernel[1], w, bool(left or right))
    pixel = (n * h + first_y) * w + first_x
    if isinstance(columns, int) and isinstance(rows, int) and columns == w:
        return Cells(pixel, 1, 0, rows * columns)
    return Cells(pixel, rows, w, columns)
