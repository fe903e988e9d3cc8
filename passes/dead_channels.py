"""Channels that are constant for every input, or that nobody uses, are removed.

A channel goes from every tensor it runs through when those that read it can do without it: their
weights for it are zero, or its value is constant and is folded into their biases. At a padded
border a reader sees the zero point instead of the constant, and floats round a sum by its order,
so that there only a constant zero goes. The results stay the same bytes; those of floats, but for
the order in which a kernel sums.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor, read_only
from tinyc.compiler.ops.accumulate import centred
from tinyc.compiler.ops.binary_functions import FUNCTIONS
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.passes.channel_links import Links, channel_links, mixes_channels
from tinyc.passes.channel_ranges import channel_ranges
from tinyc.passes.rewrite import fresh_tensor
from tinyc.passes.value_ranges import Ranges
from tinyc.targets import Target

MOST_BIAS = 1 << 30  # of one that constants are folded into: the sum must fit int32
Kept = Mapping[str, Array]  # by activation: which of its channels stay


def remove_dead_channels(graph: Graph, target: Target) -> Graph:
    before, current = graph, None
    while current is not graph:  # what goes narrows the ranges of what is left
        current, graph = graph, _without_dead(graph)
    return replace(graph, notes=(*graph.notes, *_notes(before, graph)))


def _without_dead(graph: Graph) -> Graph:
    ranges, links = channel_ranges(graph), channel_links(graph)
    needed = _needed(graph, ranges, links)
    kept = {name: needed[links.classes(name)] for name in links.first}
    return graph if all(mask.all() for mask in kept.values()) else _cut(graph, ranges, kept)


def _needed(graph: Graph, ranges: Ranges, links: Links) -> Array:
    """Which classes stay. What goes may leave readers without weights, until nothing changes."""
    classes = {name: links.classes(name) for name in links.first}
    needed, before = np.ones_like(links.pinned), None
    while before is None or (before != needed).any():
        before, needed = needed, links.pinned.copy()
        for node in graph.nodes:
            if mixes_channels(graph, node):
                rows = before[classes[node.output]]
                needed[classes[node.inputs[0]][_needs(graph, ranges, node, rows)]] = True
        for of_tensor in classes.values():
            if not needed[of_tensor].any():
                needed[of_tensor[:1]] = True  # a tensor without channels is none
    return needed


def _needs(graph: Graph, ranges: Ranges, node: Node, rows: Array) -> Array:
    """Which channels a Conv2D or Dense cannot do without, when only `rows` of its outputs stay."""
    tensor, w = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]]
    used = (_weights(w)[rows] != 0).any(axis=(0, 1))
    known = ranges.get(tensor.name)
    if known is None:
        return np.asarray(used)
    zero = tensor.quant.zero_point[0] if tensor.quant else 0
    foldable = known.is_constant & (known.low == zero)
    if tensor.quant is not None and not any(getattr(node.attrs, "pads", ())):
        bias = graph.tensors[node.inputs[2]].data if len(node.inputs) > 2 else None
        if bias is None or np.abs(bias.astype(np.int64)).max(initial=0) < MOST_BIAS:
            foldable = known.is_constant
    return np.asarray(used & ~foldable)


def _weights(w: Tensor) -> Array:
    """Of a Conv2D or Dense: [outputs, places of the window, inputs], centred."""
    assert w.data is not None, "weights are constant"
    return centred(w.data, w).reshape(w.shape[0], -1, w.shape[-1])


def _cut(graph: Graph, ranges: Ranges, kept: Kept) -> Graph:
    """The graph with only the kept channels."""
    new = {
        name: replace(graph.tensors[name], shape=(*graph.tensors[name].shape[:-1], int(mask.sum())))
        for name, mask in kept.items()
        if not mask.all()
    }
    nodes = []
    for node in graph.nodes:
        inputs = [*node.inputs]
        for position, constant in _constants(graph, ranges, kept, node).items():
            name = fresh_tensor(graph, constant.name, new)
            new[name] = replace(constant, name=name)
            inputs[position : position + 1] = [name]  # a bias may be the first one
        attrs = node.attrs
        if node.op == "Reshape" and node.output in new:
            attrs = ReshapeAttrs(new[node.output].shape)
        nodes.append(replace(node, inputs=tuple(inputs), attrs=attrs))
    return graph.with_nodes(nodes, new.values())


def _notes(before: Graph, after: Graph) -> tuple[str, ...]:
    """What went, by the layers that would have computed it."""
    notes = []
    for node in before.nodes:
        if mixes_channels(before, node):
            channels, left = (g.tensors[node.output].shape[-1] for g in (before, after))
            label = node.origin[-1] if node.origin else node.name
            if left < channels:
                counts = f"{channels - left} of {channels} channels"
                notes.append(f"{counts} of '{label}' are never needed: removed")
    return tuple(notes)


def _constants(graph: Graph, ranges: Ranges, kept: Kept, node: Node) -> Mapping[int, Tensor]:
    """The constants that `node` reads instead, by the position of its input."""
    if node.output not in kept:
        return {}
    rows = kept[node.output]
    if mixes_channels(graph, node):
        columns, w = kept[node.inputs[0]], graph.tensors[node.inputs[1]]
        cut = {1: _sliced(w, {0: rows, len(w.shape) - 1: columns})}
        bias = graph.tensors[node.inputs[2]] if len(node.inputs) > 2 else None
        if not columns.all():
            bias = _folded(graph, ranges, node, ~columns, bias)
        if bias is not None:
            cut[2] = _sliced(bias, {0: rows})
    elif node.op == "DepthwiseConv2D":
        axes = zip(enumerate(node.inputs[1:], 1), (2, 0), strict=False)
        cut = {i: _sliced(graph.tensors[t], {axis: rows}) for (i, t), axis in axes}
    elif node.op in FUNCTIONS:
        cut = {i: _last_axis(graph.tensors[t], rows) for i, t in enumerate(node.inputs)}
    else:
        cut = {}
    return {i: t for i, t in cut.items() if i >= len(node.inputs) or t.name != node.inputs[i]}


def _last_axis(tensor: Tensor, mask: Array) -> Tensor:
    """An operand, cut where it is a constant with one value a channel."""
    if tensor.data is None or not tensor.shape or tensor.shape[-1] != mask.size:
        return tensor
    return _sliced(tensor, {len(tensor.shape) - 1: mask})


def _sliced(tensor: Tensor, masks: Mapping[int, Array]) -> Tensor:
    """A constant with what stays along some axes."""
    assert tensor.data is not None, "weights are constant"
    if all(mask.all() for mask in masks.values()):
        return tensor
    data, quant = tensor.data, tensor.quant
    for axis, mask in masks.items():
        data, quant = data.compress(mask, axis), _kept_scales(quant, axis, mask)
    name = tensor.name if tensor.name.endswith("\tfolded") else f"{tensor.name}\tkept"
    kept = read_only(data, tensor.dtype)
    return replace(tensor, name=name, shape=data.shape, data=kept, quant=quant)


def _kept_scales(quant: QParams | None, axis: int, mask: Array) -> QParams | None:
    if quant is None or quant.axis != axis:
        return quant
    places = np.flatnonzero(mask).tolist()
    return QParams(
        tuple(quant.scale[i] for i in places), tuple(quant.zero_point[i] for i in places), axis
    )


def _folded(
    graph: Graph, ranges: Ranges, node: Node, gone: Array, bias: Tensor | None
) -> Tensor | None:
    """The bias of a reader with the constants of the channels that go in it.

    One that goes without being constant has no weights in the rows that stay.
    """
    x, w = (graph.tensors[name] for name in node.inputs[:2])
    known = ranges.get(x.name)
    if x.quant is None or known is None:  # only zeros go
        return bias
    values = np.where(known.is_constant & gone, known.low - x.quant.zero_point[0], 0)
    total = (_weights(w).astype(np.int64).sum(axis=1) * values.astype(np.int64)).sum(axis=1)
    if not total.any():
        return bias
    if bias is not None and bias.data is not None:
        total = total + bias.data.astype(np.int64)
    name = f"{node.name}\tbias" if bias is None else f"{bias.name}\tfolded"
    dtype = DType.INT32 if np.abs(total).max() < 1 << 31 else DType.INT64  # beside 16 bits
    return Tensor(name, total.shape, dtype, read_only(total, dtype))
