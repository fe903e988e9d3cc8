"""Reshape and its relatives: the same elements under another shape. Identity and Dropout too."""

import math

import numpy as np

from tinyc.compiler.graph import DType, Shape, Tensor, elements
from tinyc.compiler.onnx_import.arguments import axes_of, constant_shape
from tinyc.compiler.onnx_import.axes import positive_axes
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.values import TensorList
from tinyc.compiler.ops.reshape import ReshapeAttrs


def read_identity(build: Builder, node: ModelNode) -> Tensor | TensorList:
    if node.inputs and node.inputs[0] in build.beside.sequences:
        return TensorList(build.sequence(node, 0))
    return build.operand(node, 0)


def read_dropout(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    """At inference nothing is dropped, and the mask says so."""
    x, ratio, training = build.operand(node, 0), build.optional(node, 1), build.optional(node, 2)
    trains = training is not None and (training.data is None or bool(training.data.any()))
    drops = ratio is None or ratio.data is None or bool(ratio.data.any())
    if trains and drops:
        node.refuse("the training mode is not supported", "export the model for inference")
    if not any(node.outputs[1:]):
        return (x,)
    dtype = DType.BOOL if node.opset >= 10 else x.dtype
    return x, build.constant(f"{node.name}/mask", np.ones(x.shape), dtype)


def reshape(build: Builder, node: ModelNode, x: Tensor, shape: Shape) -> Tensor:
    if elements(shape) != x.elements or min(shape, default=1) < 0:
        node.malformed(f"{list(x.shape)} cannot become {list(shape)}")
    return build.add(node, "Reshape", (x,), ReshapeAttrs(shape))


def read_reshape(build: Builder, node: ModelNode) -> Tensor:
    x, wanted = build.operand(node, 0), constant_shape(build, node, 1)
    if wanted is None:
        node.malformed("the shape is missing")
    if not node.integer("allowzero", 0):
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(wanted)):
            node.malformed(f"{list(x.shape)} cannot become {list(wanted)}")
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    if wanted.count(-1) == 1:
        known = math.prod(n for n in wanted if n != -1)
        rest = x.elements // known if known > 0 else 0
        wanted = tuple(rest if n == -1 else n for n in wanted)
    return reshape(build, node, x, wanted)


def read_flatten(build: Builder, node: ModelNode) -> Tensor:
    x, axis = build.operand(node, 0), node.integer("axis", 1)
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        node.malformed(f"the axis {axis} is out of range for {rank} dimensions")
    axis = axis + rank if axis < 0 else axis
    return reshape(build, node, x, (elements(x.shape[:axis]), elements(x.shape[axis:])))


def read_squeeze(build: Builder, node: ModelNode) -> Tensor:
    x, axes = build.operand(node, 0), axes_of(build, node)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    gone = ones if axes is None else positive_axes(node, axes, len(x.shape))
    return reshape(build, node, x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


def read_unsqueeze(build: Builder, node: ModelNode) -> Tensor:
    x, axes = build.operand(node, 0), axes_of(build, node)
    if axes is None:
        node.malformed("the axes are missing")
    rank = len(x.shape) + len(axes)
    new, old = positive_axes(node, axes, rank), iter(x.shape)
    return reshape(build, node, x, tuple(1 if i in new else next(old) for i in range(rank)))
