"""Concat: tensors behind each other along one axis; requantized where their scales differ."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, Array, Tensor, elements, read_only
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
    same = all((t.quant, t.dtype) == (call.output.quant, call.output.dtype) for t in tensors)
    narrow = all(t.dtype in EIGHT_BITS for t in call.inputs)  # others have no table
    stored = all(t.dtype in (*EIGHT_BITS, *SIXTEEN_BITS) for t in tensors)
    return per_tensor and stored and (narrow or same)


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
    below = axis == 1 and bool(rows.parameters)
    result = loops.buffer("y", y.elements, y.dtype)
    constants: list[Constant] = []
    sources, tables = [], []
    pieces: list[Callable[[Any], Any]] = []
    offset = 0
    for number, tensor in enumerate(call.inputs):
        source = loops.buffer(f"x{number}", tensor.elements, tensor.dtype)
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
        run = elements(tensor.shape[2 if below else axis :])
        row = run if below else elements(y.shape[axis:])
        pieces.append(_piece(source, table, result, run, row, offset))
        offset += elements(tensor.shape[axis:])
    if below:  # rows of each input among those of the output
        heights = [t.shape[1] for t in call.inputs]
        firsts = itertools.accumulate(heights[:-1], initial=0)
        spans = [_inside(rows, *where) for where in zip(firsts, heights, strict=True)]

        def rows_of(piece: Any) -> Any:
            return lambda o: [piece(o)]

        body = [
            loops.loop("o", count, rows_of(piece), first)
            for piece, (first, count) in zip(pieces, spans, strict=True)
        ]
    else:  # all pieces of a row before the next one: the output may lie over an input's dead rows
        first, count = rows.span(axis)

        def row_of_all(o: Any) -> list[Any]:
            return [piece(o) for piece in pieces]

        body = [loops.loop("o", count, row_of_all, first)]
    function = loops.function([*sources, result, *tables, *rows.parameters], body)
    return Kernel("concat", function, tuple(constants), rows=rows.count)


def _inside(rows: RowRange, first: int, height: int) -> tuple[Any, Any]:
    """The first of an input's rows in the range, and how many; they begin at row `first`."""
    begin, end = rows.parameters
    begin = loops.maximum(begin - first, loops.const(0))
    return begin, loops.minimum(end - first, loops.const(height)) - begin


def _piece(
    source: Any, table: Any, result: Any, run: int, row: int, offset: int
) -> Callable[[Any], Any]:
    """The move of one run of an input, by its number, to its place in the output."""

    def one(o: Any, k: Any) -> list[Any]:
        value = loops.load(source, o * run + k)
        if table is not None:
            value = loops.load(table, value.astype("uint8").astype("int32"))
        return [loops.store(result, o * row + offset + k, value)]

    return lambda o: loops.loop("k", run, lambda k: one(o, k))


CONCAT = Op("Concat", infer, reference, kernel, windows, quantize=can_quantize)
