"""Pad: a border of a constant, of the edge, or of the reflection."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import quantize_real
from tinyc.compiler.ops.copying import dense_strides
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, RowWindows, Type, Window
from tinyc.compiler.ops.reshape import moves_stored_values
from tinyc.compiler.ops.row_range import is_image, row_range
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class PadAttrs:
    """pads: (before, after) on every axis, >= 0; value: a real, for mode "constant"."""

    pads: tuple[tuple[int, int], ...]
    mode: str = "constant"
    value: float = 0.0


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    sizes = zip(x.shape, attrs.pads, strict=True)
    return ((tuple(n + before + after for n, (before, after) in sizes), x.dtype),)


def stored_value(call: Call) -> float:
    """The border's value as it is stored."""
    x, value = call.inputs[0], call.attrs.value
    if x.quant is not None:
        low, high = x.dtype.limits
        return max(low, min(quantize_real(value, x.quant), high))
    return float(value) if x.dtype.is_float else int(value)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a = call.attrs
    if a.mode == "constant":
        return (np.pad(arrays[0], a.pads, constant_values=stored_value(call)),)
    return (np.pad(arrays[0], a.pads, mode=a.mode),)


def windows(call: Call) -> RowWindows | None:
    """Rows above and below the image are constant, or there are none."""
    above, below = call.attrs.pads[1] if is_image(call.output.shape) else (0, 0)
    constant = call.attrs.mode == "constant" or not (above or below)
    if not is_image(call.output.shape) or not constant:
        return None
    return (Window(1, 1, above),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    rows = row_range(call, windows(call) is not None)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    strides = dense_strides(x.shape)

    def position(axis: int, i: Any) -> Any:
        """The input's index along `axis` for the output's index `i`, outside for a border."""
        n, inside = x.shape[axis], i - a.pads[axis][0]
        if a.mode == "edge":
            return loops.clamp(inside, 0, n - 1)
        if a.mode == "reflect":
            inside = loops.maximum(inside, 0 - inside)
            return loops.minimum(inside, 2 * (n - 1) - inside)
        return inside

    def fill(depth: int, read: Any, write: Any, inside: list[Any]) -> list[Any]:
        if depth == len(x.shape):
            copy = loops.store(result, write, loops.load(source, read))
            if not inside:
                return [copy]
            border = loops.store(result, write, loops.const(stored_value(call), str(x.dtype)))
            return [loops.when(loops.every(inside), [copy], [border])]
        before, after = a.pads[depth]

        def at(i: Any) -> list[Any]:
            place = position(depth, i)
            checks = list(inside)
            if a.mode == "constant" and before:
                checks.append(place >= 0)
            if a.mode == "constant" and after:
                checks.append(place < x.shape[depth])
            return fill(
                depth + 1, read + place * strides[depth], write * y.shape[depth] + i, checks
            )

        first, extent = rows.span(2) if depth == 1 and rows.parameters else (0, y.shape[depth])
        return [loops.loop("ijklmnpq"[depth], extent, at, first)]

    body = fill(0, loops.const(0), loops.const(0), [])
    function = loops.function([source, result, *rows.parameters], body)
    return Kernel("pad", function, rows=rows.count)


PAD = Op("Pad", infer, reference, kernel, windows, quantize=moves_stored_values)
