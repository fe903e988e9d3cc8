"""Convolutions and pools along time: a call finds the rows before its own in a state."""

from dataclasses import replace
from math import ceil

import numpy as np

from tinyc.compiler.graph import Array, Node, Tensor
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.pad import PadAttrs, stored_value
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.passes.streaming_flow import (
    WHOLE,
    Flow,
    Indivisible,
    Stream,
    only_flow,
    whole_calls,
    with_rows,
)

Spatial = Conv2DAttrs | DepthwiseConv2DAttrs | Pool2DAttrs


def pad(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, PadAttrs)
    flow, axis = only_flow(stream, node)
    before, behind = a.pads[axis]
    if before and a.mode != "constant":
        stream.refuse(node, "pads with steps that come later")
    total, fill = before + flow.total + behind, stored_value(call_of(stream.whole, node))
    moved = replace(flow, total=total, lead=before, fill=fill if before else 0.0)
    pads = tuple((0, 0) if i == axis else p for i, p in enumerate(a.pads))
    if any(map(any, pads)):
        stream.emit(node, attrs=replace(a, pads=pads), flow=moved)
    else:
        stream.alias(node, node.inputs[0], moved)


def spatial(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, Conv2DAttrs | DepthwiseConv2DAttrs | Pool2DAttrs)
    flow, axis = only_flow(stream, node)
    if axis not in (1, 2):
        stream.refuse(node, WHOLE)
    along = axis - 1
    size, stride = _kernel_size(stream, node, a, along), a.strides[along]
    reach, before = (size - 1) * a.dilations[along], a.pads[along]
    total = stream.shape(node.outputs[0])[axis]
    if isinstance(a, Pool2DAttrs) and total == 1 and size >= flow.total > 1:
        stream.refuse(node, "pools over all steps")
    if isinstance(a, Pool2DAttrs) and before and node.op == "AveragePool2D" and not a.include_pad:
        stream.refuse(node, "divides by fewer steps at the beginning", "let it count its padding")
    if before + flow.lead > reach:
        stream.refuse(node, "has more padding than its window reaches")
    if flow.rows % stride:
        raise Indivisible(node, flow.rows, stride)
    rows = flow.rows // stride
    late = flow.delay - flow.lead
    delay = ceil((late + 1 + reach - before - stride) / stride)
    residual = getattr(a, "residual", None)
    if residual is not None:
        delay = max(delay, stream.flows[node.inputs[-1]].delay)
    delay = whole_calls(max(delay, 0), rows)
    moved = Flow(axis, rows, delay, total)
    history = delay * stride + before - late
    x = stream.history(node, node.inputs[0], history, _past(stream, node, flow, history))
    names = [x, *node.inputs[1:]]
    if residual is not None:
        if stream.flows[names[-1]].rows != rows:
            stream.refuse(node, "adds a tensor of different steps")
        names[-1] = stream.delayed(node, names[-1], delay)
    excess = flow.rows + history - ((rows - 1) * stride + reach + 1)
    if excess >= stride:  # rows that no window of this call reads
        names[0] = stream.cut(node, x, 0, flow.rows + history - excess)
    top, left, bottom, right = a.pads
    pads = (0, left, 0, right) if along == 0 else (top, 0, bottom, 0)
    stream.emit(node, names, replace(a, pads=pads), moved)


def _kernel_size(stream: Stream, node: Node, a: Spatial, along: int) -> int:
    if isinstance(a, Pool2DAttrs):
        return a.kernel[along]
    weights = stream.shape(node.inputs[1])
    return weights[along] if isinstance(a, DepthwiseConv2DAttrs) else weights[along + 1]


def _past(stream: Stream, node: Node, flow: Flow, history: int) -> Array:
    """What a window begins with: padding of the node, then that which leads the tensor."""
    own, axis = _fill(stream, node), flow.axis
    if not flow.lead or axis is None:
        return own
    values = np.full(history + flow.rows, flow.fill, own.dtype)
    values[: flow.rows + max(history - flow.lead, 0)] = own  # the first call moves on by its rows
    rank = len(stream.shape(node.inputs[0]))
    return values.reshape(with_rows((1,) * rank, axis, -1))


def _fill(stream: Stream, node: Node) -> Array:
    """What padding is, as it is stored."""
    x: Tensor = stream.whole.tensors[node.inputs[0]]
    if node.op == "MaxPool2D":
        lowest = -np.inf if x.dtype.is_float else x.dtype.limits[0]
        return np.array(lowest, x.dtype.value)
    return np.array(x.quant.zero_point[0] if x.quant else 0, x.dtype.value)
