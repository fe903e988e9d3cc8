"""Channels that are constant for every input, or that nobody uses, are removed.

Conv2D -> (DepthwiseConv2D, MaxPool2D, Unary, ...)* -> Conv2D or Dense: a channel goes from the
whole chain when its last reader can do without it: its weights there are zero, or its value is
constant and is folded into the reader's bias. At a padded border the reader sees the zero point
instead of the constant, so that only a constant zero point is folded there. The results stay the
same bytes.

Whole groups of four channels go: kernels read words.
"""

from dataclasses import dataclass, replace

import numpy as np

from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor, read_only
from tinyc.compiler.ops.accumulate import centred
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.passes.channel_ranges import Ranges, channel_ranges
from tinyc.passes.rewrite import fresh_tensor
from tinyc.targets import Target

GROUP = 4  # channels; a kernel's word
KEEPING = ("DepthwiseConv2D", "MaxPool2D", "AveragePool2D", "Unary", "Reshape")
CONSTANT_AXES = {"Conv2D": (0, 0), "DepthwiseConv2D": (2, 0)}  # written channels: weights, bias
READ_AXES = {"Conv2D": 3, "Dense": 1}  # of the weights: the channels that are read


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """source: the Conv2D; members: what keeps its channels; readers: (node, tensor it reads)."""

    source: Node
    members: tuple[Node, ...]
    readers: tuple[tuple[Node, str], ...]


def remove_dead_channels(graph: Graph, target: Target) -> Graph:
    ranges = channel_ranges(graph)
    for name in [node.name for node in graph.nodes]:
        source = next(n for n in graph.nodes if n.name == name)
        chain = _chain(graph, source)
        if chain is None:
            continue
        removable = _removable(graph, ranges, chain)
        channels = len(removable)
        needed = max(channels - int(removable.sum()), 1)
        kept_count = -(-needed // GROUP) * GROUP
        if kept_count >= channels:
            continue
        gone = np.flatnonzero(removable)[: channels - kept_count]
        kept = np.setdiff1d(np.arange(channels), gone)
        graph = _without(graph, ranges, chain, kept, gone)
        outputs = [node.output for node in (source, *chain.members)]
        ranges = {**ranges, **{n: ranges[n].of(kept) for n in outputs if n in ranges}}
        note = f"{len(gone)} of {channels} channels of '{_label(source)}' are never needed: removed"
        graph = replace(graph, notes=(*graph.notes, note))
    return graph


def _label(node: Node) -> str:
    return node.origin[-1] if node.origin else node.name


def _chain(graph: Graph, source: Node) -> Chain | None:
    """The chain that starts at `source`; None when a channel of it could not be removed."""
    attrs = source.attrs
    if not isinstance(attrs, Conv2DAttrs) or attrs.groups != 1 or attrs.residual is not None:
        return None
    if graph.tensors[source.output].quant is None:
        return None
    members: list[Node] = []
    readers: list[tuple[Node, str]] = []
    open_tensors = [source.output]
    while open_tensors:
        name = open_tensors.pop()
        if name in graph.outputs or not graph.readers[name]:
            return None
        for node in graph.readers[name]:
            if _keeps_channels(graph, node):
                members.append(node)
                open_tensors.append(node.output)
            elif _can_do_without(node, name):
                readers.append((node, name))
            else:
                return None
    return Chain(source, tuple(members), tuple(readers))


def _keeps_channels(graph: Graph, node: Node) -> bool:
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if node.op not in KEEPING or y.quant is None or x.shape[-1] != y.shape[-1]:
        return False
    if node.op == "Reshape":
        return x.quant == y.quant and x.shape[0] == y.shape[0]
    return True


def _can_do_without(node: Node, tensor: str) -> bool:
    if node.op not in READ_AXES or node.inputs.count(tensor) != 1 or node.inputs[0] != tensor:
        return False
    return getattr(node.attrs, "groups", 1) == 1


def _removable(graph: Graph, ranges: Ranges, chain: Chain) -> Array:
    """Which channels no reader needs."""
    removable = np.ones(graph.tensors[chain.source.output].shape[-1], np.bool_)
    for node, name in chain.readers:
        tensor, w = graph.tensors[name], graph.tensors[node.inputs[1]]
        known = ranges.get(name)
        if known is None or w.data is None or tensor.quant is None:
            return np.zeros_like(removable)
        unused = (centred(w.data, w) == 0).all(axis=tuple(range(len(w.shape) - 1)))
        foldable = known.is_constant
        if any(getattr(node.attrs, "pads", ())):
            foldable = foldable & (known.low == tensor.quant.zero_point[0])
        removable &= unused | foldable
    return removable


def _without(graph: Graph, ranges: Ranges, chain: Chain, kept: Array, gone: Array) -> Graph:
    """The graph with only the `kept` channels of the chain."""
    new: dict[str, Tensor] = {}
    changed: dict[str, Node] = {}

    def added(tensor: Tensor) -> str:
        name = fresh_tensor(graph, tensor.name, new)
        new[name] = replace(tensor, name=name)
        return name

    def sliced(node: Node, *axes: int) -> tuple[str, ...]:
        """The constants that `node` reads, cut along one axis each."""
        pairs = zip(node.inputs[1:], axes, strict=False)
        return tuple(added(_sliced(graph.tensors[name], axis, kept)) for name, axis in pairs)

    for node in (chain.source, *chain.members):
        constants = sliced(node, *CONSTANT_AXES.get(node.op, ()))
        y = graph.tensors[node.output]
        new[y.name] = replace(y, shape=(*y.shape[:-1], len(kept)))
        attrs = ReshapeAttrs(new[y.name].shape) if node.op == "Reshape" else node.attrs
        changed[node.name] = replace(node, inputs=(node.inputs[0], *constants), attrs=attrs)
    for node, name in chain.readers:
        bias = added(_folded(graph, ranges, node, name, gone))
        weights = sliced(node, READ_AXES[node.op])
        changed[node.name] = replace(node, inputs=(name, *weights, bias, *node.inputs[3:]))
    return graph.with_nodes([changed.get(n.name, n) for n in graph.nodes], new.values())


def _sliced(tensor: Tensor, axis: int, kept: Array) -> Tensor:
    assert tensor.data is not None, "weights are constant"
    data = read_only(np.take(tensor.data, kept, axis), tensor.dtype)
    quant = _kept_scales(tensor.quant, axis, kept)
    return replace(tensor, name=f"{tensor.name}\tkept", shape=data.shape, data=data, quant=quant)


def _kept_scales(quant: QParams | None, axis: int, kept: Array) -> QParams | None:
    if quant is None or quant.axis != axis:
        return quant
    places = kept.tolist()
    return QParams(
        tuple(quant.scale[i] for i in places), tuple(quant.zero_point[i] for i in places), axis
    )


def _folded(graph: Graph, ranges: Ranges, node: Node, name: str, gone: Array) -> Tensor:
    """The bias of a reader with the constants of the removed channels in it."""
    tensor, w = graph.tensors[name], graph.tensors[node.inputs[1]]
    assert w.data is not None and tensor.quant is not None
    weights = centred(w.data, w).astype(np.int64).reshape(w.shape[0], -1, w.shape[-1])
    values = ranges[name].low - tensor.quant.zero_point[0]
    unused = (weights == 0).all(axis=(0, 1))
    total = (weights.sum(axis=1) * np.where(unused, 0, values))[:, gone].sum(axis=1)
    old = graph.tensors[node.inputs[2]].data if len(node.inputs) > 2 else None
    data = read_only(total if old is None else old.astype(np.int64) + total, "int32")
    base = node.inputs[2] if len(node.inputs) > 2 else f"{node.name}\tbias"
    return Tensor(f"{base}\tfolded", data.shape, DType.INT32, data)
