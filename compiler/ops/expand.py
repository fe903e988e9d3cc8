"""Expand: the input repeated along axes, as NumPy broadcasts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import broadcast_strides, copy_nest, dense_strides
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.reshape import moves_stored_values
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ExpandAttrs:
    """The shape of the output."""

    shape: Shape


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((attrs.shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (np.ascontiguousarray(np.broadcast_to(arrays[0], call.attrs.shape)),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    strides = broadcast_strides(x.shape, y.shape)
    body = copy_nest(source, result, y.shape, strides, dense_strides(y.shape))
    return Kernel("expand", loops.function([source, result], body))


EXPAND = Op("Expand", infer, reference, kernel, quantize=moves_stored_values)
