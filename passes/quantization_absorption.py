"""Quantize(F(Dequantize(x), Dequantize(w), b)) -> F on stored integers, rounded once.

Also Cast(F(Dequantize(x), Dequantize(w))) to int32, where F only adds products: the raw sums.
"""

from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import (
    FOUR_BITS,
    SIXTEEN_BITS,
    Array,
    DType,
    Graph,
    Node,
    QParams,
    Tensor,
    read_only,
)
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.conv_nd import ConvNDAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.fixed_point import LONG_LIMIT
from tinyc.compiler.ops.op import Call, dequantized
from tinyc.compiler.ops.time_filter import TimeFilterAttrs
from tinyc.passes.rewrite import fresh_tensor, joined_origin, replace_nodes, rewrite
from tinyc.targets import Target

LAYERS = (Conv2DAttrs, ConvNDAttrs, DepthwiseConv2DAttrs, DenseAttrs, TimeFilterAttrs)
PACKED = ("Conv2D", "Dense")  # whose kernels read weights of 4 bits
SUMS = ("Conv2D", "ConvND", "ConvTranspose", "DepthwiseConv2D", "Dense", "MatMul")


def absorb_quantization(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _absorb)


def _absorb(graph: Graph, last: Node) -> Graph | None:
    node = graph.producer(last.inputs[0]) if last.inputs else None
    if node is None or not graph.only_reader(last.inputs[0], last) or len(node.outputs) != 1:
        return None
    if node.op in ("Dequantize", "Quantize"):
        return None
    raw = isinstance(last.attrs, CastAttrs) and last.attrs.dtype == DType.INT32
    if last.op != "Quantize" and not (raw and node.op in SUMS and _whole(graph, node)):
        return None
    stored = stored_inputs(graph, node)
    if stored is None:
        return None
    tensors, new = stored
    output = graph.tensors[last.output]
    absorbed = replace(
        node,
        inputs=tuple(t.name for t in tensors),
        outputs=(output.name,),
        origin=joined_origin(node, last),
    )
    if not OPS[node.op].quantize(Call(absorbed, tensors, (output,))):
        return None
    return replace_nodes(graph, [node, last], [absorbed], new)


def _whole(graph: Graph, node: Node) -> bool:
    """Whether the dequantized operands are whole numbers: every scale is 1."""
    for name in node.inputs:
        producer = graph.producer(name)
        if producer is None or producer.op != "Dequantize":
            return False
        quant = graph.tensors[producer.inputs[0]].quant
        if quant is None or set(quant.scale) != {1.0}:
            return False
    return True


def stored_inputs(graph: Graph, node: Node) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None:
    """The operands of `node` as stored integers, and those that are new; None if some are real."""
    tensors: list[Tensor] = []
    new: list[Tensor] = []
    for position, name in enumerate(node.inputs):
        producer = graph.producer(name)
        if isinstance(node.attrs, LAYERS) and position == 2:
            bias = _stored_bias(graph, tensors, name)
            if bias is None:
                return None
            new.append(bias)
            tensors.append(bias)
        elif producer is not None and producer.op == "Dequantize":
            operand = graph.tensors[producer.inputs[0]]
            if operand.dtype in FOUR_BITS and node.op not in PACKED:
                operand = _as_bytes(graph, operand)
                new.append(operand)
            tensors.append(operand)
        elif position > 0 and node.op == "Normalize" and graph.constant(name) is not None:
            tensors.append(graph.tensors[name])  # scale and shift become whole numbers there
        elif graph.constant(name) is not None and graph.tensors[name].elements == 1:
            tensors.append(graph.tensors[name])  # a number: the operator decides
        elif graph.tensors[name].dtype == DType.BOOL:
            tensors.append(graph.tensors[name])  # a condition is no real
        else:
            return None
    return tuple(tensors), tuple(new)


def _as_bytes(graph: Graph, tensor: Tensor) -> Tensor:
    """A constant of 4 bits as one of 8, for operators that do not unpack."""
    assert tensor.data is not None, "only constants have 4 bits"
    dtype = DType.INT8 if tensor.dtype == DType.INT4 else DType.UINT8
    name = fresh_tensor(graph, f"{tensor.name}\tbytes")
    return replace(tensor, name=name, dtype=dtype, data=read_only(tensor.data, dtype))


def _stored_bias(graph: Graph, operands: list[Tensor], name: str) -> Tensor | None:
    """The bias as int32 at scale(x) * scale(w)[c]: kept where it has that scale, else rounded.

    Beside activations of 16 bits it may need an int64.
    """
    x, w = operands
    if x.quant is None or w.quant is None or x.quant.axis is not None:
        return None
    producer = graph.producer(name)
    source = graph.tensors[producer.inputs[0] if producer else name]
    if source.data is None or (producer is not None and producer.op != "Dequantize"):
        return None
    count = graph.tensors[name].elements
    scales = np.broadcast_to(np.array(w.quant.scale, np.float64) * x.quant.scale[0], (count,))
    values = source.data.astype(np.int64)
    if producer is None or not _has_scales(source.quant, scales):
        real: Array = dequantized(source.data, source)
        values = np.rint(real / scales)
    limit, dtype = (1 << 31) - 1, DType.INT32
    if x.dtype in SIXTEEN_BITS and np.abs(values).max(initial=0) > limit:
        limit, dtype = LONG_LIMIT, DType.INT64
    data = read_only(np.clip(values, -limit, limit), dtype)
    return Tensor(fresh_tensor(graph, f"{source.name}\t{dtype}"), data.shape, dtype, data)


def _has_scales(quant: QParams | None, scales: Array) -> bool:
    """Whether the bias is stored at these scales, up to float32 rounding."""
    if quant is None or any(quant.zero_point):
        return False
    return bool(np.allclose(np.array(quant.scale), scales, rtol=1e-6, atol=0))
