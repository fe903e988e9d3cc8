"""DepthwiseConv2D 3x3, a row of outputs at a time, channel by channel: `riscv_depthwise.py`."""

from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array
from tinyc.compiler.kernels.lane_conv import suits_weights
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.doubled import bounds, doubled
from tinyc.targets.intrinsics.riscv_depthwise import (
    MOST_PADDING,
    depthwise_row,
    layer_numbers,
    packed_streams,
)


def suits(call: Call, target: Target) -> bool:
    """3x3, stride 1 or 2, one output an input channel, int8 throughout."""
    (x, w), a = call.inputs[:2], call.attrs
    shape = w.shape == (3, 3, x.shape[3]) and a.dilations == (1, 1) and x.shape[0] == 1
    moves = a.strides in ((1, 1), (2, 2)) and max(a.pads) <= MOST_PADDING
    return shape and moves and suits_weights(call, target)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    assert w.data is not None
    matrix = centred(w.data, w).reshape(9, -1).T
    multipliers = doubled(output_requantization(call), len(matrix))
    streams = packed_streams(matrix, folded_bias(call, matrix), multipliers)
    layer = _layer(call)
    _, h, width, channels = x.shape
    row_function = depthwise_row(a.strides[0])
    source = loops.buffer("x", x.elements, "int8")
    result = loops.buffer("y", y.elements, "int8")
    stream = loops.buffer("streams", streams.size, "int8")
    numbers = loops.buffer("layer", layer.size, "int32")
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def row(oy: Any) -> list[Any]:
        first = oy * a.strides[0] - a.pads[0]
        rows = (loops.maximum(first, 0), first + 1, loops.minimum(first + 2, h - 1))
        above = loops.select(first < 0, loops.const(1), loops.const(0))
        below = loops.select(first + 2 >= h, loops.const(2), loops.const(0))
        return [
            loops.run(
                row_function.name,
                *(loops.pointer(source, iy * (width * channels)) for iy in rows),
                loops.pointer(numbers),
                loops.pointer(stream),
                loops.pointer(result, oy * (y.shape[2] * channels)),
                above + below,
            )
        ]

    return Kernel(
        name="depthwise_3x3",
        function=loops.function(
            [source, result, stream, numbers, begin, end],
            [loops.loop("oy", end - begin, row, begin)],
        ),
        constants=(Constant("streams", streams), Constant("layer", layer)),
        microkernels=(row_function,),
        rows=y.shape[1],
        note=f"rows, assembly 3x3 s{a.strides[0]}",
    )


def _layer(call: Call) -> Array:
    x, y, a = call.inputs[0], call.output, call.attrs
    assert x.quant is not None and y.quant is not None
    limits = bounds(y.quant.zero_point[0], *stored_bounds(y, a.clamp))
    return layer_numbers(
        a.strides[0], x.shape[2], y.shape[2], a.pads[1], x.shape[3], x.quant.zero_point[0], limits
    )
