"""ConvTranspose(x, w, b) -> Interleave(Conv2D(x, w', b'), ...), by its phases.

Output o = Q * s + p - first of stride s, phase p, reads x[Q + e] by those weights k that have
e * s = p - first + before - k * d: an ordinary convolution of stride 1 for each phase, which all
kernels of Conv2D and their records are for. One Conv2D computes the channels of all phases of an
axis, or one computes each. Weights that a phase lacks are zeros: they add nothing to a sum, so that
integers stay what they were.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Graph, Node, QParams, Tensor, read_only
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.conv_nd import ConvNDAttrs
from tinyc.compiler.ops.interleave import InterleaveAttrs
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.passes.rewrite import fresh_node, fresh_tensor, replace_nodes, rewrite
from tinyc.targets import Target

MOST_PARTS = 4  # Conv2Ds in place of one node: each is a call and code, and reads x once more
SEPARATE = 1.1  # what a product of an axis in parts costs beside one of an axis at once


@dataclass(frozen=True, slots=True)
class _Part:
    """The phases of an axis that one Conv2D computes.

    phases  how many
    size    outputs of each
    taps    of the kernel
    pads    of the input, before and behind
    cells   (phase, tap, k) of every weight
    """

    phases: int
    size: int
    taps: int
    pads: tuple[int, int]
    cells: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Outputs are the pixels from `first` on of those of all parts."""

    stride: int
    first: int
    outputs: int
    parts: tuple[_Part, ...]

    @property
    def cost(self) -> float:
        """Products of the axis; a part alone computes fewer channels, and reads x once more."""
        products = sum(p.phases * p.size * p.taps for p in self.parts)
        return products * (SEPARATE if len(self.parts) > 1 else 1)


def split_transposed_convolutions(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, lambda graph, node: _split(graph, node, target))


def split_by_rows(graph: Graph, target: Target) -> Graph:
    """Only where the phases stream, a row of each: else all of them lie beside the image."""

    def split(graph: Graph, node: Node) -> Graph | None:
        found = _split(graph, node, target)
        return found if found is not None and _streams(found, node) else None

    return rewrite(graph, split)


def keep_transposed_convolutions(graph: Graph, target: Target) -> Graph:
    return graph


def ways_to_split(graph: Graph, target: Target) -> tuple[Callable[[Graph, Target], Graph], ...]:
    """Passes with different results: that with the fewest cycles is first, the others take less
    RAM or flash."""
    ways = (split_transposed_convolutions, split_by_rows, keep_transposed_convolutions)
    whole = [sum(n.op == "ConvTranspose" for n in way(graph, target).nodes) for way in ways]
    return tuple(way for i, way in enumerate(ways) if whole[i] not in whole[:i])


def _streams(graph: Graph, node: Node) -> bool:
    """Whether what became of a node computes the rows of its output one by one."""
    last = graph.producer(node.output)
    while last is not None and last.op == "Reshape":
        last = graph.producer(last.inputs[0])
    return last is not None and OPS[last.op].windows(call_of(graph, last)) is not None


def gain(target: Target, floats: bool) -> float:
    """How many products of Conv2D take as long as one of ConvTranspose, about.

    Measured (docs/kernels.md), cycles a product before and after: int8 3.6 to 5.8 and 1.1 to 1.8
    on Cortex-M4, 7.8 to 10.4 and 3.5 to 4.5 on Cortex-M0+, 4.7 to 5.8 and 3.4 to 5.3 on rv32imc;
    floats 4.2 to 5.2 and 2.8 to 3.8 on Cortex-M4, as many or more without an FPU. The copy takes
    less than the loops around the sums of an output did.
    """
    if floats:
        return 1.45 if "fpu" in target.features else 0.0
    return 2.5 if "dsp" in target.features else 1.4


def _split(graph: Graph, node: Node, target: Target) -> Graph | None:
    a = node.attrs
    if node.op != "ConvTranspose" or not isinstance(a, ConvNDAttrs) or not _has_form(graph, node):
        return None
    x, w = (graph.tensors[name] for name in node.inputs[:2])
    if a.groups > 1:
        return None
    down, across = _cheapest(a, x, w)
    products = down.cost * across.cost * w.shape[0] * w.shape[3]
    if products > gain(target, x.quant is None) * x.shape[1] * x.shape[2] * w.elements:
        return None
    layers: list[Node] = []
    tensors: list[Tensor] = []
    for part in product(down.parts, across.parts):
        layer, new = _convolution(graph, node, part, Conv2DAttrs(clamp=a.clamp), len(layers))
        layers.append(layer)
        tensors += new
    known = {**graph.tensors, **{t.name: t for t in tensors}}
    for layer in layers if x.quant is not None else ():
        call = Call(layer, tuple(known[n] for n in layer.inputs), (known[layer.output],))
        if not OPS["Conv2D"].quantize(call):
            return None
    nodes, rows = _interleaved(graph, node, [known[layer.output] for layer in layers], down, across)
    return replace_nodes(graph, [node], [*layers, *nodes], (*tensors, *rows))


def _has_form(graph: Graph, node: Node) -> bool:
    """Two axes, constant weights; of floats, or of 8 bits down to the result."""
    x, w, *bias = (graph.tensors[name] for name in node.inputs)
    y = graph.tensors[node.output]
    floats = {x.dtype, w.dtype, y.dtype} == {DType.FLOAT32} and x.quant is None
    stored = x.quant is not None and y.quant is not None
    stored = stored and all(t.dtype in EIGHT_BITS for t in (x, w, y))
    return len(x.shape) == 4 and (floats or stored) and all(t.data is not None for t in (w, *bias))


def _cheapest(a: ConvNDAttrs, x: Tensor, w: Tensor) -> tuple[_Axis, _Axis]:
    down, across = (
        list(_choices(a, axis, x.shape[axis + 1], w.shape[axis + 1])) for axis in range(2)
    )
    few = (p for p in product(down, across) if prod(len(a.parts) for a in p) <= MOST_PARTS)
    return min(few, key=lambda pair: pair[0].cost * pair[1].cost)


def _choices(a: ConvNDAttrs, axis: int, size: int, kernel: int) -> Iterator[_Axis]:
    """All phases at once, from each pixel of the first ones on; and each phase alone."""
    stride, outputs = a.strides[axis], a.outputs[axis]
    steps = [k * a.dilations[axis] for k in range(kernel)]
    for first in range(stride):
        count = -(-(outputs + first) // stride)
        part = _part(range(stride), a.before[axis] - first, steps, size, count)
        yield _Axis(stride, first, outputs, (part,))
    if stride > 1:
        parts = (
            _part((p,), a.before[axis], steps, size, -(-(outputs - p) // stride), stride)
            for p in range(stride)
        )
        yield _Axis(stride, 0, outputs, tuple(parts))


def _part(
    phases: Sequence[int], start: int, steps: Sequence[int], size: int, count: int, stride: int = 0
) -> _Part:
    stride = stride or len(phases)
    found = [
        (place, (phase + start - step) // stride, k)
        for place, phase in enumerate(phases)
        for k, step in enumerate(steps)
        if (phase + start - step) % stride == 0
    ]
    lowest = min((0, *(e for _, e, _ in found)))
    highest = max((0, *(e for _, e, _ in found)))
    count = max(count, size - highest, 1)  # a Conv2D reads its input to the end
    cells = tuple((place, e - lowest, k) for place, e, k in found)
    pads = (-lowest, count + highest - size)
    return _Part(len(phases), count, highest - lowest + 1, pads, cells)


def _convolution(
    graph: Graph, node: Node, part: tuple[_Part, _Part], attrs: Conv2DAttrs, number: int
) -> tuple[Node, list[Tensor]]:
    """The Conv2D of some phases, and the tensors that it adds."""
    x, w, y = (graph.tensors[name] for name in (*node.inputs[:2], node.output))
    down, across = part
    count = down.phases * across.phases
    constants = [_weights(graph, w, part, number)]
    constants += [_bias(graph, graph.tensors[name], count) for name in node.inputs[2:]]
    name = fresh_tensor(graph, f"{y.name}\tphases {number}")
    mixed = replace(y, name=name, shape=(x.shape[0], down.size, across.size, count * w.shape[0]))
    pads = (down.pads[0], across.pads[0], down.pads[1], across.pads[1])
    layer = replace(
        node,
        name=fresh_node(graph, f"{node.name}\tphases {number}") if number else node.name,
        op="Conv2D",
        inputs=(x.name, *(t.name for t in constants)),
        outputs=(mixed.name,),
        attrs=replace(attrs, pads=pads),
    )
    return layer, [*constants, mixed]


def _weights(graph: Graph, w: Tensor, part: tuple[_Part, _Part], number: int) -> Tensor:
    """[oc, kh, kw, ic] -> [phases * oc, taps, taps, ic]; what is no weight is zero."""
    down, across = part
    assert w.data is not None, "_has_form has asked"
    zero: Array = np.zeros(1, np.int64) if w.quant is None else np.array(w.quant.zero_point)
    shape = (down.phases, across.phases, w.shape[0], down.taps, across.taps, w.shape[3])
    joined = np.empty(shape, w.data.dtype)
    joined[:] = zero.reshape(-1, 1, 1, 1)
    for row, i, k in down.cells:
        for column, j, m in across.cells:
            joined[row, column, :, i, j] = w.data[:, k, m]
    data = read_only(joined.reshape(-1, *shape[3:]), w.dtype)
    quant, count = w.quant, down.phases * across.phases
    if quant is not None and quant.axis is not None:
        quant = QParams(quant.scale * count, quant.zero_point * count, 0)
    name = fresh_tensor(graph, f"{w.name}\tphases {number}")
    return replace(w, name=name, shape=data.shape, data=data, quant=quant)


def _bias(graph: Graph, bias: Tensor, count: int) -> Tensor:
    """Once for every phase; parts share it."""
    assert bias.data is not None, "_has_form has asked"
    data = read_only(np.tile(bias.data, count), bias.dtype)
    name = fresh_tensor(graph, f"{bias.name}\tphases of {count}")
    return replace(bias, name=name, shape=data.shape, data=data)


def _interleaved(
    graph: Graph, node: Node, parts: list[Tensor], down: _Axis, across: _Axis
) -> tuple[list[Node], list[Tensor]]:
    """The nodes from the phases to the image: where they lie as they should, a Reshape alone."""
    y, sources = graph.tensors[node.output], tuple(t.name for t in parts)
    reshape = Node(
        fresh_node(graph, f"{node.name}\trows"), "Reshape", sources, (y.name,),
        ReshapeAttrs(y.shape), node.origin,
    )  # fmt: skip
    in_place = down.stride == 1 or across.stride == across.outputs == 1
    if len(parts) == 1 and parts[0].elements == y.elements and in_place:
        return [reshape], []
    attrs = InterleaveAttrs(
        (down.stride, across.stride), (len(down.parts), len(across.parts)),
        (down.first, across.first), (down.outputs, across.outputs),
    )  # fmt: skip
    name = fresh_node(graph, f"{node.name}\tinterleave")
    move = Node(name, "Interleave", sources, (y.name,), attrs, node.origin)
    if attrs.band == 1:
        return [move], []
    n, oh, ow, channels = y.shape
    shape = (n, oh // attrs.band, attrs.band * ow, channels)
    rows = replace(y, name=fresh_tensor(graph, f"{y.name}\trows"), shape=shape)
    moved = replace(move, outputs=(rows.name,))
    return [moved, replace(reshape, inputs=(rows.name,))], [rows]
