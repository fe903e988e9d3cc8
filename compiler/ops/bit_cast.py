"""BitCast: the same bytes as elements of another type of that size."""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    if x.dtype.size != attrs.dtype.size:
        raise CompileError(
            "unsupported-type",
            f"{x.dtype} cannot be read as {attrs.dtype}: their sizes differ",
            f"tensor '{x.name}'",
        )
    return ((x.shape, attrs.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (np.ascontiguousarray(arrays[0]).view(call.attrs.dtype.value).reshape(arrays[0].shape),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """A copy: C may not read what was written as another type."""
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    copy = loops.run("memcpy", loops.pointer(result), loops.pointer(source), x.bytes)
    return Kernel("bit_cast", loops.function([source, result], [copy]))


BIT_CAST = Op("BitCast", infer, reference, kernel)
