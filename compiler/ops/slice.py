"""Slice: y[i] = x[starts + i * steps], all axes; steps may be negative."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import copy_nest, dense_strides
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.reshape import moves_stored_values
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


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    dense = dense_strides(x.shape)
    start = sum(s * d for s, d in zip(a.starts, dense, strict=True))
    strides = [t * d for t, d in zip(a.steps, dense, strict=True)]
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    body = copy_nest(source, result, y.shape, strides, dense_strides(y.shape), start)
    return Kernel("slice", loops.function([source, result], body))


SLICE = Op("Slice", infer, reference, kernel, quantize=moves_stored_values)
