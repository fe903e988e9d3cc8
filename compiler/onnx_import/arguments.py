"""Inputs of a model's node that must be known at compile time."""

from typing import Any

import numpy as np

from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode


def constant_values(build: Builder, node: ModelNode, index: int) -> "np.ndarray[Any, Any] | None":
    """The values of input `index`; None when it is left out."""
    tensor = build.optional(node, index)
    if tensor is None:
        return None
    values = build.real_constant(tensor)
    if values is None:
        node.refuse(
            f"input {index} is computed at run time, it must be a constant",
            "export the model with constant shapes and parameters",
        )
    return values


def constant_integers(build: Builder, node: ModelNode, index: int) -> tuple[int, ...] | None:
    """A constant input as integers (a scalar is one of them); None when it is left out."""
    values = constant_values(build, node, index)
    if values is None:
        return None
    if values.dtype.kind not in "iu" or values.size > 1 << 16:
        node.malformed(f"input {index} is no short list of integers")
    return tuple(int(v) for v in values.reshape(-1).tolist())


def constant_shape(build: Builder, node: ModelNode, index: int) -> tuple[int, ...] | None:
    """Input `index`, a shape: where it is known at run time only, what the model says of it."""
    shape, declared = build.optional(node, index), build.declared.get(node.outputs[0])
    if shape is None or declared is None or build.real_constant(shape) is not None:
        return constant_integers(build, node, index)
    build.notes.append(f"{node.where} gives the shape {list(declared)}, as the model says")
    return declared


def constant_integer(build: Builder, node: ModelNode, index: int, default: int) -> int:
    """A constant input of one integer."""
    values = constant_integers(build, node, index)
    if values is None:
        return default
    if len(values) != 1:
        node.malformed(f"input {index} has {len(values)} elements, it needs one")
    return values[0]


def constant_real(build: Builder, node: ModelNode, index: int, default: float) -> float:
    """A constant input of one element."""
    values = constant_values(build, node, index)
    if values is None:
        return default
    if values.size != 1:
        node.malformed(f"input {index} has {values.size} elements, it needs one")
    return float(values.reshape(-1)[0])


def axes_of(build: Builder, node: ModelNode) -> tuple[int, ...] | None:
    """The attribute `axes` of old operator sets, or input 1 of newer ones."""
    axes = node.integers("axes")
    return axes if axes is not None else constant_integers(build, node, 1)
