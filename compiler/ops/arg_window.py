"""Where the (first) maximum of each window lies in the tensor that the model has; int64."""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.cells import cell_slices, cells, flat, over
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.reduce_window import output_shape, window_axes
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((output_shape(inputs[0].shape, attrs), DType.INT64),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,) = arrays
    axes = window_axes(call)
    best = np.full(call.output.shape, -np.inf)
    found = np.full(call.output.shape, -1, np.int64)
    grid = np.indices(x.shape)
    where = sum(index * step for index, step in zip(grid, call.attrs.steps, strict=True))
    for _, outputs, inputs in cell_slices(axes):
        to, at = tuple(outputs), tuple(inputs)
        values = x[at].astype(np.float64)
        better = (values > best[to]) | (found[to] < 0)
        best[to] = np.where(better, values, best[to])
        found[to] = np.where(better, np.asarray(where)[at], found[to])
    return (found,)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, axes = call.inputs, call.output, window_axes(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    best, place = loops.local("best", x.dtype), loops.local("place")

    def take(places: list[Any], inputs: list[Any]) -> list[Any]:
        value = loops.load(source, flat(inputs, x.shape))
        better = (loops.load(place, 0) < 0).astype("bool") | (value > loops.load(best, 0))
        where: Any = loops.const(0)
        for index, step in zip(inputs, call.attrs.steps, strict=True):
            where = where + index * step
        return [loops.when(better, [loops.store(best, 0, value), loops.store(place, 0, where)])]

    def one(at: list[Any]) -> list[Any]:
        return [
            *loops.declare(best, place),
            loops.store(best, 0, loops.const(0, x.dtype)),
            loops.store(place, 0, loops.const(-1)),
            *cells(axes, at, take),
            loops.store(result, flat(at, y.shape), loops.load(place, 0)),
        ]

    function = loops.function([source, result], over(y.shape, one))
    return Kernel("max_pool_places", function, float_code=x.dtype.is_float)


ARG_WINDOW = Op("ArgWindow", infer, reference, kernel)
