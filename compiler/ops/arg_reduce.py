"""Where the largest or smallest value along an axis stands: as an index, or as a 1 among zeros."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import dense_strides, strided_nest
from tinyc.compiler.ops.element_types import FLOATS, INTEGERS, check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.reduce import reduced_shape
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ArgReduceAttrs:
    """axis >= 0; largest, or smallest; last: of equal ones the last counts, not the first."""

    axis: int
    largest: bool = True
    last: bool = False
    keep_dims: bool = True

    @property
    def axes(self) -> tuple[int, ...]:
        return (self.axis,)

    def along(self, axes: tuple[int, ...]) -> "ArgReduceAttrs":
        """The same over another axis."""
        return replace(self, axis=axes[0])


@dataclass(frozen=True, slots=True)
class HardmaxAttrs:
    """axis >= 0."""

    axis: int


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("ArgMax or ArgMin", x, (*INTEGERS, *FLOATS))
    return ((reduced_shape(x.shape, attrs), DType.INT64),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a = arrays, call.attrs
    find = np.argmax if a.largest else np.argmin
    if a.last:
        at = x.shape[a.axis] - 1 - find(np.flip(x, a.axis), axis=a.axis, keepdims=a.keep_dims)
    else:
        at = find(x, axis=a.axis, keepdims=a.keep_dims)
    return (np.asarray(at, np.int64),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    y, a = call.output, call.attrs

    def write(result: Any, found: Any, at: Any) -> list[Any]:
        return [loops.store(result, at, found)]

    kept = tuple(n for axis, n in enumerate(call.inputs[0].shape) if axis != a.axis)
    steps = dense_strides(kept)
    name = "arg_max" if a.largest else "arg_min"
    float_code = call.inputs[0].dtype.is_float
    return Kernel(name, _search(call, a, y, steps, write), float_code=float_code)


def infer_hardmax(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("Hardmax", inputs[0], FLOATS)
    return ((inputs[0].shape, inputs[0].dtype),)


def reference_hardmax(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), axis = arrays, call.attrs.axis
    y = np.zeros_like(x)
    np.put_along_axis(y, np.expand_dims(x.argmax(axis), axis), 1, axis)
    return (y,)


def kernel_hardmax(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, axis = call.inputs, call.output, call.attrs.axis
    strides = dense_strides(x.shape)

    def write(result: Any, found: Any, at: Any) -> list[Any]:
        def one(i: Any) -> list[Any]:
            hot = loops.select(
                loops.equal(i, found), loops.const(1.0, y.dtype), loops.const(0.0, y.dtype)
            )
            return [loops.store(result, at + i * strides[axis], hot)]

        return [loops.loop("i", x.shape[axis], one)]

    steps = [s for i, s in enumerate(strides) if i != axis]
    function = _search(call, ArgReduceAttrs(axis), y, steps, write)
    return Kernel("hardmax", function, float_code=True)


def _search(
    call: Call, a: ArgReduceAttrs, y: Tensor, steps: list[int], write: Callable[..., list[Any]]
) -> Any:
    """For every line along the axis: `write(result, index, where the line's result begins)`."""
    (x,) = call.inputs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    best, found = loops.local("best", x.dtype), loops.local("found")
    strides = dense_strides(x.shape)
    stride, n = strides[a.axis], x.shape[a.axis]

    def better(value: Any) -> Any:
        before = loops.load(best, 0)
        if a.last:
            return value >= before if a.largest else value <= before
        return value > before if a.largest else value < before

    def line(start: Any, at: Any) -> list[Any]:
        def take(i: Any) -> list[Any]:
            value = loops.load(source, start + i * stride)
            new = [loops.store(best, 0, value), loops.store(found, 0, i)]
            return [loops.when(better(value), new)]

        return [
            *loops.declare(best, found),
            loops.store(best, 0, loops.load(source, start)),
            loops.store(found, 0, 0),
            *([loops.loop("i", n - 1, take, 1)] if n > 1 else []),
            *write(result, loops.load(found, 0), at),
        ]

    kept = [axis for axis in range(len(x.shape)) if axis != a.axis]
    shape, starts = tuple(x.shape[i] for i in kept), [strides[i] for i in kept]
    nest = strided_nest(shape, [starts, steps], (0, 0), line, "opqrstu")
    return loops.function([source, result], nest)


ARG_REDUCE = Op("ArgReduce", infer, reference, kernel)
HARDMAX = Op("Hardmax", infer_hardmax, reference_hardmax, kernel_hardmax)
