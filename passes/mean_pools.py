"""Reduce(x), a mean over both spatial axes -> AveragePool2D(x), which has kernels of its own.

So PyTorch exports `x.mean((2, 3))`, and tf2onnx Keras's GlobalAveragePooling2D.
"""

from dataclasses import replace

from tinyc.compiler.graph import EIGHT_BITS, DType, Graph, Node
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.passes.rewrite import fresh_node, fresh_tensor, replace_nodes, rewrite
from tinyc.targets import Target

SPATIAL = (1, 2)


def pool_means(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _as_pool)


def _as_pool(graph: Graph, node: Node) -> Graph | None:
    attrs, x = node.attrs, graph.tensors[node.inputs[0]] if node.inputs else None
    if not isinstance(attrs, ReduceAttrs) or x is None or len(x.shape) != 4:
        return None
    if attrs.kind != "mean" or attrs.axes != SPATIAL or x.dtype not in (DType.FLOAT32, *EIGHT_BITS):
        return None
    n, rows, columns, channels = x.shape
    pool = replace(
        node, op="AveragePool2D", attrs=Pool2DAttrs((rows, columns), strides=(rows, columns))
    )
    if attrs.keep_dims:
        return replace_nodes(graph, [node], [pool])
    y = graph.tensors[node.output]
    pooled = replace(y, name=fresh_tensor(graph, y.name), shape=(n, 1, 1, channels))
    reshape = replace(
        node, name=fresh_node(graph, node.name), op="Reshape", inputs=(pooled.name,),
        attrs=ReshapeAttrs(y.shape),
    )  # fmt: skip
    return replace_nodes(graph, [node], [replace(pool, outputs=(pooled.name,)), reshape], [pooled])
