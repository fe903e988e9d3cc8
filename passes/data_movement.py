"""Operators that only move or compare values work on stored integers.

Move(Dequantize(x)) -> Dequantize(Move(x))      Quantize(Move(x)) -> Move(Quantize(x))
Concat(Dequantize(x), Dequantize(y)) -> Dequantize(Concat(x, y)) where both have one scale
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Graph, Node, Tensor
from tinyc.compiler.ops.clamp import NO_CLAMP, quantize_real
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.reduce_window import ReduceWindowAttrs
from tinyc.compiler.ops.resize import ResizeAttrs, is_choice
from tinyc.passes.rewrite import fresh_node, fresh_tensor, replace_nodes, rewrite
from tinyc.passes.stored_comparison import compare_stored
from tinyc.targets import Target

MOVES = (  # of their first input; rounding is monotonic: maxima stay
    "Reshape", "Transpose", "Slice", "MaxPool2D", "Gather", "Expand", "Triangle",
)  # fmt: skip


def move_data_in_stored_form(graph: Graph, target: Target) -> Graph:
    return rewrite(
        graph, _after_dequantize, _before_quantize, _concat_after_dequantize, compare_stored
    )


def _moves(node: Node) -> bool:
    if isinstance(node.attrs, ReduceWindowAttrs):  # also maxima, of any rank
        return node.op == "ReduceWindow" and node.attrs.kind == "max"
    if isinstance(node.attrs, ResizeAttrs):
        return is_choice(node.attrs)
    plain = not isinstance(node.attrs, Pool2DAttrs) or node.attrs.clamp == NO_CLAMP
    return node.op in MOVES and plain


def _pads_with_stored_value(node: Node, stored: Tensor) -> bool:
    """Whether `node` is a Pad whose border is exactly one of the reals that `stored` can hold."""
    if not isinstance(node.attrs, PadAttrs) or stored.quant is None:
        return False
    (scale,), (zero_point,) = stored.quant.scale, stored.quant.zero_point
    low, high = stored.dtype.limits
    border = quantize_real(node.attrs.value, stored.quant)
    exact = np.float32(scale) * np.float32(border - zero_point) == np.float32(node.attrs.value)
    return node.attrs.mode != "constant" or bool(low <= border <= high and exact)


def _after_dequantize(graph: Graph, node: Node) -> Graph | None:
    dequantize = graph.producer(node.inputs[0]) if node.inputs else None
    if dequantize is None or dequantize.op != "Dequantize":
        return None
    stored = graph.tensors[dequantize.inputs[0]]
    if stored.quant is None or stored.quant.axis is not None:
        return None
    if stored.data is not None and all(graph.constant(t) is not None for t in node.inputs[1:]):
        return None  # which is folded
    if not _moves(node) and not _pads_with_stored_value(node, stored):
        return None
    return _moved(graph, node, dequantize, (stored.name, *node.inputs[1:]))


def _moved(graph: Graph, node: Node, dequantize: Node, inputs: tuple[str, ...]) -> Graph:
    """`node` moves stored integers, from `inputs`, and they become reals after that."""
    output, stored = graph.tensors[node.output], graph.tensors[dequantize.inputs[0]]
    name = fresh_tensor(graph, f"{output.name}\tstored")
    moved = replace(stored, name=name, shape=output.shape, data=None)
    early = replace(node, inputs=inputs, outputs=(moved.name,))
    late = replace(
        dequantize,
        name=fresh_node(graph, f"{dequantize.name}\tlate"),
        inputs=(moved.name,),
        outputs=node.outputs,
    )
    return replace_nodes(graph, [node], [early, late], (moved,))


def _concat_after_dequantize(graph: Graph, node: Node) -> Graph | None:
    """Not before a Quantize, which is absorbed, nor at the end of the model."""
    parts = [graph.producer(name) for name in node.inputs] if node.op == "Concat" else []
    dequantizes = [part for part in parts if part is not None and part.op == "Dequantize"]
    if not parts or len(dequantizes) != len(parts) or node.output in graph.outputs:
        return None
    stored = [graph.tensors[part.inputs[0]] for part in dequantizes]
    kinds = {(t.quant, t.dtype, t.data is None) for t in stored}
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in stored)
    ends = any(reader.op == "Quantize" for reader in graph.readers[node.output])
    if len(kinds) != 1 or not per_tensor or ends:
        return None
    return _moved(graph, node, dequantizes[0], tuple(t.name for t in stored))


def _before_quantize(graph: Graph, node: Node) -> Graph | None:
    move = graph.producer(node.inputs[0]) if node.op == "Quantize" else None
    if move is None or not _moves(move) or not graph.only_reader(node.inputs[0], node):
        return None
    source = graph.tensors[move.inputs[0]]
    stored = graph.tensors[node.output]
    if stored.quant is None or stored.quant.axis is not None or source.name in graph.inputs:
        return None  # behind a graph input the Quantize would see more elements, not fewer
    early = replace(stored, name=fresh_tensor(graph, f"{stored.name}\tearly"), shape=source.shape)
    quantize = replace(node, inputs=(source.name,), outputs=(early.name,))
    moved = replace(move, inputs=(early.name, *move.inputs[1:]), outputs=node.outputs)
    return replace_nodes(graph, [move, node], [quantize, moved], (early,))
