"""DepthwiseConv2D 3x3, a row of outputs at a time with little scratch: `arm_row_words.py`.

Every row packs its three input rows anew, so that a call for one row costs no more than its part
of a call for all. Wide rows are cut into tiles.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType
from tinyc.compiler.kernels.gemm_conv import suits_assembly
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_planes import fill_pairs
from tinyc.targets.intrinsics.arm_row_words import (
    MOST_OFFSET,
    SLOT_BYTES,
    STREAM_WORDS,
    RowWords,
    depthwise_row,
    packed_streams,
)

GROUP = 4  # channels
SLOT_WORDS, SLOT_VALUES = SLOT_BYTES // 4, SLOT_BYTES // 2
MOST_SLOTS = 8  # of the scratch, by the rule: 384 bytes
MOST_WRITTEN, WRITTEN_BY_RULE = 16, 8  # outputs of a row that is written out


def suits(call: Call, target: Target) -> bool:
    """int8 throughout, 3x3, stride 1 or 2, one output an input channel, four channels at least."""
    (x, w), a = call.inputs[:2], call.attrs
    channels = x.shape[3]
    shape = w.shape == (3, 3, channels) and a.dilations == (1, 1) and x.shape[0] == 1
    moves = a.strides in ((1, 1), (2, 2)) and max(a.pads) <= 1 and channels >= GROUP
    moves = moves and call.output.shape[1:3] != (1, 1)  # which is not worth the packing
    return shape and moves and x.dtype == DType.INT8 and suits_assembly(call, target)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Outputs of a tile; one loop for all rows, or a short row written out."""
    width = call.output.shape[2]
    for columns in sorted({min(c, width) for c in (4, 8, 16, width)}):
        yield Schedule(columns=columns, unroll=1)
    if _can_be_written(call):
        yield Schedule(columns=width, unroll=width)


def _can_be_written(call: Call) -> bool:
    _, _, width, channels = call.output.shape
    return width <= MOST_WRITTEN and (width - 1) * channels <= MOST_OFFSET


def _slots(call: Call, outputs: int) -> int:
    """For the columns that so many outputs read, the padding before them in one of its own."""
    left: int = call.attrs.pads[1]
    last: int = (outputs - 1) * call.attrs.strides[1] - left + 2
    return left + last // 2 + 1


def _tile(call: Call, schedule: Schedule) -> int:
    """Outputs of a tile, even where there are several; by the rule the scratch is small."""
    width = call.output.shape[2]
    tile = schedule.columns
    if not tile:
        whole = _slots(call, width) <= MOST_SLOTS
        tile = width if whole else 2 * (MOST_SLOTS - 2) // call.attrs.strides[1]
    return min(tile + tile % 2, width)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    channels, width = x.shape[3], y.shape[2]
    assert w.data is not None
    matrix = centred(w.data, w).reshape(9, -1).T
    streams = packed_streams(
        matrix, folded_bias(call, matrix), output_requantization(call).multipliers
    )
    tile = _tile(call, schedule)
    written = tile == width and _can_be_written(call)
    written = written and (
        schedule.unroll > 1 or (not schedule.unroll and width <= WRITTEN_BY_RULE)
    )
    row = RowWords(
        a.strides[1], a.pads[1], width if written else 0, channels if written else 0,
        *stored_bounds(y, a.clamp),
    )  # fmt: skip
    microkernel, slots = depthwise_row(row), _slots(call, tile)
    buffers = {
        "source": loops.buffer("x", x.elements, "int8"),
        "result": loops.buffer("y", y.elements, "int8"),
        "streams": loops.buffer("streams", streams.size, "int32"),
        "scratch": loops.buffer("scratch", slots * SLOT_VALUES, "int16"),
    }
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def row_of_tiles(oy: Any) -> list[Any]:
        return [
            loops.loop("t", -(-width // tile), lambda t: _computed(
                call, microkernel.name, buffers, oy, t * tile, tile
            ))
        ]  # fmt: skip

    return Kernel(
        name="depthwise_3x3",
        function=loops.function(
            [*buffers.values(), begin, end], [loops.loop("oy", end - begin, row_of_tiles, begin)]
        ),
        constants=(Constant("streams", streams),),
        scratch_bytes=slots * SLOT_BYTES,
        microkernels=(fill_pairs(), microkernel),
        rows=y.shape[1],
        note=f"row by row in tiles of {tile}, assembly 3x3 s{a.strides[1]}",
    )


def _computed(
    call: Call, function: str, buffers: dict[str, Any], oy: Any, ox: Any, tile: int
) -> list[Any]:
    """The outputs of row `oy` from `ox` on, at most `tile`; `ox` is even."""
    x, y, a = call.inputs[0], call.output, call.attrs
    (_, height, width, channels), columns = x.shape, y.shape[2]
    assert x.quant is not None and y.quant is not None
    left, stride = a.pads[1], a.strides[1]
    zero, zero_point = x.quant.zero_point[0], y.quant.zero_point[0]
    zeros = int(np.full(GROUP, zero, np.int8).view("<i4")[0])
    outputs, first, place = loops.const(columns), loops.const(0), loops.const(left)
    if tile < columns:
        outputs = loops.minimum(columns - ox, loops.const(tile))
        first = ox * stride
        if left:  # of a later tile the column before it is no padding
            first = loops.maximum(first - 2, loops.const(0))
            place = loops.select(ox == 0, loops.const(1), loops.const(0))
    read = (ox + outputs - 1) * stride - left + 3
    pixels = loops.minimum(read, loops.const(width)) - first

    def slot(number: Any) -> Any:
        return loops.pointer(buffers["scratch"], number * SLOT_VALUES)

    def fill(number: Any) -> Any:
        """The padding has a slot of its own."""
        return loops.run("tinyc_fill_pairs", slot(number), loops.const(zero), SLOT_WORDS)

    lines = [fill(loops.const(0))] if left else []
    if (columns - 1) * stride - left + 2 == width and width % 2 == 0:
        behind = fill(left + loops.quotient(width - ox * stride, 2))
        lines.append(behind if tile >= columns else loops.when(ox + tile >= columns, [behind]))
    top = oy * a.strides[0] - a.pads[0]
    row_of, steps = [], []
    for i, outside in enumerate((top < 0, None, top + 2 >= height)):
        iy, step = top + i, loops.const(channels)
        if (a.pads[0], 0, a.pads[2])[i]:
            iy = loops.minimum(loops.maximum(iy, loops.const(0)), loops.const(height - 1))
            step = loops.select(outside, loops.const(0), step)
        row_of.append((iy * width + first) * channels)
        steps.append(step)

    def groups(channel: int, count: int) -> Any:
        at = (oy * columns + ox) * channels + channel
        return loops.run(
            function,
            slot(place),
            loops.pointer(buffers["result"], at),
            loops.pointer(buffers["streams"], channel * STREAM_WORDS),
            slot(loops.const(left)),
            *(loops.pointer(buffers["source"], row + channel) for row in row_of),
            *steps,
            pixels,
            outputs,
            *map(loops.const, (channels, count, zero_point, zeros)),
        )

    lines.append(groups(0, channels // GROUP))
    if channels % GROUP:  # some channels are computed again
        lines.append(groups(channels - GROUP, 1))
    return lines
