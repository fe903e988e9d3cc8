"""Dense(... Reshape(Transpose(x))) -> Dense(... Reshape(x)) with its weights' columns permuted.

Between the Reshape that flattens and the Dense may stand elementwise operators.
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Graph, Node, Tensor, read_only
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.passes.rewrite import fresh_tensor, rewrite
from tinyc.targets import Target

BETWEEN = ("Unary", "Quantize", "Dequantize", "Cast")


def fold_layout_into_dense(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _fold)


def _fold(graph: Graph, dense: Node) -> Graph | None:
    if dense.op != "Dense":
        return None
    tensor = dense.inputs[0]
    while (node := graph.producer(tensor)) is not None and node.op in BETWEEN:
        if len(graph.readers[tensor]) > 1 or tensor in graph.outputs:
            return None
        quant = graph.tensors[node.inputs[0]].quant
        if quant is not None and quant.axis is not None:
            return None
        tensor = node.inputs[0]
    reshape = node
    if reshape is None or reshape.op != "Reshape" or len(graph.readers[tensor]) > 1:
        return None
    transpose = graph.producer(reshape.inputs[0])
    if transpose is None or not isinstance(transpose.attrs, TransposeAttrs):
        return None
    shape, flat = graph.tensors[reshape.inputs[0]].shape, graph.tensors[reshape.output].shape
    perm = transpose.attrs.perm
    if perm[0] != 0 or len(flat) != 2 or flat[0] != shape[0] or tensor in graph.outputs:
        return None
    places = np.arange(flat[1]).reshape(shape[1:])
    order = places.transpose([perm.index(a) - 1 for a in range(1, len(perm))]).reshape(-1)
    permuted = _permuted_weights(graph, dense, order)
    if permuted is None:
        return None
    tensors, nodes, weights = permuted
    changed = {
        reshape.name: replace(reshape, inputs=transpose.inputs),
        dense.name: replace(dense, inputs=(dense.inputs[0], weights, *dense.inputs[2:])),
    }
    kept = [changed.get(n.name, n) for n in graph.nodes]
    position = next(i for i, n in enumerate(kept) if n.name == dense.name)
    return graph.with_nodes([*kept[:position], *nodes, *kept[position:]], tensors)


def _permuted_weights(
    graph: Graph, dense: Node, order: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> tuple[list[Tensor], list[Node], str] | None:
    """New constants, new nodes and the name of weights whose columns are in `order`."""
    name = dense.inputs[1]
    producer = graph.producer(name)
    stored = graph.tensors[producer.inputs[0] if producer else name]
    if stored.data is None or (producer is not None and producer.op != "Dequantize"):
        return None
    new_name = fresh_tensor(graph, f"{stored.name}\tpermuted")
    data = read_only(stored.data[:, order], stored.dtype)
    constant = replace(stored, name=new_name, data=data)
    if producer is None:
        return [constant], [], new_name
    real = replace(graph.tensors[name], name=fresh_tensor(graph, f"{name}\tpermuted"))
    node = replace(
        producer, name=f"{producer.name}\tpermuted", inputs=(new_name,), outputs=(real.name,)
    )
    return [constant, real], [node], real.name
