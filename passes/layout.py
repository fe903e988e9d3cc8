"""Transposes sink towards the outputs, until they cancel, fold, or become a Reshape.

F(Transpose(x)) -> Transpose(F(x))      Transpose(Transpose(x)) -> Transpose(x)
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Graph, Node, Tensor, read_only
from tinyc.compiler.ops.arg_reduce import ArgReduceAttrs, HardmaxAttrs
from tinyc.compiler.ops.binary_functions import FUNCTIONS as BINARY
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.cumulate import CumulateAttrs
from tinyc.compiler.ops.local_response import LocalResponseAttrs
from tinyc.compiler.ops.normalize import NormalizeAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs, reduced_shape
from tinyc.compiler.ops.reduce_window import ReduceWindowAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.resize import ResizeAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.passes.reshape_merging import drop_reshape, join_reshapes
from tinyc.passes.rewrite import (
    fresh_node,
    fresh_tensor,
    joined_origin,
    redirect,
    replace_nodes,
    rewrite,
)
from tinyc.targets import Target

Perm = tuple[int, ...]
AlongAxis = SoftmaxAttrs | HardmaxAttrs | CumulateAttrs | LocalResponseAttrs
ELEMENTWISE = ("Unary", "Quantize", "Dequantize", "Cast")


def sink_transposes(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, *RULES, _sink_one_operand)


def sink_stored_transposes(graph: Graph, target: Target) -> Graph:
    """The same after data moves in stored form: no Transpose goes back behind a Dequantize."""
    return rewrite(graph, *RULES, _sink_unless_dequantize)


def _perm(graph: Graph, tensor: str) -> Perm | None:
    """The perm of the Transpose that writes `tensor`."""
    producer = graph.producer(tensor)
    if producer is not None and isinstance(producer.attrs, TransposeAttrs):
        return producer.attrs.perm
    return None


def _merge(graph: Graph, node: Node) -> Graph | None:
    outer = node.attrs
    if not isinstance(outer, TransposeAttrs) or (inner := _perm(graph, node.inputs[0])) is None:
        return None
    before = graph.producers[node.inputs[0]]
    both = TransposeAttrs(tuple(inner[axis] for axis in outer.perm))
    merged = replace(node, inputs=before.inputs, attrs=both, origin=joined_origin(before, node))
    return graph.with_nodes(merged if n is node else n for n in graph.nodes)


def _drop(graph: Graph, node: Node) -> Graph | None:
    if not isinstance(node.attrs, TransposeAttrs) or node.output in graph.outputs:
        return None
    if node.attrs.perm != tuple(range(len(node.attrs.perm))):
        return None
    return redirect(graph, node.output, node.inputs[0], node)


def _as_reshape(graph: Graph, node: Node) -> Graph | None:
    """Only axes of size 1 move: the bytes stay where they are."""
    if not isinstance(node.attrs, TransposeAttrs):
        return None
    shape = graph.tensors[node.inputs[0]].shape
    moved = [axis for axis in node.attrs.perm if shape[axis] != 1]
    if moved != sorted(moved):
        return None
    attrs = ReshapeAttrs(graph.tensors[node.output].shape)
    reshape = replace(node, op="Reshape", attrs=attrs)
    return graph.with_nodes(reshape if n is node else n for n in graph.nodes)


def _sink_below_reshape(graph: Graph, node: Node) -> Graph | None:
    """A Reshape that only adds or removes axes of size 1 can be done before the Transpose."""
    perm = _perm(graph, node.inputs[0]) if node.op == "Reshape" else None
    if perm is None:
        return None
    x, shape = graph.tensors[node.inputs[0]], graph.tensors[node.output].shape
    wide, places = _wide(x.shape), _wide(shape)
    if [x.shape[a] for a in wide] != [shape[i] for i in places] or len(wide) < 2:
        return None
    if x.quant is not None and x.quant.axis is not None:
        return None
    order = np.argsort([perm[a] for a in wide])  # of the wide axes in the Transpose's input
    inner, after = list(shape), list(range(len(shape)))
    for place, i in zip(places, order, strict=True):
        inner[place] = shape[places[i]]
        after[places[i]] = place
    return _sunk(
        graph, node, (graph.producers[x.name].inputs[0],), ReshapeAttrs(tuple(inner)),
        tuple(inner), tuple(after), (),
    )  # fmt: skip


def _wide(shape: tuple[int, ...]) -> list[int]:
    """The axes longer than 1."""
    return [axis for axis, n in enumerate(shape) if n > 1]


def _sink_one_operand(graph: Graph, node: Node) -> Graph | None:
    """F with one data operand: its axes are renamed, the Transpose follows."""
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return None
    if (perm := _perm(graph, node.inputs[0])) is None or _serves_others(graph, node):
        return None
    attrs, after = node.attrs, perm
    quants = (graph.tensors[node.inputs[0]].quant, graph.tensors[node.output].quant)
    if any(q is not None and q.axis is not None for q in quants):
        return None
    if isinstance(attrs, AlongAxis):
        attrs = replace(attrs, axis=perm[attrs.axis])
    elif isinstance(attrs, NormalizeAttrs):
        attrs = replace(attrs, axes=tuple(sorted(perm[a] for a in attrs.axes)))
    elif isinstance(attrs, ReduceAttrs | ArgReduceAttrs):
        if not attrs.keep_dims:
            kept = [p for i, p in enumerate(perm) if i not in attrs.axes]
            after = tuple(sorted(kept).index(p) for p in kept)
        attrs = attrs.along(tuple(sorted(perm[a] for a in attrs.axes)))
    elif isinstance(attrs, PadAttrs):
        attrs = replace(attrs, pads=_back(attrs.pads, perm))
    elif isinstance(attrs, SliceAttrs):
        attrs = SliceAttrs(
            _back(attrs.starts, perm), _back(attrs.steps, perm), _back(attrs.shape, perm)
        )
    elif isinstance(attrs, ReduceWindowAttrs | ResizeAttrs):
        attrs = attrs.moved(tuple(perm.index(axis) for axis in range(len(perm))))
    elif node.op not in ELEMENTWISE:
        return None
    source = graph.producers[node.inputs[0]].inputs[0]
    shape = graph.tensors[source].shape
    if isinstance(attrs, ReduceAttrs | ArgReduceAttrs):
        shape = reduced_shape(shape, attrs)
    elif isinstance(attrs, PadAttrs):
        shape = tuple(n + a + b for n, (a, b) in zip(shape, attrs.pads, strict=True))
    elif isinstance(attrs, SliceAttrs):
        shape = attrs.shape
    elif isinstance(attrs, ReduceWindowAttrs | ResizeAttrs):
        shape = _back(graph.tensors[node.output].shape, perm)
    return _sunk(graph, node, (source,), attrs, shape, after, ())


def _serves_others(graph: Graph, node: Node) -> bool:
    """Whether `node` normalizes what others read as well: their Transpose would stay, with one
    more behind `node`, which is faster along the last axis."""
    return node.op == "Normalize" and not graph.only_reader(node.inputs[0], node)


def _sink_unless_dequantize(graph: Graph, node: Node) -> Graph | None:
    return None if node.op == "Dequantize" else _sink_one_operand(graph, node)


def _sink_reshape(graph: Graph, node: Node) -> Graph | None:
    """Elementwise operators whose operands are all reshaped alike."""
    if node.op not in ("Unary", "Quantize", "Cast", "Where") and node.op not in BINARY:
        return None
    reshapes = [graph.producer(name) for name in node.inputs]
    sources = [graph.tensors[r.inputs[0]] for r in reshapes if r and r.op == "Reshape"]
    if len(sources) != len(reshapes) or len({t.shape for t in sources}) != 1:
        return None
    y = graph.tensors[node.output]
    read_anew = any(
        graph.tensors[n].quant != t.quant for n, t in zip(node.inputs, sources, strict=True)
    )
    if read_anew or any(t.quant is not None and t.quant.axis is not None for t in (*sources, y)):
        return None
    inner = replace(y, name=fresh_tensor(graph, f"{y.name}\tflat"), shape=sources[0].shape)
    early = replace(node, inputs=tuple(t.name for t in sources), outputs=(inner.name,))
    name = fresh_node(graph, f"{node.name}\treshape")
    late = Node(name, "Reshape", (inner.name,), node.outputs, ReshapeAttrs(y.shape), node.origin)
    return replace_nodes(graph, [node], [early, late], (inner,))


def _sink_several(graph: Graph, node: Node) -> Graph | None:
    """Add, Mul, Concat...: all operands come transposed alike, are constants, or are rows."""
    if node.op not in (*BINARY, "Concat", "Where", "Normalize") or len(node.outputs) != 1:
        return None
    if _serves_others(graph, node):
        return None
    rows = [name for name in node.inputs if _is_row(graph, node, name)]
    perms = {_perm(graph, n) for n in node.inputs if graph.constant(n) is None and n not in rows}
    perm = next(iter(perms), None)
    if len(perms) != 1 or perm is None:
        return None
    rank = len(perm)
    if len(graph.tensors[node.output].shape) != rank:
        return None
    inverse = [perm.index(axis) for axis in range(rank)]
    attrs, sources, added, reshapes = node.attrs, [], [], []
    if isinstance(attrs, ConcatAttrs):
        attrs = replace(attrs, axis=perm[attrs.axis])
    elif isinstance(attrs, NormalizeAttrs):
        attrs = replace(attrs, axes=tuple(sorted(perm[a] for a in attrs.axes)))
    for name in node.inputs:
        tensor = graph.tensors[name]
        if tensor.data is None and name not in rows:
            sources.append(graph.producers[name].inputs[0])
            continue
        if tensor.quant is not None and tensor.quant.axis is not None:
            return None
        full = (1,) * (rank - len(tensor.shape)) + tensor.shape
        moved, data = tuple(full[axis] for axis in inverse), tensor.data
        if data is not None:
            data = read_only(data.reshape(full).transpose(inverse), tensor.dtype)
        new = replace(tensor, name=fresh_tensor(graph, name), shape=moved, data=data)
        if data is None:
            at = fresh_node(graph, f"{node.name}\trow")
            early = Node(at, "Reshape", (name,), (new.name,), ReshapeAttrs(moved), node.origin)
            reshapes.append(early)
        added.append(new)
        sources.append(new.name)
    shape = tuple(graph.tensors[node.output].shape[axis] for axis in inverse)
    return _sunk(graph, node, tuple(sources), attrs, shape, perm, tuple(added), reshapes)


def _is_row(graph: Graph, node: Node, name: str) -> bool:
    """Whether an operand lies along one axis, beside a whole one: the gates of channels.

    [1, C, 1, 1] and [1, 1, 1, C] are the same bytes.
    """
    if node.op not in BINARY or graph.constant(name) is not None or _perm(graph, name) is not None:
        return False
    whole = graph.tensors[node.output].elements
    others = [n for n in node.inputs if n != name]
    is_beside = any(graph.tensors[n].elements == whole for n in others)
    return is_beside and len(_wide(graph.tensors[name].shape)) <= 1


def _sunk(
    graph: Graph,
    node: Node,
    sources: tuple[str, ...],
    attrs: object,
    shape: tuple[int, ...],
    perm: Perm,
    tensors: tuple[Tensor, ...],
    before: Sequence[Node] = (),
) -> Graph:
    """`node` on the untransposed `sources`, then the Transpose; `tensors` and nodes it needs."""
    output = graph.tensors[node.output]
    inner = replace(output, name=fresh_tensor(graph, f"{output.name}\tlayout"), shape=shape)
    moved = replace(node, inputs=sources, outputs=(inner.name,), attrs=attrs)
    name = fresh_node(graph, f"{node.name}\ttranspose")
    transpose = Node(
        name, "Transpose", (inner.name,), node.outputs, TransposeAttrs(perm), node.origin
    )
    return replace_nodes(graph, [node], [*before, moved, transpose], (inner, *tensors))


def _back(values: tuple, perm: Perm) -> tuple:  # type: ignore[type-arg]
    """Values per axis of the transposed tensor, as values per axis of the source."""
    return tuple(values[perm.index(axis)] for axis in range(len(perm)))


RULES = (
    _merge,
    _drop,
    _as_reshape,
    join_reshapes,
    drop_reshape,
    _sink_reshape,
    _sink_below_reshape,
    _sink_several,
)
