"""Pools of any rank and layout: a window moves over every axis, one value for each place: the
maximum, the average, or lp: (sum |x|^p)^(1/p).

Axes without a window have a kernel of 1. MaxPool2D and AveragePool2D are faster where they suit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import output_extent
from tinyc.compiler.ops.cells import Axis, cell_slices, cells, flat, over
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import Requantization, requantization, requantize
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.requantize import requantizer
from tinyc.targets import Target

MOST_CELLS = 1 << 22  # of an 8-bit average: 511 * cells fits int32


@dataclass(frozen=True, slots=True)
class ReduceWindowAttrs:
    """One value for each axis of the tensor.

    kind         "max", "average" or "lp", whose power is `p`
    after        padding; `excess` is what ceil_mode adds to it
    include_pad  an average divides by the cells in the padding too, not by those in the excess
    steps        of the model's tensor: how far neighbours lie apart there, for ArgWindow
    """

    kind: str
    kernel: Shape
    strides: Shape
    before: Shape
    after: Shape
    dilations: Shape
    excess: Shape
    include_pad: bool = False
    p: int = 2
    steps: Shape = ()

    def moved(self, perm: tuple[int, ...]) -> "ReduceWindowAttrs":
        """The same pool of the tensor's Transpose by `perm`."""

        def each(values: Shape) -> Shape:
            return tuple(values[axis] for axis in perm) if values else ()

        return ReduceWindowAttrs(
            self.kind, each(self.kernel), each(self.strides), each(self.before), each(self.after),
            each(self.dilations), each(self.excess), self.include_pad, self.p, each(self.steps),
        )  # fmt: skip


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    if attrs.kind != "max":
        check_type(f"the {attrs.kind} pool", x, (DType.FLOAT32,))
    return ((output_shape(x.shape, attrs), x.dtype),)


def output_shape(shape: Shape, a: ReduceWindowAttrs) -> Shape:
    return tuple(
        output_extent(n, k, s, d, before, after + excess)
        for n, k, s, d, before, after, excess in zip(
            shape, a.kernel, a.strides, a.dilations, a.before, a.after, a.excess, strict=True
        )
    )


def window_axes(call: Call) -> list[Axis]:
    a = call.attrs
    return [
        Axis(n, o, k, s, d, before)
        for n, o, k, s, d, before in zip(
            call.inputs[0].shape, call.output.shape, a.kernel, a.strides, a.dilations, a.before,
            strict=True,
        )
    ]  # fmt: skip


def _excludes(call: Call) -> bool:
    """Whether windows at the borders are divided by fewer cells."""
    if call.attrs.include_pad:
        return any(call.attrs.excess)
    return not all(axis.is_inside for axis in window_axes(call))


def _divisors(call: Call) -> Array:
    """Over how many cells each output is an average."""
    a, axes = call.attrs, window_axes(call)
    counts = np.ones(call.output.shape, np.int64)
    for number, axis in enumerate(axes):
        first = np.arange(axis.outputs)[:, None] * axis.stride - axis.before
        places = first + np.arange(axis.kernel) * axis.dilation
        low, high = (-axis.before, axis.size + a.after[number]) if a.include_pad else (0, axis.size)
        inside = ((places >= low) & (places < high)).sum(axis=1)
        counts *= inside.reshape([-1 if i == number else 1 for i in range(len(axes))])
    return counts


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a, y = arrays, call.attrs, call.output
    if a.kind == "max":
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        best = np.full(y.shape, lowest, x.dtype)
        for _, outputs, inputs in cell_slices(window_axes(call)):
            best[tuple(outputs)] = np.maximum(best[tuple(outputs)], x[tuple(inputs)])
        return (best,)
    zero = call.inputs[0].quant.zero_point[0] if call.inputs[0].quant else 0
    values = x.astype(np.float64) - zero
    if a.kind == "lp":
        values = np.abs(values) ** a.p
    total = np.zeros(y.shape, np.float64)
    for _, outputs, inputs in cell_slices(window_axes(call)):
        total[tuple(outputs)] += values[tuple(inputs)]
    if a.kind == "lp":
        return ((total ** (1 / a.p)).astype(y.dtype.value),)
    divisors = np.maximum(_divisors(call), 1)
    if y.quant is None:
        return ((total / divisors).astype(y.dtype.value),)
    to = _scale(call)
    each = (divisors - 1) % to.multipliers.size
    chosen = Requantization(to.multipliers[each], None if to.shifts is None else to.shifts[each])
    steps = requantize(total.astype(np.int64), chosen, y.quant.zero_point[0], *y.dtype.limits)
    return (steps.astype(y.dtype.value),)


def _scale(call: Call) -> Requantization:
    """One multiplier, or one for every count of cells where borders count fewer."""
    x, y, cell_count = call.inputs[0], call.output, math.prod(call.attrs.kernel)
    assert x.quant and y.quant
    counts = np.arange(1, cell_count + 1) if _excludes(call) else np.array([cell_count])
    return requantization(np.float64(x.quant.scale[0]) / y.quant.scale[0] / counts)


def can_quantize(call: Call) -> bool:
    x, y, kind = call.inputs[0], call.output, call.attrs.kind
    if kind == "max":
        return x.quant == y.quant and x.dtype == y.dtype
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    narrow = x.dtype in EIGHT_BITS and y.dtype in EIGHT_BITS
    return kind == "average" and per_tensor and narrow and math.prod(call.attrs.kernel) < MOST_CELLS


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    if call.attrs.kind == "max":
        return _maximum(call)
    (x,), y, a, axes = call.inputs, call.output, call.attrs, window_axes(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    wide = "int32" if call.quantized else "float32"
    total = loops.local("total", wide)
    zero = x.quant.zero_point[0] if x.quant else 0
    to = requantizer(_scale(call), target) if call.quantized else None

    def take(places: list[Any], inputs: list[Any]) -> list[Any]:
        value = loops.load(source, flat(inputs, x.shape), wide)
        if a.kind == "lp":
            value = _power(value, a.p)
        return [loops.store(total, 0, loops.load(total, 0) + (value - zero if zero else value))]

    def finished(at: list[Any]) -> Any:
        value = loops.load(total, 0)
        if a.kind == "lp":
            return _root(value, a.p)
        count = _count(call, at)
        if to is None:
            return value / count.astype("float32")
        assert y.quant is not None
        return loops.clamp(to.apply(value, count - 1, y.quant.zero_point[0]), *y.dtype.limits)

    def one(at: list[Any]) -> list[Any]:
        return [
            *loops.declare(total),
            loops.store(total, 0, loops.const(0, wide)),
            *cells(axes, at, take),
            loops.store(result, flat(at, y.shape), finished(at)),
        ]

    constants, tables = (to.constants, to.buffers) if to else ((), ())
    function = loops.function([source, result, *tables], over(y.shape, one))
    return Kernel(f"{a.kind}_pool", function, constants, float_code=not call.quantized)


def _power(value: Any, p: int) -> Any:
    if p == 2:
        return value * value
    size = loops.call("fabsf", value, dtype="float32")
    return size if p == 1 else loops.call("powf", size, loops.const(float(p), "float32"),
                                          dtype="float32")  # fmt: skip


def _root(value: Any, p: int) -> Any:
    if p == 1:
        return value
    if p == 2:
        return loops.call("sqrtf", value, dtype="float32")
    return loops.call("powf", value, loops.const(1 / p, "float32"), dtype="float32")


def _count(call: Call, at: Sequence[Any]) -> Any:
    """The divisor of one output: for each axis the cells of its window that count."""
    count: Any = loops.const(1)
    for number, (axis, o) in enumerate(zip(window_axes(call), at, strict=True)):
        a, first = call.attrs, o * axis.stride - axis.before
        if a.include_pad:
            exact = a.excess[number] == 0
            low: Any = loops.const(0)
            high = axis.size + a.after[number]
        else:
            exact = axis.is_inside
            low = loops.quotient(
                loops.maximum(0 - first, loops.const(0)) + axis.dilation - 1, axis.dilation
            )
            high = axis.size
        if exact:
            count = count * axis.kernel
            continue
        past = loops.quotient(
            loops.maximum(high - first, loops.const(0)) + axis.dilation - 1, axis.dilation
        )
        inside = loops.minimum(past, loops.const(axis.kernel)) - low
        count = count * loops.maximum(inside, loops.const(0))
    if _excludes(call):
        count = loops.maximum(count, loops.const(1))  # all of a window may be padding
    return count


def _maximum(call: Call) -> Kernel:
    (x,), y, axes = call.inputs, call.output, window_axes(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    lowest = -math.inf if x.dtype.is_float else 0 if x.dtype == DType.BOOL else x.dtype.limits[0]
    best = loops.local("best", x.dtype)

    def take(places: list[Any], inputs: list[Any]) -> list[Any]:
        value = loops.load(source, flat(inputs, x.shape))
        return [loops.when(value > loops.load(best, 0), [loops.store(best, 0, value)])]

    def one(at: list[Any]) -> list[Any]:
        return [
            *loops.declare(best),
            loops.store(best, 0, loops.const(lowest, x.dtype)),
            *cells(axes, at, take),
            loops.store(result, flat(at, y.shape), loops.load(best, 0)),
        ]

    function = loops.function([source, result], over(y.shape, one))
    return Kernel("max_pool", function, float_code=x.dtype.is_float)


REDUCE_WINDOW = Op("ReduceWindow", infer, reference, kernel, quantize=can_quantize)
