"""What each operator becomes when a call gives it only some rows along time.

A row of the whole model and of the calls is the same number, computed by the same kernel from the
same numbers: windows along time find the rows before theirs in a state, operands that come at
different times wait for each other.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from tinyc.compiler.graph import DType, Node, Tensor
from tinyc.compiler.ops.arg_reduce import ArgReduceAttrs, HardmaxAttrs
from tinyc.compiler.ops.binary_functions import FUNCTIONS as BINARY
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.normalize import NormalizeAttrs
from tinyc.compiler.ops.recurrent import RecurrentAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.passes.streaming_flow import WHOLE, Flow, Stream, only_flow, whole_calls, with_rows
from tinyc.passes.streaming_windows import pad, spatial

Rule = Callable[[Stream, Node], None]
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


def _elementwise(stream: Stream, node: Node) -> None:
    flow, axis = only_flow(stream, node)
    tensors = [stream.whole.tensors[name] for name in (*node.inputs, *node.outputs)]
    if any(t.quant is not None and t.quant.axis == axis for t in tensors):
        stream.refuse(node, "has other scales at every step")
    stream.emit(node, flow=flow)


def _along_axis(stream: Stream, node: Node) -> None:
    """One axis of the only operand is taken as a whole."""
    a = node.attrs
    assert isinstance(a, SoftmaxAttrs | HardmaxAttrs | ArgReduceAttrs)
    flow, axis = only_flow(stream, node)
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
    flow, axis = only_flow(stream, node)
    stream.emit(node, flow=replace(flow, axis=node.attrs.perm.index(axis)))


def _reshape(stream: Stream, node: Node) -> None:
    flow, axis = only_flow(stream, node)
    x, y = stream.shape(node.inputs[0]), stream.shape(node.outputs[0])
    found = [i for i, n in enumerate(y) if n == flow.total and prod(y[:i]) == prod(x[:axis])]
    if not found:
        stream.refuse(node, "merges the steps with other axes")
    shape = with_rows(y, found[0], flow.rows)
    stream.emit(node, attrs=ReshapeAttrs(shape), flow=replace(flow, axis=found[0]))


def _slice(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, SliceAttrs)
    flow, axis = only_flow(stream, node)
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
    delay = whole_calls(flow.delay + first, flow.rows)
    source = stream.delayed(node, node.inputs[0], delay - first)
    moved = replace(flow, delay=delay, total=rows)
    starts, shape = (with_rows(v, axis, n) for v, n in ((a.starts, 0), (a.shape, flow.rows)))
    if shape == stream.tensor(source).shape and not any(starts):
        stream.alias(node, source, moved)
    else:
        stream.emit(node, (source,), replace(a, starts=starts, shape=shape), moved)


def _dense(stream: Stream, node: Node) -> None:
    flow, axis = only_flow(stream, node)
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
    flow, axis = only_flow(stream, node)
    if axis in a.axes:
        stream.refuse(node, f"takes the {a.kind} of all steps")
    before = 0 if a.keep_dims else sum(i < axis for i in a.axes)
    stream.emit(node, flow=replace(flow, axis=axis - before))


def _recurrent(stream: Stream, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, RecurrentAttrs)
    flow, axis = only_flow(stream, node)
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


TAKE_PADDING: tuple[Rule, ...] = (_reshape, spatial, _transpose)
RULES: dict[str, Rule] = {
    **dict.fromkeys((*BINARY, "Where"), _binary),
    **dict.fromkeys(("ArgReduce", "Hardmax", "Softmax"), _along_axis),
    **dict.fromkeys(("AveragePool2D", "Conv2D", "DepthwiseConv2D", "MaxPool2D"), spatial),
    **dict.fromkeys(("Cast", "Dequantize", "Quantize", "Table", "Unary"), _elementwise),
    "BlockDense": _dense,
    "Concat": _concat,
    "Dense": _dense,
    "MatMul": _matmul,
    "Normalize": _normalize,
    "Pad": pad,
    "Recurrent": _recurrent,
    "Reduce": _reduce,
    "Reshape": _reshape,
    "Slice": _slice,
    "Transpose": _transpose,
}
