"""DepthwiseConv2D 3x3 by the assembly of `targets/intrinsics/arm_depthwise.py`.

For a band of output rows, one channel after the other: its input rows are gathered as a plane of
int16 values, whose border keeps the stored zero.
"""

from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType
from tinyc.compiler.kernels.gemm_conv import suits_assembly
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_depthwise import (
    MOST_OFFSET,
    STREAM_BYTES,
    depthwise,
    gather_row,
    packed_streams,
)

BAND = 4  # output rows that are computed channel by channel


def suits(call: Call, target: Target) -> bool:
    """3x3, stride 1 or 2, one output an input channel, int8 throughout, within reach of offsets."""
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    shape = w.shape == (3, 3, x.shape[3]) and a.dilations == (1, 1) and x.shape[0] == 1
    moves = a.strides in ((1, 1), (2, 2)) and y.shape[2] >= 2 and max(a.pads) <= 2
    types = x.dtype == DType.INT8 and suits_assembly(call, target)
    row_bytes = y.shape[2] * y.shape[3]
    reach = max(2 * row_bytes + y.shape[3], 2 * 4 * _pitch(call) + 8)
    return shape and moves and types and reach <= MOST_OFFSET


def _pitch(call: Call) -> int:
    """Values in a row of the plane: what the blocks read, at least the padded row."""
    stride, left = call.attrs.strides[1], call.attrs.pads[1]
    width = max(call.output.shape[2] * stride + 2, left + call.inputs[0].shape[2])
    return int(width + width % 2)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    _, h, width, channels = x.shape
    _, oh, ow, _ = y.shape
    assert w.data is not None and x.quant is not None and y.quant is not None
    matrix = centred(w.data, w).reshape(9, channels).T
    to = output_requantization(call)
    streams = packed_streams(matrix, folded_bias(call, matrix), to.multipliers)
    stride, top, left, pitch = a.strides[0], a.pads[0], a.pads[1], _pitch(call)
    rows_in = (BAND - 1) * stride + 3
    source = loops.buffer("x", x.elements, "int8")
    result = loops.buffer("y", y.elements, "int8")
    stream = loops.buffer("streams", streams.size, "int32")
    plane = loops.buffer("scratch", rows_in * pitch, "int16")
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    zero = loops.const(x.quant.zero_point[0])
    functions = _functions(call)

    def gather(oy: Any, rows: Any, c: Any) -> Any:
        def line(i: Any) -> list[Any]:
            iy = oy * stride - top + i
            row = loops.pointer(source, iy * (width * channels) + c)
            place = loops.pointer(plane, i * pitch + left)
            count = loops.const(min(width, pitch - left))
            taken = loops.run("tinyc_gather_row", row, loops.const(channels), count, place)
            return [loops.when(loops.every([iy >= 0, iy < h]), [taken])]

        return loops.loop("i", (rows - 1) * stride + 3, line)

    def turn(function: Microkernel, oy: Any, row: Any, turns: Any, c: Any) -> Any:
        return loops.run(
            function.name,
            loops.pointer(plane, row * (stride * pitch)),
            loops.pointer(result, (oy + row) * (ow * channels) + c),
            loops.pointer(stream, c * (STREAM_BYTES // 4)),
            turns,
            loops.const(y.quant.zero_point[0] if y.quant else 0),
        )

    def channel(oy: Any, rows: Any, c: Any) -> list[Any]:
        lines = [gather(oy, rows, c)]
        if stride == 2:
            return [*lines, turn(functions[0], oy, loops.const(0), rows, c)]
        pairs = rows >> 1
        lines.append(loops.when(pairs > 0, [turn(functions[0], oy, loops.const(0), pairs, c)]))
        last = turn(functions[1], oy, rows - 1, loops.const(1), c)
        return [*lines, loops.when((rows & 1) != 0, [last])]

    def band(b: Any) -> list[Any]:
        oy = begin + b * BAND
        rows = loops.minimum(end - oy, loops.const(BAND))

        return [
            loops.loop("i", rows_in * pitch, lambda i: [loops.store(plane, i, zero)]),
            loops.loop("c", channels, lambda c: channel(oy, rows, c)),
        ]

    bands = (end - begin + (BAND - 1)) >> (BAND.bit_length() - 1)
    function = loops.function(
        [source, result, stream, plane, begin, end], [loops.loop("b", bands, band)]
    )
    return Kernel(
        name="depthwise_3x3",
        function=function,
        constants=(Constant("streams", streams),),
        scratch_bytes=rows_in * pitch * 2,
        microkernels=(gather_row(), *functions),
        rows=oh,
        band=BAND,
        note=f"planes, assembly 3x3 s{stride}",
    )


def _functions(call: Call) -> tuple[Microkernel, ...]:
    """The wide block, and for stride 1 the one for an odd last row."""
    y, stride = call.output, call.attrs.strides[0]
    low, high = stored_bounds(y, call.attrs.clamp)
    shape = (_pitch(call), y.shape[2], y.shape[3], low, high)
    if stride == 2:
        return (depthwise(2, 1, *shape),)
    return depthwise(1, 2, *shape), depthwise(1, 1, *shape)
