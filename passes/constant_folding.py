"""A node whose inputs are all constants -> its result.

Quantized weights stay quantized until `absorb_quantization` has had its chance.
"""

from tinyc.compiler.graph import Graph, Node, Tensor, read_only
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of
from tinyc.passes.rewrite import replace_nodes, rewrite
from tinyc.targets import Target


def fold_constants(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _fold_unless_dequantize)


def fold_all_constants(graph: Graph, target: Target) -> Graph:
    """What is still dequantized now belongs to a layer that stays float."""
    return rewrite(graph, _fold)


def _fold_unless_dequantize(graph: Graph, node: Node) -> Graph | None:
    return None if node.op == "Dequantize" else _fold(graph, node)


def _fold(graph: Graph, node: Node) -> Graph | None:
    call = call_of(graph, node)
    if any(t.data is None for t in call.inputs):
        return None
    arrays = tuple(t.data for t in call.inputs if t.data is not None)
    results = OPS[node.op].reference(call, arrays)
    folded = [
        Tensor(t.name, t.shape, t.dtype, read_only(value, t.dtype), t.quant)
        for t, value in zip(call.outputs, results, strict=True)
    ]
    return replace_nodes(graph, [node], [], folded)
