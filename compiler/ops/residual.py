"""An Add fused behind a convolution: y = clamp(conv(x) + r), without the convolution's tensor.

The convolution's own result is rounded and clamped as before, in a register: the numbers are
those of the two nodes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tinyc.compiler.graph import Array, DType, QParams, Tensor
from tinyc.compiler.ops import elementwise, loops
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class Residual:
    """dtype, quant: of the convolution's own result; clamp: of the sum, in reals."""

    dtype: DType
    quant: QParams | None
    clamp: Clamp = NO_CLAMP


def first_stage(call: Call) -> Call:
    """The convolution alone, writing its own result."""
    residual: Residual | None = call.attrs.residual
    if residual is None:
        return call
    output = Tensor("stage", call.output.shape, residual.dtype, None, residual.quant)
    node = replace(
        call.node, attrs=replace(call.attrs, residual=None), inputs=call.node.inputs[:-1]
    )
    return Call(node, call.inputs[:-1], (output,))


def second_stage(call: Call) -> Call:
    """The Add alone: of the convolution's result and the residual, its last input."""
    stage, residual = first_stage(call).output, call.inputs[-1]
    node = replace(
        call.node,
        op="Add",
        inputs=(stage.name, residual.name),
        attrs=elementwise.BinaryAttrs(call.attrs.residual.clamp),
    )
    return Call(node, (stage, residual), call.outputs)


def added(call: Call, stage: Array, residual: Array) -> Array:
    """The reference of the second stage."""
    return elementwise.reference(second_stage(call), (stage, residual))[0]


@dataclass(frozen=True, slots=True, eq=False)
class Addend:
    """What is added to each finished result: its buffer, and the sum as TensorIR."""

    buffer: Any
    add: Callable[[Any, Any], Any]


def addend(call: Call, target: Target) -> Addend | None:
    """The residual of a kernel; None when the convolution has none."""
    if call.attrs.residual is None:
        return None
    expression, constants, _ = elementwise.expression_of(second_stage(call), target)
    assert not constants, "an Add needs no tables"
    y = call.output
    return Addend(loops.buffer("residual", y.elements, y.dtype), expression)
