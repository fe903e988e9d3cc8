"""x * HardSigmoid(x, 1/6, 1/2) -> hard_swish(x)."""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.passes.rewrite import joined_origin, rewrite
from tinyc.targets import Target


def recognize_hard_swish(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _recognize)


def _recognize(graph: Graph, node: Node) -> Graph | None:
    if node.op != "Mul":
        return None
    for x, gate in (node.inputs, reversed(node.inputs)):
        producer = graph.producer(gate)
        if producer is None or producer.inputs[:1] != (x,):
            continue
        attrs = producer.attrs
        if not isinstance(attrs, UnaryAttrs) or attrs.function != "hard_sigmoid":
            continue
        alpha, beta = attrs.parameters
        if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 and attrs.clamp == NO_CLAMP:
            origin = joined_origin(producer, node)
            swish = replace(
                node, op="Unary", inputs=(x,), attrs=UnaryAttrs("hard_swish"), origin=origin
            )
            return graph.with_nodes(swish if n is node else n for n in graph.nodes)
    return None
