"""LocalResponse: y = x / (bias + alpha / size * sum of the squares of `size` neighbours)^beta."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import FLOATS, check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.real import Real
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class LocalResponseAttrs:
    """axis >= 0, along which the neighbours lie; (size - 1) // 2 of them before each value."""

    axis: int
    size: int
    alpha: float
    beta: float
    bias: float


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("LRN", inputs[0], FLOATS)
    return ((inputs[0].shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, n = call.attrs, call.output.shape[call.attrs.axis]
    x = np.moveaxis(arrays[0].astype(np.float64), a.axis, 0)
    before = (a.size - 1) // 2
    windows = [x[max(0, i - before) : i - before + a.size] for i in range(n)]
    squares = np.stack([np.sum(w * w, axis=0) for w in windows])
    y = x / (a.bias + a.alpha / a.size * squares) ** a.beta
    return (np.moveaxis(y, 0, a.axis).astype(arrays[0].dtype),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    dtype, n = str(x.dtype), x.shape[a.axis]
    inner, outer = math.prod(x.shape[a.axis + 1 :]), math.prod(x.shape[: a.axis])
    before = (a.size - 1) // 2
    source, result = loops.buffer("x", x.elements, dtype), loops.buffer("y", y.elements, dtype)
    total, first, end = loops.local("total", dtype), loops.local("first"), loops.local("end")

    def square(at: Any) -> list[Any]:
        value = loops.load(source, at)
        return [loops.store(total, 0, loops.load(total, 0) + value * value)]

    def one(o: Any, c: Any, k: Any) -> list[Any]:
        begin = o * (n * inner) + k
        low, high = (loops.load(b, 0) for b in (first, end))
        sum_of_squares = loops.loop("i", high - low, lambda i: square(begin + i * inner), low)
        share = loops.const(a.alpha / a.size, dtype)
        base = loops.const(a.bias, dtype) + share * loops.load(total, 0)
        at = begin + c * inner
        return [
            *loops.declare(total, first, end),
            loops.store(total, 0, loops.const(0.0, dtype)),
            loops.store(first, 0, loops.maximum(c - before, loops.const(0))),
            loops.store(end, 0, loops.minimum(c + (a.size - before), loops.const(n))),
            sum_of_squares,
            loops.store(result, at, loops.load(source, at) / _power(base, a.beta, dtype)),
        ]

    nest = loops.loop("o", outer, lambda o: [
        loops.loop("c", n, lambda c: [loops.loop("k", inner, lambda k: one(o, c, k))])
    ])  # fmt: skip
    return Kernel("local_response", loops.function([source, result], [nest]), float_code=True)


def _power(base: Any, exponent: float, dtype: str) -> Any:
    """base^exponent; two roots cost much less than a power where they give it."""
    if exponent not in (0.5, 0.75):
        return Real(dtype).call("pow", base, loops.const(exponent, dtype))
    root = Real(dtype).call("sqrt", base)
    return root if exponent == 0.5 else root * Real(dtype).call("sqrt", root)


LOCAL_RESPONSE = Op("LocalResponse", infer, reference, kernel)
