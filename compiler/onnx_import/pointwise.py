"""Element by element: activations, arithmetic, Clip, Cast, Softmax, reductions."""

import math
from collections.abc import Callable

import numpy as np

from tinyc.compiler.graph import DType, Tensor, elements
from tinyc.compiler.onnx_import.arguments import axes_of, constant_real
from tinyc.compiler.onnx_import.building import (
    Builder,
    onnx_element_type,
    positive_axes,
    positive_axis,
)
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

Reader = Callable[[Builder, ModelNode], Tensor]
TEXT = 8  # the element type of ONNX


def unary(function: str, **defaults: float) -> Reader:
    """The reader of a function whose parameters are attributes with these defaults."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        parameters = tuple(node.real(name, value) for name, value in defaults.items())
        return build.add(node, "Unary", (build.operand(node, 0),), UnaryAttrs(function, parameters))

    return read


def read_relu(build: Builder, node: ModelNode) -> Tensor:
    return _clamped(build, node, Clamp(0.0, math.inf))


def read_clip(build: Builder, node: ModelNode) -> Tensor:
    low = constant_real(build, node, 1, node.real("min", -math.inf))
    high = constant_real(build, node, 2, node.real("max", math.inf))
    if math.isnan(low) or math.isnan(high):
        node.malformed("a bound is not a number")
    return _clamped(build, node, Clamp(min(low, high), high))


def _clamped(build: Builder, node: ModelNode, clamp: Clamp) -> Tensor:
    attrs = UnaryAttrs("identity", (), clamp)
    return build.add(node, "Unary", (build.operand(node, 0),), attrs)


def read_gelu(build: Builder, node: ModelNode) -> Tensor:
    tanh = node.text("approximate", "none") == "tanh"
    attrs = UnaryAttrs("gelu_tanh" if tanh else "gelu")
    return build.add(node, "Unary", (build.operand(node, 0),), attrs)


def read_prelu(build: Builder, node: ModelNode) -> Tensor:
    """max(x, 0) + slope * min(x, 0); one constant slope is a leaky Relu."""
    x, slope = build.operand(node, 0), build.operand(node, 1)
    values = build.real_constant(slope)
    if values is not None and values.size == 1 and len(slope.shape) <= len(x.shape):
        alpha = float(values.reshape(-1)[0])
        return build.add(node, "Unary", (x,), UnaryAttrs("leaky_relu", (alpha,)))
    above = build.add(node, "Unary", (x,), UnaryAttrs("identity", (), Clamp(0.0, math.inf)))
    below = build.add(node, "Unary", (x,), UnaryAttrs("identity", (), Clamp(-math.inf, 0.0)))
    product = build.binary(node, "Mul", below, slope)
    return build.binary(node, "Add", above, product)


def binary(op: str) -> Reader:
    """The reader of an operator with two operands."""
    return lambda build, node: build.binary(
        node, op, build.operand(node, 0), build.operand(node, 1)
    )


def read_pow(build: Builder, node: ModelNode) -> Tensor:
    """The exponent may have another type than the base."""
    x, exponent = build.operand(node, 0), build.operand(node, 1)
    if exponent.data is not None and exponent.dtype != x.dtype:
        exponent = build.constant(f"{exponent.name}/real", exponent.data, x.dtype)
    return build.binary(node, "Pow", x, exponent)


def variadic(op: str) -> Reader:
    """The reader of an operator with one operand or more, taken from the left."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        total = build.operand(node, 0)
        for index in range(1, len(node.inputs)):
            total = build.binary(node, op, total, build.operand(node, index))
        return total

    return read


def read_mean(build: Builder, node: ModelNode) -> Tensor:
    total = variadic("Add")(build, node)
    share = np.float32(1 / max(len(node.inputs), 1))
    number = build.constant(f"{node.name}/share", share, DType.FLOAT32)
    return build.binary(node, "Mul", total, number)


def read_cast(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    if x.name in build.names and node.integer("to", 0) == TEXT:
        return x
    dtype = onnx_element_type(node.integer("to", 0), node.where)
    return x if dtype == x.dtype else build.add(node, "Cast", (x,), CastAttrs(dtype))


def softmax(log: bool) -> Reader:
    """The reader of Softmax or LogSoftmax; before opset 13 all axes from `axis` on are one."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x = build.operand(node, 0)
        if not x.shape:
            node.malformed("the input has no axes")
        newer = node.opset >= 13
        axis = positive_axis(node, node.integer("axis", -1 if newer else 1), len(x.shape))
        if newer or elements(x.shape[axis + 1 :]) == 1:
            return build.add(node, "Softmax", (x,), SoftmaxAttrs(axis, log))
        rows = build.reshaped(node, x, (elements(x.shape[:axis]), elements(x.shape[axis:])))
        y = build.add(node, "Softmax", (rows,), SoftmaxAttrs(1, log))
        return build.reshaped(node, y, x.shape)

    return read


def reduction(kind: str) -> Reader:
    """The reader of ReduceMean, ReduceSum, ..."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x, axes = build.operand(node, 0), axes_of(build, node)
        keep = bool(node.integer("keepdims", 1))
        if not axes and node.integer("noop_with_empty_axes", 0):
            return x
        every = tuple(range(len(x.shape)))
        chosen = tuple(sorted(positive_axes(node, axes, len(x.shape)))) if axes else every
        return build.add(node, "Reduce", (x,), ReduceAttrs(kind, chosen, keep))

    return read
