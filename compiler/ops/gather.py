"""Gather: y[i] = x[where the indices say]; Gather, GatherElements and GatherND of ONNX.

An index out of range reads the nearest element: nothing outside of `x` is ever read.
"""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import dense_strides, strided_nest
from tinyc.compiler.ops.indexing import (
    CLAMPED,
    LOCALS,
    WRAPPED,
    along,
    check_indices,
    coordinates,
    outer_axes,
    place,
    places_of,
    stored_indices,
)
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.operands import operands
from tinyc.compiler.ops.reshape import moves_stored_values
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    """attrs is an IndexMap."""
    x, indices = inputs
    check_indices(indices)
    return ((attrs.shape, x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x, indices), a = arrays, call.attrs
    places = places_of(a, call.inputs[0], indices, outside=False)
    found = x[coordinates(a, call.inputs[0], places)]
    return (np.ascontiguousarray(np.broadcast_to(found, a.shape)),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, indices), y, a = call.inputs, call.output, call.attrs
    stored = stored_indices(a, call, outside=False)
    given = operands((x, stored), ("x", "indices"))
    (source, picked), result = given.buffers, loops.buffer("y", y.elements, y.dtype)
    function = WRAPPED if a.wraps else CLAMPED
    steps, first = dense_strides(x.shape), loops.local("first")
    read, pick, write = along(x, a.walks), along(indices, a.picks), dense_strides(y.shape)

    def move(at: Any, to: Any) -> list[Any]:
        return [loops.store(result, to, loops.load(source, at))]

    def run(start: Any, index: Any, to: Any) -> list[Any]:
        for number, axis in enumerate(a.axes):
            value = loops.load(picked, index + number)
            if stored.data is None:
                value = place(function, value, x.shape[axis])
            start += value.astype("int32") * steps[axis]
        inner = strided_nest(
            a.shape[outer:], (read[outer:], write[outer:]), (loops.load(first, 0), to), move, LOCALS
        )
        return [*loops.declare(first), loops.store(first, 0, start), *inner]

    outer = outer_axes(a)
    body = strided_nest(
        a.shape[:outer], (read[:outer], pick[:outer], write[:outer]), (0, 0, 0), run
    )
    return Kernel(
        "gather",
        loops.function([*given.moving, result, *given.fixed], body),
        given.constants,
        microkernels=(function,) if stored.data is None else (),
    )


GATHER = Op("Gather", infer, reference, kernel, quantize=moves_stored_values)
