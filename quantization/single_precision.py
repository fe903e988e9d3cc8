"""A model of half or double floats as one of float32, which is what is quantized and pruned."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

OTHERS = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
TYPED = frozenset({"to", "dtype", "stash_type"})  # attributes that name a type of elements


def in_single_precision(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float32 in place of all other floats; inputs and outputs are so, too."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    for graph in _graphs(changed.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            kind = value.type.tensor_type
            kind.elem_type = _single(kind.elem_type)
        tensors = [*graph.initializer]
        for attribute in (a for node in graph.node for a in node.attribute):
            tensors += [attribute.t] if attribute.HasField("t") else []
            if attribute.name in TYPED:
                attribute.i = _single(attribute.i)
        for tensor in (t for t in tensors if t.data_type in OTHERS):
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return changed


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside of its nodes."""
    yield graph
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.HasField("g"):
            yield from _graphs(attribute.g)


def _single(kind: int) -> int:
    return TensorProto.FLOAT if kind in OTHERS else kind
