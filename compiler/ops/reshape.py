"""Reshape: the same bytes under another shape; no code is emitted."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.graph import Array, Shape, Tensor, elements
from tinyc.compiler.ops.op import Call, Op, Type


@dataclass(frozen=True, slots=True)
class ReshapeAttrs:
    """The static shape of the output."""

    shape: Shape


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    assert inputs[0].elements == elements(attrs.shape), f"{inputs[0].shape} as {attrs.shape}"
    return ((attrs.shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (arrays[0].reshape(call.attrs.shape),)


def moves_stored_values(call: Call) -> bool:
    """Stored integers can be moved as they are when nothing rescales them."""
    return call.inputs[0].quant == call.output.quant and call.inputs[0].dtype == call.output.dtype


RESHAPE = Op("Reshape", infer, reference, None, quantize=moves_stored_values)
