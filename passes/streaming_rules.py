"""What each operator becomes when a call gives it only some rows along time.

A row of the whole model and of the calls is the same number, computed by the same kernel from the
same numbers: windows along time find the rows before theirs in a state, operands that come at
different times wait for each other.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil, prod

import numpy as np

from tinyc.compiler.graph import Array, DType, Node, Tensor
from tinyc.compiler.ops.arg_reduce import ArgReduceAttrs, HardmaxAttrs
from tinyc.compiler.ops.binary_functions import FUNCTIONS as BINARY
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.normalize import NormalizeAttrs
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.pad import PadAttrs, stored_value
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.recurrent import RecurrentAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.passes.streaming_flow import Flow, Indivisible, Stream, with_rows

Spatial = Conv2DAttrs | DepthwiseConv2DAttrs | Pool2DAttrs
Rule = Callable[[Stream, Node], None]
WHOLE = "needs all steps at once"
PADDING = "pad right before a convolution or pool, or inside of it"


def step(stream: Stream, node: Node) -> None:
    """Add what `node` is in one call to the stream."""
    flows = [stream.flows[name] for name in node.inputs if name in stream.flows]
    if not flows:
        stream.emit(node)
    elif all(flow.axis is None for flow in flows):
        stream.emit(node, flow=max(flows, key=lambda flow: flow.wait))
    elif any(flow.axis is None for flow in flows):
        stream.refuse(node, "combines the last step with every step")
    elif any(flow.lead for flow in flows) and RULES.get(node.op) not in TAKE_PADDING:
        stream.refuse(node, "reads padding before the first step", PADDING)
    elif node.op in RULES:
        RULES[node.op](stream, node)
    else:
        stream.refuse(node, "has no form that is computed step by step")


def _only(stream: Stream, node: Node) -> tuple[Flow, int]:
    """The flow of the first input, and its axis of time."""
    flow = stream.flows[node.inputs[0]]
    assert flow.axis is not None, f"'{node.name}' has rows"
    return flow, flow.axis


def _elementwise(stream: Stream, node: Node) -> None:
    flow, axis = _only(stream, node)
    tensors = [stream.whole.tensors[name] for name in (*node.inputs, *node.outputs)]
    if any(t.quant is not None and t.quant.axis == axis for t in tensors):
        stream.refuse(node, "has other scales at every step")
    stream.emit(node, flow=flow)


def _along_axis(stream: Stream, node: Node) -> None:
    """One axis of the only operand is taken as a whole."""
    a = node.attrs
    assert isinstance(a, SoftmaxAttrs | HardmaxAttrs | ArgReduceAttrs)
    flow, axis = _only(stream, node)
    if a.axis == axis:
        stream.refuse(node, WHOLE)
    gone = isinstance(a, ArgReduceAttrs) and not a.keep_dims and a.axis < axis
    stream.emit(node, flow=replace(flow, axis=axis - gone))


def _normalize(stream: Stream, node: Node) -> None:
    assert isinstance(node.attrs, NormalizeAttrs)
    names, flow = _together(stream, node, node.inputs)
    if flow.axis in node.attrs.axes:
        stream.refuse(node, WHOLE)
    stream.emit(node, names, flow=flow)


def _together(stream: Stream, node: Node, names: tuple[str, ...]) -> tuple[list[str], Flow]:
    """Operands of an elementwise node, those that come sooner delayed; the flow of the result."""
    rank = max(len(stream.shape(name)) for name in names)
    flows = {n: stream.flows[n] for n in names if n in stream.flows}
    axes = {rank - len(stream.shape(n)) + f.axis for n, f in flows.items() if f.axis is not None}
    if len(axes) != 1:
        stream.refuse(node, "combines tensors that do not move along time together")
    if len({(f.rows, f.total) for f in flows.values()}) > 1:
        stream.refuse(node, "combines tensors of different steps")
    latest, (axis,) = max(flows.values(), key=lambda f: f.delay), axes
    found = []
    for name in names:
        if name in flows:
            found.append(stream.delayed(node, name, latest.delay))
        else:
            found.append(_constant_rows(stream, node, name, axis - rank, latest))
    return found, replace(latest, axis=axis)


def _constant_rows(stream: Stream, node: Node, name: str, from_end: int, flow: Flow) -> str:
    """An operand that does not depend on time: the same at every step."""
    tensor = stream.tensor(name)
    if -from_end > len(tensor.shape) or tensor.shape[from_end] == 1:
        return name
    axis = len(tensor.shape) + from_end
    if tensor.data is None or not np.array_equal(
        tensor.data, np.broadcast_to(np.take(tensor.data, [0], axis), tensor.shape)
    ):
        stream.refuse(node, f"has an operand that differs from step to step, '{name}'")
    rows = np.ascontiguousarray(np.take(tensor.data, range(flow.rows), axis))
    rows.flags.writeable = False
    same = stream.fresh(f"{name} of a call")
    stream.tensors[same] = replace(tensor, name=same, shape=rows.shape, data=rows)
    return same


def _binary(stream: Stream, node: Node) -> None:
    names, flow = _together(stream, node, node.inputs)
    stream.emit(node, names, flow=flow)


def _concat(stream: Stream, node: Node) -> None:
    assert isinstance(node.attrs, ConcatAttrs)
    names, flow = _together(stream, node, node.inputs)
    if flow.axis == node.attrs.axis:
        stream.refuse(node, "joins tensors along time")
    stream.emit(node, names, flow=flow)


def _transpose(stream: Stream, node: Node) -> None:
    assert isinstance(node.attrs, TransposeAttrs)
    flow, axis = _only(stream, node)
    stream.emit(node, flow=replace(flow, axis=node.attrs.perm.index(axis)))


def _reshape(stream: Stream, node: Node) -> None:
    flow, axis = _only(stream, node)
    x, y = stream.shape(node.inputs[0]), stream.shape(node.outputs[0])
    found = [i for i, n in enumerate(y) if n == flow.total and prod(y[:i]) == prod(x[:axis])]
    if not found:
        stream.refuse(node, "merges the steps with other axes")
    shape = with_rows(y, found[0], flow.rows)
    stream.emit(node, attrs=ReshapeAttrs(shape), flow=replace(flow, axis=found[0]))


def _slice(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, SliceAttrs)
    flow, axis = _only(stream, node)
    first, rows = a.starts[axis], a.shape[axis]
    if rows == 1 and first == flow.total - 1 and flow.total > 1:
        if not stream.is_complete(flow):
            stream.refuse(node, "takes the last step, which padding behind the end reaches")
        starts, shape = (
            with_rows(v, axis, n) for v, n in ((a.starts, flow.rows - 1), (a.shape, 1))
        )
        attrs = SliceAttrs(starts, with_rows(a.steps, axis, 1), shape)
        stream.emit(node, attrs=attrs, flow=replace(flow, axis=None))
        return
    if a.steps[axis] != 1:
        stream.refuse(node, "leaves steps out")
    if rows < flow.rows:
        stream.refuse(node, "takes fewer steps than a call has")
    delay = _whole_calls(flow.delay + first, flow.rows)
    source = stream.delayed(node, node.inputs[0], delay - first)
    moved = replace(flow, delay=delay, total=rows)
    starts, shape = (with_rows(v, axis, n) for v, n in ((a.starts, 0), (a.shape, flow.rows)))
    if shape == stream.tensor(source).shape and not any(starts):
        stream.alias(node, source, moved)
    else:
        stream.emit(node, (source,), replace(a, starts=starts, shape=shape), moved)


def _whole_calls(delay: int, rows: int) -> int:
    return ceil(delay / rows) * rows


def _pad(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, PadAttrs)
    flow, axis = _only(stream, node)
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


def _dense(stream: Stream, node: Node) -> None:
    flow, axis = _only(stream, node)
    if axis == len(stream.shape(node.inputs[0])) - 1:
        stream.refuse(node, WHOLE)
    stream.emit(node, flow=flow)


def _matmul(stream: Stream, node: Node) -> None:
    ranks = [len(stream.shape(name)) for name in node.inputs[:2]]
    axes = [stream.axis(name) for name in node.inputs[:2]]
    from_end = [None if a is None else r - a for a, r in zip(axes, ranks, strict=True)]
    rows_only = from_end[0] is not None and from_end[0] > 1 and from_end[1] is None
    batches = None not in from_end and all(n is not None and n > 2 for n in from_end)
    if not rows_only and not batches:
        stream.refuse(node, WHOLE)
    names = node.inputs
    flow = stream.flows[names[0]]
    if batches:
        together, flow = _together(stream, node, node.inputs[:2])
        names = (*together, *node.inputs[2:])
    elif from_end[0] is not None:
        flow = replace(flow, axis=max(ranks) - from_end[0])
    stream.emit(node, names, flow=flow)


def _reduce(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, ReduceAttrs)
    flow, axis = _only(stream, node)
    if axis in a.axes:
        stream.refuse(node, f"takes the {a.kind} of all steps")
    before = 0 if a.keep_dims else sum(i < axis for i in a.axes)
    stream.emit(node, flow=replace(flow, axis=axis - before))


def _recurrent(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, RecurrentAttrs)
    flow, axis = _only(stream, node)
    if any(a.reverse):
        stream.refuse(node, "runs from the last step to the first")
    if axis != int(a.batch_first):
        stream.refuse(node, "has its steps along another axis than time")
    if a.dynamic:
        stream.refuse(node, "finds its scale from all steps")
    if "lengths" in a.operands:
        stream.refuse(node, "takes lengths of sequences")
    if {"h", "c"} & set(a.results) and not stream.is_complete(flow):
        stream.refuse(node, "gives its last state, which padding behind the end reaches")
    operands = dict(zip(a.operands, node.inputs[3:], strict=True))
    results = dict(zip(a.results, node.outputs, strict=True))
    x, r = stream.tensor(node.inputs[0]), stream.tensor(node.inputs[2])
    batch, hidden = x.shape[1 - axis], r.shape[1]
    shape = (batch, 1, hidden) if a.batch_first else (1, batch, hidden)
    like = Tensor("", shape, DType.FLOAT32)
    after: dict[str, str] = {}
    for name in ("h", "c") if a.kind == "lstm" else ("h",):
        first = stream.tensor(operands[name]).data if name in operands else np.zeros(shape)
        if first is None:
            stream.refuse(node, "takes its first state from an input")
        operands[name], after[name] = stream.state(f"{node.name} {name}", like, shape, first)
    order_in = [n for n in ("bias", "lengths", "h", "c", "peepholes") if n in operands]
    order_out = [n for n in ("sequence", "h", "c") if n in (*results, *after)]
    outputs = [after.get(n, results.get(n, "")) for n in order_out]
    attrs = replace(a, operands=tuple(order_in), results=tuple(order_out))
    inputs = (*node.inputs[:3], *(operands[n] for n in order_in))
    stream.nodes.append(replace(node, inputs=inputs, outputs=tuple(outputs), attrs=attrs))
    stream.waits[node.name] = flow.wait
    if "sequence" in results:
        name = results["sequence"]
        wide = with_rows(stream.shape(name), axis, flow.rows)
        stream.tensors[name] = replace(stream.whole.tensors[name], shape=wide)
        stream.flows[name] = flow
    for result, name in results.items():
        if result != "sequence":  # the caller's state is none of the model's tensors
            stream.flows[after[result]] = replace(flow, axis=None)
            copy = replace(node, name=f"{node.name} {result}", outputs=(name,))
            stream.emit(copy, (after[result],), ReshapeAttrs(shape), replace(flow, axis=None),
                        op="Reshape")  # fmt: skip


def _spatial(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, Conv2DAttrs | DepthwiseConv2DAttrs | Pool2DAttrs)
    flow, axis = _only(stream, node)
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
    delay = _whole_calls(max(delay, 0), rows)
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


TAKE_PADDING: tuple[Rule, ...] = (_reshape, _spatial, _transpose)
RULES: dict[str, Rule] = {
    **dict.fromkeys((*BINARY, "Where"), _binary),
    **dict.fromkeys(("ArgReduce", "Hardmax", "Softmax"), _along_axis),
    **dict.fromkeys(("AveragePool2D", "Conv2D", "DepthwiseConv2D", "MaxPool2D"), _spatial),
    **dict.fromkeys(("Cast", "Dequantize", "Quantize", "Unary"), _elementwise),
    "Concat": _concat,
    "Dense": _dense,
    "MatMul": _matmul,
    "Normalize": _normalize,
    "Pad": _pad,
    "Recurrent": _recurrent,
    "Reduce": _reduce,
    "Reshape": _reshape,
    "Slice": _slice,
    "Transpose": _transpose,
}
