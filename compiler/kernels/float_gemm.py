"""Conv2D of floats by the blocks of `targets/intrinsics/arm_vfp.py`.

A block reads its pixels where they lie: a window is rows of neighbouring floats. Only where the
windows of a block leave the image are they gathered into the scratch first, the padding as zeros.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import read_only
from tinyc.compiler.kernels import float_block
from tinyc.compiler.kernels.float_block import Part, Reads, run_part
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_vfp_clamps import is_simple

SHAPES = ((4, 4), (5, 4), (3, 4), (4, 5), (6, 3), (2, 8))  # pixels x channels


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A convolution's buffers and blocks.

    pixels   of the wide block
    scratch  the gathered windows of a block; None when none leaves the image
    flat     neighbouring pixels lie behind each other over all rows
    """

    call: Call
    parts: tuple[Part, ...]
    pixels: int
    flat: bool
    source: Any
    result: Any
    stream: Any
    scratch: Any
    residual: Any


def suits(call: Call, target: Target) -> bool:
    """Floats on a core with an FPU: one image, one group, clamps that the blocks know."""
    a, (x, w, *bias) = call.attrs, first_stage(call).inputs
    if a.groups != 1 or x.shape[0] != 1 or not float_block.suits_stored(x, w, bias, target):
        return False
    if a.residual is None:
        return is_simple(a.clamp)
    return a.clamp == NO_CLAMP and is_simple(a.residual.clamp)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Blocks that fill the registers, and how far their loop is written out."""
    return float_block.shapes(SHAPES)


def band(call: Call, schedule: Schedule) -> int:
    """Rows after which blocks and rows end together, where blocks run on over rows."""
    pixels, _, flat = _block_of(call, schedule, float_block.matrix_of(call.inputs[1]).most_pixels)
    width = call.output.shape[2]
    return math.lcm(width, pixels) // width if flat else 1


def _block_of(call: Call, schedule: Schedule, most_pixels: int) -> tuple[int, int, bool]:
    """Pixels and channels of the block; whether it runs on over the rows of the image."""
    (_, w), y, a = call.inputs[:2], call.output, call.attrs
    oc, kh, kw, _ = w.shape
    _, oh, ow, _ = y.shape
    channels = min(schedule.columns or SHAPES[0][1], oc)
    # two parts would read the pixels of all rows twice, the second time after the first wrote
    flat = (kh, kw) == (1, 1) and a.strides == (1, 1) and not any(a.pads) and not oc % channels
    pixels = schedule.rows or _pixels(ow, flat, most_pixels)
    return min(pixels, ow * oh if flat else ow, most_pixels), channels, flat


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    oc, kh, kw, ic = w.shape
    matrix = float_block.matrix_of(w)
    _, oh, ow, _ = y.shape
    pixels, channels, flat = _block_of(call, schedule, matrix.most_pixels)
    rest = min(ow % pixels, 1) if flat else ow % pixels
    values, parts = float_block.parts_of(
        matrix,
        float_block.bias_of(first_stage(call).inputs, oc),
        [p for p in dict.fromkeys((pixels, rest)) if p],
        channels,
        schedule.unroll or float_block.UNROLLS[0],
        a.clamp if a.residual is None else a.residual.clamp,
        target,
        a.residual is not None,
    )
    gathers = any(a.pads) or (kw > 1 and a.dilations[1] > 1)
    window = kh * kw * ic
    residual = None if a.residual is None else loops.buffer("residual", y.elements, y.dtype)
    scratch = loops.buffer("scratch", pixels * window, "float32") if gathers else None
    blocks = Blocks(
        call,
        parts,
        pixels,
        flat,
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("stream", values.size, str(values.dtype)),
        scratch,
        residual,
    )
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    buffers = (blocks.source, residual, blocks.result, blocks.stream, scratch)
    function = loops.function(
        [*(b for b in buffers if b is not None), begin, end], _image(blocks, begin, end)
    )
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=function,
        constants=(Constant("stream", read_only(values)),),
        scratch_bytes=4 * pixels * window if gathers else 0,
        microkernels=tuple(m for part in parts for m in part.blocks.values()),
        rows=oh,
        band=band(call, schedule),
        float_code=True,
        note=f"float {pixels}x{channels}, assembly{matrix.note}"
        + ("" if residual is None else ", add"),
    )


def _pixels(width: int, flat: bool, most: int) -> int:
    """The widest block that leaves no rest: of a row, or of two rows of a flat image."""
    run = 2 * width if flat else width
    return next(
        (pixels for pixels, _ in SHAPES if run % pixels == 0 and pixels <= most), SHAPES[0][0]
    )


def _image(blocks: Blocks, begin: Any, end: Any) -> list[Any]:
    ow, pixels = blocks.call.output.shape[2], blocks.pixels
    if not blocks.flat:
        return [loops.loop("oy", end - begin, lambda oy: _row(blocks, oy), begin)]
    first, count = begin * ow, (end - begin) * ow
    shift = pixels.bit_length() - 1
    whole = count >> shift if pixels == 1 << shift else loops.quotient(count, pixels)
    parts = [(pixels, first, whole)]
    if ow % pixels:
        parts.append((1, first + whole * pixels, count - whole * pixels))
    return [
        loops.when(n > 0, _straight(blocks, loops.const(0), at, size, n)) for size, at, n in parts
    ]


def _row(blocks: Blocks, oy: Any) -> list[Any]:
    """The wide blocks of an output row, then what is left."""
    whole, rest = divmod(blocks.call.output.shape[2], blocks.pixels)
    lines = []
    if blocks.scratch is None:
        lines = _straight(blocks, oy, loops.const(0), blocks.pixels, loops.const(whole))
    else:
        lines = [
            loops.loop("p", whole, lambda p: _block(blocks, oy, p * blocks.pixels, blocks.pixels))
        ]
    return (
        [*lines, *_block(blocks, oy, loops.const(whole * blocks.pixels), rest)] if rest else lines
    )


def _block(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """A block of pixels, gathered where its windows leave the image."""
    a, (_, h, w, _) = blocks.call.attrs, blocks.call.inputs[0].shape
    _, kh, kw, ic = blocks.call.inputs[1].shape
    straight = _straight(blocks, oy, ox, pixels, loops.const(1))
    if blocks.scratch is None:
        return straight
    window = kh * kw * ic
    gathered = [
        line
        for p in range(pixels)
        for line in gather_window(
            blocks.call, blocks.source, blocks.scratch, 0, oy, ox + p, loops.const(0),
            loops.const(p * window),
        )
    ]  # fmt: skip
    reads = Reads(window, 0, 1, window)
    gathered += _run(blocks, loops.pointer(blocks.scratch), reads, oy, ox, pixels, loops.const(1))
    first_y, first_x = oy * a.strides[0] - a.pads[0], ox * a.strides[1] - a.pads[1]
    span = (pixels - 1) * a.strides[1] + kw
    if a.dilations[1] > 1 or span > w:
        return gathered
    inside = [first_y >= 0] if a.pads[0] else []
    inside += [first_y < h - (kh - 1) * a.dilations[0]] if a.pads[2] else []
    inside += [first_x >= 0] if a.pads[1] else []
    inside += [first_x <= w - span] if a.pads[3] else []
    return [loops.when(loops.every(inside), straight, gathered)]


def _straight(blocks: Blocks, oy: Any, ox: Any, pixels: int, count: Any) -> list[Any]:
    """`count` blocks from the image itself."""
    a, (_, _, w, c) = blocks.call.attrs, blocks.call.inputs[0].shape
    _, kh, kw, ic = blocks.call.inputs[1].shape
    first_y, first_x = oy * a.strides[0] - a.pads[0], ox * a.strides[1] - a.pads[1]
    x = loops.pointer(blocks.source, (first_y * w + first_x) * c)
    reads = Reads(a.strides[1] * c, a.dilations[0] * w * c, kh, kw * ic)
    return _run(blocks, x, reads, oy, ox, pixels, count)


def _run(
    blocks: Blocks, x: Any, reads: Reads, oy: Any, ox: Any, pixels: int, count: Any
) -> list[Any]:
    _, _, ow, oc = blocks.call.output.shape
    at = (oy * ow + ox) * oc
    return [
        run_part(
            part, pixels, blocks.stream, x, reads, (blocks.result, at), oc, count, blocks.residual
        )
        for part in blocks.parts
    ]
