"""Conv2D by the blocks of `targets/intrinsics/riscv_gemm.py`: 6 pixels, two in a register.

Neighbouring pixels are taken across the ends of rows. The windows of a block are packed before
its results are written, the last block has as many pixels as are left.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.kernels.conv_buffers import ConvBuffers, conv_buffers
from tinyc.compiler.kernels.gather import window_row
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics import riscv_gemm
from tinyc.targets.intrinsics.doubled import bounds, doubled
from tinyc.targets.intrinsics.lane_packing import pack_pair, pack_pixels
from tinyc.targets.intrinsics.riscv_gemm import GROUP, LANES, PIXELS

WORD = 4
CHANNELS = 2  # of a pair in the stream
FEWEST_FOR_TWO = 16  # products
TURNS = (1, 2)  # groups of products in a turn of the loop


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """A call's buffers and choices.

    lane_bytes   of the scratch before the strips for windows that leave the image
    multiply     name of the block's function
    streams      bytes of the stream that begins with each channel, in their order
    """

    buffers: ConvBuffers
    lane_bytes: int
    multiply: str
    streams: Mapping[int, int]


def suits(call: Call, target: Target) -> bool:
    """int8 results of symmetric int8 weights, two channels at least, one group, one image."""
    w, a = call.inputs[1], call.attrs
    plain = a.groups == 1 and call.inputs[0].shape[0] == 1 and w.shape[0] >= CHANNELS
    plain = plain and (a.dilations[1] == 1 or w.shape[2] == 1)
    if not plain or w.elements // w.shape[0] > riscv_gemm.MOST_PRODUCTS:
        return False
    return call.output.dtype == DType.INT8 and suits_weights(first_stage(call), target)


def suits_weights(call: Call, target: Target) -> bool:
    """int8 throughout, symmetric weights and narrow multipliers, on RISC-V with a multiplier."""
    w = call.inputs[1]
    if w.quant is None or w.dtype != DType.INT8 or any(w.quant.zero_point):
        return False
    return suits_results(call, target)


def suits_results(call: Call, target: Target) -> bool:
    """The same whatever the weights are."""
    x, y = call.inputs[0], call.output
    if "riscv" not in target.features or y.quant is None:
        return False
    types = x.dtype == DType.INT8 and y.dtype == DType.INT8
    return types and not output_requantization(call).is_wide


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Every length of the loop's turn."""
    for unroll in TURNS:
        yield Schedule(unroll=unroll)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    w, y, a = call.inputs[1], call.output, call.attrs
    _, kh, kw, ic = w.shape
    unroll = schedule.unroll or _rule_of_turns(kh * kw * ic)
    streams = _streams(first_stage(call), unroll * GROUP)
    stream = read_only(np.concatenate(list(streams.values())))
    lane_bytes = math.ceil(kh * kw * ic / (unroll * GROUP)) * unroll * GROUP * LANES * WORD
    scratch_bytes = lane_bytes + (2 * kw * ic if any(a.pads) else 0)
    multiply = riscv_gemm.gemm(unroll)
    buffers = conv_buffers(call, target, stream.size, scratch_bytes)
    lanes = Lanes(buffers, lane_bytes, multiply.name, {c: s.size for c, s in streams.items()})
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    function = loops.function([*buffers.parameters, begin, end], _rows(lanes, begin, end))
    width = y.shape[2]
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=function,
        constants=(Constant("stream", stream),),
        scratch_bytes=scratch_bytes,
        microkernels=(*_packers(call), multiply),
        rows=y.shape[1],
        # a block's results may lie in the next row, where the residual is read after them
        band=math.lcm(width, PIXELS) // width if lanes.buffers.residual else 1,
        note="lanes 6x2, assembly" + (", add" if lanes.buffers.residual else ""),
    )


def _streams(stage: Call, multiple: int) -> dict[int, Array]:
    """The weights by first channel: all pairs of channels, and the last two of an odd number."""
    w, y = stage.inputs[1], stage.output
    assert w.data is not None and y.quant is not None
    oc = w.shape[0]
    matrix = centred(w.data, w).reshape(oc, -1)
    bias, multipliers = folded_bias(stage, matrix), doubled(output_requantization(stage), oc)
    limits = bounds(y.quant.zero_point[0], *stored_bounds(y, stage.attrs.clamp))
    spans = [(0, oc - oc % CHANNELS)] + ([(oc - CHANNELS, oc)] if oc % CHANNELS else [])
    return {
        a: riscv_gemm.packed_stream(matrix[a:b], bias[a:b], multipliers[a:b], limits, multiple)
        for a, b in spans
    }


def _rule_of_turns(products: int) -> int:
    """Two groups a turn where there are enough, and no half turn is left."""
    return 2 if products >= FEWEST_FOR_TWO and -(-products // GROUP) % 2 == 0 else 1


def _rows(lanes: Lanes, begin: Any, end: Any) -> list[Any]:
    """Rows begin..end, six pixels at a time."""
    width = lanes.buffers.call.output.shape[2]
    count = loops.local("pixels")
    first = loops.local("first")
    number = (end - begin) * width
    turns = loops.quotient(number + (PIXELS - 1), PIXELS)

    def block(b: Any) -> list[Any]:
        left = loops.minimum(number - b * PIXELS, loops.const(PIXELS))
        return [
            loops.store(first, 0, begin * width + b * PIXELS),
            loops.store(count, 0, left),
            *_block(lanes, loops.load(first, 0), loops.load(count, 0)),
        ]

    return [*loops.declare(first, count), loops.loop("b", turns, block)]


def _block(lanes: Lanes, first: Any, count: Any) -> list[Any]:
    """Pack the windows of `count` pixels from `first` on, multiply, and add the residual."""
    oc, residual = lanes.buffers.call.output.shape[3], lanes.buffers.residual
    lines, at = _packed(lanes, first, count), 0
    for channel, stream_bytes in lanes.streams.items():
        lines.append(
            loops.run(
                lanes.multiply,
                loops.pointer(lanes.buffers.scratch),
                loops.pointer(lanes.buffers.stream, at),
                loops.pointer(lanes.buffers.result, first * oc + channel),
                loops.const(oc),
                loops.pointer(lanes.buffers.result, (first + count - 1) * oc + channel),
            )
        )
        at += stream_bytes
    if residual is None:
        return lines

    def sum_at(i: Any) -> list[Any]:
        at = first * oc + i
        total = residual.add(loops.load(lanes.buffers.result, at), loops.load(residual.buffer, at))
        return [loops.store(lanes.buffers.result, at, total)]

    return [*lines, loops.loop("i", count * oc, sum_at)]


def _packers(call: Call) -> tuple[Microkernel, ...]:
    whole = (pack_pixels(), pack_pair())
    return (*whole, window_row()) if any(call.attrs.pads) else whole


def _packed(lanes: Lanes, first: Any, count: Any) -> list[Any]:
    """The windows of `count` pixels from `first` on, in the scratch: six at once where that can be.

    That is where they lie evenly: in the same row, and inside the image.
    """
    a, (_, h, w, c) = lanes.buffers.call.attrs, lanes.buffers.call.inputs[0].shape
    _, kh, kw, _ = lanes.buffers.call.inputs[1].shape
    width = lanes.buffers.call.output.shape[2]
    pairs = loops.loop("l", (count + 1) >> 1, lambda lane: _packed_pair(lanes, first, count, lane))
    whole = count == PIXELS
    if _is_flat(lanes.buffers.call):
        straight = _pack_pixels(lanes, first * c, c, 0)
        return [loops.when(whole, [straight], [pairs])]
    row, column = loops.local("row"), loops.local("column")
    iy = loops.load(row, 0) * a.strides[0] - a.pads[0]
    ix = loops.load(column, 0) * a.strides[1] - a.pads[1]
    span = (PIXELS - 1) * a.strides[1] + kw
    inside = [whole, loops.load(column, 0) <= width - PIXELS]
    inside += [iy >= 0] if a.pads[0] else []
    inside += [iy < h - (kh - 1) * a.dilations[0]] if a.pads[2] else []
    inside += [ix >= 0] if a.pads[1] else []
    inside += [ix <= w - span] if a.pads[3] else []

    def line(i: Any) -> list[Any]:
        at = ((iy + i * a.dilations[0]) * w + ix) * c
        return [_pack_pixels(lanes, at, a.strides[1] * c, i * (kw * c * LANES * WORD))]

    return [
        *loops.declare(row, column),
        loops.store(row, 0, loops.quotient(first, width)),
        loops.store(column, 0, first - loops.load(row, 0) * width),
        loops.when(loops.every(inside), [loops.loop("i", kh, line)], [pairs]),
    ]


def _is_flat(call: Call) -> bool:
    """Whether neighbouring pixels are neighbours over all rows."""
    _, kh, kw, _ = call.inputs[1].shape
    return (kh, kw) == (1, 1) and not any(call.attrs.pads) and call.attrs.strides == (1, 1)


def _pack_pixels(lanes: Lanes, at: Any, step: int, to: Any) -> Any:
    """A row of six windows that lie `step` bytes apart."""
    run_bytes = lanes.buffers.call.inputs[1].shape[2] * lanes.buffers.call.inputs[0].shape[3]
    return loops.run(
        "tinyc_pack_pixels", loops.pointer(lanes.buffers.source, at), loops.const(step),
        loops.const(run_bytes), loops.pointer(lanes.buffers.scratch, to),
    )  # fmt: skip


def _packed_pair(lanes: Lanes, first: Any, count: Any, lane: Any) -> list[Any]:
    """The windows of the pixels 2 * lane and 2 * lane + 1 of a block, of its last where it ends."""
    a, (_, h, w, c) = lanes.buffers.call.attrs, lanes.buffers.call.inputs[0].shape
    _, kh, kw, _ = lanes.buffers.call.inputs[1].shape
    width, x = lanes.buffers.call.output.shape[2], lanes.buffers.call.inputs[0]
    pixels = (first + lane * 2, first + loops.minimum(lane * 2 + 1, count - 1))
    run_bytes = kw * c

    def pack(a_row: Any, b_row: Any, at: Any) -> Any:
        place = loops.pointer(lanes.buffers.scratch, at)
        return loops.run("tinyc_pack_pair", a_row, b_row, loops.const(run_bytes), place)

    if _is_flat(lanes.buffers.call):
        a_row, b_row = (loops.pointer(lanes.buffers.source, p * c) for p in pixels)
        return [pack(a_row, b_row, lane * WORD)]
    declared = loops.declare(*(places := [loops.local(f"{n}_{i}") for n in "yx" for i in (0, 1)]))
    for i, p in enumerate(pixels):
        row = loops.quotient(p, width)
        declared += [
            loops.store(places[i], 0, row),
            loops.store(places[2 + i], 0, (p - row * width) * a.strides[1] - a.pads[1]),
        ]
        declared.append(
            loops.store(places[i], 0, loops.load(places[i], 0) * a.strides[0] - a.pads[0])
        )

    def row_of(i: Any, p: int) -> Any:
        iy, ix = loops.load(places[p], 0) + i * a.dilations[0], loops.load(places[2 + p], 0)
        if not any(a.pads):
            return loops.pointer(lanes.buffers.source, (iy * w + ix) * c)
        zero = x.quant.zero_point[0] if x.quant else 0
        strip = loops.pointer(lanes.buffers.scratch, lanes.lane_bytes + p * run_bytes)
        sizes = [loops.const(v) for v in (h, w, c)]
        return loops.call(
            "tinyc_window_row", loops.pointer(lanes.buffers.source), *sizes, iy, ix,
            loops.const(kw), loops.const(zero), strip, dtype="handle",
        )  # fmt: skip

    def line(i: Any) -> list[Any]:
        return [pack(row_of(i, 0), row_of(i, 1), (i * (run_bytes * LANES) + lane) * WORD)]

    return [*declared, loops.loop("i", kh, line)]
