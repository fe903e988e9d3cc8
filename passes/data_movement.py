"""Operators that only move or compare values work on stored integers.

Move(Dequantize(x)) -> Dequantize(Move(x))      Quantize(Move(x)) -> Move(Quantize(x))
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Graph, Node, Tensor
from tinyc.compiler.ops.clamp import NO_CLAMP, quantize_real
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.passes.rewrite import fresh_node, fresh_tensor, replace_nodes, rewrite
from tinyc.passes.stored_comparison import compare_stored
from tinyc.targets import Target

MOVES = ("Reshape", "Transpose", "Slice", "MaxPool2D")  # rounding is monotonic: maxima stay


def move_data_in_stored_form(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _after_dequantize, _before_quantize, compare_stored)


def _moves(node: Node) -> bool:
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
    if stored.quant is None or stored.quant.axis is not None or stored.data is not None:
        return None
    if not _moves(node) and not _pads_with_stored_value(node, stored):
        return None
    output = graph.tensors[node.output]
    moved = replace(stored, name=fresh_tensor(graph, f"{output.name}\tstored"), shape=output.shape)
    early = replace(node, inputs=(stored.name,), outputs=(moved.name,))
    late = replace(
        dequantize,
        name=fresh_node(graph, f"{dequantize.name}\tlate"),
        inputs=(moved.name,),
        outputs=node.outputs,
    )
    return replace_nodes(graph, [node], [early, late], (moved,))


def _before_quantize(graph: Graph, node: Node) -> Graph | None:
    move = graph.producer(node.inputs[0]) if node.op == "Quantize" else None
    if move is None or not _moves(move) or not graph.only_reader(node.inputs[0], node):
        return None
    source = graph.tensors[move.inputs[0]]
    stored = graph.tensors[node.output]
    producer = graph.producer(source.name)
    if stored.quant is None or stored.quant.axis is not None or producer is None:
        return None  # behind a graph input the Quantize would see more elements, not fewer
    early = replace(stored, name=fresh_tensor(graph, f"{stored.name}\tearly"), shape=source.shape)
    quantize = replace(node, inputs=(source.name,), outputs=(early.name,))
    moved = replace(move, inputs=(early.name,), outputs=node.outputs)
    return replace_nodes(graph, [move, node], [quantize, moved], (early,))
