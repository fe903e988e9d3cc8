"""What a model that came quantized could do better: said, and never changed."""

from collections.abc import Iterator

import numpy as np

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs

CHANNEL_AXES = {Conv2DAttrs: 0, DenseAttrs: 0, DepthwiseConv2DAttrs: -1}
WASTED_BITS = 3  # of the 8 of a channel's weights, from which on a scale of its own is worth it


def quantization_hints(graph: Graph) -> tuple[str, ...]:
    """A line for each node whose quantization costs accuracy or time for nothing."""
    return tuple(hint for node in graph.nodes for hint in _hints(graph, node))


def _hints(graph: Graph, node: Node) -> Iterator[str]:
    wasted = _wasted_bits(graph, node)
    if wasted >= WASTED_BITS:
        yield (
            f"'{node.name}' has one scale for the weights of all channels, of which half "
            f"have {8 - wasted} of 8 bits or fewer: quantized per channel it would be more accurate"
        )
    if node.op == "Requantize" and graph.producer(node.inputs[0]) is not None:
        yield (
            f"'{node.name}' only moves values to another scale: with one scale on both sides it "
            "would take no time"
        )


def _wasted_bits(graph: Graph, node: Node) -> int:
    """Bits that the median channel of a layer's weights leaves unused; 0 with scales by channel."""
    axis = CHANNEL_AXES.get(type(node.attrs))
    weights = graph.tensors[node.inputs[1]] if axis is not None else None
    if weights is None or weights.data is None or weights.quant is None or axis is None:
        return 0
    if len(set(weights.quant.scale)) > 1 or weights.data.dtype != np.int8:
        return 0
    channels = np.moveaxis(weights.data.astype(np.int32), axis, 0).reshape(weights.shape[axis], -1)
    largest = np.abs(channels).max(axis=1)
    smallest = float(np.median(largest[largest > 0])) if largest.any() else 127.0
    return int(np.log2(127 / max(smallest, 1.0)))
