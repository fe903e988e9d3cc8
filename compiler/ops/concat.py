"""Concat: tensors behind each other along one axis; requantized where their scales differ."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, Tensor, elements, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import ROW, Call, Op, RowWindows, Type, Window, dequantized
from tinyc.compiler.ops.quantize import quantized
from tinyc.compiler.ops.row_range import RowRange, is_image, row_range
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ConcatAttrs:
    """axis >= 0."""

    axis: int


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    shape = list(inputs[0].shape)
    if shape:
        shape[attrs.axis] = sum(t.shape[attrs.axis] for t in inputs)
    return ((tuple(shape), inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    parts = [_converted(call, t, a) for t, a in zip(call.inputs, arrays, strict=True)]
    return (np.concatenate(parts, axis=call.attrs.axis) if parts[0].ndim else parts[0].copy(),)


def _converted(call: Call, tensor: Tensor, array: Array) -> Array:
    """`array` in the output's stored form."""
    y = call.output
    if tensor.quant == y.quant and tensor.dtype == y.dtype:
        return array
    assert y.quant is not None
    return quantized(dequantized(array, tensor).astype(np.float32), y.dtype, y.quant)


def can_quantize(call: Call) -> bool:
    tensors = (*call.inputs, call.output)
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in tensors)
    return per_tensor and all(t.dtype in EIGHT_BITS for t in tensors)


def windows(call: Call) -> RowWindows | None:
    """Inputs side by side have the output's rows; inputs below each other some of them each."""
    if not is_image(call.output.shape):
        return None
    if _axis(call) != 1:
        return tuple(ROW for _ in call.inputs)
    heights = [t.shape[1] for t in call.inputs]
    return tuple(Window(before=first) for first in itertools.accumulate(heights[:-1], initial=0))


def _axis(call: Call) -> int:
    """A single input is copied, along any axis."""
    last = len(call.output.shape) - 1
    return call.attrs.axis if len(call.inputs) > 1 or last < 0 else last


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    y, axis, rows = call.output, _axis(call), row_range(call)
    result = loops.buffer("y", y.elements, y.dtype)
    row = elements(y.shape[axis:])
    constants: list[Constant] = []
    sources, tables, body, offset = [], [], [], 0
    for number, tensor in enumerate(call.inputs):
        source = loops.buffer(f"x{number}", tensor.elements, tensor.dtype)
        run = elements(tensor.shape[axis:])
        if tensor.data is not None:
            data = read_only(_converted(call, tensor, tensor.data).reshape(-1))
            constants.append(Constant(f"operand_{number}", data))
            source = loops.buffer(f"x{number}", tensor.elements, str(data.dtype))
            tables.append(source)
        else:
            sources.append(source)
        table = None
        if tensor.data is None and (tensor.quant != y.quant or tensor.dtype != y.dtype):
            every = np.arange(256, dtype=np.uint8).view(tensor.dtype.value)
            values = read_only(_converted(call, tensor, every))
            constants.append(Constant(f"table_{number}", values))
            table = loops.buffer(f"table{number}", 256, y.dtype)
            tables.append(table)
        span = rows.span(axis)
        if axis == 1 and rows.parameters:  # rows of this input among those of the output
            run = row = elements(y.shape[2:])
            span = _inside(rows, offset // row, tensor.shape[1])
        body.append(_move(source, table, result, span, run, row, offset))
        offset += elements(tensor.shape[axis:])
    function = loops.function([*sources, result, *tables, *rows.parameters], body)
    return Kernel("concat", function, tuple(constants), rows=rows.count)


def _inside(rows: RowRange, first: int, height: int) -> tuple[Any, Any]:
    """The first of an input's rows in the range, and how many; they begin at row `first`."""
    begin, end = rows.parameters
    begin = loops.maximum(begin - first, loops.const(0))
    return begin, loops.minimum(end - first, loops.const(height)) - begin


def _move(
    source: Any, table: Any, result: Any, span: tuple[Any, Any], run: int, row: int, offset: int
) -> Any:
    """Some runs of one input, from the first on, to their places in the output's rows."""

    def one(o: Any, k: Any) -> list[Any]:
        value = loops.load(source, o * run + k)
        if table is not None:
            value = loops.load(table, value.astype("uint8").astype("int32"))
        return [loops.store(result, o * row + offset + k, value)]

    first, count = span
    return loops.loop("o", count, lambda o: [loops.loop("k", run, lambda k: one(o, k))], first)


CONCAT = Op("Concat", infer, reference, kernel, windows, quantize=can_quantize)
