"""Scatter: a copy of x into which updates go where the indices say, in their order.

ScatterElements, ScatterND and TensorScatter of ONNX. An update whose index is out of range is
dropped: nothing outside of the output is ever written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import dense_strides, strided_nest
from tinyc.compiler.ops.element_types import check_same_type
from tinyc.compiler.ops.indexing import (
    CHECKED,
    LOCALS,
    OUTSIDE,
    WRAPPED,
    IndexMap,
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
from tinyc.targets import Target

MEANINGS: dict[str, Callable[[Array, Any, Array], None]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}
REDUCTIONS = ("none", *MEANINGS)


@dataclass(frozen=True, slots=True)
class ScatterAttrs:
    """reduction: how an update and what was there become one; one of REDUCTIONS."""

    index_map: IndexMap
    reduction: str = "none"


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, indices, updates = inputs
    check_indices(indices)
    check_same_type(x, updates)
    if x.dtype == DType.BOOL and attrs.reduction != "none":
        raise CompileError(
            "unsupported-type", f"the {attrs.reduction} of bool is not supported",
            f"tensor '{x.name}'", "cast it to int32 in the model",
        )  # fmt: skip
    return ((x.shape, x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x, indices, updates), a = arrays, call.attrs.index_map
    y = x.copy()
    where = coordinates(a, call.inputs[0], places_of(a, call.inputs[0], indices, outside=True))
    spread = np.broadcast_arrays(*where, updates)
    inside = np.all([w != OUTSIDE for w in spread[:-1]], axis=0)
    *chosen, values = (part[inside] for part in spread)
    with np.errstate(all="ignore"):
        if call.attrs.reduction == "none":
            y[tuple(chosen)] = values  # of equal indices the last one stays
        else:
            MEANINGS[call.attrs.reduction](y, tuple(chosen), values)
    return (y,)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, indices, updates), y, a = call.inputs, call.output, call.attrs.index_map
    stored = stored_indices(a, call, outside=True)
    given = operands((x, stored, updates), ("x", "indices", "updates"))
    (source, picked, news), result = given.buffers, loops.buffer("y", y.elements, y.dtype)
    function = WRAPPED if a.wraps else CHECKED
    steps = dense_strides(x.shape)
    places = [loops.local(f"place_{number}") for number in range(len(a.axes))]
    write, pick, read = along(x, a.walks), along(indices, a.picks), dense_strides(a.shape)

    def put(to: Any, at: Any) -> list[Any]:
        value = loops.load(news, at)
        return [loops.store(result, to, _reduced(call, loops.load(result, to), value))]

    def run(start: Any, index: Any, at: Any) -> list[Any]:
        lines = loops.declare(*places)
        for number, axis in enumerate(a.axes):
            value = loops.load(picked, index + number)
            found = value if stored.data is not None else place(function, value, x.shape[axis])
            lines.append(loops.store(places[number], 0, found))
            start += loops.load(places[number], 0) * steps[axis]
        inner = strided_nest(
            a.shape[outer:], (write[outer:], read[outer:]), (start, at), put, LOCALS
        )
        sure = a.wraps or (stored.data is not None and stored.data.min(initial=0) >= 0)
        inside = [loops.load(p, 0) >= 0 for p in places]
        return [*lines, *(inner if sure else [loops.when(loops.every(inside), inner)])]

    def copied(i: Any) -> list[Any]:
        return [loops.store(result, i, loops.load(source, i))]

    outer = outer_axes(a)
    body = strided_nest(
        a.shape[:outer], (write[:outer], pick[:outer], read[:outer]), (0, 0, 0), run
    )
    return Kernel(
        "scatter" if call.attrs.reduction == "none" else f"scatter_{call.attrs.reduction}",
        loops.function(
            [*given.moving, result, *given.fixed],
            [loops.loop("i", y.elements, copied), *body],
        ),
        given.constants,
        microkernels=(function,) if stored.data is None else (),
        in_place=x.data is None,
        float_code=y.dtype.is_float and call.attrs.reduction != "none",
    )


def _reduced(call: Call, old: Any, new: Any) -> Any:
    """The value to store; sums and products of integers wrap."""
    reduction, dtype = call.attrs.reduction, call.output.dtype
    if reduction == "none":
        return new
    if reduction in ("max", "min"):
        stays, goes = (old > new, new >= old) if reduction == "max" else (old < new, new <= old)
        neither = old + new if dtype.is_float else new  # one of them is no number
        return loops.select(stays, old, loops.select(goes, new, neither))
    if not dtype.is_float:
        wide = "uint64" if dtype.size == 8 else "uint32"
        old, new = old.astype(wide), new.astype(wide)
    return (old + new if reduction == "add" else old * new).astype(str(dtype))


SCATTER = Op("Scatter", infer, reference, kernel)
