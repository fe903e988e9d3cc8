"""Operators one after the other, element by element, of one 8-bit tensor -> one Table.

Such a chain is a function of 256 values: x * sigmoid(x), a GELU in parts, pixels that are scaled
and quantized. What the operators give for each value is the table, so that no result changes.
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, Graph, Node, Tensor
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.binary_functions import FUNCTIONS
from tinyc.compiler.ops.table import TableAttrs
from tinyc.passes.rewrite import joined_origin, live_part
from tinyc.targets import Target

ELEMENTWISE = frozenset({"Cast", "Dequantize", "Quantize", "Table", "Unary", *FUNCTIONS})


def tabulate_chains(graph: Graph, target: Target) -> Graph:
    """Of each chain its last 8-bit result becomes a Table."""
    sources = _sources(graph)
    nodes = [_tabulated(graph, node, sources) for node in graph.nodes]
    return live_part(graph.with_nodes(nodes)) if nodes != [*graph.nodes] else graph


def _sources(graph: Graph) -> dict[str, str]:
    """By tensor, the 8-bit tensor that it is a function of, element by element."""
    sources: dict[str, str] = {}
    for node in graph.nodes:
        varying = [name for name in node.inputs if not _is_number(graph.tensors[name])]
        given = {sources.get(n, n if _is_byte(graph.tensors[n]) else "") for n in varying}
        whole = (*varying, *node.outputs)
        if node.op not in ELEMENTWISE or len(given) != 1 or "" in given:
            continue
        if len({graph.tensors[n].shape for n in whole}) == 1 and _has_one_scale(graph, whole):
            sources[node.outputs[0]] = given.pop()
    return sources


def _tabulated(graph: Graph, node: Node, sources: dict[str, str]) -> Node:
    """The node as a Table, where it ends a chain of two operators or more."""
    (result, *_), source = node.outputs, sources.get(node.outputs[0], "")
    chain = _chain(graph, result, sources) if source else []
    if len(chain) < 2 or not _is_byte(graph.tensors[result]):
        return node
    if _goes_on(graph, result, sources):
        return node
    part = {n: _of_256(t) for n, t in graph.tensors.items() if any(n in _names(c) for c in chain)}
    bytes_ = np.arange(256, dtype=np.uint8).view(graph.tensors[source].dtype.value)
    found = run(Graph(graph.name, (source,), (result,), tuple(chain), part), {source: bytes_})
    attrs = TableAttrs(tuple(found[result].tolist()), graph.tensors[result].dtype)
    origin = joined_origin(*chain)
    return replace(node, op="Table", inputs=(source,), attrs=attrs, origin=origin)


def _goes_on(graph: Graph, tensor: str, sources: dict[str, str]) -> bool:
    """Whether all readers are of the same chain, whose end is 8 bits wide as well."""
    readers = graph.readers[tensor]
    return tensor not in graph.outputs and all(
        sources.get(r.outputs[0]) == sources[tensor]
        and (_is_byte(graph.tensors[r.outputs[0]]) or _goes_on(graph, r.outputs[0], sources))
        for r in readers
    )


def _chain(graph: Graph, result: str, sources: dict[str, str]) -> list[Node]:
    """The operators from the source to a result, in execution order."""
    wanted, chain = {result}, list[Node]()
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            chain.append(node)
            wanted.update(n for n in node.inputs if n in sources)
    return chain[::-1]


def _names(node: Node) -> tuple[str, ...]:
    return (*node.inputs, *node.outputs)


def _is_byte(tensor: Tensor) -> bool:
    return tensor.data is None and tensor.dtype in EIGHT_BITS


def _is_number(tensor: Tensor) -> bool:
    """A constant of one element, the same for all."""
    return tensor.data is not None and tensor.elements == 1


def _has_one_scale(graph: Graph, names: tuple[str, ...]) -> bool:
    quants = (graph.tensors[name].quant for name in names)
    return all(quant is None or quant.axis is None for quant in quants)


def _of_256(tensor: Tensor) -> Tensor:
    """The tensor in a graph of 256 elements."""
    if tensor.data is None:
        return replace(tensor, shape=(256,))
    quant = None if tensor.quant is None else replace(tensor.quant, axis=None)
    return replace(tensor, shape=(1,), data=tensor.data.reshape(1), quant=quant)
