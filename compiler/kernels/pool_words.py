"""MaxPool2D and AveragePool2D of 8-bit values, four channels at a time as words.

The cells of a window inside the image are a rectangle: rows of neighbouring pixels, without a
check a cell. Where there are not whole words of channels, the last word is moved back.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.averaging import average_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
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
UNROLL = 8  # cells that are written out


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The rectangle of a window inside the image.

    pixel    number of its first pixel
    rows     of neighbouring pixels, and how many pixels lie between their beginnings
    columns  pixels of a row; an int where no window leaves the image to the side
    """

    pixel: Any
    rows: Any
    pitch: int
    columns: Any


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """What happens to the words of a window: statements.

    start   before the first cell
    take    with a cell's word
    finish  with the number of cells, the channel and the index of the first output
    """

    start: Callable[[], list[Any]]
    take: Callable[[Any], list[Any]]
    finish: Callable[[Any, Any, Any], list[Any]]


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

    def finish(count: Any, channel: Any, at: Any) -> list[Any]:
        value = loops.load(best, 0)
        if limited:
            value = loops.call(smaller.name, value, four(high), dtype="uint32")
        return [loops.run("tinyc_store_word", loops.pointer(result, at), value)]

    reduction = Reduction(
        lambda: [*loops.declare(best), loops.store(best, 0, four(low))], take, finish
    )
    needed = (*dsp("load_word"), store_word(), larger, *((smaller,) if limited else ()))
    return _kernel("max_pool", call, reduction, result, (), (), needed)


def kernel_average(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    assert x.quant is not None and y.quant is not None
    zero, zero_point, bounds = (
        x.quant.zero_point[0],
        y.quant.zero_point[0],
        stored_bounds(y, a.clamp),
    )
    to = requantizer(average_requantization(call), target)
    counted = any(a.pads) and not a.include_pad
    sums = [loops.local(f"sums_{parity}", "uint32") for parity in ("even", "odd")]
    result = loops.buffer("y", y.elements, y.dtype)
    adding, parts = add_bytes(x.dtype), halves(x.dtype)

    def start() -> list[Any]:
        zeros = [loops.store(s, 0, loops.const(0, "uint32")) for s in sums]
        return [*loops.declare(*sums), *zeros]

    def take(word: Any) -> list[Any]:
        return [
            loops.store(s, 0, loops.call(add.name, loops.load(s, 0), word, dtype="uint32"))
            for s, add in zip(sums, adding, strict=True)
        ]

    def finish(count: Any, channel: Any, at: Any) -> list[Any]:
        lines = []
        for i in range(WORD):
            total = loops.call(parts[i // 2].name, loops.load(sums[i % 2], 0))
            cell = count - 1 if counted else loops.const(0)
            value = to.apply(total - count * zero, cell, zero_point)
            lines.append(loops.store(result, at + i, loops.clamp(value, *bounds)))
        return lines

    needed = (*dsp("load_word"), *adding, *parts)
    reduction = Reduction(start, take, finish)
    return _kernel("average_pool", call, reduction, result, to.constants, to.buffers, needed)


def _kernel(
    name: str, call: Call, reduction: Reduction, result: Any, constants: tuple[Constant, ...],
    tables: tuple[Any, ...], needed: tuple[Microkernel, ...],
) -> Kernel:  # fmt: skip
    (x,), y = call.inputs, call.output
    (batch, _, _, channels), (_, oh, ow, _) = x.shape, y.shape
    source = loops.buffer("x", x.elements, x.dtype)
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def pixel(n: Any, oy: Any, ox: Any) -> list[Any]:
        cells = _cells(call, n, oy, ox)
        at = ((n * oh + oy) * ow + ox) * channels

        def word(channel: Any) -> list[Any]:
            count = cells.rows * cells.columns if cells.pitch else cells.columns
            return [
                *reduction.start(),
                *_taken(cells, source, channels, channel, reduction),
                *reduction.finish(count, channel, at + channel),
            ]

        if channels % WORD == 0:
            return [loops.loop("c", channels // WORD, lambda c: word(c * WORD))]
        last = loops.const(channels - WORD)
        words = -(-channels // WORD)
        return [loops.loop("c", words, lambda c: word(loops.minimum(c * WORD, last)))]

    def image(n: Any, first: Any, rows: Any) -> Any:
        return loops.loop(
            "oy", rows, lambda oy: [loops.loop("ox", ow, lambda ox: pixel(n, oy, ox))], first
        )

    parameters, note = [source, result, *tables], "4 channels as a word"
    if batch == 1:
        function = loops.function([*parameters, begin, end], [image(0, begin, end - begin)])
        return Kernel(name, function, constants, microkernels=needed, rows=oh, note=note)
    body = [loops.loop("n", batch, lambda n: [image(n, 0, oh)])]
    function = loops.function(parameters, body)
    return Kernel(name, function, constants, microkernels=needed, note=note)


def _cells(call: Call, n: Any, oy: Any, ox: Any) -> Cells:
    """The part of window (oy, ox) that lies in image `n`."""
    a, (_, h, w, _) = call.attrs, call.inputs[0].shape
    top, left, bottom, right = a.pads
    first_y, rows = _clipped(oy * a.strides[0] - top, a.kernel[0], h, bool(top or bottom))
    first_x, columns = _clipped(ox * a.strides[1] - left, a.kernel[1], w, bool(left or right))
    pixel = (n * h + first_y) * w + first_x
    if isinstance(columns, int) and isinstance(rows, int) and columns == w:
        return Cells(pixel, 1, 0, rows * columns)
    return Cells(pixel, rows, w, columns)


def _clipped(first: Any, size: int, extent: int, padded: bool) -> tuple[Any, Any]:
    """Begin and length of `size` places from `first` on that are inside; a number as it is."""
    if not padded:
        return first, size
    begin = loops.maximum(first, loops.const(0))
    return begin, loops.minimum(first + size, loops.const(extent)) - begin


def _taken(cells: Cells, source: Any, channels: int, channel: Any, to: Reduction) -> list[Any]:
    def cell(pixel: Any) -> list[Any]:
        place = loops.pointer(source, pixel * channels + channel)
        return to.take(loops.call("tinyc_load_word", place, dtype="uint32"))

    def row(ky: Any) -> list[Any]:
        first = cells.pixel + ky * cells.pitch
        if not isinstance(cells.columns, int):
            return [loops.loop("kx", cells.columns, lambda kx: cell(first + kx))]
        turns, rest = divmod(cells.columns, UNROLL)
        lines = []
        if turns:
            lines.append(
                loops.loop("kx", turns, lambda kx: [
                    loops.unrolled("u", UNROLL, lambda u: cell(first + kx * UNROLL + u))
                ])
            )  # fmt: skip
        if rest:
            lines.append(loops.unrolled("u", rest, lambda u: cell(first + turns * UNROLL + u)))
        return lines

    return [loops.loop("ky", cells.rows, row)]
