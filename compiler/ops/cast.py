"""Cast: to another element type, as C converts; floats are truncated, saturating."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
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
        low, high = to.limits
        x = np.clip(np.trunc(x.astype(np.float64)), low, min(high, 2.0**62))
    return (x.astype(to.value),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)

    def convert(value: Any) -> Any:
        if y.dtype == DType.BOOL:
            return value != loops.const(0, x.dtype)
        if x.dtype.is_float and not y.dtype.is_float:
            low, high = (_float_inside(v) for v in y.dtype.limits)
            value = loops.maximum(value, loops.const(low, x.dtype))
            value = loops.minimum(value, loops.const(high, x.dtype))
        return value.astype(str(y.dtype))

    def one(i: Any) -> list[Any]:
        return [loops.store(result, i, convert(loops.load(source, i)))]

    rows = row_range(call)
    first, count = rows.span(len(y.shape))
    function = loops.function(
        [source, result, *rows.parameters], [loops.loop("i", count, one, first)]
    )
    uses_float = x.dtype.is_float or y.dtype.is_float
    return Kernel("cast", function, rows=rows.count, float_code=uses_float)


def _float_inside(limit: int) -> float:
    """The float32 nearest to `limit` that does not lie beyond it."""
    value = np.float32(limit)
    return float(value if abs(int(value)) <= abs(limit) else np.nextafter(value, np.float32(0)))


CAST = Op("Cast", infer, reference, kernel, same_rows)
