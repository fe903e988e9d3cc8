"""Reshape(Reshape(x)) -> Reshape(x); a Reshape to the same shape -> nothing."""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.passes.rewrite import joined_origin, redirect, rewrite
from tinyc.targets import Target


def merge_reshapes(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, join_reshapes, drop_reshape)


def join_reshapes(graph: Graph, node: Node) -> Graph | None:
    before = graph.producer(node.inputs[0])
    if node.op != "Reshape" or before is None or before.op != "Reshape":
        return None
    merged = replace(node, inputs=before.inputs, origin=joined_origin(before, node))
    return graph.with_nodes(merged if n is node else n for n in graph.nodes)


def drop_reshape(graph: Graph, node: Node) -> Graph | None:
    if node.op != "Reshape":
        return None
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    same = (x.shape, x.quant) == (y.shape, y.quant)  # another quant: the same bytes, read anew
    if not same:
        return None
    if y.name not in graph.outputs:
        return redirect(graph, y.name, x.name, node)
    producer = graph.producer(x.name)
    if producer is None or len(producer.outputs) > 1 or x.name in graph.outputs:
        return None
    return rename_output(graph, producer, node)


def rename_output(graph: Graph, producer: Node, alias: Node) -> Graph:
    """`producer` writes the output's name itself; `alias` goes."""
    old, new = producer.output, alias.output
    nodes = []
    for n in graph.nodes:
        if n is alias:
            continue
        inputs = tuple(new if i == old else i for i in n.inputs)
        outputs = (new,) if n is producer else n.outputs
        nodes.append(replace(n, inputs=inputs, outputs=outputs))
    return graph.with_nodes(nodes)
