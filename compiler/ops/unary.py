"""Unary: y = clamp(function(x)), element by element; a table of 256 on 8-bit stored values.

Stored values of 16 bits are only requantized and clamped: the function is "identity".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, Array, Tensor, read_only
from tinyc.compiler.kernels.look_up import look_up
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import requantization_to
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float, stored_bounds
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import Requantization, requantize
from tinyc.compiler.ops.half import conversions, narrowed, widened
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type, dequantized
from tinyc.compiler.ops.quantize import quantized
from tinyc.compiler.ops.requantize import requantizer
from tinyc.compiler.ops.row_range import row_range, same_rows
from tinyc.compiler.ops.unary_functions import FUNCTIONS
from tinyc.targets import Target

MOST_SCALE = 2.0**20  # that an integer multiplier stands for


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
    if x.quant is not None and y.quant is not None and x.dtype in SIXTEEN_BITS:
        steps = arrays[0].astype(np.int64) - x.quant.zero_point[0]
        low, high = stored_bounds(y, a.clamp)
        wide = requantize(steps, _scale(call), y.quant.zero_point[0], low, high)
        return (wide.astype(y.dtype.value),)
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
    stored = (*EIGHT_BITS, *SIXTEEN_BITS)
    moves = call.attrs.function == "identity" and x.dtype in SIXTEEN_BITS
    if moves and per_tensor and x.quant and y.quant:
        return y.dtype in stored and x.quant.scale[0] / y.quant.scale[0] < MOST_SCALE
    return per_tensor and x.dtype in EIGHT_BITS and y.dtype in stored


def _scale(call: Call) -> Requantization:
    x, y = call.inputs[0], call.output
    assert x.quant and y.quant
    ratio = np.float64(x.quant.scale[0]) / y.quant.scale[0]
    return requantization_to(y.dtype, np.array([ratio]))


def table_of(call: Call) -> Array:
    """The output for each stored input value, by its bits as an unsigned byte; 256 elements."""
    x = call.inputs[0]
    every = np.arange(256, dtype=np.uint8).view(x.dtype.value)
    return read_only(reference(call, (every,))[0])


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a, rows = call.inputs, call.output, call.attrs, row_range(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    if call.quantized and x.dtype in SIXTEEN_BITS:
        return _requantize(call, target)
    if call.quantized:
        return look_up(call, table_of(call))

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


def _requantize(call: Call, target: Target) -> Kernel:
    (x,), y, rows = call.inputs, call.output, row_range(call)
    assert x.quant and y.quant
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    to, (zero,), (zero_point,) = (
        requantizer(_scale(call), target), x.quant.zero_point, y.quant.zero_point,
    )  # fmt: skip

    def one(i: Any) -> list[Any]:
        value = to.apply(loops.load(source, i, "int32") - zero, 0, zero_point)
        value = loops.clamp(value, *stored_bounds(y, call.attrs.clamp))
        return [loops.store(result, i, value)]

    first, count = rows.span(len(y.shape))
    function = loops.function(
        [source, result, *to.buffers, *rows.parameters], [loops.loop("i", count, one, first)]
    )
    return Kernel("requantize", function, to.constants, rows=rows.count)


UNARY = Op("Unary", infer, reference, kernel, same_rows, quantize=can_quantize, in_place=True)
