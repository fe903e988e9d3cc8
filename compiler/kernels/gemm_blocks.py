"""Conv2D by the assembly blocks of `targets/intrinsics/arm_gemm.py`: up to 4 pixels x 2 channels.

The windows of neighbouring pixels are expanded into the scratch (`block_windows.py`), and
multiplied with all channels from there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import FOUR_BITS, DType
from tinyc.compiler.kernels import gemm_conv
from tinyc.compiler.kernels.block_cuts import block_pixels, first_channels, in_turn, widest
from tinyc.compiler.kernels.block_windows import Windows, windows_of
from tinyc.compiler.kernels.gemm_conv import suits_assembly
from tinyc.compiler.kernels.residual_sum import ResidualSum, residual_sum
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_gemm import COLUMNS, MOST_PIXELS, Block, code_bytes, gemm
from tinyc.targets.intrinsics.arm_nibbles import window_sums
from tinyc.targets.intrinsics.arm_stream import Products, for_pairs, packed_nibbles, packed_stream

MOST_PRODUCTS = 4096  # keeps the scratch in reach
MOST_EXACT_GROUPS = 16  # of products that may get code of their own, without a loop
SAVED_CYCLES = 22  # by that, for each pair of channels of a block
LEAST_SAVED = 8  # cycles for a byte of such code, by the rule
TURN_GROUPS = 16  # of the common loop, 32 cycles each; the end of a turn takes 6
SHORT_TURN_GROUPS = 4  # of loops for other blocks that compute fewer than these outputs
FEW_OUTPUTS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A call's buffers and functions.

    stage      the convolution alone, without the residual
    flat       whether neighbouring pixels lie behind each other over all rows
    functions  that multiply a block, by its pixels: the widest first
    sums       of the pixels' activations, for weights of 4 bits; else None
    """

    call: Call
    stage: Call
    windows: Windows
    flat: bool
    functions: dict[int, Microkernel]
    result: Any
    stream: Any
    residual: ResidualSum | None
    sums: Any = None


def suits(call: Call, target: Target) -> bool:
    """int8 results of symmetric int8 weights, two channels at least, one group, one image."""
    w = call.inputs[1]
    plain = call.attrs.groups == 1 and call.inputs[0].shape[0] == 1 and w.shape[0] >= COLUMNS
    if not plain or w.elements // w.shape[0] > MOST_PRODUCTS or call.output.dtype != DType.INT8:
        return False
    return suits_assembly(first_stage(call), target)


def suits_nibbles(call: Call, target: Target) -> bool:
    """The same of weights of 4 bits with one zero point, where the paired form can hold them."""
    (x, w), stage = call.inputs[:2], first_stage(call)
    if not gemm_conv.suits_nibbles(stage, target) or call.output.dtype != DType.INT8:
        return False
    if call.output.quant is None or call.attrs.groups != 1:
        return False
    if x.shape[0] != 1 or w.shape[0] < COLUMNS or w.elements // w.shape[0] > MOST_PRODUCTS:
        return False
    return _products(stage, windows_of(call, False, 1)) is not None


def space_nibbles(call: Call, target: Target) -> Iterator[Schedule]:
    return (replace(s, weights="") for s in space(call, target) if s.weights == "int8")


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Blocks of 2 to 4 pixels, both forms of weights, turns from short code to quick loops."""
    groups = windows_of(call, False, 1).place.block(1).groups
    turns = sorted({turn for turn in (2, 4, 8, 16) if turn < groups} | {min(groups, 64)})
    for rows in (4, 3, 2):
        for form in ("int8", "int16"):
            for turn in turns:
                yield Schedule(rows=rows, unroll=turn, weights=form)


def suits_rows(call: Call, target: Target) -> bool:
    """The same, where pixels run on from row to row, which no row by itself makes use of."""
    return _runs_on(call) and call.output.shape[2] % MOST_PIXELS != 0 and suits(call, target)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Blocks run on over all rows of a call where they can."""
    return _kernel(call, target, schedule, _runs_on(call))


def kernel_rows(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Every row is cut into blocks of its own, for calls of one row: five pixels are 3 and 2."""
    return _kernel(call, target, schedule, flat=False)


def _runs_on(call: Call) -> bool:
    a, (_, kh, kw, _) = call.attrs, call.inputs[1].shape
    plain = (kh, kw, *a.strides, *a.pads) == (1, 1, 1, 1, 0, 0, 0, 0)
    return plain and bool(call.output.shape[2] >= MOST_PIXELS)


def _kernel(call: Call, target: Target, schedule: Schedule, flat: bool) -> Kernel:
    stage, y = first_stage(call), call.output
    oc, kh, kw, _ = call.inputs[1].shape
    width = y.shape[2]
    pixels = min(schedule.rows, MOST_PIXELS) or widest(width, flat)
    nibbles = call.inputs[1].dtype in FOUR_BITS
    windows = windows_of(call, schedule.weights == "int16", pixels)
    products = _products(stage, windows)
    if products is None:
        assert not nibbles, "suits_nibbles() has asked"
        windows = windows_of(call, True, pixels)
        products = _products(stage, windows)
    assert products is not None, "the wide form takes all weights"
    wide = windows.place.wide
    pairs = [range(n, n + COLUMNS) for n in first_channels(oc)]
    stream = (
        packed_nibbles(products, pairs, _zero(stage))
        if nibbles
        else packed_stream(products, pairs, wide)
    )
    sizes = block_pixels(width, pixels, flat)
    blocks = Blocks(
        call,
        stage,
        windows,
        flat,
        {p: _function(stage, windows, p, p == pixels, schedule) for p in sizes},
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("stream", stream.size, "int8"),
        residual_sum(call, target),
        loops.local("sums", "uint32", MOST_PIXELS) if nibbles else None,  # an array in any case
    )
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    place = windows.place
    moving = [place.source] + ([] if blocks.residual is None else [blocks.residual.buffer])
    function = loops.function(
        [*moving, blocks.result, blocks.stream, place.scratch, begin, end],
        [
            *(loops.declare(blocks.sums) if nibbles else []),
            *windows.prepare(),
            *_image(blocks, begin, end),
        ],
    )
    filling = [*(windows.microkernel(p) for p in sizes), *([window_sums()] if nibbles else [])]
    form = "int16" if wide else "4-bit" if nibbles else "int8"
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=function,
        constants=(Constant("stream", stream),),
        scratch_bytes=int(place.scratch.shape[0]),
        microkernels=(
            *filling,
            *blocks.functions.values(),
            *([] if blocks.residual is None else [blocks.residual.total.microkernel]),
        ),
        rows=y.shape[1],
        note=f"gemm {pixels}x2, assembly, {form} weights" + (", add" if blocks.residual else ""),
    )


def _function(
    stage: Call, windows: Windows, pixels: int, main: bool, schedule: Schedule
) -> Microkernel:
    """The block; by the rule one copy serves all layers but those that gain from their own."""
    block = replace(windows.place.block(pixels), nibbles=stage.inputs[1].dtype in FOUR_BITS)
    rest = stage.output.shape[3], *stored_bounds(stage.output, stage.attrs.clamp)
    if schedule.unroll >= block.groups or (schedule.unroll == 0 and _pays(stage, block)):
        return gemm(block, 0, *rest)
    common = pixels == MOST_PIXELS or (main and stage.output.elements >= FEW_OUTPUTS)
    turn = schedule.unroll or (TURN_GROUPS if common else SHORT_TURN_GROUPS)
    return gemm(block, 1 << (max(turn // block.taps, 1).bit_length() - 1), *rest)


def _pays(stage: Call, block: Block) -> bool:
    """Whether code without a loop is worth its flash."""
    saved = SAVED_CYCLES * stage.output.elements // (block.pixels * COLUMNS)
    return block.groups <= MOST_EXACT_GROUPS and saved >= LEAST_SAVED * code_bytes(block)


def _products(stage: Call, windows: Windows) -> Products | None:
    """Weights in the windows' order, as the form takes them; None when the paired form cannot."""
    x, w = stage.inputs[:2]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1)
    bias = folded_bias(stage, matrix).astype(np.int64)
    padded = np.concatenate([matrix, np.zeros((w.shape[0], 1))], axis=1)
    weights = padded[:, list(windows.order)].astype(np.int8)
    multipliers = np.broadcast_to(output_requantization(stage).multipliers, bias.shape)
    if windows.place.wide:
        return Products(weights, bias, multipliers)
    if x.dtype == DType.UINT8:  # the paired form reads x - 128
        bias = bias + 128 * matrix.sum(axis=1).astype(np.int64)
    return for_pairs(Products(weights, bias, multipliers))


def _zero(stage: Call) -> int:
    """What is added to weights of 4 bits to store them from 0 on."""
    w = stage.inputs[1]
    assert w.quant is not None, "4 bits are never all of a value"
    return w.quant.zero_point[0] - w.dtype.limits[0]


def _image(blocks: Blocks, begin: Any, end: Any) -> list[Any]:
    _, _, width, oc = blocks.call.output.shape
    if blocks.flat:
        return _run(blocks, loops.const(0), begin * width, (end - begin) * width)

    def row(oy: Any) -> list[Any]:
        lines = _run(blocks, oy, loops.const(0), loops.const(width))
        if blocks.residual is not None:
            count = loops.const(width * oc)
            lines += blocks.residual.lines(blocks.result, oy * (width * oc), count)
        return [*blocks.windows.enter_row(oy), *lines]

    return [loops.loop("oy", end - begin, row, begin)]


def _run(blocks: Blocks, oy: Any, first: Any, count: Any) -> list[Any]:
    """`count` neighbouring pixels, the widest blocks first."""
    return in_turn(blocks.functions, first, count, lambda ox, n: _block(blocks, oy, ox, n))


def _block(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """Expand the windows of `pixels` pixels and multiply; where rows run on, add the residual."""
    quant, place = blocks.stage.output.quant, blocks.windows.place
    _, _, ow, oc = blocks.call.output.shape
    at = (oy * ow + ox) * oc
    assert quant is not None
    odd, pairs = oc % COLUMNS, len(first_channels(oc))
    whole_bytes = int(blocks.stream.shape[0]) // pairs * (pairs - odd)

    def multiply(channel: int, begin: int, end: Any) -> Any:
        """The stream from `begin` to `end`, for the channels from `channel` on."""
        return loops.run(
            blocks.functions[pixels].name,
            loops.pointer(place.scratch),
            loops.pointer(blocks.stream, begin),
            loops.pointer(blocks.result, at + channel),
            loops.const(oc),
            end,
            loops.const(quant.zero_point[0]),
            loops.const(place.chunks),
            *([] if blocks.sums is None else [loops.pointer(blocks.sums)]),
        )

    lines, end = blocks.windows.fill(pixels, oy, ox), loops.end_pointer(blocks.stream)
    if blocks.sums is not None:
        lines.append(_summed(blocks, pixels))
    if odd:
        lines.append(multiply(0, 0, loops.pointer(blocks.stream, whole_bytes)))
        lines.append(multiply(oc - COLUMNS, whole_bytes, end))
    else:
        lines.append(multiply(0, 0, end))
    if blocks.flat and blocks.residual is not None:
        lines += blocks.residual.lines(blocks.result, at, loops.const(pixels * oc))
    return lines


def _summed(blocks: Blocks, pixels: int) -> Any:
    """The sums of the activations of a block, times what was added to the weights."""
    place = blocks.windows.place
    block = place.block(pixels)
    sizes = block.span, block.chunks, block.taps, block.step, pixels, _zero(blocks.stage)
    to = loops.pointer(blocks.sums)
    name = window_sums().name
    return loops.run(name, loops.pointer(place.scratch), *map(loops.const, sizes), to)
