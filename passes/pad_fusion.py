"""Conv(Pad(x)) -> Conv with larger pads, for a Pad of zeros over height and width.

Conv(Transpose(Pad(x))) -> Conv with larger pads of Transpose(x)
"""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.passes.rewrite import (
    fresh_node,
    fresh_tensor,
    joined_origin,
    replace_nodes,
    rewrite,
)
from tinyc.targets import Target

SPATIAL = (Conv2DAttrs, DepthwiseConv2DAttrs, Pool2DAttrs)


def fuse_pads(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _below_transpose, _fuse)


def _below_transpose(graph: Graph, node: Node) -> Graph | None:
    """Transpose(Pad(x)) -> Pad(Transpose(x)) where all that read it have pads of their own."""
    pad = graph.producer(node.inputs[0]) if isinstance(node.attrs, TransposeAttrs) else None
    if pad is None or not isinstance(pad.attrs, PadAttrs) or node.output in graph.outputs:
        return None
    readers = graph.readers[node.output]
    if not all(isinstance(r.attrs, SPATIAL) for r in readers):
        return None
    assert isinstance(node.attrs, TransposeAttrs)
    perm, x = node.attrs.perm, graph.tensors[pad.inputs[0]]
    shape = tuple(x.shape[axis] for axis in perm)
    inner = replace(x, name=fresh_tensor(graph, f"{node.output}\tinside"), shape=shape)
    early = replace(node, inputs=pad.inputs, outputs=(inner.name,))
    late = replace(
        pad,
        name=fresh_node(graph, f"{pad.name}\tlate"),
        inputs=(inner.name,),
        outputs=node.outputs,
        attrs=replace(pad.attrs, pads=tuple(pad.attrs.pads[axis] for axis in perm)),
    )
    return replace_nodes(graph, [node], [early, late], (inner,))


def _fuse(graph: Graph, node: Node) -> Graph | None:
    attrs = node.attrs
    if not isinstance(attrs, SPATIAL):
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
