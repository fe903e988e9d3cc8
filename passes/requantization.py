"""Quantize(Dequantize(x)) -> x, or one requantization; a clamp without a change of scale fuses.

Clamp(F(x)) -> F with the clamp, where both have one scale and zero point
"""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.passes.activation_fusion import has_clamp, with_clamp
from tinyc.passes.reshape_merging import rename_output
from tinyc.passes.rewrite import joined_origin, redirect, replace_nodes, rewrite
from tinyc.targets import Target


def simplify_requantizations(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _join, _drop, _fuse_clamp)


def _join(graph: Graph, node: Node) -> Graph | None:
    """Quantize(Dequantize(x)) is one table."""
    before = graph.producer(node.inputs[0]) if node.op == "Quantize" else None
    if before is None or before.op != "Dequantize":
        return None
    x, y = graph.tensors[before.inputs[0]], graph.tensors[node.output]
    joined = replace(
        node,
        op="Unary",
        inputs=(x.name,),
        attrs=UnaryAttrs("identity"),
        origin=joined_origin(before, node),
    )
    if not OPS["Unary"].quantize(Call(joined, (x,), (y,))):
        return None
    return replace_nodes(graph, [node], [joined])


def _same_form(graph: Graph, node: Node) -> bool:
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    return x.quant is not None and (x.quant, x.dtype) == (y.quant, y.dtype)


def _drop(graph: Graph, node: Node) -> Graph | None:
    if node.attrs != UnaryAttrs("identity") or not _same_form(graph, node):
        return None
    if node.output not in graph.outputs:
        return redirect(graph, node.output, node.inputs[0], node)
    producer = graph.producer(node.inputs[0])
    if producer is None or node.inputs[0] in graph.outputs or len(producer.outputs) > 1:
        return None
    return rename_output(graph, producer, node)


def _fuse_clamp(graph: Graph, node: Node) -> Graph | None:
    attrs = node.attrs
    if not isinstance(attrs, UnaryAttrs) or attrs.function != "identity":
        return None
    before = graph.producer(node.inputs[0])
    if before is None or not _same_form(graph, node) or not has_clamp(before):
        return None
    if not graph.only_reader(node.inputs[0], node):
        return None
    return replace_nodes(graph, [before, node], [with_clamp(before, node, attrs)])
