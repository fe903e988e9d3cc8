"""DepthwiseConv2D 3x3 of floats by the blocks of `targets/intrinsics/arm_vfp_depthwise.py`."""

from collections.abc import Iterator
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.kernels import float_block
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_vfp_clamps import is_simple
from tinyc.targets.intrinsics.arm_vfp_depthwise import (
    FloatDepthwise,
    float_depthwise,
    packed_streams,
)


def suits(call: Call, target: Target) -> bool:
    """3x3, one output an input channel, one row or column of padding on each side at most."""
    (x, w, *bias), y, a = call.inputs, call.output, call.attrs
    shape = w.shape == (3, 3, x.shape[3]) and a.dilations == (1, 1) and x.shape[0] == 1
    known = is_simple(a.clamp) and a.strides[1] <= 2 and max(a.pads[:2]) <= 1
    outside = (_outside(x.shape[i], y.shape[i], a.strides[i - 1], a.pads[i - 1]) for i in (1, 2))
    return shape and known and max(outside) <= 1 and float_block.suits((x, w), bias, target)


def _outside(inputs: int, outputs: int, stride: int, before: int) -> int:
    """Rows of the last window behind the last of the image; below 0: rows that are not read."""
    return (outputs - 1) * stride + 3 - before - inputs


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """One or two rows of the output at a time: two cost a row of memory where buffers overlap."""
    yield from (Schedule("", rows) for rows in _rows(call))


def _rows(call: Call) -> tuple[int, ...]:
    """Rows that may be computed together; the rule is the first."""
    return (2, 1) if call.attrs.strides == (1, 1) and call.output.shape[1] > 1 else (1,)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    _, h, width, channels = x.shape
    _, oh, ow, _ = y.shape
    assert w.data is not None, "the weights are constant"
    values = packed_streams(w.data, float_block.bias_of(call.inputs, channels))
    source = loops.buffer("x", x.elements, x.dtype)
    result = loops.buffer("y", y.elements, y.dtype)
    stream = loops.buffer("streams", values.size, "float32")
    together = schedule.rows or _rows(call)[0]
    blocks = {
        rows: float_depthwise(
            FloatDepthwise(a.strides[1], rows, a.clamp, float_block.fused(target))
        )
        for rows in (together, 1)
    }
    right = max(_outside(width, ow, a.strides[1], a.pads[1]), 0)

    def run(oy: Any, rows: int) -> Any:
        first = oy * a.strides[0] - a.pads[0]
        last = first + (rows + 1)
        top = (first < 0).astype("int32") if a.pads[0] else loops.const(0)
        bottom = (last >= h).astype("int32") if a.pads[2] else loops.const(0)
        return loops.run(
            blocks[rows].name,
            loops.pointer(source, (first + top) * (width * channels)),
            loops.pointer(stream),
            loops.pointer(result, oy * (ow * channels)),
            *(loops.const(v) for v in (channels, ow, width * channels, ow * channels)),
            *(top, bottom, loops.const(a.pads[1]), loops.const(right)),
        )

    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    if together == 1:
        body = [loops.loop("oy", end - begin, lambda oy: [run(oy, 1)], begin)]
    else:
        pairs = loops.loop("p", (end - begin) >> 1, lambda p: [run(begin + p * 2, 2)])
        body = [pairs, loops.when(((end - begin) & 1) != 0, [run(end - 1, 1)])]
    return Kernel(
        name="depthwise_3x3",
        function=loops.function([source, result, stream, begin, end], body),
        constants=(Constant("streams", values),),
        microkernels=tuple(blocks.values()),
        rows=oh,
        band=together,
        float_code=True,
        note=f"float {together} rows, assembly 3x3 s{a.strides[1]}",
    )
