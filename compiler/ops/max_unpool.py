"""MaxUnpool: y is zero but at the flat places that the second input gives, where x stands."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.operands import operands
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class MaxUnpoolAttrs:
    """The static shape of the output."""

    shape: Shape


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((attrs.shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, places = arrays
    y = np.zeros(call.output.elements, x.dtype)
    inside = (places >= 0) & (places < y.size)
    y[places[inside]] = x[inside]
    return (y.reshape(call.output.shape),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """A place outside the output, which no pool gives, is left out."""
    x, y, given = call.inputs[0], call.output, operands(call.inputs, ("x", "places"))
    source, places = given.buffers
    result = loops.buffer("y", y.elements, y.dtype)

    def place(i: Any) -> list[Any]:
        at = loops.load(places, i)
        inside = loops.every([at >= loops.const(0, "int64"), at < loops.const(y.elements, "int64")])
        to = at.astype("int32")
        return [loops.when(inside, [loops.store(result, to, loops.load(source, i))])]

    body = [
        loops.run("memset", loops.pointer(result), loops.const(0), loops.const(y.bytes, "uint32")),
        loops.loop("i", x.elements, place),
    ]
    function = loops.function([*given.moving, result, *given.fixed], body)
    return Kernel("max_unpool", function, given.constants, float_code=x.dtype.is_float)


MAX_UNPOOL = Op("MaxUnpool", infer, reference, kernel)
