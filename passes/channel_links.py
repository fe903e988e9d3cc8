"""Which channels of which tensors stand or fall together.

A place is one channel (index of the last axis) of one activation. Operators that keep channels
apart link the places they read with those they write; linked places are one class. Operators that
mix channels by constant weights (Conv2D, Dense) separate what they read from what they write; any
other operator needs all places of its operands.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tinyc.compiler.graph import Array, Graph, Node, Tensor
from tinyc.compiler.ops.binary_functions import FUNCTIONS


class Links:
    """The classes of places. State is the point here: links are added one by one.

    first     by tensor: the number of its first place
    pinned    by place: whether its class cannot go; valid for representatives
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        sizes = [t.shape[-1] if t.shape else 1 for t in tensors]
        starts = np.cumsum([0, *sizes]).tolist()
        self.first = {t.name: n for t, n in zip(tensors, starts, strict=False)}
        self.sizes = {t.name: n for t, n in zip(tensors, sizes, strict=True)}
        self.parents = list(range(starts[-1]))
        self.pinned = np.zeros(starts[-1], np.bool_)

    def find(self, place: int) -> int:
        while self.parents[place] != place:
            self.parents[place] = self.parents[self.parents[place]]
            place = self.parents[place]
        return place

    def link(self, a: str, b: str, channels: Sequence[int], begin: int = 0) -> None:
        """Channel channels[i] of `a` goes with channel begin + i of `b`."""
        for i, channel in enumerate(channels):
            one, other = self.find(self.first[a] + channel), self.find(self.first[b] + begin + i)
            self.parents[other] = one
            self.pinned[one] |= self.pinned[other]

    def pin(self, tensor: str) -> None:
        for place in range(self.sizes[tensor]):
            self.pinned[self.find(self.first[tensor] + place)] = True

    def classes(self, tensor: str) -> Array:
        """The representative of each channel."""
        first = self.first[tensor]
        return np.array([self.find(first + c) for c in range(self.sizes[tensor])], np.int64)


def channel_links(graph: Graph) -> Links:
    """The classes of all activations; the graph's inputs and outputs are pinned."""
    links = Links([t for t in graph.tensors.values() if t.data is None])
    for node in graph.nodes:
        rule = RULES.get(node.op)
        if rule is None or len(node.outputs) != 1 or not rule(graph, node, links):
            for name in (*node.inputs, *node.outputs):
                if graph.tensors[name].data is None:
                    links.pin(name)
    for name in (*graph.inputs, *graph.outputs):
        if graph.tensors[name].data is None:
            links.pin(name)
    return links


def mixes_channels(graph: Graph, node: Node) -> bool:
    """Whether `node` is a Conv2D or Dense that reads all channels, by constant weights."""
    constant = len(node.inputs) > 1 and graph.tensors[node.inputs[1]].data is not None
    if node.op not in ("Conv2D", "Dense") or not constant:
        return False
    bias = len(node.inputs) < 3 or graph.tensors[node.inputs[2]].data is not None
    return bias and getattr(node.attrs, "groups", 1) == 1


def _mix(graph: Graph, node: Node, links: Links) -> bool:
    if not mixes_channels(graph, node):
        return False
    if getattr(node.attrs, "residual", None) is None:
        return True
    return _same(graph, links, node.inputs[-1], node.output)


def _depthwise(graph: Graph, node: Node, links: Links) -> bool:
    x, y = node.inputs[0], node.output
    if any(graph.tensors[t].data is None for t in node.inputs[1:]):
        return False
    multiplier = links.sizes[y] // links.sizes[x]
    links.link(x, y, [c // multiplier for c in range(links.sizes[y])])
    return True


def _same(graph: Graph, links: Links, x: str, y: str) -> bool:
    """Channel by channel."""
    if graph.tensors[x].data is not None or links.sizes[x] != links.sizes[y]:
        return False
    links.link(x, y, range(links.sizes[y]))
    return True


def _each(graph: Graph, node: Node, links: Links) -> bool:
    axes = getattr(node.attrs, "axes", ())
    rank = len(graph.tensors[node.inputs[0]].shape)
    quant = graph.tensors[node.output].quant
    if rank - 1 in axes or rank < 2 or (quant is not None and quant.axis is not None):
        return False
    return _same(graph, links, node.inputs[0], node.output)


def _pad(graph: Graph, node: Node, links: Links) -> bool:
    return node.attrs.pads[-1] == (0, 0) and _each(graph, node, links)  # type: ignore[attr-defined]


def _reshape(graph: Graph, node: Node, links: Links) -> bool:
    """The last axis stays, is repeated by what flattens into it, or is cut into equal parts."""
    x, y = node.inputs[0], node.output
    if graph.tensors[x].data is not None or graph.tensors[x].quant != graph.tensors[y].quant:
        return False
    of_x, of_y = links.sizes[x], links.sizes[y]
    if of_x == 0 or of_y == 0 or min(len(graph.tensors[t].shape) for t in (x, y)) < 1:
        return False
    if of_y % of_x == 0:
        links.link(x, y, [i % of_x for i in range(of_y)])
        return True
    if of_x % of_y == 0:
        links.link(y, x, [i % of_y for i in range(of_x)])
        return True
    return False


def _binary(graph: Graph, node: Node, links: Links) -> bool:
    operands = [graph.tensors[t] for t in node.inputs]
    moving = [t for t in operands if t.data is None]
    if not moving or any(not t.shape or t.shape[-1] != links.sizes[node.output] for t in moving):
        return False
    return all([_same(graph, links, t.name, node.output) for t in moving])


def _concat(graph: Graph, node: Node, links: Links) -> bool:
    if any(graph.tensors[t].data is not None for t in node.inputs):
        return False
    if node.attrs.axis != len(graph.tensors[node.output].shape) - 1:  # type: ignore[attr-defined]
        return all([_same(graph, links, t, node.output) for t in node.inputs])
    begin = 0
    for name in node.inputs:
        links.link(name, node.output, range(links.sizes[name]), begin)
        begin += links.sizes[name]
    return True


RULES: Mapping[str, Callable[[Graph, Node, Links], bool]] = {
    **dict.fromkeys(FUNCTIONS, _binary),
    "AveragePool2D": _each,
    "Cast": _each,
    "Concat": _concat,
    "Conv2D": _mix,
    "Dense": _mix,
    "DepthwiseConv2D": _depthwise,
    "Dequantize": _each,
    "MaxPool2D": _each,
    "Pad": _pad,
    "Quantize": _each,
    "Reduce": _each,
    "Reshape": _reshape,
    "Unary": _each,
}
