"""Shift: a window moves on along one axis: y is [window, x] without its first elements.

The window and y may be the same bytes: every value is read before it is written over.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ShiftAttrs:
    """The axis along which x is new; the window is as long or longer."""

    axis: int


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((inputs[0].shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    window, x = arrays
    both = np.concatenate([window, x], call.attrs.axis)
    gone = np.arange(x.shape[call.attrs.axis])
    return (np.delete(both, gone, call.attrs.axis),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (window, x), y, axis = call.inputs, call.output, call.attrs.axis
    outer, inner = math.prod(y.shape[:axis]), math.prod(y.shape[axis + 1 :])
    new, kept = x.shape[axis] * inner, (y.shape[axis] - x.shape[axis]) * inner
    buffers = [loops.buffer("window", window.elements, window.dtype)]
    buffers += [loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)]
    before, source, result = buffers

    def one(i: Any) -> list[Any]:
        at = i * (new + kept)
        moved = loops.loop("j", kept, lambda j: [
            loops.store(result, at + j, loops.load(before, at + new + j))
        ])  # fmt: skip
        added = loops.loop("j", new, lambda j: [
            loops.store(result, at + kept + j, loops.load(source, i * new + j))
        ])  # fmt: skip
        return [moved, added] if kept else [added]

    return Kernel("shift", loops.function(buffers, [loops.loop("i", outer, one)]))


SHIFT = Op("Shift", infer, reference, kernel)
