"""A quantized interface for a model with float inputs and outputs.

Quantize(input) -> input, stored       output = Dequantize(x) -> x is the output
"""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.targets import Target


def strip_boundary_quantization(graph: Graph, target: Target) -> Graph:
    inputs, outputs = (
        [n for n in side if n not in graph.remembered] for side in (graph.inputs, graph.outputs)
    )
    for name in inputs:
        readers = graph.readers[name]
        if len(readers) == 1 and readers[0].op == "Quantize" and name not in graph.outputs:
            graph = _strip(graph, readers[0], name, readers[0].output)
    for name in outputs:
        writer = graph.producer(name)
        if writer is not None and writer.op == "Dequantize" and not graph.readers[name]:
            stored = writer.inputs[0]
            if graph.constant(stored) is None and stored not in (*graph.inputs, *graph.outputs):
                graph = _strip(graph, writer, name, stored)
    return graph


def _strip(graph: Graph, node: Node, outside: str, stored: str) -> Graph:
    """`node` goes; the stored tensor takes the name that the caller knows."""
    nodes = []
    for n in graph.nodes:
        if n is not node:
            inputs = tuple(outside if i == stored else i for i in n.inputs)
            outputs = tuple(outside if o == stored else o for o in n.outputs)
            nodes.append(replace(n, inputs=inputs, outputs=outputs))
    return graph.with_nodes(nodes, [replace(graph.tensors[stored], name=outside)])
