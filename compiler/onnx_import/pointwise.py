"""Functions of one operand, Softmax, reductions."""

from collections.abc import Callable

import numpy as np

from tinyc.compiler.graph import DType, Tensor, elements
from tinyc.compiler.onnx_import.arguments import axes_of
from tinyc.compiler.onnx_import.building import Builder, positive_axes, positive_axis
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.element_types import INTEGERS, UNSIGNED
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.compiler.ops.unary_functions import FUNCTIONS

Reader = Callable[[Builder, ModelNode], Tensor]


def unary(function: str, **defaults: float) -> Reader:
    """The reader of a function whose parameters are attributes with these defaults."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x, parameters = build.operand(node, 0), [node.real(n, v) for n, v in defaults.items()]
        if function == "abs" and x.dtype in UNSIGNED:
            return x
        of_integers = f"{function}_integer"
        name = of_integers if x.dtype in INTEGERS and of_integers in FUNCTIONS else function
        return build.add(node, "Unary", (x,), UnaryAttrs(name, tuple(parameters)))

    return read


def read_is_infinite(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    below, above = node.integer("detect_negative", 1), node.integer("detect_positive", 1)
    if not below and not above:
        return build.constant(f"{node.name}/never", np.zeros(x.shape), DType.BOOL)
    attrs = UnaryAttrs("is_infinite", (float(bool(below)), float(bool(above))))
    return build.add(node, "Unary", (x,), attrs)


def read_gelu(build: Builder, node: ModelNode) -> Tensor:
    tanh = node.text("approximate", "none") == "tanh"
    attrs = UnaryAttrs("gelu_tanh" if tanh else "gelu")
    return build.add(node, "Unary", (build.operand(node, 0),), attrs)


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
