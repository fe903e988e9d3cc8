"""Unary: y = clamp(function(x)), element by element; a 256-byte table on 8-bit stored values."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.half import conversions, narrowed, widened
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type, dequantized
from tinyc.compiler.ops.quantize import quantized
from tinyc.compiler.ops.row_range import row_range, same_rows
from tinyc.compiler.ops.unary_functions import FUNCTIONS
from tinyc.targets import Target

UNROLL = 4  # elements a turn of a table's loop


@dataclass(frozen=True, slots=True)
class UnaryAttrs:
    """function is a key of FUNCTIONS; parameters are its numbers, as ONNX names them."""

    function: str
    parameters: tuple[float, ...] = ()
    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    function = FUNCTIONS[attrs.function]
    check_type(attrs.function, inputs[0], function.types)
    return ((inputs[0].shape, function.result or inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a, y = call.inputs, call.attrs, call.output
    real = x.quant is not None or x.dtype.is_float
    operand = dequantized(arrays[0], x) if real else arrays[0]
    with np.errstate(all="ignore"):
        result = FUNCTIONS[a.function].meaning(operand, *a.parameters)
    if y.quant is not None or y.dtype.is_float:
        result = np.clip(result, a.clamp.low, a.clamp.high)
    if y.quant is not None:
        return (quantized(result.astype(np.float32), y.dtype, y.quant),)
    return (result.astype(y.dtype.value),)


def can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    return per_tensor and x.dtype in EIGHT_BITS and y.dtype in EIGHT_BITS


def table_of(call: Call) -> Array:
    """The output for each stored input value, by its bits as an unsigned byte; 256 elements."""
    x = call.inputs[0]
    every = np.arange(256, dtype=np.uint8).view(x.dtype.value)
    return read_only(reference(call, (every,))[0])


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a, rows = call.inputs, call.output, call.attrs, row_range(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    if call.quantized:
        table, constants = loops.buffer("table", 256, y.dtype), (Constant("table", table_of(call)),)
        together = UNROLL if y.elements >= UNROLL else 1
        body = _look_up(source, table, result, *rows.span(len(y.shape)), together)
        function = loops.function([source, result, table, *rows.parameters], body)
        return Kernel("look_up", function, constants, rows=rows.count, note="table")

    def compute(i: Any) -> list[Any]:
        operand = widened(loops.load(source, i), x.dtype)
        value = clamp_float(FUNCTIONS[a.function].expression(operand, *a.parameters), a.clamp)
        return [loops.store(result, i, narrowed(value, x.dtype, y.dtype))]

    first, count = rows.span(len(y.shape))
    body = [loops.loop("i", count, compute, first)]
    name = "clamp" if a.function == "identity" else a.function
    function = loops.function([source, result, *rows.parameters], body)
    calls, floats = conversions(x.dtype, y.dtype), x.dtype.is_float
    return Kernel(name, function, microkernels=calls, rows=rows.count, float_code=floats)


def _look_up(
    source: Any, table: Any, result: Any, begin: Any, elements: Any, together: int
) -> list[Any]:
    """`together` elements at once, which may be written over themselves: first all are read."""
    values = [loops.local(f"y_{u}") for u in range(together)]
    turns = loops.quotient(elements, together)

    def look_up(first: Any, count: int) -> list[Any]:
        lines = []
        for u in range(count):
            at = loops.load(source, first + u, "uint8").astype("int32")
            lines.append(loops.store(values[u], 0, loops.load(table, at, "int32")))
        stores = (loops.store(result, first + u, loops.load(values[u], 0)) for u in range(count))
        return [*lines, *stores]

    done = turns * together
    return [
        *loops.declare(*values),
        loops.loop("i", turns, lambda i: look_up(begin + i * together, together)),
        loops.loop("i", elements - done, lambda i: look_up(begin + done + i, 1)),
    ]


UNARY = Op("Unary", infer, reference, kernel, same_rows, quantize=can_quantize, in_place=True)
