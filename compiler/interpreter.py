"""Runs a graph in NumPy: what the C must compute."""

from collections.abc import Mapping

from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of


def run(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of `graph`, by name."""
    values = trace(graph, inputs)
    return {name: values[name] for name in graph.outputs}


def trace(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The value of every tensor, by name; inputs have the shapes of the graph's inputs."""
    values: dict[str, Array] = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    values.update(inputs)
    for node in graph.nodes:
        arrays = tuple(values[name] for name in node.inputs)
        results = OPS[node.op].reference(call_of(graph, node), arrays)
        for name, result in zip(node.outputs, results, strict=True):
            tensor = graph.tensors[name]
            assert result.shape == tensor.shape, f"'{node.name}': {result.shape} {tensor.shape}"
            assert result.dtype == tensor.dtype.value, f"'{node.name}': {result.dtype}"
            values[name] = result
    return values
