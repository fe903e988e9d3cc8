"""What the assembly kernels of int16 values share: what they compute, and their streams."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import (
    accumulator_type,
    centred,
    folded_bias,
    output_requantization,
)
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.fixed_point import Requantization
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_halfword_results import Results
from tinyc.targets.intrinsics.arm_halfwords import LEAST_SHIFT, STEP, packed_stream


def suits(call: Call, target: Target) -> bool:
    """int16 values, symmetric int8 weights, int32 sums that no product can leave, known results."""
    (x, w), y = call.inputs[:2], call.output
    if not {"dsp", "fpu"} <= target.features or x.dtype != DType.INT16 or w.dtype != DType.INT8:
        return False
    if w.quant is None or any(w.quant.zero_point) or y.quant is None:
        return False
    if y.dtype not in (DType.INT8, DType.INT16) or accumulator_type(call) != "int32":
        return False
    return _finishes(output_requantization(call), y) and results_of(call).are_known


def _finishes(to: Requantization, y: Tensor) -> bool:
    """8 bits by the narrow form, 16 by the wide one without its low word."""
    if y.dtype == DType.INT8:
        return not to.is_wide
    return to.shifts is not None and int(to.shifts.min()) >= LEAST_SHIFT


def results_of(call: Call) -> Results:
    return Results(call.output.dtype, *stored_bounds(call.output, call.attrs.clamp))


def stream_of(call: Call, columns: int, wide: bool) -> Array:
    """Weights of whole pairs of products, in blocks of `columns` channels.

    A last block that is not whole computes some channels of the one before again.
    """
    w = call.inputs[1]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1)
    to, bias = output_requantization(call), folded_bias(call, matrix)
    padded = np.pad(matrix, ((0, 0), (0, matrix.shape[1] % STEP)))
    n = w.shape[0]
    channels = [*range(n - n % columns), *(range(n - columns, n) if n % columns else ())]
    multipliers = np.broadcast_to(to.multipliers, bias.shape)[channels]
    shifts = None if to.shifts is None else np.broadcast_to(to.shifts, bias.shape)[channels]
    return packed_stream(padded[channels], bias[channels], multipliers, shifts, columns, wide)


def run_channels(
    name: str, columns: int, x: Any, stream: Any, result: Any, at: Any, count: int,
    rest: tuple[int, ...],
) -> list[Any]:  # fmt: skip
    """The calls for `count` channels from result[at] on, the last block by itself if not whole."""
    blocks, odd = -(-count // columns), count % columns
    whole_bytes = int(stream.shape[0]) // blocks * (count // columns)

    def call(channel: int, begin: int, end: Any) -> Any:
        places = loops.pointer(stream, begin), loops.pointer(result, at + channel), end
        return loops.run(name, x, *places, *(loops.const(v) for v in rest))

    end = loops.end_pointer(stream)
    if not odd:
        return [call(0, 0, end)]
    first = call(0, 0, loops.pointer(stream, whole_bytes))
    return [first, call(count - columns, whole_bytes, end)]


@dataclass(frozen=True, slots=True, eq=False)
class Copied:
    """Rows of windows of the image `x` in the scratch; dilation: of the rows."""

    x: Tensor
    rows: int
    dilation: int
    source: Any
    scratch: Any


def copied_rows(copy: Copied, first_y: Any, first_x: Any, span: int) -> list[Any]:
    """`span` pixels of every row of the windows, the padding as the stored zero."""
    _, height, width, c = copy.x.shape
    begin = loops.maximum(first_x, loops.const(0))
    end = loops.minimum(first_x + span, loops.const(width))

    def row(i: Any) -> list[Any]:
        iy, at = first_y + i * copy.dilation, i * (span * c)
        size = (end - begin) * (c * copy.x.dtype.size)
        to = loops.pointer(copy.scratch, at + (begin - first_x) * c)
        values = loops.pointer(copy.source, (iy * width + begin) * c)
        present = [
            _filled(copy, at, (begin - first_x) * c),
            loops.run("memcpy", to, values, size.astype("uint32")),
            _filled(copy, at + (end - first_x) * c, (first_x + span - end) * c),
        ]
        inside = loops.every([iy >= 0, iy < height, begin < end])
        return [loops.when(inside, present, [_filled(copy, at, loops.const(span * c))])]

    return [loops.loop("i", copy.rows, row)]


def _filled(copy: Copied, at: Any, count: Any) -> Any:
    """`count` values of the scratch become the stored zero."""
    stored = copy.x.quant.zero_point[0] if copy.x.quant else 0
    if stored & 0xFF == stored >> 8 & 0xFF:  # both bytes are the same
        size = (count * copy.x.dtype.size).astype("uint32")
        byte = loops.const(stored & 0xFF)
        return loops.run("memset", loops.pointer(copy.scratch, at), byte, size)
    zero = loops.const(stored, copy.x.dtype)
    return loops.loop("z", count, lambda z: [loops.store(copy.scratch, at + z, zero)])
