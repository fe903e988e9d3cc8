"""Where: condition ? a : b, element by element, of operands that are repeated to one shape.

Stored integers are chosen as they are where both sides and the result have one scale; a single
real number beside them is stored first.
"""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import broadcast_strides, dense_strides, strided_nest
from tinyc.compiler.ops.element_types import check_same_type, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.quantize import quantized
from tinyc.compiler.ops.row_range import row_range, same_rows
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    condition, a, b = inputs
    check_type("a condition", condition, (DType.BOOL,))
    check_same_type(a, b)
    return ((np.broadcast_shapes(condition.shape, a.shape, b.shape), a.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    condition, *sides = arrays
    a, b = (_stored(call, t, v) for t, v in zip(call.inputs[1:], sides, strict=True))
    return (np.where(condition, a, b),)


def _stored(call: Call, side: Tensor, values: Array) -> Array:
    """A side in the stored form of the result."""
    y = call.output
    if y.quant is None or side.quant is not None:
        return values
    return quantized(values, y.dtype, y.quant)


def can_quantize(call: Call) -> bool:
    y, (condition, *sides) = call.output, call.inputs

    def fits(side: Tensor) -> bool:
        number = side.data is not None and side.quant is None
        return number or (side.quant, side.dtype) == (y.quant, y.dtype)

    return y.dtype in EIGHT_BITS and condition.quant is None and all(map(fits, sides))


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    y, rows = call.output, row_range(call)
    operands, moving, fixed, constants = [], [], [], []
    for letter, tensor in zip("cab", call.inputs, strict=True):
        dtype = y.dtype if letter != "c" else tensor.dtype
        operand = loops.buffer(letter, tensor.elements, dtype)
        operands.append(operand)
        if tensor.data is None:
            moving.append(operand)
            continue
        data = tensor.data if letter == "c" else _stored(call, tensor, tensor.data)
        constants.append(Constant(f"operand_{letter}", read_only(data.reshape(-1))))
        fixed.append(operand)
    result = loops.buffer("y", y.elements, y.dtype)

    def choose(*at: Any) -> list[Any]:
        c, a, b = (loops.load(o, i) for o, i in zip(operands, at[:3], strict=True))
        return [loops.store(result, at[3], loops.select(c, a, b))]

    strides = [broadcast_strides(t.shape, y.shape) for t in call.inputs]
    strides.append(dense_strides(y.shape))
    body = strided_nest(y.shape, strides, (0,) * 4, choose, rows=rows)
    function = loops.function([*moving, result, *fixed, *rows.parameters], body)
    return Kernel("where", function, tuple(constants), rows=rows.count)


WHERE = Op("Where", infer, reference, kernel, same_rows, quantize=can_quantize)
