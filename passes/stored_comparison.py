"""Operators that only compare values work on stored integers.

ArgReduce(Dequantize(x)) -> ArgReduce(x)
TopK(Dequantize(x)) -> Dequantize(values of TopK(x)), its indices
Reduce max(Dequantize(x)) -> Dequantize(Reduce max(x))
"""

from dataclasses import replace

from tinyc.compiler.graph import EIGHT_BITS, Graph, Node
from tinyc.compiler.ops.arg_reduce import ArgReduceAttrs
from tinyc.compiler.ops.reduce import EXTREMES, ReduceAttrs
from tinyc.compiler.ops.top_k import TopKAttrs
from tinyc.passes.rewrite import fresh_node, fresh_tensor, replace_nodes


def compare_stored(graph: Graph, node: Node) -> Graph | None:
    """A rule for `rewrite`: scales are positive, so reals have the order of what is stored."""
    dequantize = graph.producer(node.inputs[0]) if _compares(node) else None
    if dequantize is None or dequantize.op != "Dequantize":
        return None
    stored = graph.tensors[dequantize.inputs[0]]
    if stored.quant is None or stored.quant.axis is not None or stored.dtype not in EIGHT_BITS:
        return None
    if isinstance(node.attrs, ArgReduceAttrs):
        return replace_nodes(graph, [node], [replace(node, inputs=(stored.name,))])
    output = graph.tensors[node.outputs[0]]
    values = replace(stored, name=fresh_tensor(graph, f"{output.name}\tstored"), shape=output.shape)
    early = replace(node, inputs=(stored.name,), outputs=(values.name, *node.outputs[1:]))
    late = replace(
        dequantize,
        name=fresh_node(graph, f"{dequantize.name}\tlate"),
        inputs=(values.name,),
        outputs=(output.name,),
    )
    return replace_nodes(graph, [node], [early, late], (values,))


def _compares(node: Node) -> bool:
    if isinstance(node.attrs, ReduceAttrs):
        return node.attrs.kind in EXTREMES
    return isinstance(node.attrs, ArgReduceAttrs | TopKAttrs)
