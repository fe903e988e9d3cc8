"""A recurrent layer reads its input, and writes its sequence, as stored integers.

Recurrent(Dequantize(x), ...) -> Recurrent(x, ...)     Quantize(sequence) -> sequence
"""

from dataclasses import replace

from tinyc.compiler.graph import EIGHT_BITS, DType, Graph, Node, Tensor
from tinyc.compiler.ops.recurrent import RecurrentAttrs
from tinyc.passes.rewrite import joined_origin, rewrite
from tinyc.targets import Target

STORED = (*EIGHT_BITS, DType.INT16, DType.UINT16)


def store_recurrent_sequences(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _read_stored, _write_stored)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype in STORED and tensor.quant is not None and tensor.quant.axis is None


def _read_stored(graph: Graph, node: Node) -> Graph | None:
    before = graph.producer(node.inputs[0]) if isinstance(node.attrs, RecurrentAttrs) else None
    if before is None or before.op != "Dequantize":
        return None
    assert isinstance(node.attrs, RecurrentAttrs)
    if node.attrs.dynamic or not _is_plain(graph.tensors[before.inputs[0]]):
        return None
    new = replace(
        node, inputs=(*before.inputs, *node.inputs[1:]), origin=joined_origin(before, node)
    )
    return graph.with_nodes(new if n is node else n for n in graph.nodes)


def _write_stored(graph: Graph, last: Node) -> Graph | None:
    node = graph.producer(last.inputs[0]) if last.op == "Quantize" else None
    if node is None or not isinstance(node.attrs, RecurrentAttrs):
        return None
    results = dict(zip(node.attrs.results, node.outputs, strict=True))
    if results.get("sequence") != last.inputs[0] or not graph.only_reader(last.inputs[0], last):
        return None
    if not _is_plain(graph.tensors[last.output]):
        return None
    outputs = tuple(last.output if name == last.inputs[0] else name for name in node.outputs)
    new = replace(node, outputs=outputs, origin=joined_origin(node, last))
    return graph.with_nodes(new if n is node else n for n in graph.nodes if n is not last)
