"""Conv(Pad(x)) -> Conv with larger pads, for a Pad of zeros over height and width."""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.passes.rewrite import joined_origin, rewrite
from tinyc.targets import Target


def fuse_pads(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _fuse)


def _fuse(graph: Graph, node: Node) -> Graph | None:
    attrs = node.attrs
    if not isinstance(attrs, Conv2DAttrs | DepthwiseConv2DAttrs | Pool2DAttrs):
        return None
    pad = graph.producer(node.inputs[0])
    if pad is None or not isinstance(pad.attrs, PadAttrs):
        return None
    if pad.attrs.mode != "constant" or pad.attrs.value != 0.0:
        return None
    batch, height, width, channels = pad.attrs.pads
    if batch != (0, 0) or channels != (0, 0):
        return None
    if isinstance(attrs, Pool2DAttrs):  # an average counts these zeros, a maximum sees them
        if node.op != "AveragePool2D" or any(attrs.pads):
            return None
        attrs = replace(attrs, include_pad=True)
    top, left, bottom, right = attrs.pads
    pads = (top + height[0], left + width[0], bottom + height[1], right + width[1])
    fused = replace(
        node,
        inputs=(pad.inputs[0], *node.inputs[1:]),
        attrs=replace(attrs, pads=pads),
        origin=joined_origin(pad, node),
    )
    return graph.with_nodes(fused if n is node else n for n in graph.nodes)
