"""Which nodes of a quantized model still compute with floats, and why."""

from tinyc.compiler.graph import Graph, Node
from tinyc.passes.quantization_absorption import stored_inputs

BOUNDARY = ("Quantize", "Dequantize")


def stays_float(graph: Graph) -> tuple[tuple[Node, str], ...]:
    """The float nodes of a graph that has quantized ones, each with the reason."""
    quantized = [n for n in graph.nodes if n.op not in BOUNDARY and _is_quantized(graph, n)]
    if not quantized:
        return ()
    return tuple((n, _reason(graph, n)) for n in graph.nodes if _is_float(graph, n))


def _is_quantized(graph: Graph, node: Node) -> bool:
    return any(graph.tensors[name].quant is not None for name in (*node.inputs, *node.outputs))


def _is_float(graph: Graph, node: Node) -> bool:
    return any(graph.tensors[name].dtype.is_float for name in (*node.inputs, *node.outputs))


def _reason(graph: Graph, node: Node) -> str:
    if node.op == "Quantize":
        return "the model's values are real before it"
    if node.op == "Dequantize":
        return "the model's values are real after it"
    if node.op == "Recurrent":
        return "the sums and states of recurrent layers are real"
    if stored_inputs(graph, node) is None:
        return "an operand has no scale in the model"
    readers = [r for name in node.outputs for r in graph.readers[name]]
    if [r.op for r in readers] != ["Quantize"]:
        return "its result has no scale in the model"
    return f"{node.op} has no integer kernel for these scales and types"
