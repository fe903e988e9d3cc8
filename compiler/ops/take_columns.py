"""TakeColumns: columns of the last axis by positions that are computed."""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import NUMBERS, check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, positions = inputs
    check_type("taking columns", x, NUMBERS)
    check_type("the position", positions, (DType.INT64,))
    return (((*x.shape[:-1], positions.elements), x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, positions = arrays
    return (np.take(x, positions.reshape(-1), -1, mode="clip"),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Positions beyond the columns, which ONNX does not allow, take the nearest one."""
    (x, positions), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    places = loops.buffer("positions", positions.elements, positions.dtype)
    columns, count = x.shape[-1], positions.elements
    at = loops.local("at", "int64")
    first, last = loops.const(0, "int64"), loops.const(columns - 1, "int64")

    def one(r: Any, k: Any) -> list[Any]:
        given = loops.load(places, k)
        below = loops.select(given > last, last, given)
        column = loops.load(at, 0).astype("int32")
        return [
            *loops.declare(at),
            loops.store(at, 0, loops.select(given < first, first, below)),
            loops.store(result, r * count + k, loops.load(source, r * columns + column)),
        ]

    def row(r: Any) -> list[Any]:
        return [loops.loop("k", count, lambda k: one(_int(r), _int(k)))]

    body = [loops.loop("r", x.elements // columns, row)]
    function = loops.function([source, places, result], body)
    return Kernel("take_columns", function, float_code=x.dtype.is_float)


def _int(value: Any) -> Any:
    return loops.const(value) if isinstance(value, int) else value


TAKE_COLUMNS = Op("TakeColumns", infer, reference, kernel)
