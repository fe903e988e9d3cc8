"""Transpose: y[i0, i1, ...] = x[i at their places in perm]."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import copy_nest, dense_strides
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.reshape import moves_stored_values
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class TransposeAttrs:
    """perm[i] is the input's axis that becomes axis i."""

    perm: tuple[int, ...]


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((tuple(inputs[0].shape[axis] for axis in attrs.perm), inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (np.ascontiguousarray(arrays[0].transpose(call.attrs.perm)),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    strides = dense_strides(x.shape)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    moved = [strides[axis] for axis in call.attrs.perm]
    body = copy_nest(source, result, y.shape, moved, dense_strides(y.shape))
    return Kernel("transpose", loops.function([source, result], body))


TRANSPOSE = Op("Transpose", infer, reference, kernel, quantize=moves_stored_values)
