"""DepthwiseConv2D of int16 values by `targets/intrinsics/arm_halfword_depthwise.py`, 3x3.

A tile of neighbouring outputs reads its windows where they lie. Where they leave the image, their
rows are copied into the scratch with the padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array
from tinyc.compiler.kernels import halfword_streams
from tinyc.compiler.kernels.halfword_streams import Copied, copied_rows, results_of
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_halfword_depthwise import (
    TAPS,
    HalfwordWindow,
    halfword_depthwise,
    packed_pairs,
)

TILES = (8, 4, 16)  # outputs of a row that are computed together; the first is the rule
PAIR = 2


@dataclass(frozen=True, slots=True, eq=False)
class Depthwise:
    """A call's buffers; the scratch holds the rows of a tile that leaves the image, or is None."""

    call: Call
    function: Microkernel
    source: Any
    result: Any
    streams: Any
    scratch: Any


def suits(call: Call, target: Target) -> bool:
    """3x3, one output a channel, two channels at least, one image, within reach of offsets."""
    x, w = call.inputs[:2]
    plain = w.shape[:2] == (TAPS, TAPS) and call.output.shape[3] == x.shape[3] >= PAIR
    if not plain or x.shape[0] != 1 or not halfword_streams.suits(call, target):
        return False
    return _window(call).fits


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Tiles of all widths that differ."""
    width = call.output.shape[2]
    yield from (Schedule(rows=tile) for tile in sorted({min(t, width) for t in TILES}))


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, a = call.inputs[0], call.output, call.attrs
    tile = min(schedule.rows or TILES[0], y.shape[2])
    table = _streams(call)
    values = TAPS * _span(call, tile) * x.shape[3] if any(a.pads) else 0
    scratch = loops.buffer("scratch", values, x.dtype) if values else None
    layer = Depthwise(
        call, halfword_depthwise(_window(call)), loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype), loops.buffer("streams", table.size, "int32"),
        scratch,
    )  # fmt: skip
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    buffers = (layer.source, layer.result, layer.streams, scratch)
    return Kernel(
        name="depthwise_3x3",
        function=loops.function(
            [*(b for b in buffers if b is not None), begin, end],
            [loops.loop("oy", end - begin, lambda oy: _row(layer, oy, tile), begin)],
        ),
        constants=(Constant("streams", table),),
        scratch_bytes=values * x.dtype.size,
        microkernels=(layer.function,),
        rows=y.shape[1],
        note=f"pairs of channels, tiles of {tile}, assembly, 16 bits",
    )


def _window(call: Call) -> HalfwordWindow:
    a = call.attrs
    channels = call.inputs[0].shape[3]
    return HalfwordWindow(channels, a.strides[1], a.dilations[1], results_of(call))


def _span(call: Call, tile: int) -> int:
    """Columns of the image that a tile reads."""
    a = call.attrs
    return int((tile - 1) * a.strides[1] + (TAPS - 1) * a.dilations[1] + 1)


def _streams(call: Call) -> Array:
    """Of whole pairs: of an odd number of channels, one of the last pair is computed again."""
    w, n = call.inputs[1], call.output.shape[3]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(TAPS * TAPS, n).T
    to, bias = output_requantization(call), folded_bias(call, matrix)
    channels = [*range(n - n % PAIR), *(range(n - PAIR, n) if n % PAIR else ())]
    multipliers = np.broadcast_to(to.multipliers, (n,))[channels]
    shifts = None if to.shifts is None else np.broadcast_to(to.shifts, (n,))[channels]
    return packed_pairs(matrix[channels], bias[channels], multipliers, shifts)


def _row(layer: Depthwise, oy: Any, tile: int) -> list[Any]:
    whole, rest = divmod(layer.call.output.shape[2], tile)
    lines = [loops.loop("p", whole, lambda p: _tile(layer, oy, p * tile, tile))]
    return [*lines, *_tile(layer, oy, loops.const(whole * tile), rest)] if rest else lines


def _tile(layer: Depthwise, oy: Any, ox: Any, count: int) -> list[Any]:
    """`count` outputs of a row: from the image, or from a copy where they leave it."""
    a, (_, h, w, c) = layer.call.attrs, layer.call.inputs[0].shape
    first_y, first_x = oy * a.strides[0] - a.pads[0], ox * a.strides[1] - a.pads[1]
    span = _span(layer.call, count)
    image = (first_y * w + first_x) * c
    straight = _multiply(layer, oy, ox, count, layer.source, image, a.dilations[0] * w * c)
    inside = [first_y >= 0] if a.pads[0] else []
    inside += [first_y < h - (TAPS - 1) * a.dilations[0]] if a.pads[2] else []
    inside += [first_x >= 0] if a.pads[1] else []
    inside += [first_x <= w - span] if a.pads[3] else []
    if not inside:
        return straight
    copy = Copied(layer.call.inputs[0], TAPS, a.dilations[0], layer.source, layer.scratch)
    copied = [
        *copied_rows(copy, first_y, first_x, span),
        *_multiply(layer, oy, ox, count, layer.scratch, loops.const(0), span * c),
    ]
    return [loops.when(loops.every(inside), straight, copied)]


def _multiply(
    layer: Depthwise, oy: Any, ox: Any, count: int, values: Any, first: Any, x_row: int
) -> list[Any]:
    """All pairs of channels of `count` outputs; the windows begin at values[first]."""
    _, _, width, n = layer.call.output.shape
    quant, size = layer.call.output.quant, int(layer.streams.shape[0])
    assert quant is not None, "suits() has asked"
    pairs, odd = -(-n // PAIR), n % PAIR
    whole = size // pairs * (n // PAIR)

    def call(channel: int, begin: int, end: Any) -> Any:
        at = (oy * width + ox) * n + channel
        return loops.run(
            layer.function.name,
            loops.pointer(values, first + channel),
            loops.pointer(layer.streams, begin),
            loops.pointer(layer.result, at),
            end,
            *(loops.const(v) for v in (count, x_row, quant.zero_point[0])),
        )

    end = loops.end_pointer(layer.streams)
    if not odd:
        return [call(0, 0, end)]
    return [call(0, 0, loops.pointer(layer.streams, whole)), call(n - PAIR, whole, end)]
