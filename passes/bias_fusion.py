"""Add(Conv(x, w), b) -> Conv(x, w, b), for a constant b of one value a channel.

The constant may stand behind a Dequantize. Two biases become one when both are plain floats.
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import Array, Graph, Node, QParams, Shape, Tensor, read_only
from tinyc.compiler.ops.block_dense import BEFORE_BIAS, BlockDenseAttrs
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.conv_nd import ConvNDAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.passes.rewrite import fresh_node, fresh_tensor, joined_origin, replace_nodes, rewrite
from tinyc.targets import Target

LAYERS = (BlockDenseAttrs, Conv2DAttrs, ConvNDAttrs, DepthwiseConv2DAttrs, DenseAttrs)


def fuse_biases(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _fuse)


def layer_before(graph: Graph, node: Node, data: str) -> Node | None:
    """The Conv or Dense whose result only `node` reads, and which has no clamp yet."""
    layer = graph.producer(data)
    if layer is None or not isinstance(layer.attrs, LAYERS) or layer.attrs.clamp != NO_CLAMP:
        return None
    same = graph.tensors[data].shape == graph.tensors[node.output].shape
    return layer if same and graph.only_reader(data, node) else None


def per_channel(values: Array, shape: Shape) -> Array | None:
    """`values`, broadcast against `shape`, as one value for each of the last axis; None if more."""
    if values.size not in (1, shape[-1]) or (values.size > 1 and values.shape[-1] != shape[-1]):
        return None
    return read_only(np.broadcast_to(values.reshape(-1), (shape[-1],)))


def _fuse(graph: Graph, add: Node) -> Graph | None:
    if add.op != "Add" or not isinstance(add.attrs, BinaryAttrs) or add.attrs.clamp != NO_CLAMP:
        return None
    for data, other in (add.inputs, (add.inputs[1], add.inputs[0])):
        layer = layer_before(graph, add, data)
        bias = None if layer is None else _bias(graph, layer, add, other)
        if layer is None or bias is None:
            continue
        tensors, nodes, name = bias
        fused = replace(
            layer,
            inputs=(*layer.inputs[: _before_bias(layer)], name),
            outputs=add.outputs,
            origin=joined_origin(layer, add),
        )
        return replace_nodes(graph, [layer, add], [*nodes, fused], tensors)
    return None


def _before_bias(layer: Node) -> int:
    """The number of inputs that come before the bias."""
    return BEFORE_BIAS if isinstance(layer.attrs, BlockDenseAttrs) else 2


def _bias(
    graph: Graph, layer: Node, add: Node, name: str
) -> tuple[list[Tensor], list[Node], str] | None:
    """New tensors, new nodes and the name of the bias; None when `name` is no bias."""
    producer = graph.producer(name)
    stored = graph.tensors[producer.inputs[0] if producer else name]
    if stored.data is None or graph.tensors[add.output].dtype != "float32":
        return None
    values = per_channel(stored.data, graph.tensors[add.output].shape)
    if values is None:
        return None
    if producer is None:
        return _float_bias(graph, layer, stored, values)
    if (
        producer.op != "Dequantize"
        or len(layer.inputs) > _before_bias(layer)
        or stored.quant is None
    ):
        return None
    quant = stored.quant
    if quant.axis is not None:
        quant = QParams(quant.scale, quant.zero_point, 0)
    constant = replace(
        stored, name=fresh_tensor(graph, f"{stored.name}\tbias"), shape=values.shape, data=values,
        quant=quant,
    )  # fmt: skip
    real = Tensor(fresh_tensor(graph, f"{name}\tbias"), values.shape, graph.tensors[name].dtype)
    node = Node(
        fresh_node(graph, f"{producer.name}\tbias"), "Dequantize", (constant.name,), (real.name,)
    )
    return [constant, real], [node], real.name


def _float_bias(
    graph: Graph, layer: Node, stored: Tensor, values: Array
) -> tuple[list[Tensor], list[Node], str] | None:
    at = _before_bias(layer)
    if len(layer.inputs) > at:
        first = graph.constant(layer.inputs[at])
        if first is None:
            return None
        values = read_only(first + values, stored.dtype)
    name = fresh_tensor(graph, f"{stored.name}\tbias")
    return [replace(stored, name=name, shape=values.shape, data=values)], [], name
