"""Operators that only move values work on stored integers.

Move(Dequantize(x)) -> Dequantize(Move(x))      Quantize(Move(x)) -> Move(Quantize(x))
"""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.passes.rewrite import fresh_node, fresh_tensor, replace_nodes, rewrite
from tinyc.targets import Target

MOVES = ("Reshape", "Transpose", "Slice", "MaxPool2D")  # rounding is monotonic: maxima stay


def move_data_in_stored_form(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _after_dequantize, _before_quantize)


def _moves(node: Node) -> bool:
    plain = not isinstance(node.attrs, Pool2DAttrs) or node.attrs.clamp == NO_CLAMP
    return node.op in MOVES and plain


def _after_dequantize(graph: Graph, node: Node) -> Graph | None:
    dequantize = graph.producer(node.inputs[0]) if node.inputs else None
    if not _moves(node) or dequantize is None or dequantize.op != "Dequantize":
        return None
    stored = graph.tensors[dequantize.inputs[0]]
    if stored.quant is None or stored.quant.axis is not None or stored.data is not None:
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
