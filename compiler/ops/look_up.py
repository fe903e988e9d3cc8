"""LookUp: each value by a table of keys and what they become; LabelEncoder."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import NUMBERS, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.real import is_nan
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class LookUpAttrs:
    """keys and values, the first of equal keys counts; default: what all others become."""

    keys: tuple[float, ...] = field(repr=False)
    values: tuple[float, ...] = field(repr=False)
    default: float
    dtype: DType

    @property
    def in_order(self) -> bool:
        """Whether the keys are 0, 1, 2, ..."""
        return self.keys == tuple(range(len(self.keys)))


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("looking up", inputs[0], NUMBERS)
    return ((inputs[0].shape, attrs.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a = arrays, call.attrs
    table = dict(zip(reversed(a.keys), reversed(a.values), strict=True))
    nan = next((v for k, v in zip(a.keys, a.values, strict=True) if k != k), a.default)
    found = [nan if v != v else table.get(v, a.default) for v in x.reshape(-1).tolist()]
    return (np.array(found, a.dtype.value).reshape(x.shape),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    numbers = [(k, v) for k, v in zip(a.keys, a.values, strict=True) if k == k]
    count = len(numbers)
    keys, values = loops.buffer("keys", count, x.dtype), loops.buffer("values", count, y.dtype)
    constants = (
        Constant("keys", read_only([k for k, _ in numbers], x.dtype.value)),
        Constant("values", read_only([v for _, v in numbers], y.dtype.value)),
    )
    found, default = loops.local("found", y.dtype), loops.const(a.default, y.dtype)
    nan = [v for k, v in zip(a.keys, a.values, strict=True) if math.isnan(k)]

    def compare(value: Any, k: Any) -> list[Any]:
        last = count - 1 - k  # the first of equal keys is the last to be compared
        same = loops.load(keys, last) == value
        return [loops.when(same, [loops.store(found, 0, loops.load(values, last))])]

    def one(i: Any) -> list[Any]:
        value = loops.load(source, i)
        extra = []
        if nan and x.dtype.is_float:
            other = loops.const(nan[0], y.dtype)
            extra = [loops.when(is_nan(value), [loops.store(found, 0, other)])]
        return [
            *loops.declare(found),
            loops.store(found, 0, default),
            *([loops.loop("k", count, lambda k: compare(value, k))] if count else []),
            *extra,
            loops.store(result, i, loops.load(found, 0)),
        ]

    body = [loops.loop("i", x.elements, one)]
    function = loops.function([source, result, keys, values], body)
    floats = x.dtype.is_float or y.dtype.is_float
    return Kernel("look_up_key", function, constants, float_code=floats)


LOOK_UP = Op("LookUp", infer, reference, kernel)
