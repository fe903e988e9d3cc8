"""Keep: the value as the caller's state holds it until the next call; y is a copy of x.

y is the same bytes as what the last call kept, so that this runs last (`passes/ordering.py`).
"""

from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((inputs[0].shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (arrays[0].copy(),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    size = loops.const(x.bytes)
    copy = loops.run("memcpy", loops.pointer(result), loops.pointer(source), size)
    return Kernel("keep", loops.function([source, result], [copy]))


KEEP = Op("Keep", infer, reference, kernel)
