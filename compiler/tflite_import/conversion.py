"""A TensorFlow Lite file -> an ONNX model of the same meaning, in the QDQ form.

Every operator becomes the ONNX nodes that compute its reals: a quantized tensor is dequantized
before it is read and quantized by its own scale when it is written, so that one pass for ONNX and
TensorFlow Lite finds the integer kernels.
"""

from operator import attrgetter

import numpy as np
import onnx
from onnx.helper import (
    make_graph,
    make_model,
    make_opsetid,
    make_tensor_value_info,
    np_dtype_to_tensor_dtype,
)
from onnx.shape_inference import infer_shapes

from tinyc.compiler.errors import CompileError, unsupported_operators
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.states import DOMAIN, STATE, bodies
from tinyc.compiler.tflite_import.building import OnnxGraph
from tinyc.compiler.tflite_import.lite_model import LiteModel, LiteOperator, LiteTensor
from tinyc.compiler.tflite_import.operators import READERS
from tinyc.compiler.tflite_import.reading import NUMPY_TYPES, read_model
from tinyc.compiler.tflite_import.variables import end_variables

OPSET, IR_VERSION = 21, 10
NAME = "tflite"


def onnx_of(content: bytes, where: str) -> onnx.ModelProto:
    """The model that a TensorFlow Lite file holds.

    where  the file, for errors

    Raises CompileError: "bad-model", "unsupported-op", "unsupported-type", "too-large".
    """
    lite = read_model(content, where)
    _check_operators(lite.operators)
    graph = OnnxGraph(_names(lite), bodies=lite.bodies)
    for operator in lite.operators:
        _convert(graph, operator)
    end_variables(graph)
    written = {t for operator in lite.operators for t in operator.outputs}
    for output in lite.outputs:
        if output not in written:  # an input or a constant
            graph.value(output)
    inner = written.difference(lite.outputs)
    model = make_model(
        make_graph(
            graph.nodes,
            NAME,
            [*(_declared(t) for t in lite.inputs), *(_state(graph, s) for s, _ in graph.states)],
            [*(_declared(t) for t in lite.outputs),
             *(_state(graph, s, after) for s, after in graph.states)],
            list(graph.constants.values()),
            value_info=[_declared(t) for t in sorted(inner, key=attrgetter("name"))
                        if t.shape and t.dtype != "resource"],
        ),
        opset_imports=[make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )  # fmt: skip
    for before, after in graph.states:
        model.metadata_props.add(key=f"{STATE}{before}", value=after)
    if any(node.domain == DOMAIN for node in graph.nodes):
        model.opset_import.append(make_opsetid(DOMAIN, 1))
        model.functions.extend(bodies(OPSET))
    guarded(  # against the shapes and types that the file says
        lambda: infer_shapes(model, check_type=True, strict_mode=True, data_prop=True),
        "bad-model",
        "the operators do not give what the file says",
        where,
    )
    return model


def _names(lite: LiteModel) -> set[str]:
    tensors = {*lite.inputs, *lite.outputs}
    for operator in lite.operators:
        tensors.update(operator.outputs, (t for t in operator.inputs if t is not None))
    return {t.name for t in tensors}


def _check_operators(operators: tuple[LiteOperator, ...]) -> None:
    """Refuse the model when it has operators that have no reader: all of them at once."""
    unknown = [f"node '{o.name}' ({o.kind})" for o in operators if o.kind not in READERS]
    if unknown:
        raise unsupported_operators(unknown)


def _convert(graph: OnnxGraph, operator: LiteOperator) -> None:
    graph.operator, graph.fresh = operator.name, {}
    results = READERS[operator.kind](graph, operator)
    values = results if isinstance(results, tuple) else (results,)
    for tensor, value in zip(operator.outputs, values, strict=False):
        graph.define(tensor, value)


def _state(graph: OnnxGraph, before: str, name: str = "") -> onnx.ValueInfoProto:
    """A state as an input, or as the output `name`."""
    first = graph.constants[before]
    return make_tensor_value_info(name or before, first.data_type, first.dims)


def _declared(tensor: LiteTensor) -> onnx.ValueInfoProto:
    """A value of the graph; open dimensions have no size."""
    if tensor.dtype not in NUMPY_TYPES:
        raise CompileError(
            "unsupported-type",
            f"the element type {tensor.dtype} is not supported",
            f"tensor '{tensor.name}'",
        )
    element = np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    shape = [n if n >= 0 else None for n in tensor.signature]
    return make_tensor_value_info(tensor.name, element, shape)
