"""Add(Conv2D(x, w, b), r) -> Conv2D(x, w, b, r) that adds r to each result before it is stored."""

from dataclasses import replace

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.residual import Residual
from tinyc.passes.rewrite import joined_origin, replace_nodes, rewrite
from tinyc.targets import Target


def fuse_residuals(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _fuse)


def _fuse(graph: Graph, add: Node) -> Graph | None:
    if add.op != "Add" or not isinstance(add.attrs, BinaryAttrs):
        return None
    convolutions = [
        (graph.nodes.index(conv), conv, residual)
        for data, residual in (add.inputs, add.inputs[::-1])
        if (conv := _convolution(graph, add, data, residual)) is not None
    ]
    if not convolutions:
        return None
    _, conv, residual = max(convolutions, key=lambda c: c[0])  # the later one sees the other ready
    own = graph.tensors[conv.output]
    assert isinstance(conv.attrs, Conv2DAttrs)
    fused = replace(
        conv,
        inputs=(*conv.inputs, residual),
        outputs=add.outputs,
        attrs=replace(conv.attrs, residual=Residual(own.dtype, own.quant, add.attrs.clamp)),
        origin=joined_origin(conv, add),
    )
    return replace_nodes(graph, [conv, add], [fused])


def _convolution(graph: Graph, add: Node, data: str, residual: str) -> Node | None:
    """The convolution with a bias that only `add` reads, when the residual has its shape."""
    conv, r, y = graph.producer(data), graph.tensors[residual], graph.tensors[add.output]
    if conv is None or not isinstance(conv.attrs, Conv2DAttrs) or conv.attrs.residual is not None:
        return None
    if len(conv.inputs) != 3 or not graph.only_reader(data, add) or data == residual:
        return None
    same_form = r.shape == y.shape and r.data is None and (r.quant is None) == (y.quant is None)
    return conv if same_form and r.dtype == y.dtype == graph.tensors[data].dtype else None
