"""Slice: y[i] = x[starts + i * steps], all axes; steps may be negative."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import copy_nest, dense_strides
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, RowWindows, Type, Window
from tinyc.compiler.ops.reshape import moves_stored_values
from tinyc.compiler.ops.row_range import is_image, row_range
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class SliceAttrs:
    """First index and step on every axis, and the shape of the output."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    shape: Shape


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((attrs.shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a = call.attrs
    ranges = [s + np.arange(n) * t for s, n, t in zip(a.starts, a.shape, a.steps, strict=True)]
    return (np.ascontiguousarray(arrays[0][np.ix_(*ranges)]),)


def windows(call: Call) -> RowWindows | None:
    """Of rows from top to bottom; `before` is negative where the first ones are left out."""
    a = call.attrs
    if not is_image(call.inputs[0].shape) or not is_image(a.shape) or a.steps[1] < 1:
        return None
    return (Window(1, a.steps[1], -a.starts[1]),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    dense = dense_strides(x.shape)
    start = sum(s * d for s, d in zip(a.starts, dense, strict=True))
    strides = [t * d for t, d in zip(a.steps, dense, strict=True)]
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    rows = row_range(call, windows(call) is not None)
    dense = dense_strides(y.shape)
    body = copy_nest(source, result, y.shape, strides, dense, start, rows=rows)
    function = loops.function([source, result, *rows.parameters], body)
    return Kernel("slice", function, rows=rows.count)


SLICE = Op("Slice", infer, reference, kernel, windows, quantize=moves_stored_values)
