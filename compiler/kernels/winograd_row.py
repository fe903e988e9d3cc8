"""Conv2D 3x3 by F(4,3) along the width: row by row, with little scratch; exact.

A pass computes one or two tiles of an output row, all channels: it transforms their columns of
three input rows (`arm_winograd_row_input.py`), then multiplies and transforms back
(`arm_winograd_row.py`).
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
from tinyc.targets.intrinsics.arm_winograd_row import BLOCK, row_blocks
from tinyc.targets.intrinsics.arm_winograd_row_input import OFFSET, row_input
from tinyc.targets.intrinsics.winograd import F4_ROW, GROUP, transformed_rows

ROWS = 3  # of the kernel
MOST_PRODUCTS = 4096  # keeps the scratch in reach
MOST_UNROLLED = 64  # groups of channels; keeps them in reach of an offset
FORM = F4_ROW


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A call's sizes, functions and buffers.

    tiles    of a pass
    groups   of 4 input channels
    u_words  of transformed inputs: the scratch's first words; behind them lie a pixel of zeros and
             a strip while the inputs are transformed, sums afterwards
    strip    copies 4 channels of a row; None: pixels are whole groups, and read where they lie
    """

    call: Call
    tiles: int
    groups: int
    u_words: int
    strip: Microkernel | None
    input: Microkernel
    blocks: Microkernel
    source: Any
    result: Any
    weights: Any
    parameters: Any
    scratch: Any
    residual: ResidualSum | None

    @property
    def span(self) -> int:
        """Columns of the output that a pass computes."""
        return min(self.tiles * FORM.outputs, int(self.call.output.shape[2]))


def suits(call: Call, target: Target) -> bool:
    """As for the other forms, but an output of any height, and a block of channels or more."""
    w = call.inputs[1]
    if w.elements // w.shape[0] > MOST_PRODUCTS or w.shape[0] < BLOCK // 2:
        return False
    if not suits_form(FORM, call, target):
        return False
    return largest_sum(first_stage(call)) * FORM.bias_factor < 1 << 31


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Passes of two tiles and of one, long turns and short ones."""
    groups = ROWS * -(-call.inputs[0].shape[3] // GROUP)
    turns = {turn_of(groups, unroll): unroll for unroll in (4, UNROLLED)}
    for tiles in sorted({_tiles(call, 2), _tiles(call, 1)}):
        for unroll in turns.values():
            yield Schedule(rows=tiles, unroll=unroll)


def _tiles(call: Call, wanted: int) -> int:
    """Of a pass: one where that is wanted and there are as many channels as its block has."""
    return 1 if wanted == 1 and call.output.shape[3] >= BLOCK else 2


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, stage = call.inputs[0], call.output, first_stage(call)
    groups, whole = -(-x.shape[3] // GROUP), x.shape[3] % GROUP == 0
    tiles = _tiles(call, schedule.rows)
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    weights = _weights(stage, groups, tiles)
    parameters = packed_parameters(FORM, stage, False, BLOCK // tiles, OFFSET)
    u_words = ROWS * groups * GROUP // 2 * FORM.positions * tiles
    before = groups if whole else 1 + ROWS - 1 + tiles * FORM.outputs
    words = u_words + max(before, FORM.positions * BLOCK)
    turn = turn_of(ROWS * groups, min(schedule.unroll or UNROLLED, MOST_UNROLLED))
    conv = Row(
        call, tiles, groups, u_words,
        None if whole else strip(),
        row_input(FORM, x.shape[3], groups, ROWS, tiles) if whole
        else row_input(FORM, GROUP, 1, 1, tiles),
        row_blocks(FORM, tiles, ROWS * groups, turn, y.shape[3], low, high),
        loops.buffer("x", x.elements, "int8"),
        loops.buffer("y", y.elements, "int8"),
        loops.buffer("weights", weights.size, "int16"),
        loops.buffer("parameters", parameters.size, "int32"),
        loops.buffer("scratch", words, "int32"),
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
        scratch_bytes=4 * words,
        microkernels=(
            *([] if conv.strip is None else [*dsp("load_word"), conv.strip]),
            conv.input, conv.blocks,
            *([] if conv.residual is None else [conv.residual.total.microkernel]),
        ),
        rows=y.shape[1],
        note=f"winograd 1x{tiles * FORM.outputs}{', add' if conv.residual else ''}",
    )  # fmt: skip


def _weights(stage: Call, groups: int, tiles: int) -> Array:
    """Transformed weights as int16, as `row_blocks` wants them; groups of the rows one by one."""
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    channels = BLOCK // tiles
    order = blocks_of(w.shape[0], channels)
    padded = np.zeros((len(order), ROWS, ROWS, groups * GROUP), np.int64)
    padded[..., : w.shape[3]] = centred(w.data, w)[order]
    values = transformed_rows(FORM, padded)
    split = values.reshape(-1, channels, FORM.positions, ROWS * groups, 2, 2)  # ..., part, half
    outer = (2, 3) if tiles == 1 else (3, 2)
    return read_only(split.transpose(0, *outer, 5, 1, 4).reshape(-1), "int16")


def _row(conv: Row, oy: Any) -> list[Any]:
    """One row of the output, pass by pass."""
    _, _, width, channels = conv.call.output.shape

    def one(p: Any) -> list[Any]:
        return _pass(conv, oy, loops.minimum(p * conv.span, loops.const(width - conv.span)))

    lines = [loops.loop("part", -(-width // conv.span), one)]
    if conv.residual is not None:
        row_bytes = width * channels
        lines += conv.residual.lines(conv.result, oy * row_bytes, loops.const(row_bytes))
    return lines


def _pass(conv: Row, oy: Any, first_x: Any) -> list[Any]:
    """Tiles of row `oy` from column `first_x` on."""
    _, _, width, channels = conv.call.output.shape
    quant, result = conv.call.inputs[0].quant, first_stage(conv.call).output.quant
    assert quant is not None and result is not None, "both are quantized"
    behind = loops.pointer(conv.scratch, conv.u_words)
    zero_bytes = GROUP * (conv.groups if conv.strip is None else 1)
    zero = loops.const(quant.zero_point[0] & 0xFF)
    multiply = loops.run(
        conv.blocks.name,
        loops.pointer(conv.weights, 0),
        loops.pointer(conv.scratch, 0),
        behind,
        loops.pointer(conv.result, (oy * width + first_x) * channels),
        loops.const((conv.span - FORM.outputs) * channels),
        loops.pointer(conv.parameters, 0),
        loops.const(result.zero_point[0]),
    )
    fill = loops.run("memset", behind, zero, loops.const(zero_bytes, "uint32"))
    return [fill, *_transformed(conv, oy, first_x), multiply]


def _transformed(conv: Row, oy: Any, first_x: Any) -> list[Any]:
    """The columns of a pass in three input rows."""
    a, (_, h, w, c) = conv.call.attrs, conv.call.inputs[0].shape
    iy, at = oy - a.pads[0], first_x - a.pads[1]
    zeros = loops.pointer(conv.scratch, conv.u_words)

    def transform(x: Any, row: Any, height: int, width: Any, column: Any, u: Any) -> Any:
        return loops.run(
            conv.input.name, x, zeros, row, loops.const(height), width, column,
            column + (conv.span - FORM.outputs), loops.pointer(conv.scratch, u),
        )  # fmt: skip

    if conv.strip is None:
        x = loops.pointer(conv.source, 0)
        return [transform(x, iy, h, loops.const(w), at, loops.const(0))]
    name, place = conv.strip.name, loops.pointer(conv.scratch, conv.u_words + 1)
    first = loops.maximum(at, loops.const(0))
    count = loops.minimum(at + (conv.span + ROWS - 1), loops.const(w)) - first

    def group(r: Any, k: Any) -> list[Any]:
        inside = loops.every([iy + r >= 0, iy + r < h])
        x = loops.pointer(conv.source, ((iy + r) * w + first) * c + k * GROUP)
        size = loops.minimum(c - k * GROUP, loops.const(GROUP))
        u = (r * conv.groups + k) * (conv.u_words // (ROWS * conv.groups))
        return [
            loops.when(inside, [loops.run(name, x, loops.const(c), size, count, place)]),
            transform(place, loops.select(inside, loops.const(0), loops.const(1)), 1, count,
                      at - first, u),
        ]  # fmt: skip

    def row(r: Any) -> list[Any]:
        return [loops.loop("k", conv.groups, lambda k: group(r, k))]

    return [loops.loop("r", ROWS, row)]
