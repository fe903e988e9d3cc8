"""Mul(Conv(x, w, b), s) -> Conv(x, w * s, b * s), for constants with one s a channel.

Batch normalization is a Mul and an Add by now; the Add is a bias. Behind a Reshape, the constants
are first reshaped and the Reshape follows:  Mul(Reshape(x), s) -> Reshape(Mul(x, s')).
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Array, Graph, Node, Tensor, read_only
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.passes.bias_fusion import fuse_biases, layer_before, per_channel
from tinyc.passes.rewrite import (
    fresh_node,
    fresh_tensor,
    joined_origin,
    replace_nodes,
    rewrite,
)
from tinyc.targets import Target

OUTPUT_AXIS = {  # of the weights
    "Conv2D": 0, "ConvND": 0, "ConvTranspose": 0, "Dense": 0, "DepthwiseConv2D": 2,
}  # fmt: skip


def fold_batchnorms(graph: Graph, target: Target) -> Graph:
    graph = rewrite(graph, _before_reshape)
    while (folded := rewrite(graph, _fold)) is not graph:
        graph = fuse_biases(folded, target)  # an Add may follow what was a Mul
    return fuse_biases(graph, target)


def _fold(graph: Graph, mul: Node) -> Graph | None:
    if mul.op != "Mul" or not isinstance(mul.attrs, BinaryAttrs) or mul.attrs.clamp != NO_CLAMP:
        return None
    for data, other in (mul.inputs, (mul.inputs[1], mul.inputs[0])):
        layer, factor = layer_before(graph, mul, data), graph.constant(other)
        if layer is None or factor is None:
            continue
        constants = [graph.tensors[name] for name in layer.inputs[1:]]
        scales = per_channel(factor, graph.tensors[mul.output].shape)
        if scales is None or any(t.data is None or t.dtype != "float32" for t in constants):
            continue
        scaled = [_scaled(graph, layer, constants[0], OUTPUT_AXIS[layer.op], scales)]
        scaled += [_scaled(graph, layer, t, 0, scales) for t in constants[1:]]
        folded = replace(
            layer,
            inputs=(layer.inputs[0], *(t.name for t in scaled)),
            outputs=mul.outputs,
            origin=joined_origin(layer, mul),
        )
        return replace_nodes(graph, [layer, mul], [folded], scaled)
    return None


def _scaled(graph: Graph, layer: Node, constant: Tensor, axis: int, scales: Array) -> Tensor:
    assert constant.data is not None
    shape = [1] * len(constant.shape)
    shape[axis] = -1
    product = constant.data.astype(np.float64) * scales.astype(np.float64).reshape(shape)
    name = fresh_tensor(graph, f"{constant.name}\tscaled")
    return replace(constant, name=name, data=read_only(product, constant.dtype))


def _before_reshape(graph: Graph, node: Node) -> Graph | None:
    """Mul or Add by a constant moves before the Reshape, where the channels are the last axis."""
    if node.op not in ("Mul", "Add"):
        return None
    for data, other in (node.inputs, (node.inputs[1], node.inputs[0])):
        reshape, values = graph.producer(data), graph.constant(other)
        if reshape is None or reshape.op != "Reshape" or values is None:
            continue
        x, y = graph.tensors[reshape.inputs[0]], graph.tensors[node.output]
        if y.shape != graph.tensors[data].shape or not graph.only_reader(data, node):
            continue
        layer = graph.producer(x.name)
        full = np.broadcast_to(values, y.shape).reshape(x.shape)
        channel = full.reshape(-1, x.shape[-1])
        if layer is None or layer.op not in (*OUTPUT_AXIS, "Mul", "Add"):
            continue
        if (channel != channel[0]).any():
            continue
        constant = Tensor(
            fresh_tensor(graph, f"{other}\tchannels"), (x.shape[-1],), y.dtype,
            read_only(channel[0], y.dtype),
        )  # fmt: skip
        inner = replace(x, name=fresh_tensor(graph, f"{y.name}\tearly"), quant=None)
        early = replace(node, inputs=(x.name, constant.name), outputs=(inner.name,))
        late = replace(
            reshape,
            name=fresh_node(graph, f"{reshape.name}\tlate"),
            inputs=(inner.name,),
            outputs=node.outputs,
        )
        return replace_nodes(graph, [reshape, node], [early, late], (constant, inner))
    return None
