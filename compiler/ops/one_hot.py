"""OneHot: y[..., d, ...] = on where the index is d, else off; an index out of range is nowhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor, elements
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import NUMBERS, check_type
from tinyc.compiler.ops.indexing import CHECKED, place
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.operands import operands
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class OneHotAttrs:
    """depth: the size of the new axis, which is axis `axis` of the output."""

    depth: int
    axis: int


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    """The second input holds `off` and `on`."""
    indices, values = inputs
    check_type("indices", indices, NUMBERS)
    shape = (*indices.shape[: attrs.axis], attrs.depth, *indices.shape[attrs.axis :])
    return ((shape, values.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (indices, values), a = arrays, call.attrs
    whole = np.expand_dims(np.trunc(indices) if indices.dtype.kind == "f" else indices, a.axis)
    places = np.arange(a.depth).reshape(-1, *(1,) * (indices.ndim - a.axis))
    hot = (whole == places) | (whole == places - a.depth)
    return (np.where(hot, values[1], values[0]),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (indices, _), y, a = call.inputs, call.output, call.attrs
    given = operands(call.inputs, ("indices", "values"))
    (picked, values), result = given.buffers, loops.buffer("y", y.elements, y.dtype)
    inner, found = elements(indices.shape[a.axis :]), loops.local("found")
    off, on = loops.load(values, 0), loops.load(values, 1)

    def spread(o: Any, k: Any) -> list[Any]:
        at = place(CHECKED, _whole(loops.load(picked, o * inner + k), indices, a.depth), a.depth)

        def cell(d: Any) -> list[Any]:
            hot = loops.load(found, 0) == d
            return [loops.store(result, (o * a.depth + d) * inner + k, loops.select(hot, on, off))]

        return [
            *loops.declare(found), loops.store(found, 0, at), loops.loop("d", a.depth, cell),
        ]  # fmt: skip

    body = [
        loops.loop("o", elements(indices.shape[: a.axis]), lambda o: [
            loops.loop("k", inner, lambda k: spread(o, k))
        ])
    ]  # fmt: skip
    function = loops.function([*given.moving, result, *given.fixed], body)
    return Kernel("one_hot", function, given.constants, microkernels=(CHECKED,))


def _whole(index: Any, indices: Tensor, depth: int) -> Any:
    """The index as an integer; a float that is no index is one beyond the end."""
    if indices.dtype.is_float:
        limit = loops.const(float(depth + 1), str(indices.dtype))
        near = loops.every([index > 0 - limit, index < limit])
        index = loops.select(near, index, limit)
    elif indices.dtype == "uint64":
        limit = loops.const(depth, "uint64")
        index = loops.select(index < limit, index, limit)
    return index


ONE_HOT = Op("OneHot", infer, reference, kernel)
