"""Quantization by arithmetic of the graph: where scales are computed, or one for each block.

stored = cast(clip(round(real / scale) + zero_point))
real   = (stored - zero_point) * scale
"""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import DType, Shape, Tensor
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.blocks import Blocks, blocks_of
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.unary import UnaryAttrs


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A tensor with scales and zero points that broadcast to it.

    x is the operand, its blocks along an axis of their own; `zero` is float32, None for zeros.
    """

    x: Tensor
    scale: Tensor
    zero: Tensor | None


def spelled_dequantize(build: Builder, node: ModelNode, x: Tensor, scale_at: int) -> Tensor:
    """The reals of `x`; inputs scale_at and scale_at + 1 are its scale and zero point."""
    spread = _spread(build, node, x, scale_at)
    y = cast(build, node, spread.x, DType.FLOAT32)
    if spread.zero is not None:
        y = _calculated(build, node, "Sub", y, spread.zero)
    y = build.reshaped(node, _calculated(build, node, "Mul", y, spread.scale), x.shape)
    blocks = _blocks(build, node, x, scale_at) if y.data is not None else None
    if blocks is not None:
        build.blocks[y.name] = blocks
    return y


def _blocks(build: Builder, node: ModelNode, x: Tensor, scale_at: int) -> Blocks | None:
    """The stored form of weights that have a scale for each block."""
    scale, zero = build.operand(node, scale_at), build.optional(node, scale_at + 1)
    block = node.integer("block_size", 0)
    if not block or x.data is None or scale.data is None or len(scale.shape) != 2:
        return None
    limits = build.narrow.get(node.inputs[scale_at - 1], x.dtype.limits)
    axis = positive_axis(node, node.integer("axis", 1), len(x.shape))
    return blocks_of(x.data, scale.data, None if zero is None else zero.data, block, axis, limits)


def spelled_quantize(
    build: Builder, node: ModelNode, x: Tensor, scale_at: int, dtype: DType, limits: tuple[int, int]
) -> Tensor:
    """The integers of `dtype`, within `limits`, that stand for the real `x`."""
    spread = _spread(build, node, x, scale_at)
    y = _calculated(build, node, "Div", spread.x, spread.scale)
    y = build.add(node, "Unary", (y,), UnaryAttrs("round"))
    if spread.zero is not None:
        y = build.binary(node, "Add", y, spread.zero)
    clamp = Clamp(float(limits[0]), float(limits[1]))
    y = build.add(node, "Unary", (y,), UnaryAttrs("identity", (), clamp))
    return build.reshaped(node, cast(build, node, y, dtype), x.shape)


def cast(build: Builder, node: ModelNode, x: Tensor, dtype: DType) -> Tensor:
    if x.dtype == dtype:
        return x
    if x.data is not None:
        return build.constant(f"{x.name}/{dtype}", x.data.astype(dtype.value), dtype)
    return build.add(node, "Cast", (x,), CastAttrs(dtype))


def _calculated(build: Builder, node: ModelNode, op: str, a: Tensor, b: Tensor) -> Tensor:
    """`a` op `b`; a constant where both are, for the layers that need constant weights."""
    if a.data is None or b.data is None:
        return build.binary(node, op, a, b)
    function = {"Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op]
    return build.constant(f"{a.name}/{op.lower()}", function(a.data, b.data), a.dtype)


def _spread(build: Builder, node: ModelNode, x: Tensor, scale_at: int) -> Spread:
    scale, zero = build.operand(node, scale_at), build.optional(node, scale_at + 1)
    if scale.dtype != DType.FLOAT32:
        node.refuse("the scale must be float32")
    if zero is not None and zero.elements != scale.elements:
        node.malformed(f"{scale.elements} scales, {zero.elements} zero points")
    block, axis = node.integer("block_size", 0), 0
    if scale.elements > 1 and (block or len(scale.shape) == 1):
        axis = positive_axis(node, node.integer("axis", 1), len(x.shape))
    blocks, shape = _blocks_of(node, x.shape, scale, axis, block)
    if zero is not None and (zero.data is None or zero.data.any()):
        zero = build.reshaped(node, cast(build, node, zero, DType.FLOAT32), shape)
    else:
        zero = None
    return Spread(build.reshaped(node, x, blocks), build.reshaped(node, scale, shape), zero)


def _blocks_of(
    node: ModelNode, shape: Shape, scale: Tensor, axis: int, block: int
) -> tuple[Shape, Shape]:
    """The shapes that an operand of `shape` and its scales are given to broadcast."""
    if scale.elements == 1:
        return shape, ()
    if len(scale.shape) == 1 and scale.elements == shape[axis]:
        return shape, (scale.elements, *(1,) * (len(shape) - axis - 1))
    if not block:
        _check_broadcasts(node, scale.shape, shape)
        return shape, scale.shape
    count = -(-shape[axis] // block)
    if scale.shape != (*shape[:axis], count, *shape[axis + 1 :]):
        node.malformed(f"scales {list(scale.shape)} for blocks of {block} of {list(shape)}")
    if count == 1:
        return shape, scale.shape
    if shape[axis] % block:
        node.refuse(f"blocks of {block} do not fill axis {axis} of {list(shape)}")
    blocks = (*shape[:axis], count, block, *shape[axis + 1 :])
    return blocks, (*shape[:axis], count, 1, *shape[axis + 1 :])


def _check_broadcasts(node: ModelNode, scales: Shape, shape: Shape) -> None:
    sizes = zip(scales[::-1], shape[::-1], strict=False)
    if len(scales) > len(shape) or any(n not in (1, m) for n, m in sizes):
        node.malformed(f"scales {list(scales)} for {list(shape)}")
