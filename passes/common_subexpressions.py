"""Two nodes that compute the same from the same -> one."""

from tinyc.compiler.graph import Graph, Node
from tinyc.passes.rewrite import redirect, rewrite
from tinyc.targets import Target


def merge_common_subexpressions(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _merge)


def _merge(graph: Graph, node: Node) -> Graph | None:
    if len(node.outputs) != 1 or node.output in graph.outputs:
        return None
    mine = graph.tensors[node.output]
    for other in graph.readers[node.inputs[0]] if node.inputs else ():
        if other is node:  # in execution order: only what stands before counts
            return None
        same = (other.op, other.inputs, other.attrs) == (node.op, node.inputs, node.attrs)
        if same and len(other.outputs) == 1:
            theirs = graph.tensors[other.output]
            if (theirs.dtype, theirs.quant) == (mine.dtype, mine.quant):
                return redirect(graph, node.output, other.output, node)
    return None
