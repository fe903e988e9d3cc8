"""What goes along axes: reductions, ArgMax, TopK, cumulative sums, Softmax and its relatives."""

import math
from collections.abc import Callable

import numpy as np

from tinyc.compiler.graph import DType, Shape, Tensor, elements
from tinyc.compiler.onnx_import.arguments import axes_of, constant_integers
from tinyc.compiler.onnx_import.axes import positive_axes, positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.arg_reduce import ArgReduceAttrs, HardmaxAttrs
from tinyc.compiler.ops.cumulate import CumulateAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs, reduced_shape
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.top_k import TopKAttrs

Reader = Callable[[Builder, ModelNode], Tensor]
UNCHANGED = ("sum", "mean", "prod", "max", "min")  # of one value: that value


def reduction(kind: str) -> Reader:
    """The reader of ReduceMean, ReduceSum, ..."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x, axes = build.operand(node, 0), axes_of(build, node)
        chosen = tuple(range(len(x.shape)))
        if axes or node.integer("noop_with_empty_axes", 0):
            chosen = tuple(sorted(positive_axes(node, axes or (), len(x.shape))))
        attrs = ReduceAttrs(kind, chosen, bool(node.integer("keepdims", 1)))
        if not chosen and kind in UNCHANGED:
            return x
        if 0 in (x.shape[axis] for axis in chosen):
            return _of_nothing(build, node, x.dtype, attrs, reduced_shape(x.shape, attrs))
        return build.add(node, "Reduce", (x,), attrs)

    return read


def _of_nothing(
    build: Builder, node: ModelNode, dtype: DType, attrs: ReduceAttrs, shape: Shape
) -> Tensor:
    """The reduction of empty sets: a constant."""
    if attrs.kind == "mean" and not dtype.is_float:
        node.refuse("the mean of no integers is not defined")
    least, most = (-math.inf, math.inf) if dtype.is_float else (False, True)
    if not dtype.is_float and dtype != DType.BOOL:
        least, most = dtype.limits
    numbers = {"prod": 1, "max": least, "min": most, "mean": math.nan}
    value = -math.inf if attrs.kind.startswith("log") else numbers.get(attrs.kind, 0)
    return build.constant(f"{node.name}/of nothing", np.full(shape, value, dtype.value), dtype)


def arg_reduction(largest: bool) -> Reader:
    """The reader of ArgMax or ArgMin."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x = build.operand(node, 0)
        axis = _axis(node, x, 0)
        if not x.shape[axis]:
            node.malformed(f"nothing lies along the axis {axis} of {list(x.shape)}")
        last = bool(node.integer("select_last_index", 0))
        attrs = ArgReduceAttrs(axis, largest, last, bool(node.integer("keepdims", 1)))
        return build.add(node, "ArgReduce", (x,), attrs)

    return read


def read_top_k(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    """The results are sorted, whether that is asked for or not."""
    x = build.operand(node, 0)
    given = constant_integers(build, node, 1) if node.opset >= 10 else (node.integer("k", 0),)
    axis = _axis(node, x, -1)
    if given is None or len(given) != 1 or not 0 < given[0] <= x.shape[axis]:
        node.malformed(f"k is {given} for the axis {axis} of {list(x.shape)}")
    attrs = TopKAttrs(axis, given[0], bool(node.integer("largest", 1)))
    return build.add_all(node, "TopK", (x,), attrs)


def cumulation(product: bool) -> Reader:
    """The reader of CumSum or CumProd."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x, axis = build.operand(node, 0), constant_integers(build, node, 1)
        if axis is None or len(axis) != 1 or not x.shape:
            node.malformed("the axis is missing, or the input has none")
        exclusive, reverse = (bool(node.integer(name, 0)) for name in ("exclusive", "reverse"))
        chosen = positive_axis(node, axis[0], len(x.shape))
        return build.add(node, "Cumulate", (x,), CumulateAttrs(chosen, product, exclusive, reverse))

    return read


def softmax(log: bool) -> Reader:
    """The reader of Softmax or LogSoftmax."""
    return _along_axis("Softmax", lambda axis: SoftmaxAttrs(axis, log))


def _along_axis(op: str, attrs: Callable[[int], object]) -> Reader:
    """The reader of an operator along one axis; before opset 13 all axes from it on are one."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x = build.operand(node, 0)
        newer = node.opset >= 13
        axis = _axis(node, x, -1 if newer else 1)
        if newer or elements(x.shape[axis + 1 :]) == 1:
            return build.add(node, op, (x,), attrs(axis))
        rows = build.reshaped(node, x, (elements(x.shape[:axis]), elements(x.shape[axis:])))
        return build.reshaped(node, build.add(node, op, (rows,), attrs(1)), x.shape)

    return read


read_hardmax = _along_axis("Hardmax", HardmaxAttrs)


def _axis(node: ModelNode, x: Tensor, default: int) -> int:
    if not x.shape:
        node.malformed("the input has no axes")
    return positive_axis(node, node.integer("axis", default), len(x.shape))
