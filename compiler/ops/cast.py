"""Cast: to another element type, as C converts; floats are truncated, saturating.

Integers keep their lower bits; what is not a number becomes the smallest integer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import HALVES, computed_type
from tinyc.compiler.ops.half import conversions, narrowed, widened
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.row_range import row_range, same_rows
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class CastAttrs:
    """The element type of the output."""

    dtype: DType


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((inputs[0].shape, attrs.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), to = arrays, call.attrs.dtype
    if call.inputs[0].dtype.is_float and not to.is_float and to != DType.BOOL:
        low, high = (_inside(v, computed_type(call.inputs[0].dtype)) for v in to.limits)
        x = np.where(np.isnan(x), low, np.clip(np.trunc(x.astype(np.float64)), low, high))
    with np.errstate(over="ignore"):
        return (x.astype(to.value),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)

    def one(i: Any) -> list[Any]:
        value = widened(loops.load(source, i), x.dtype)
        if y.dtype in HALVES:
            return [loops.store(result, i, narrowed(value, x.dtype, y.dtype))]
        return [loops.store(result, i, _converted(value, computed_type(x.dtype), y.dtype))]

    rows = row_range(call)
    first, count = rows.span(len(y.shape))
    function = loops.function(
        [source, result, *rows.parameters], [loops.loop("i", count, one, first)]
    )
    uses_float = x.dtype.is_float or y.dtype.is_float
    functions = conversions(x.dtype, y.dtype)
    return Kernel("cast", function, microkernels=functions, rows=rows.count, float_code=uses_float)


def _converted(value: Any, x: DType, y: DType) -> Any:
    """An `x`, as it is computed, as a `y`."""
    if x == y:
        return value
    if y == DType.BOOL:
        return value != loops.const(0, x)
    if x.is_float and not y.is_float:
        low, high = (_inside(v, x) for v in y.limits)
        value = loops.maximum(value, loops.const(low, x))
        value = loops.minimum(value, loops.const(high, x))
    return value.astype(str(y))


def _inside(limit: int, dtype: DType) -> float:
    """The float nearest to `limit` that does not lie beyond it."""
    kind = np.dtype(dtype.value).type
    value = kind(limit)
    return float(value if abs(int(value)) <= abs(limit) else np.nextafter(value, kind(0)))


CAST = Op("Cast", infer, reference, kernel, same_rows)
