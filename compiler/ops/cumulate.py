"""Cumulate: the sum or product of all values up to each one along an axis.

Plain integers wrap, as they do in ONNX; they are taken unsigned, since C says so of these only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import dense_strides, strided_nest
from tinyc.compiler.ops.element_types import FLOATS, check_type
from tinyc.compiler.ops.integer_math import unsigned
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.reduce import LONG
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class CumulateAttrs:
    """axis >= 0; product, or sum; exclusive: without the value itself; reverse: from the end."""

    axis: int
    product: bool = False
    exclusive: bool = False
    reverse: bool = False


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("CumProd" if attrs.product else "CumSum", x, (*FLOATS, *LONG))
    return ((x.shape, x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a = arrays, call.attrs
    x = np.flip(x, a.axis) if a.reverse else x
    wide = np.float64 if x.dtype.kind == "f" else x.dtype
    y = (np.cumprod if a.product else np.cumsum)(x, axis=a.axis, dtype=wide)
    if a.exclusive:
        first = np.full_like(np.take(y, [0], a.axis), 1 if a.product else 0)
        y = np.concatenate([first, np.take(y, range(x.shape[a.axis] - 1), a.axis)], a.axis)
    return ((np.flip(y, a.axis) if a.reverse else y).astype(x.dtype),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    wide = str(x.dtype) if x.dtype.is_float else unsigned(x.dtype)
    acc, value = loops.local("acc", wide), loops.local("value", wide)
    strides = dense_strides(x.shape)
    stride, n = strides[a.axis], x.shape[a.axis]
    kept = [axis for axis in range(len(x.shape)) if axis != a.axis]

    def line(start: Any) -> list[Any]:
        def take(i: Any) -> list[Any]:
            at = start + (n - 1 - i if a.reverse else i) * stride
            before, new = loops.load(acc, 0), loops.load(value, 0)
            add = loops.store(acc, 0, before * new if a.product else before + new)
            write = loops.store(result, at, before)
            read = loops.store(value, 0, loops.load(source, at, wide))
            return [*loops.declare(value), read, *([write, add] if a.exclusive else [add, write])]

        return [
            *loops.declare(acc),
            loops.store(acc, 0, loops.const(1 if a.product else 0, wide)),
            loops.loop("i", n, take),
        ]

    shape, steps = tuple(x.shape[i] for i in kept), [strides[i] for i in kept]
    function = loops.function([source, result], strided_nest(shape, [steps], (0,), line, "opqrstu"))
    name = "cumulative_product" if a.product else "cumulative_sum"
    return Kernel(name, function, in_place=True, float_code=x.dtype.is_float)


CUMULATE = Op("Cumulate", infer, reference, kernel)
