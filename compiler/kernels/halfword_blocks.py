"""Conv2D of int16 values by the assembly blocks of `targets/intrinsics/arm_halfwords.py`.

A block reads its windows where they lie: rows of neighbouring values. Where they leave the image
their rows are copied into the scratch first, with the padding; rows that are no whole pairs, or
dilated, are gathered there window by window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.kernels import halfword_streams
from tinyc.compiler.kernels.block_cuts import in_turn
from tinyc.compiler.kernels.conv_buffers import ConvBuffers, conv_buffers
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.kernels.halfword_streams import (
    Copied,
    copied_rows,
    results_of,
    run_channels,
    stream_of,
)
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_halfwords import COLUMNS, STEP, HalfwordBlock, halfword_gemm

PIXELS = (4, 3, 2, 1)
CYCLES = {4: 1.06, 3: 1.08, 2: 1.25, 1: 1.75}  # of a product, by the pixels of a block
TURN, SHORT_TURN = 16, 4  # steps; the end of a turn takes 6 cycles, a step 17
FEW_PRODUCTS = 1 << 18  # of a layer with short turns


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A convolution's buffers, sizes and functions; no scratch: windows are read in place.

    gathered   windows are gathered one by one, of `window` values each
    flat       neighbouring pixels lie behind each other over all rows
    functions  that multiply a block, by its pixels: the widest first
    """

    buffers: ConvBuffers
    gathered: bool
    window: int
    flat: bool
    functions: dict[int, Microkernel]


def suits(call: Call, target: Target) -> bool:
    """int16 values and symmetric int8 weights, int32 sums, one group, one image, two channels."""
    stage = first_stage(call)
    if call.attrs.groups != 1 or call.inputs[0].shape[0] != 1 or stage.output.shape[3] < COLUMNS:
        return False
    if call.output.dtype != stage.output.dtype or not halfword_streams.suits(stage, target):
        return False
    return _block(call, 1, 1, False).fits


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Blocks of 2 to 4 pixels, both forms of weights, turns from short code to quick loops."""
    for rows in PIXELS[:3]:
        for form in ("int8", "int16"):
            for turn in (2, 4, 8, 16):
                if _block(call, rows, turn, form == "int16").fits:
                    yield Schedule(rows=rows, unroll=turn, weights=form)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    _, kh, kw, ic = w.shape
    wide, turn = schedule.weights == "int16", schedule.unroll or _turn(call)
    gathered = _is_gathered(call)
    flat = (kh, kw, *a.strides) == (1, 1, 1, 1) and not any(a.pads) and not gathered
    pixels = _pixels(call, min(schedule.rows, y.shape[2]), turn, wide, flat)
    sizes = dict.fromkeys((pixels, math.gcd(y.shape[2], pixels)) if flat else
                          (p for p in (pixels, y.shape[2] % pixels) if p))  # fmt: skip
    stream = stream_of(first_stage(call), COLUMNS, wide)
    window = kh * kw * ic + kh * kw * ic % STEP
    strips = kh * ((pixels - 1) * a.strides[1] + kw) * ic if any(a.pads) else 0
    values = pixels * window if gathered else strips
    buffers = conv_buffers(call, target, stream.size, values)
    functions = {p: halfword_gemm(_block(call, p, turn, wide)) for p in sizes}
    blocks = Blocks(buffers, gathered, window, flat, functions)
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=loops.function([*buffers.parameters, begin, end], _image(blocks, begin, end)),
        constants=(Constant("stream", stream),),
        scratch_bytes=values * x.dtype.size,
        microkernels=tuple(functions.values()),
        rows=y.shape[1],
        band=math.lcm(y.shape[2], pixels) // y.shape[2] if flat else 1,
        note=f"gemm {pixels}x2, assembly, 16 bits, {'int16' if wide else 'int8'} weights"
        + ("" if buffers.residual is None else ", add"),
    )


def _is_gathered(call: Call) -> bool:
    a, (_, _, kw, ic) = call.attrs, call.inputs[1].shape
    pairs = kw * ic % STEP == 0
    return not pairs or (kw > 1 and a.dilations[1] > 1)


def _block(call: Call, pixels: int, turn: int, wide: bool) -> HalfwordBlock:
    a, (_, kh, kw, ic) = call.attrs, call.inputs[1].shape
    pitch = kh * kw * ic + kh * kw * ic % STEP if _is_gathered(call) else a.strides[1] * ic
    return HalfwordBlock(pixels, 2 * pitch, turn, wide, results_of(first_stage(call)))


def _turn(call: Call) -> int:
    macs = call.output.elements * call.inputs[1].elements // call.inputs[1].shape[0]
    return TURN if macs >= FEW_PRODUCTS else SHORT_TURN


def _pixels(call: Call, asked: int, turn: int, wide: bool, flat: bool) -> int:
    """As asked, else those that take a row least; all within reach of offsets."""
    width = call.output.shape[2]
    possible = [p for p in PIXELS if p <= width and _block(call, p, turn, wide).fits] or [1]
    if asked:
        return next((p for p in possible if p <= asked), 1)

    def cycles(pixels: int) -> float:
        rest = width % pixels
        return CYCLES[pixels] * (width - rest) + (CYCLES[rest] * rest if rest else 0)

    return possible[0] if flat else min(possible, key=cycles)


def _image(blocks: Blocks, begin: Any, end: Any) -> list[Any]:
    width = blocks.buffers.call.output.shape[2]
    if blocks.flat:
        return _run(blocks, loops.const(0), begin * width, (end - begin) * width)
    return [
        loops.loop(
            "oy",
            end - begin,
            lambda oy: _run(blocks, oy, loops.const(0), loops.const(width)),
            begin,
        )
    ]


def _run(blocks: Blocks, oy: Any, first: Any, count: Any) -> list[Any]:
    """`count` neighbouring pixels, the widest blocks first."""
    return in_turn(blocks.functions, first, count, lambda ox, n: _pixel_block(blocks, oy, ox, n))


def _pixel_block(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """All channels of `pixels` pixels, and the residual."""
    if blocks.gathered:
        lines = _gathered(blocks, oy, ox, pixels)
    else:
        lines = _in_rows(blocks, oy, ox, pixels)
    if blocks.buffers.residual is None:
        return lines
    _, _, width, oc = blocks.buffers.call.output.shape
    first, add = (oy * width + ox) * oc, blocks.buffers.residual

    def sum_up(i: Any) -> list[Any]:
        value = loops.load(blocks.buffers.result, first + i, "int32")
        value = add.add(value, loops.load(add.buffer, first + i))
        return [loops.store(blocks.buffers.result, first + i, value)]

    return [*lines, loops.loop("r", pixels * oc, sum_up)]


def _gathered(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """A value that fills up the last pair meets a weight of zero."""
    lines = []
    for p in range(pixels):
        at = loops.const(p * blocks.window)
        zero = loops.const(0)
        call, scratch = blocks.buffers.call, blocks.buffers.scratch
        lines += gather_window(call, blocks.buffers.source, scratch, 0, oy, ox + p, zero, at)
    reads = 0, 1, blocks.window // STEP
    return [
        *lines,
        *_multiply(blocks, oy, ox, pixels, loops.pointer(blocks.buffers.scratch), reads),
    ]


def _in_rows(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """From the image, or where windows leave it from a copy of their rows."""
    a, (_, h, w, c) = blocks.buffers.call.attrs, blocks.buffers.call.inputs[0].shape
    _, kh, kw, _ = blocks.buffers.call.inputs[1].shape
    first_y, first_x = oy * a.strides[0] - a.pads[0], ox * a.strides[1] - a.pads[1]
    span, steps = (pixels - 1) * a.strides[1] + kw, kw * c // STEP
    image = loops.pointer(blocks.buffers.source, (first_y * w + first_x) * c)
    straight = _multiply(blocks, oy, ox, pixels, image, (a.dilations[0] * w * c, kh, steps))
    inside = [first_y >= 0] if a.pads[0] else []
    inside += [first_y < h - (kh - 1) * a.dilations[0]] if a.pads[2] else []
    inside += [first_x >= 0] if a.pads[1] else []
    inside += [first_x <= w - span] if a.pads[3] else []
    if not inside:
        return straight
    place = loops.pointer(blocks.buffers.scratch)
    source, scratch = blocks.buffers.source, blocks.buffers.scratch
    copy = Copied(blocks.buffers.call.inputs[0], kh, a.dilations[0], source, scratch)
    copied = [
        *copied_rows(copy, first_y, first_x, span),
        *_multiply(blocks, oy, ox, pixels, place, (span * c, kh, steps)),
    ]
    return [loops.when(loops.every(inside), straight, copied)]


def _multiply(
    blocks: Blocks, oy: Any, ox: Any, pixels: int, x: Any, reads: tuple[int, int, int]
) -> list[Any]:
    """reads: values from row to row of a window, rows, steps of a row."""
    _, _, ow, oc = blocks.buffers.stage.output.shape
    quant = blocks.buffers.stage.output.quant
    assert quant is not None
    at = (oy * ow + ox) * oc
    stream, result = blocks.buffers.stream, blocks.buffers.result
    return run_channels(
        blocks.functions[pixels].name, COLUMNS, x, stream, result, at, oc,
        (oc, *reads, quant.zero_point[0]),
    )  # fmt: skip
