"""Reduce: mean, sum, max, min or prod over some axes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import dense_strides, strided_nest
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import Requantization, requantization, requantize
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.requantize import requantizer
from tinyc.targets import Target

MEANINGS: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
}
KINDS = tuple(MEANINGS)


@dataclass(frozen=True, slots=True)
class ReduceAttrs:
    """kind: one of KINDS; axes >= 0, ascending."""

    kind: str
    axes: tuple[int, ...]
    keep_dims: bool = True


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type(f"the {attrs.kind}", x, (DType.FLOAT32,))
    return ((reduced_shape(x.shape, attrs), x.dtype),)


def reduced_shape(shape: Shape, attrs: ReduceAttrs) -> Shape:
    if attrs.keep_dims:
        return tuple(1 if i in attrs.axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in attrs.axes)


def _count(call: Call) -> int:
    return int(np.prod([call.inputs[0].shape[axis] for axis in call.attrs.axes], dtype=np.int64))


def _scale(call: Call) -> Requantization:
    x, y = call.inputs[0], call.output
    assert x.quant and y.quant
    divisor = _count(call) if call.attrs.kind == "mean" else 1
    return requantization(np.array([np.float64(x.quant.scale[0]) / y.quant.scale[0] / divisor]))


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a, y = arrays, call.attrs, call.output
    if y.quant is None:
        wide = MEANINGS[a.kind](x.astype(np.float64), axis=a.axes, keepdims=a.keep_dims)
        return (np.asarray(wide, np.float32),)
    if a.kind in ("max", "min"):
        return (np.asarray(MEANINGS[a.kind](x, axis=a.axes, keepdims=a.keep_dims)),)
    assert call.inputs[0].quant
    acc = x.astype(np.int64) - call.inputs[0].quant.zero_point[0]
    total = np.asarray(acc.sum(axis=a.axes, keepdims=a.keep_dims))
    steps = requantize(total, _scale(call), y.quant.zero_point[0], *y.dtype.limits)
    return (steps.astype(y.dtype.value),)


def can_quantize(call: Call) -> bool:
    x, y, kind = call.inputs[0], call.output, call.attrs.kind
    if x.dtype not in EIGHT_BITS or y.dtype not in EIGHT_BITS or kind == "prod":
        return False
    if kind in ("max", "min"):
        return x.quant == y.quant and x.dtype == y.dtype
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    return per_tensor and _count(call) < 1 << 22  # 511 * count fits int32


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    wide = "int32" if call.quantized else "float32"
    acc = loops.local("acc", wide)
    strides = dense_strides(x.shape)
    kept = [i for i in range(len(x.shape)) if i not in a.axes]
    kept_shape, kept_strides = [x.shape[i] for i in kept], [strides[i] for i in kept]
    gone_shape, gone_strides = [x.shape[i] for i in a.axes], [strides[i] for i in a.axes]
    zero = x.quant.zero_point[0] if x.quant else 0
    summing = a.kind in ("mean", "sum")
    to = requantizer(_scale(call), target) if call.quantized and summing else None

    def take(at: Any) -> list[Any]:
        value, before = loops.load(source, at, wide), loops.load(acc, 0)
        if summing:
            return [loops.store(acc, 0, before + (value - zero if zero else value))]
        if a.kind == "prod":
            return [loops.store(acc, 0, before * value)]
        better = loops.maximum if a.kind == "max" else loops.minimum
        return [loops.store(acc, 0, better(before, value))]

    def one(start: Any, to_index: Any) -> list[Any]:
        first = loops.const(0 if summing else 1, wide)
        if a.kind in ("max", "min"):
            first = loops.load(source, start, wide)
        value = loops.load(acc, 0)
        if to is not None:
            assert y.quant is not None
            value = loops.clamp(to.apply(value, 0, y.quant.zero_point[0]), *y.dtype.limits)
        elif a.kind == "mean":
            value = value / loops.const(float(_count(call)), wide)
        return [
            *loops.declare(acc),
            loops.store(acc, 0, first),
            *strided_nest(tuple(gone_shape), [gone_strides], [start], take, "rstuvw"),
            loops.store(result, to_index, value),
        ]

    dense = dense_strides(tuple(kept_shape))
    body = strided_nest(tuple(kept_shape), [kept_strides, dense], [0, 0], one)
    constants, tables = (to.constants, to.buffers) if to else ((), ())
    function = loops.function([source, result, *tables], body)
    return Kernel(f"reduce_{a.kind}", function, constants, float_code=not call.quantized)


REDUCE = Op("Reduce", infer, reference, kernel, quantize=can_quantize)
