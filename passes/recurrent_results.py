"""A recurrent layer writes only what is read, and its last state where only that is read.

Moved(sequence), where the last step alone is left -> Reshape(h)
A result that nobody reads -> none
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Array, Graph, Node, Tensor
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.recurrent import RecurrentAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.passes.rewrite import fresh_tensor, joined_origin, rewrite
from tinyc.targets import Target

MOVES = ("Reshape", "Slice", "Transpose")
ORDER = ("sequence", "h", "c")


def trim_recurrent_results(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _last_step, _unread)


def _unread(graph: Graph, node: Node) -> Graph | None:
    if not isinstance(node.attrs, RecurrentAttrs):
        return None
    results = dict(zip(node.attrs.results, node.outputs, strict=True))
    kept = {r: t for r, t in results.items() if graph.readers[t] or t in graph.outputs}
    if not kept or len(kept) == len(results):
        return None
    trimmed = replace(
        node, outputs=tuple(kept.values()), attrs=replace(node.attrs, results=tuple(kept))
    )
    return graph.with_nodes(trimmed if n is node else n for n in graph.nodes)


def _last_step(graph: Graph, node: Node) -> Graph | None:
    if node.op != "Slice":
        return None
    chain = [node]
    while (before := graph.producer(chain[-1].inputs[0])) is not None and before.op in MOVES:
        chain.append(before)
    if before is None or not _ends_with_its_sequence(before, chain[-1].inputs[0]):
        return None
    attrs, sequence = before.attrs, graph.tensors[chain[-1].inputs[0]]
    assert isinstance(attrs, RecurrentAttrs)
    last = _last_of(sequence, attrs)
    if not np.array_equal(_moved(graph, chain[::-1], sequence).reshape(-1), last.reshape(-1)):
        return None
    results = dict(zip(attrs.results, before.outputs, strict=True))
    if "h" not in results:
        results["h"] = fresh_tensor(graph, f"{before.name}\th")
    h = Tensor(results["h"], last.shape, sequence.dtype)
    ordered = {name: results[name] for name in ORDER if name in results}
    layer = replace(
        before, outputs=tuple(ordered.values()), attrs=replace(attrs, results=tuple(ordered))
    )
    shape = graph.tensors[node.output].shape
    view = replace(
        node, op="Reshape", inputs=(h.name,), attrs=ReshapeAttrs(shape),
        origin=joined_origin(*chain[::-1]),
    )  # fmt: skip
    new = {before.name: layer, node.name: view}
    return graph.with_nodes((new.get(n.name, n) for n in graph.nodes), (h,))


def _ends_with_its_sequence(node: Node, tensor: str) -> bool:
    """Whether `tensor` is every step of a layer whose state ends at one end of all sequences."""
    attrs = node.attrs
    return (
        isinstance(attrs, RecurrentAttrs)
        and "sequence" in attrs.results
        and node.outputs[attrs.results.index("sequence")] == tensor
        and "lengths" not in attrs.operands
        and len(attrs.reverse) == 1
    )


def _last_of(sequence: Tensor, attrs: RecurrentAttrs) -> Array:
    """The positions of the last step in the sequence, shaped like the last state."""
    positions = np.arange(sequence.elements).reshape(sequence.shape)
    axis = 1 if attrs.batch_first else 0
    return np.asarray(np.take(positions, 0 if attrs.reverse[0] else -1, axis))


def _moved(graph: Graph, chain: list[Node], sequence: Tensor) -> Array:
    """The positions in the sequence that the chain leaves."""
    positions: Array = np.arange(sequence.elements).reshape(sequence.shape)
    for node in chain:
        (positions,) = OPS[node.op].reference(call_of(graph, node), (positions,))
    return positions
