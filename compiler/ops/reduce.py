"""Reduce: a mean, a maximum, the logarithm of a sum, ... over some axes.

Sums of plain integers wrap, as they do in ONNX; they are taken unsigned, since C says so of
these only. The maximum is taken away before the exponentials of log_sum_exp.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import requantization_to, sums_fit
from tinyc.compiler.ops.copying import dense_strides, strided_nest
from tinyc.compiler.ops.element_types import FLOATS, UNSIGNED, check_type
from tinyc.compiler.ops.fixed_point import Requantization, requantize
from tinyc.compiler.ops.integer_math import unsigned
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.real import Real
from tinyc.compiler.ops.requantize import requantizer
from tinyc.targets import Target


def _log_sum_exp(x: Array, **axes: Any) -> Array:
    largest = np.max(x, axis=axes["axis"], keepdims=True)
    shift = np.where(np.isinf(largest), 0.0, largest)
    total = np.sum(np.exp(x - shift), **axes)
    return np.asarray(np.log(total) + shift.reshape(total.shape))


MEANINGS: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "sum_square": lambda x, **axes: np.sum(x * x, **axes),
    "l1": lambda x, **axes: np.sum(np.abs(x), **axes),
    "l2": lambda x, **axes: np.sqrt(np.sum(x * x, **axes)),
    "log_sum": lambda x, **axes: np.log(np.sum(x, **axes)),
    "log_sum_exp": _log_sum_exp,
}
KINDS = tuple(MEANINGS)
EXTREMES = ("max", "min")
SUMS = ("mean", "sum")  # with integer kernels on stored values
LONG = (DType.INT32, DType.INT64, DType.UINT32, DType.UINT64)


@dataclass(frozen=True, slots=True)
class ReduceAttrs:
    """kind: one of KINDS; axes >= 0, ascending."""

    kind: str
    axes: tuple[int, ...]
    keep_dims: bool = True

    def along(self, axes: tuple[int, ...]) -> "ReduceAttrs":
        """The same over other axes."""
        return replace(self, axes=axes)


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    types: tuple[DType, ...] = FLOATS
    if attrs.kind in EXTREMES:
        types = (*FLOATS, *LONG, *EIGHT_BITS, DType.BOOL)
    elif not attrs.kind.startswith("log"):
        types = (*FLOATS, *LONG)
    check_type(f"the {attrs.kind}", x, types)
    return ((reduced_shape(x.shape, attrs), x.dtype),)


class Reducing(Protocol):
    """Attributes of an operator that leaves one value of some axes."""

    @property
    def axes(self) -> tuple[int, ...]: ...

    @property
    def keep_dims(self) -> bool: ...


def reduced_shape(shape: Shape, attrs: Reducing) -> Shape:
    if attrs.keep_dims:
        return tuple(1 if i in attrs.axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in attrs.axes)


def _count(call: Call) -> int:
    return int(np.prod([call.inputs[0].shape[axis] for axis in call.attrs.axes], dtype=np.int64))


def _scale(call: Call) -> Requantization:
    x, y = call.inputs[0], call.output
    assert x.quant and y.quant
    divisor = _count(call) if call.attrs.kind == "mean" else 1
    ratio = np.float64(x.quant.scale[0]) / y.quant.scale[0] / divisor
    return requantization_to(y.dtype, np.array([ratio]))


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a, y = arrays, call.attrs, call.output
    axes = {"axis": a.axes, "keepdims": a.keep_dims}
    if a.kind in EXTREMES:
        return (np.asarray(MEANINGS[a.kind](x, **axes), x.dtype),)
    if y.quant is None:
        with np.errstate(all="ignore"):
            exact = x if a.kind != "l2" and not y.dtype.is_float else x.astype(np.float64)
            total = MEANINGS["sum" if exact is x and a.kind == "mean" else a.kind](exact, **axes)
        if exact is x and a.kind == "mean":
            total = total.astype(x.dtype)
            total = np.where(total < 0, -(-total // _count(call)), total // _count(call))
        return (np.asarray(total).astype(y.dtype.value),)
    assert call.inputs[0].quant
    acc = x.astype(np.int64) - call.inputs[0].quant.zero_point[0]
    total = np.asarray(acc.sum(axis=a.axes, keepdims=a.keep_dims))
    steps = requantize(total, _scale(call), y.quant.zero_point[0], *y.dtype.limits)
    return (steps.astype(y.dtype.value),)


def can_quantize(call: Call) -> bool:
    x, y, kind = call.inputs[0], call.output, call.attrs.kind
    if kind in EXTREMES:
        return x.quant == y.quant and x.dtype == y.dtype and sums_fit(x, y, 1)
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    return kind in SUMS and per_tensor and sums_fit(x, y, _count(call))


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    wide = _accumulated_in(call)
    acc, largest = loops.local("acc", wide), loops.local("largest", wide)
    strides = dense_strides(x.shape)
    kept = [i for i in range(len(x.shape)) if i not in a.axes]
    kept_shape, kept_strides = [x.shape[i] for i in kept], [strides[i] for i in kept]
    gone_shape, gone_strides = [x.shape[i] for i in a.axes], [strides[i] for i in a.axes]
    to = requantizer(_scale(call), target) if call.quantized and a.kind in SUMS else None

    def extreme(of: Any, value: Any) -> list[Any]:
        return [loops.store(of, 0, _better(a.kind, loops.load(of, 0), value))]

    def take(at: Any) -> list[Any]:
        value, before = loops.load(source, at, wide), loops.load(acc, 0)
        if a.kind in EXTREMES:
            return extreme(acc, value)
        if a.kind == "prod":
            return [loops.store(acc, 0, before * value)]
        if a.kind == "l1":
            value = _magnitude(loops.load(source, at), x.dtype, wide)
        elif a.kind in ("sum_square", "l2"):
            value = value * value
        elif a.kind == "log_sum_exp":
            value = Real(wide).call("exp", value - loops.load(largest, 0))
        elif x.quant and x.quant.zero_point[0]:
            value = value - x.quant.zero_point[0]
        return [loops.store(acc, 0, before + value)]

    def one(start: Any, to_index: Any) -> list[Any]:
        def over(body: Any) -> list[Any]:
            return strided_nest(tuple(gone_shape), [gone_strides], [start], body, "rstuvw")

        first = loops.const(1 if a.kind == "prod" else 0, wide)
        if a.kind in EXTREMES:
            first = loops.load(source, start, wide)
        lines = [*loops.declare(acc)]
        if a.kind == "log_sum_exp":
            lines += [
                *loops.declare(largest),
                loops.store(largest, 0, loops.load(source, start)),
                *over(lambda at: [loops.store(largest, 0, loops.maximum(
                    loops.load(largest, 0), loops.load(source, at)))]),
                loops.when(_infinite(loops.load(largest, 0), wide),
                           [loops.store(largest, 0, loops.const(0.0, wide))]),
            ]  # fmt: skip
        value = loops.load(acc, 0)
        if to is not None:
            assert y.quant is not None
            value = loops.clamp(to.apply(value, 0, y.quant.zero_point[0]), *y.dtype.limits)
        elif not call.quantized:
            value = _final(call, value, wide)
            if a.kind == "log_sum_exp":
                value = loops.load(largest, 0) + value
        return [
            *lines,
            loops.store(acc, 0, first),
            *over(take),
            loops.store(result, to_index, value),
        ]

    dense = dense_strides(tuple(kept_shape))
    body = strided_nest(tuple(kept_shape), [kept_strides, dense], [0, 0], one)
    constants, tables = (to.constants, to.buffers) if to else ((), ())
    function = loops.function([source, result, *tables], body)
    return Kernel(f"reduce_{a.kind}", function, constants, float_code=wide.startswith("float"))


def _accumulated_in(call: Call) -> str:
    """The type of the accumulator."""
    x, kind = call.inputs[0], call.attrs.kind
    if call.quantized:
        return "int32"
    if x.dtype.is_float or kind in EXTREMES:
        return str(x.dtype)
    return "float64" if kind == "l2" else unsigned(x.dtype)


def _better(kind: str, a: Any, b: Any) -> Any:
    if str(a.ty) == "bool":
        return loops.select(a, a, b) if kind == "max" else loops.select(a, b, a)
    return loops.maximum(a, b) if kind == "max" else loops.minimum(a, b)


def _magnitude(value: Any, dtype: DType, wide: str) -> Any:
    if dtype.is_float:
        return Real(wide).call("fabs", value)
    unsigned = value.astype(wide)
    if dtype in UNSIGNED:
        return unsigned
    return loops.select(value < loops.const(0, dtype), loops.const(0, wide) - unsigned, unsigned)


def _infinite(value: Any, dtype: str) -> Any:
    return Real(dtype).call("fabs", value) >= loops.const(math.inf, dtype)


def _final(call: Call, total: Any, wide: str) -> Any:
    """The result of a real or plain integer node, from its accumulator."""
    x, kind = call.inputs[0], call.attrs.kind
    if kind == "mean":
        if x.dtype.is_float:
            return total / loops.const(float(_count(call)), wide)
        return loops.quotient(total.astype(str(x.dtype)), _count(call))
    functions = {"l2": "sqrt", "log_sum": "log", "log_sum_exp": "log"}
    return Real(wide).call(functions[kind], total) if kind in functions else total


REDUCE = Op("Reduce", infer, reference, kernel, quantize=can_quantize)
