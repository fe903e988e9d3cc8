"""Pools: one or two spatial axes in float32 or 8 bits as Pool2D, all others as ReduceWindow."""

from dataclasses import replace

from tinyc.compiler.graph import EIGHT_BITS, DType, Shape, Tensor, elements
from tinyc.compiler.onnx_import.arguments import constant_integers
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.spatial import (
    channels_first,
    channels_last,
    first_channels,
    last_channels,
)
from tinyc.compiler.onnx_import.window import Window, steps_of, window_of
from tinyc.compiler.ops.copying import dense_strides
from tinyc.compiler.ops.max_unpool import MaxUnpoolAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.reduce_window import ReduceWindowAttrs


def read_max_pool(build: Builder, node: ModelNode) -> Tensor | tuple[Tensor, ...]:
    x, window = _operand(build, node)
    y = _pool(build, node, x, window, "max", False)
    if not any(node.outputs[1:]):
        return y
    spatial = x.shape[2:]
    steps = dense_strides(spatial)
    if node.integer("storage_order", 0):
        steps = list(reversed(dense_strides(spatial[::-1])))
    outer = (x.shape[1] * elements(spatial), elements(spatial))
    attrs = replace(_general(window, "max", False), steps=(*outer, *steps))
    return y, build.add(node, "ArgWindow", (x,), attrs)


def read_max_pool_of_channels_last(build: Builder, node: ModelNode) -> Tensor:
    x = first_channels(build, node, build.operand(node, 0))
    return last_channels(build, node, _pool(build, node, x, _window(node, x), "max", False))


def read_average_pool(build: Builder, node: ModelNode) -> Tensor:
    return average_pool(build, node, build.operand(node, 0))


def average_pool(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    window = _window(node, x)
    return _pool(build, node, x, window, "average", bool(node.integer("count_include_pad", 0)))


def read_lp_pool(build: Builder, node: ModelNode) -> Tensor:
    x, window = _operand(build, node)
    return _lp_pool(build, node, x, window)


def read_global_lp_pool(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    if len(x.shape) < 3:
        node.malformed(f"the input {list(x.shape)} has no spatial axis")
    ones, zeros = (1,) * (len(x.shape) - 2), (0,) * (len(x.shape) - 2)
    return _lp_pool(build, node, x, Window(x.shape[2:], ones, zeros, zeros, ones, zeros))


def _lp_pool(build: Builder, node: ModelNode, x: Tensor, window: Window) -> Tensor:
    p = node.integer("p", 2)
    if p < 1:
        node.malformed(f"the power p is {p}")
    attrs = replace(_general(window, "lp", False), p=p)
    return build.add(node, "ReduceWindow", (x,), attrs)


def _operand(build: Builder, node: ModelNode) -> tuple[Tensor, Window]:
    x = build.operand(node, 0)
    return x, _window(node, x)


def _window(node: ModelNode, x: Tensor) -> Window:
    kernel = node.integers("kernel_shape")
    if len(x.shape) < 3 or kernel is None or len(kernel) != len(x.shape) - 2:
        node.malformed("kernel_shape is missing or does not fit the input")
    return window_of(node, x.shape[2:], kernel, bool(node.integer("ceil_mode", 0)))


def _pool(
    build: Builder, node: ModelNode, x: Tensor, window: Window, kind: str, include_pad: bool
) -> Tensor:
    beyond = include_pad and any(window.excess)
    if len(x.shape) > 4 or beyond or x.dtype not in (DType.FLOAT32, *EIGHT_BITS):
        return build.add(node, "ReduceWindow", (x,), _general(window, kind, include_pad))
    wide = window.wider(2)
    (top, left), (bottom, right) = wide.before, wide.after
    pads = (top, left, bottom + wide.excess[0], right + wide.excess[1])
    attrs = Pool2DAttrs(
        _pair(wide.kernel), _pair(wide.strides), pads, _pair(wide.dilations),
        include_pad and any(pads),
    )  # fmt: skip
    op = "MaxPool2D" if kind == "max" else "AveragePool2D"
    y = build.add(node, op, (channels_last(build, node, x),), attrs)
    return channels_first(build, node, y, len(x.shape))


def _pair(values: Shape) -> tuple[int, int]:
    return values[0], values[1]


def _general(window: Window, kind: str, include_pad: bool) -> ReduceWindowAttrs:
    """The window over batch and channels too."""
    return ReduceWindowAttrs(
        kind, (1, 1, *window.kernel), (1, 1, *window.strides), (0, 0, *window.before),
        (0, 0, *window.after), (1, 1, *window.dilations), (0, 0, *window.excess), include_pad,
    )  # fmt: skip


def read_global_average_pool(build: Builder, node: ModelNode) -> Tensor:
    return global_average_pool(build, node, build.operand(node, 0))


def global_average_pool(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    return _global_pool(build, node, x, "AveragePool2D", "mean")


def read_global_max_pool(build: Builder, node: ModelNode) -> Tensor:
    return _global_pool(build, node, build.operand(node, 0), "MaxPool2D", "max")


def _global_pool(build: Builder, node: ModelNode, x: Tensor, op: str, kind: str) -> Tensor:
    if len(x.shape) < 3:
        node.malformed(f"the input {list(x.shape)} has no spatial axis")
    if len(x.shape) > 4:
        return build.add(node, "Reduce", (x,), ReduceAttrs(kind, tuple(range(2, len(x.shape)))))
    y = channels_last(build, node, x)
    y = build.add(node, op, (y,), Pool2DAttrs((y.shape[1], y.shape[2])))
    return channels_first(build, node, y, len(x.shape))


def read_max_unpool(build: Builder, node: ModelNode) -> Tensor:
    """The values at their places in the pooled tensor, zeros around them."""
    x, places = build.operand(node, 0), build.operand(node, 1)
    kernel, wanted = node.integers("kernel_shape"), constant_integers(build, node, 2)
    rank = len(x.shape) - 2
    if rank < 1 or kernel is None or len(kernel) != rank or places.shape != x.shape:
        node.malformed("kernel_shape or the indices do not fit the input")
    strides, _, pads = steps_of(node, kernel, rank)
    spatial = tuple(
        (n - 1) * s - pads[i] - pads[i + rank] + k
        for i, (n, s, k) in enumerate(zip(x.shape[2:], strides, kernel, strict=True))
    )
    shape = (*x.shape[:2], *spatial)
    y = build.add(node, "MaxUnpool", (x, places), MaxUnpoolAttrs(shape))
    if wanted is None or wanted == shape:
        return y
    if len(wanted) != len(shape) or any(w < n for w, n in zip(wanted, shape, strict=True)):
        node.refuse(f"output_shape {list(wanted)} is smaller than {list(shape)}")
    around = tuple((0, w - n) for w, n in zip(wanted, shape, strict=True))
    return build.add(node, "Pad", (y,), PadAttrs(around, "constant", 0.0))
