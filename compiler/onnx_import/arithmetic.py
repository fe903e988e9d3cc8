"""Arithmetic, comparisons, logic, bits, Where and Cast, element by element."""

import math
from collections.abc import Callable

import numpy as np
import onnx

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.casting import cast
from tinyc.compiler.onnx_import.element_types import onnx_element_type
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.element_types import HALVES, INTEGERS
from tinyc.compiler.ops.unary import UnaryAttrs

Reader = Callable[[Builder, ModelNode], Tensor]


def binary(op: str) -> Reader:
    """The reader of an operator with two operands."""
    return lambda build, node: build.binary(
        node, op, build.operand(node, 0), build.operand(node, 1)
    )


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
    share = build.constant(f"{node.name}/share", 1 / max(len(node.inputs), 1), total.dtype)
    return build.binary(node, "Mul", total, share)


def read_mod(build: Builder, node: ModelNode) -> Tensor:
    return binary("Remainder" if node.integer("fmod", 0) else "Modulo")(build, node)


def read_bit_shift(build: Builder, node: ModelNode) -> Tensor:
    ops = {"LEFT": "ShiftLeft", "RIGHT": "ShiftRight"}
    direction = node.text("direction", "")
    if direction not in ops:
        node.malformed(f"the direction '{direction}' is neither LEFT nor RIGHT")
    return binary(ops[direction])(build, node)


def read_pow(build: Builder, node: ModelNode) -> Tensor:
    """The exponent may have another type than the base; neither is rounded before the result."""
    x, exponent = build.operand(node, 0), build.operand(node, 1)
    wide = x.dtype
    if x.dtype in INTEGERS and exponent.dtype.is_float:
        wide = DType.FLOAT64
    elif x.dtype in HALVES and exponent.dtype != x.dtype:
        wide = DType.FLOAT32
    a, b = (cast(build, node, t, wide) for t in (x, exponent))
    return cast(build, node, build.binary(node, "Pow", a, b), x.dtype)


def read_cast(build: Builder, node: ModelNode) -> Tensor:
    """Integers that stand for texts stay integers."""
    x = build.operand(node, 0)
    if x.name in build.beside.texts and node.integer("to", 0) == onnx.TensorProto.STRING:
        return x
    dtype = onnx_element_type(node.integer("to", 0), node.where)
    return cast(build, node, build.operand(node, 0), dtype)


def read_cast_like(build: Builder, node: ModelNode) -> Tensor:
    return cast(build, node, build.operand(node, 0), build.operand(node, 1).dtype)


def read_bit_cast(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    dtype = onnx_element_type(node.integer("to", 0), node.where)
    return x if dtype == x.dtype else build.add(node, "BitCast", (x,), CastAttrs(dtype))


def read_relu(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    if x.dtype in INTEGERS:
        zero = build.constant(f"{node.name}/zero", 0, x.dtype)
        return build.binary(node, "Maximum", x, zero)
    return clamped(build, node, x, Clamp(0.0, math.inf))


def read_clip(build: Builder, node: ModelNode) -> Tensor:
    x, bounds = build.operand(node, 0), (build.optional(node, 1), build.optional(node, 2))
    known = [None if b is None else build.real_constant(b) for b in bounds]
    fixed = all(b is None or k is not None for b, k in zip(bounds, known, strict=True))
    if any(b is not None and b.elements != 1 for b in bounds):
        node.malformed("a bound is no single number")
    if x.dtype.is_float and fixed:
        low = node.real("min", -math.inf) if known[0] is None else float(known[0].reshape(-1)[0])
        high = node.real("max", math.inf) if known[1] is None else float(known[1].reshape(-1)[0])
        if math.isnan(low) or math.isnan(high):
            node.malformed("a bound is not a number")
        return clamped(build, node, x, Clamp(min(low, high), high))
    for op, bound in zip(("Maximum", "Minimum"), bounds, strict=True):
        if bound is not None:
            x = build.binary(node, op, x, build.reshaped(node, bound, ()))
    return x


def clamped(build: Builder, node: ModelNode, x: Tensor, clamp: Clamp) -> Tensor:
    return build.add(node, "Unary", (x,), UnaryAttrs("identity", (), clamp))


def read_prelu(build: Builder, node: ModelNode) -> Tensor:
    """max(x, 0) + slope * min(x, 0); one constant slope is a leaky Relu."""
    x, slope = build.operand(node, 0), build.operand(node, 1)
    if len(x.shape) > 2 and slope.shape == x.shape[1:2] != x.shape[-1:]:  # old exporters' channels
        slope = build.reshaped(node, slope, (*slope.shape, *(1,) * (len(x.shape) - 2)))
    values = build.real_constant(slope)
    if x.dtype in INTEGERS:
        zero = build.constant(f"{node.name}/zero", 0, x.dtype)
        below = build.binary(node, "Less", x, zero)
        return choice(build, node, below, build.binary(node, "Mul", x, slope), x)
    if values is not None and values.size == 1 and len(slope.shape) <= len(x.shape):
        alpha = float(values.reshape(-1)[0])
        return build.add(node, "Unary", (x,), UnaryAttrs("leaky_relu", (alpha,)))
    above = clamped(build, node, x, Clamp(0.0, math.inf))
    below = clamped(build, node, x, Clamp(-math.inf, 0.0))
    return build.binary(node, "Add", above, build.binary(node, "Mul", below, slope))


def read_where(build: Builder, node: ModelNode) -> Tensor:
    return choice(build, node, *(build.operand(node, i) for i in range(3)))


def choice(build: Builder, node: ModelNode, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`condition ? a : b`."""
    shapes = [t.shape for t in (condition, a, b)]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        node.malformed(f"{', '.join(str(list(s)) for s in shapes)} do not fit together")
    return build.add(node, "Where", (condition, a, b))
