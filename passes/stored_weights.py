"""Weights of layers that stay float remain as small as they are stored in the model.

F(x, Dequantize(w)) -> F(x, w)      F(x, w) -> F(x, float16(w)) where that is exact
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, FOUR_BITS, DType, Graph, Node, Tensor, read_only
from tinyc.passes.rewrite import fresh_tensor, replace_nodes, rewrite
from tinyc.targets import Target

CHANNELS = {"Conv2D": 0, "Dense": 0, "DepthwiseConv2D": 2}  # the axis of output channels
STORED = (*EIGHT_BITS, *FOUR_BITS)
# Weights that only happen to fit float16 are few, or all alike; converting them takes time.
FEWEST_HALVES, FEWEST_VALUES = 512, 64


def keep_stored_weights(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _keep_integers, _keep_halves)


def _weights(graph: Graph, node: Node) -> Tensor | None:
    """Those of a layer of floats."""
    if node.op not in CHANNELS or graph.tensors[node.inputs[0]].dtype != DType.FLOAT32:
        return None
    return graph.tensors[node.inputs[1]]


def _keep_integers(graph: Graph, node: Node) -> Graph | None:
    weights = _weights(graph, node)
    dequantize = None if weights is None else graph.producer(weights.name)
    if dequantize is None or dequantize.op != "Dequantize":
        return None
    stored = graph.tensors[dequantize.inputs[0]]
    if stored.data is None or stored.quant is None or stored.dtype not in STORED:
        return None
    if stored.quant.axis not in (None, CHANNELS[node.op]):
        return None
    if stored.dtype in FOUR_BITS and node.op == "DepthwiseConv2D":
        return None  # too few to be worth unpacking
    return _with_weights(graph, node, stored)


def _keep_halves(graph: Graph, node: Node) -> Graph | None:
    weights = _weights(graph, node)
    if weights is None or weights.data is None or weights.dtype != DType.FLOAT32:
        return None
    if weights.elements < FEWEST_HALVES:
        return None
    with np.errstate(over="ignore"):
        halves = weights.data.astype(np.float16)
    if not np.array_equal(halves.astype(np.float32), weights.data):
        return None
    if np.unique(halves).size < FEWEST_VALUES:
        return None
    data = read_only(halves, "float16")
    name = fresh_tensor(graph, f"{weights.name}\thalf")
    half = replace(weights, name=name, dtype=DType.FLOAT16, data=data)
    return _with_weights(graph, node, half)


def _with_weights(graph: Graph, node: Node, weights: Tensor) -> Graph:
    changed = replace(node, inputs=(node.inputs[0], weights.name, *node.inputs[2:]))
    return replace_nodes(graph, [node], [changed], (weights,))
