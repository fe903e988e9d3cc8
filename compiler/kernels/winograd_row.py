"""Conv2D 3x3 by F(4,3) along the width: row by row, with little scratch; exact.

A pass computes two or four tiles of one output row. Their columns of the three input rows are
transformed (`arm_winograd_row.py`); the products of a position are summed over all three rows and
all channels (`arm_winograd_products.py`), a block of output channels after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.kernels.residual_sum import ResidualSum, residual_sum
from tinyc.compiler.kernels.winograd import (
    UNROLLED,
    blocks_of,
    largest_sum,
    packed_parameters,
    suits_form,
    turn_of,
)
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_winograd_input import strip
from tinyc.targets.intrinsics.arm_winograd_products import products
from tinyc.targets.intrinsics.arm_winograd_row import BLOCK, OFFSET, row_input, row_output
from tinyc.targets.intrinsics.winograd import F4_ROW, GROUP, transformed_rows

ROWS = 3  # of the kernel
MOST_PRODUCTS = 4096  # keeps the scratch in reach
FORM = F4_ROW


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A call's sizes, functions and buffers.

    tiles   of a pass
    groups  of 4 input channels
    strip   copies 4 channels of a row; None: pixels are whole groups, and read where they lie
    """

    call: Call
    tiles: int
    groups: int
    strip: Microkernel | None
    input: Microkernel
    products: Microkernel
    output: Microkernel
    source: Any
    result: Any
    weights: Any
    parameters: Any
    scratch: Any
    residual: ResidualSum | None

    @property
    def channels(self) -> int:
        """Output channels that are computed together."""
        return BLOCK // self.tiles

    @property
    def span(self) -> int:
        """Columns of the output that a pass computes."""
        return min(self.tiles * FORM.outputs, int(self.call.output.shape[2]))


def suits(call: Call, target: Target) -> bool:
    """As for the other forms, but an output of any height; few products, whose sum fits often."""
    w = call.inputs[1]
    if w.elements // w.shape[0] > MOST_PRODUCTS or not suits_form(FORM, call, target):
        return False
    return largest_sum(first_stage(call)) * FORM.bias_factor < 1 << 31


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Passes of two and four tiles, shorter turns."""
    groups = ROWS * -(-call.inputs[0].shape[3] // GROUP)
    turns = {turn_of(groups, unroll): unroll for unroll in (4, UNROLLED)}
    across = -(-call.output.shape[2] // FORM.outputs)
    rows = (2, 4) if across > 2 else (2,)
    for tiles in sorted({_tiles(call, Schedule(rows=count)) for count in rows}):
        for unroll in turns.values():
            yield Schedule(rows=tiles, unroll=unroll)


def _tiles(call: Call, schedule: Schedule) -> int:
    """Two, unless the schedule wants four or there are too few channels for the other block."""
    return 4 if schedule.rows == 4 or call.output.shape[3] < BLOCK // 2 else 2


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, stage = call.inputs[0], call.output, first_stage(call)
    groups, tiles = -(-x.shape[3] // GROUP), _tiles(call, schedule)
    whole = x.shape[3] % GROUP == 0
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    all_groups = ROWS * groups
    weights = _weights(stage, groups, BLOCK // tiles)
    parameters = packed_parameters(FORM, stage, False, BLOCK // tiles, OFFSET)
    u_words, shared_words = _scratch_words(call, groups, tiles)
    conv = Row(
        call, tiles, groups,
        None if whole else strip(),
        row_input(FORM, x.shape[3], groups, tiles) if whole else row_input(FORM, GROUP, 1, tiles),
        products(FORM, all_groups, turn_of(all_groups, schedule.unroll or UNROLLED),
                 FORM.positions),
        row_output(FORM, tiles, y.shape[3], low, high),
        loops.buffer("x", x.elements, "int8"),
        loops.buffer("y", y.elements, "int8"),
        loops.buffer("weights", weights.size, "int16"),
        loops.buffer("parameters", parameters.size, "int32"),
        loops.buffer("scratch", u_words + shared_words, "int32"),
        residual_sum(call, target),
    )  # fmt: skip
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [conv.source] + ([] if conv.residual is None else [conv.residual.buffer])
    function = loops.function(
        [*moving, conv.result, conv.weights, conv.parameters, conv.scratch, begin, end],
        [loops.loop("oy", end - begin, lambda oy: _row(conv, oy), begin)],
    )
    return Kernel(
        name="conv2d_3x3",
        function=function,
        constants=(Constant("weights", weights), Constant("parameters", parameters)),
        scratch_bytes=4 * (u_words + shared_words),
        microkernels=(
            *([] if conv.strip is None else [*dsp("load_word"), conv.strip]),
            conv.input, conv.products, conv.output,
            *([] if conv.residual is None else [conv.residual.total.microkernel]),
        ),
        rows=y.shape[1],
        note=f"winograd 1x{FORM.outputs}, {tiles} tiles{', add' if conv.residual else ''}",
    )  # fmt: skip


def _scratch_words(call: Call, groups: int, tiles: int) -> tuple[int, int]:
    """Of transformed inputs, and of what has its place behind them: a pixel of zeros and a strip

    while the inputs are transformed, sums afterwards.
    """
    u = ROWS * groups * FORM.positions * tiles * GROUP // 2
    whole = call.inputs[0].shape[3] % GROUP == 0
    before = groups if whole else 1 + tiles * FORM.outputs + ROWS - 1
    return u, max(before, FORM.positions * BLOCK)


def _weights(stage: Call, groups: int, channels: int) -> Array:
    """Transformed weights as int16,

    [block of output channels][group of ROWS times the input channels][position][half][channel][2].
    """
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    order = blocks_of(w.shape[0], channels)
    padded = np.zeros((len(order), ROWS, ROWS, groups * GROUP), np.int64)
    padded[..., : w.shape[3]] = centred(w.data, w)[order]
    values = transformed_rows(FORM, padded)
    split = values.reshape(-1, channels, FORM.positions, ROWS * groups, 2, 2)  # ..., part, half
    return read_only(split.transpose(0, 3, 2, 5, 1, 4).reshape(-1), "int16")


def _row(conv: Row, oy: Any) -> list[Any]:
    """One row of the output, pass by pass."""
    _, _, width, channels = conv.call.output.shape

    def one(p: Any) -> list[Any]:
        first_x = loops.minimum(p * conv.span, loops.const(width - conv.span))
        return _pass(conv, oy, first_x)

    lines = [loops.loop("part", -(-width // conv.span), one)]
    if conv.residual is not None:
        row_bytes = width * channels
        lines += conv.residual.lines(conv.result, oy * row_bytes, loops.const(row_bytes))
    return lines


def _pass(conv: Row, oy: Any, first_x: Any) -> list[Any]:
    """Tiles of row `oy` from column `first_x` on."""
    u_words, _ = _scratch_words(conv.call, conv.groups, conv.tiles)
    quant = conv.call.inputs[0].quant
    zero = quant.zero_point[0] & 0xFF if quant else 0
    size = 4 * (conv.groups if conv.strip is None else 1)
    fill = loops.run(
        "memset", loops.pointer(conv.scratch, u_words), loops.const(zero), loops.const(size)
    )
    blocks = -(-conv.call.output.shape[3] // conv.channels)
    return [
        fill,
        loops.loop("r", ROWS, lambda r: _transformed(conv, oy, first_x, r)),
        loops.loop("n", blocks, lambda n: _block(conv, oy, first_x, n)),
    ]


def _transformed(conv: Row, oy: Any, first_x: Any, r: Any) -> list[Any]:
    """The columns of input row `r` of the three."""
    a, (_, h, w, c) = conv.call.attrs, conv.call.inputs[0].shape
    u_words, _ = _scratch_words(conv.call, conv.groups, conv.tiles)
    zeros, row_words = loops.pointer(conv.scratch, u_words), u_words // ROWS
    iy, at = oy + r - a.pads[0], first_x - a.pads[1]
    inside = loops.every([iy >= 0, iy < h])
    tiles = -(-conv.span // FORM.outputs)

    def transform(x: Any, column: Any, width: Any, u_at: Any) -> Any:
        last = column + (conv.span - FORM.outputs)
        u = loops.pointer(conv.scratch, u_at)
        return loops.run(conv.input.name, x, zeros, column, last, width, loops.const(tiles), u)

    start = loops.select(inside, iy * (w * c), loops.const(0))
    if conv.strip is None:
        width = loops.select(inside, loops.const(w), loops.const(0))
        return [transform(loops.pointer(conv.source, start), at, width, r * row_words)]
    first = loops.maximum(at, loops.const(0))
    count = loops.minimum(at + (conv.span + ROWS - 1), loops.const(w)) - first
    width = loops.select(inside, count, loops.const(0))
    place = loops.pointer(conv.scratch, u_words + 1)
    name = conv.strip.name

    def group(k: Any) -> list[Any]:
        source = loops.pointer(conv.source, start + first * c + k * GROUP)
        size = loops.minimum(c - k * GROUP, loops.const(GROUP))
        u_at = r * row_words + k * (row_words // conv.groups)
        return [
            loops.run(name, source, loops.const(c), size, width, place),
            transform(place, at - first, width, u_at),
        ]

    return [loops.loop("k", conv.groups, group)]


def _block(conv: Row, oy: Any, first_x: Any, n: Any) -> list[Any]:
    """The output channels of block `n`."""
    _, _, width, oc = conv.call.output.shape
    first = n * conv.channels
    if oc % conv.channels:
        first = loops.minimum(first, loops.const(oc - conv.channels))
    u_words, _ = _scratch_words(conv.call, conv.groups, conv.tiles)
    block_size = ROWS * conv.groups * GROUP * FORM.positions * conv.channels
    u, sums = loops.pointer(conv.scratch, 0), loops.pointer(conv.scratch, u_words)
    v = loops.pointer(conv.weights, n * block_size)
    four, two = (u, v) if conv.tiles == 4 else (v, u)
    quant = first_stage(conv.call).output.quant
    assert quant is not None, "the result is quantized"
    return [
        loops.run(conv.products.name, four, two, sums, loops.const(FORM.positions), loops.const(1)),
        loops.run(
            conv.output.name,
            sums,
            loops.pointer(conv.result, (oy * width + first_x) * oc + first),
            loops.const((conv.span - FORM.outputs) * oc),
            loops.pointer(conv.parameters, n * (2 * conv.channels)),
            loops.const(quant.zero_point[0]),
        ),
    ]
