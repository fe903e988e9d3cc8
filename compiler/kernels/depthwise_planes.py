"""DepthwiseConv2D by assembly on planes: `arm_depthwise.py` for 3x3, `arm_window.py` for the rest.

For a band of output rows, a few channels after the other: their input rows are gathered as planes
of int16 values (`arm_planes.py`), whose border keeps the stored zero, and multiplied.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType
from tinyc.compiler.kernels.gemm_conv import suits_assembly
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_depthwise import (
    MOST_OFFSET,
    STREAM_WORDS,
    Walk,
    depthwise_3x3,
    packed_streams,
)
from tinyc.targets.intrinsics.arm_planes import Planes, fill_pairs, gather
from tinyc.targets.intrinsics.arm_window import Window, depthwise_window, packed_windows

TOGETHER = 4  # channels that are gathered together; where there are fewer, one
BANDS = (8, 4, 2, 1)  # output rows
UNROLL = 2  # blocks of columns that are written out
UNROLLS = (1, 2, 3, 4)
MOST_TAPS = 64  # of a window: the blocks are written out
# Bytes that a layer may take beside its tensors. One with strides reads the largest tensor of many
# models: VWW on Cortex-M4 takes 39,264 B of arena, in bands of 4 rows it took 42,000 B.
ROOM = 2304
SMALL = 64  # outputs of a channel


@dataclass(frozen=True, slots=True, eq=False)
class Depthwise:
    """A call's sizes, choices, buffers and functions.

    band        output rows that are computed together
    rows        of the planes for a band
    outputs     channels of the output for each of the input
    multiply    the microkernel, and the words of a channel in its stream
    """

    call: Call
    window: Window
    planes: Planes
    band: int
    rows: int
    outputs: int
    gather: Microkernel
    multiply: Microkernel
    stream_words: int
    source: Any
    result: Any
    streams: Any
    scratch: Any


def suits(call: Call, target: Target) -> bool:
    """int8 throughout, one image, strides of 1 or 2 to the side, all within reach of offsets.

    Several outputs: planes for a single one cost more than they save.
    """
    x, window = call.inputs[0], _window(call)
    if x.dtype != DType.INT8 or x.shape[0] != 1 or not suits_assembly(call, target):
        return False
    if call.output.shape[1:3] == (1, 1):
        return False
    (kh, kw), (dh, _) = window.kernel, window.dilations
    if window.strides[1] > 2 or kh * kw > MOST_TAPS:
        return False
    planes = _planes(call, window, Schedule())
    rows = (kh - 1) * dh + 4 * max(window.strides[0], 1)  # of a block in one column
    blocks = UNROLLS[-1] * 4 * 2 * window.strides[1]
    return rows * planes.row_bytes + blocks + 16 <= MOST_OFFSET and planes.skip < 256


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Bands, channels gathered together, blocks written out."""
    height, channels = call.output.shape[1], call.inputs[0].shape[3]
    several = (1, TOGETHER) if channels >= TOGETHER else (1,)
    for band in sorted({min(b, height) for b in (1, 2, 4, 8, 16, 32, height)}):
        for together in several if band > 1 else several[-1:]:
            yield from (Schedule("", band, together, unroll) for unroll in UNROLLS)


def _window(call: Call) -> Window:
    a, (kh, kw, _) = call.attrs, call.inputs[1].shape
    return Window((kh, kw), a.strides, a.dilations)


def _planes(call: Call, window: Window, schedule: Schedule) -> Planes:
    width, channels = call.inputs[0].shape[2:]
    left, columns = call.attrs.pads[1], call.output.shape[2]
    needed = (columns - 1) * window.strides[1] + (window.kernel[1] - 1) * window.dilations[1] + 1
    taken = max(min(width, needed - left), 0)
    pitch = max(left + taken, window.reach(columns))
    together = schedule.columns or TOGETHER
    return Planes(
        together if channels >= together else 1, left, taken, width - taken, pitch + pitch % 2
    )


def _rows(window: Window, band: int) -> int:
    """Rows of the image that a band of the output reads."""
    return (band - 1) * window.strides[0] + (window.kernel[0] - 1) * window.dilations[0] + 1


def band(call: Call, schedule: Schedule) -> int:
    """Rows of the output that are computed from the planes at once."""
    return _choice(call, _window(call), schedule)[1]


def _choice(call: Call, window: Window, schedule: Schedule) -> tuple[Planes, int]:
    """The schedule's planes and band; what it leaves open is as fast as some RAM allows.

    Over its dying input an output of the same shape takes no bytes of its own, in one band.
    """
    (x, _), y = call.inputs[:2], call.output
    planes, height = _planes(call, window, schedule), y.shape[1]
    if schedule.rows:
        return planes, min(schedule.rows, height)
    whole = _rows(window, height) * planes.row_bytes
    if x.shape == y.shape and whole <= _room(call):
        return planes, height
    for band in BANDS:
        scratch = _rows(window, band) * planes.row_bytes
        if band <= height and scratch + band * (y.bytes // height) <= _room(call):
            return planes, band
    return _planes(call, window, replace(schedule, columns=1)), min(BANDS[1], height)


def _room(call: Call) -> int:
    """Bytes for the scratch, and for a band of an output that moves into its dying input."""
    x = call.inputs[0]
    return max(ROOM, x.bytes // 3 if x.shape == call.output.shape else 0)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    window = _window(call)
    planes, band = _choice(call, window, schedule)
    (kh, kw), (sh, sw) = window.kernel, window.strides
    rows = _rows(window, band)
    outputs = y.shape[3] // x.shape[3]
    assert w.data is not None
    matrix = centred(w.data, w).reshape(kh * kw, -1).T
    walk = Walk(
        planes.pitch, planes.count, y.shape[2], y.shape[3] if _fixes_channels(call) else 0,
        schedule.unroll or UNROLL, *stored_bounds(y, call.attrs.clamp),
    )  # fmt: skip
    special = window == Window((3, 3)) and outputs == 1
    multiply = depthwise_3x3(walk) if special else depthwise_window(window, walk)
    streams = _streams(call, window, matrix, special)
    layer = Depthwise(
        call, window, planes, band, rows, outputs, gather(planes), multiply,
        STREAM_WORDS if special else window.stream_words,
        loops.buffer("x", x.elements, "int8"),
        loops.buffer("y", y.elements, "int8"),
        loops.buffer("streams", streams.size, "int32"),
        loops.buffer("scratch", rows * planes.row_bytes // 2, "int16"),
    )  # fmt: skip
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    return Kernel(
        name=f"depthwise_{kh}x{kw}",
        function=loops.function(
            [layer.source, layer.result, layer.streams, layer.scratch, begin, end],
            _bands(layer, begin, end),
        ),
        constants=(Constant("streams", streams),),
        scratch_bytes=rows * planes.row_bytes,
        microkernels=(fill_pairs(), layer.gather, multiply),
        rows=y.shape[1],
        band=band,
        in_place=band == y.shape[1] and x.shape == y.shape,
        note=f"{planes.count} planes of {band} rows, assembly {kh}x{kw} s{sh}{sw}",
    )


def _fixes_channels(call: Call) -> bool:
    """Whether the code knows the distance of columns: 152 K cycles instead of 166 K for 12x12x64.

    Small layers share their code instead, and offsets have a reach.
    """
    _, height, width, channels = call.output.shape
    return height * width >= SMALL and 2 * (width + 4) * channels <= MOST_OFFSET


def _streams(call: Call, window: Window, matrix: Array, special: bool) -> Array:
    bias, multipliers = folded_bias(call, matrix), output_requantization(call).multipliers
    if special:
        return packed_streams(matrix, bias, multipliers)
    return packed_windows(window, matrix, bias, multipliers)


def _zero(layer: Depthwise) -> int:
    quant = layer.call.inputs[0].quant
    return quant.zero_point[0] if quant else 0


def _fill(layer: Depthwise, first: Any, rows: Any) -> Any:
    """Rows of the planes that hold the stored zero."""
    words = layer.planes.row_bytes // 4
    place = loops.pointer(layer.scratch, first * (2 * words))
    return loops.run("tinyc_fill_pairs", place, loops.const(_zero(layer)), rows * words)


def _bands(layer: Depthwise, begin: Any, end: Any) -> list[Any]:
    count = loops.quotient(end - begin + (layer.band - 1), layer.band)
    return [
        _fill(layer, loops.const(0), loops.const(layer.rows)),
        loops.loop("b", count, lambda b: _band(layer, begin + b * layer.band, end)),
    ]


def _band(layer: Depthwise, oy: Any, end: Any) -> list[Any]:
    """The planes' rows that lie above the image still hold the zero, those below it do not."""
    x, top, planes = layer.call.inputs[0], layer.call.attrs.pads[0], layer.planes
    sh, below_first = layer.window.strides[0], x.shape[1] + top
    rows = loops.minimum(end - oy, loops.const(layer.band))
    read = rows * sh + (_rows(layer.window, 1) - sh)
    above = loops.maximum(top - oy * sh, loops.const(0))
    stop = loops.maximum(loops.minimum(read, below_first - oy * sh), loops.const(0))
    lines = []
    if layer.band < layer.call.output.shape[1]:  # a single band finds the zero below the image too
        below = [_fill(layer, stop, layer.rows - stop)]
        lines.append(loops.when(stop < layer.rows, below))

    def group(at: Any, first: int) -> list[Any]:
        gathered = _gather(layer, oy * sh - top + above, stop - above, above, at)
        multiplied = _multiply_planes(layer, oy, rows, at, first)
        return [loops.when(stop > above, [gathered]), *multiplied]

    whole, rest = divmod(x.shape[3], planes.count)
    lines.append(loops.loop("c", whole, lambda c: group(c * planes.count, 0)))
    if rest:  # gathered with some that are done
        lines += group(loops.const(x.shape[3] - planes.count), planes.count - rest)
    return lines


def _gather(layer: Depthwise, iy: Any, rows: Any, place: Any, channel: Any) -> Any:
    """`rows` rows of the image from `iy` on become rows of the planes from `place` on."""
    _, _, width, channels = layer.call.inputs[0].shape
    zero = np.array(_zero(layer), np.int8)
    return loops.run(
        layer.gather.name,
        loops.pointer(layer.source, iy * (width * channels) + channel),
        loops.const(channels),
        rows,
        loops.pointer(layer.scratch, place * (layer.planes.row_bytes // 2)),
        loops.const(int(np.repeat(zero, 4).view(np.int32)[0])),
    )


def _multiply_planes(layer: Depthwise, oy: Any, rows: Any, at: Any, first: int) -> list[Any]:
    """The planes from `first` on, of the channels from `at` on."""
    count = layer.planes.count
    if layer.outputs == 1:
        return [_multiply(layer, oy, rows, at + first, first, count - first)]
    lines = []
    for plane in range(first, count):

        def one(j: Any, plane: int = plane) -> list[Any]:
            return [_multiply(layer, oy, rows, (at + plane) * layer.outputs + j, plane, 1)]

        lines.append(loops.loop("j", layer.outputs, one))
    return lines


def _multiply(layer: Depthwise, oy: Any, rows: Any, channel: Any, plane: int, count: int) -> Any:
    y = layer.call.output
    _, _, columns, channels = y.shape
    assert y.quant is not None
    return loops.run(
        layer.multiply.name,
        loops.pointer(layer.scratch, plane * layer.planes.pitch),
        loops.pointer(layer.result, oy * (columns * channels) + channel),
        loops.pointer(layer.streams, channel * layer.stream_words),
        rows,
        loops.const(y.quant.zero_point[0]),
        loops.const(channels),
        loops.const(count),
    )
