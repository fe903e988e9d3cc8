"""DepthwiseConv2D 3x3 by the assembly of `targets/intrinsics/thumb_depthwise.py`.

For a band of output rows, one channel after the other: every two rows become a strip of pairs,
whose border columns keep the stored zero.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.thumb_depthwise import (
    COLUMN_BYTES,
    TABLE_BYTES,
    depthwise,
    fits,
    in_tap_order,
    pair_rows,
    tap_table,
)

BAND = 2  # rows, when the schedule does not say it: more save little time and cost the plan rows


def suits(call: Call, target: Target) -> bool:
    """3x3, stride 1 or 2, one output an input channel, int8 throughout, exact sums."""
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    shape = w.shape == (3, 3, x.shape[3]) and a.dilations == (1, 1) and x.shape[0] == 1
    types = {x.dtype, w.dtype, y.dtype} == {DType.INT8} and y.quant is not None
    if not shape or not types or "thumb1" not in target.features or w.quant is None:
        return False
    moves = a.strides in ((1, 1), (2, 2)) and not any(w.quant.zero_point)
    exact = w.data is not None and fits(in_tap_order(centred(w.data, w)))
    return moves and exact and not output_requantization(call).is_wide


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Rows of a band."""
    for rows in (2, 4, 8, 16):
        yield Schedule(rows=rows)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    _, h, width, channels = x.shape
    _, oh, ow, _ = y.shape
    assert w.data is not None and x.quant is not None and y.quant is not None
    taps = in_tap_order(centred(w.data, w))
    multipliers = np.broadcast_to(output_requantization(call).packed16, (channels,))
    constants = (
        Constant("weights", read_only(taps.reshape(-1), "int8")),
        Constant("bias", folded_bias(call, taps)),
        Constant("multipliers", read_only(multipliers)),
    )
    weights, bias, scales = (
        loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants
    )
    (stride, _), (top, left, _, _) = a.strides, a.pads
    columns = (ow - 1) * stride + 3
    taken = min(width, columns - left)  # of the image's columns
    band = min(schedule.rows or BAND, oh + oh % 2)
    low, high = stored_bounds(y, a.clamp)
    gather, compute = pair_rows(stride), depthwise(stride, low, high)
    source = loops.buffer("x", x.elements, "int8")
    result = loops.buffer("y", y.elements, "int8")
    scratch_words = (TABLE_BYTES + COLUMN_BYTES * columns) // 4
    scratch = loops.buffer("scratch", scratch_words, "int32")
    strip = TABLE_BYTES // 4
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    zero = x.quant.zero_point[0]

    def two_rows(oy: Any, rows: Any, c: Any) -> list[Any]:
        iy = oy * stride - top
        pairs = loops.run(
            gather.name,
            loops.pointer(source, iy * (width * channels) + c),
            loops.const(channels),
            loops.const(width * channels),
            loops.const(taken),
            loops.maximum(-iy, loops.const(0)),
            loops.minimum(h - iy, loops.const(3 + stride)),
            loops.const(zero),
            loops.pointer(scratch, strip + 3 * left),
        )
        both = loops.run(
            compute.name,
            loops.pointer(scratch, strip),
            loops.pointer(scratch),
            loops.pointer(result, oy * (ow * channels) + c),
            loops.pointer(scratch, strip + 3 * stride * ow),
            loops.const(channels),
            loops.select(rows > 1, loops.const(ow * channels), loops.const(0)),
            loops.const(y.quant.zero_point[0] if y.quant else 0),
        )
        return [pairs, both]

    def channel(oy: Any, rows: Any, c: Any) -> list[Any]:
        table = loops.run(
            "tinyc_tap_table",
            loops.pointer(weights, c * 9),
            loops.load(bias, c),
            loops.load(scales, c),
            loops.pointer(scratch),
        )
        turns = (rows + 1) >> 1 if band > 2 else 1
        return [
            table,
            loops.loop("p", turns, lambda p: two_rows(oy + p * 2, rows - p * 2, c)),
        ]

    def rows_of_band(b: Any) -> list[Any]:
        oy = begin + b * band
        rows = loops.minimum(end - oy, loops.const(band))
        return [loops.loop("c", channels, lambda c: channel(oy, rows, c))]

    word = loops.const(zero * 0x10001)
    fill = loops.loop("i", 3 * columns, lambda i: [loops.store(scratch, strip + i, word)])
    bands = loops.quotient(end - begin + (band - 1), band)
    function = loops.function(
        [source, result, weights, bias, scales, scratch, begin, end],
        [fill, loops.loop("b", bands, rows_of_band)],
    )
    return Kernel(
        name="depthwise_3x3",
        function=function,
        constants=constants,
        scratch_bytes=4 * scratch_words,
        microkernels=(tap_table(), gather, compute),
        rows=oh,
        band=band,
        note=f"pairs of rows, assembly 3x3 s{stride}",
    )
