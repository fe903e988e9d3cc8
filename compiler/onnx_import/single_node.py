"""A node of the user's model as a model of its own."""

from collections.abc import Mapping

import numpy as np
import onnx

from tinyc.compiler.graph import Array, Shape


def single_node_model(
    proto: onnx.NodeProto,
    opset: int,
    inputs: Mapping[str, tuple[str, Shape]],
    constants: Mapping[str, Array],
    outputs: Mapping[str, tuple[str, Shape]] = {},
) -> onnx.ModelProto:
    """`proto` alone; types are NumPy's names; outputs without a type are named only."""
    graph = onnx.helper.make_graph(
        [proto],
        "node",
        [_value(name, *kind) for name, kind in inputs.items()],
        [
            _value(name, *outputs[name]) if name in outputs else onnx.ValueInfoProto(name=name)
            for name in proto.output
            if name
        ],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    imports = [onnx.helper.make_opsetid(proto.domain, opset)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def _value(name: str, dtype: str, shape: Shape) -> onnx.ValueInfoProto:
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx.helper.make_tensor_value_info(name, element, shape)
