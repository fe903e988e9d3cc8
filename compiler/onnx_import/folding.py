"""Nodes of the model that are constants: Constant, Shape, Size, and operators on constants."""

import math
from collections.abc import Mapping

import numpy as np
import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Shape, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.element_types import onnx_element_type
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.model_node import ModelNode, tensor_array
from tinyc.compiler.onnx_import.operators import FOLDABLE
from tinyc.compiler.onnx_import.single_node import single_node_model
from tinyc.compiler.ops.onnx_evaluator import onnx_evaluator

MOST_ELEMENTS = 1 << 24  # of a folded constant: beyond any microcontroller's flash
SMALL = 1 << 16  # elements of inputs whose values can decide the shape of a result
SHAPE_ONLY = ("Shape", "Size", "EyeLike")  # their input need not be constant
AT_MOST_THE_INPUTS = ("Compress", "NonZero", "Unique")  # the size of what they give, about


def is_constant(node: ModelNode, constants: frozenset[str] | set[str]) -> bool:
    """Whether `node` can be evaluated when only `constants` are known."""
    if node.domain:
        return False
    if node.op == "Constant" or node.op in SHAPE_ONLY:
        return True
    return node.op in FOLDABLE and all(not name or name in constants for name in node.inputs)


def evaluate(build: Builder, node: ModelNode) -> tuple[Array, ...]:
    """The values of the outputs of a node for which `is_constant` holds."""
    if node.op == "Constant":
        return (_constant(node),)
    if node.op in SHAPE_ONLY:
        return (_shape(node, build.operand(node, 0)),)
    inputs: dict[str, Array] = {}
    for index, name in enumerate(node.inputs):
        tensor = build.optional(node, index)
        if tensor is not None:
            assert tensor.data is not None, f"'{name}' is a constant"
            inputs[name] = tensor.data
    shapes = _result_shapes(node, inputs)
    if sum(map(math.prod, shapes)) > MOST_ELEMENTS:
        raise CompileError(
            "too-large",
            f"its constant results have the shapes {list(map(list, shapes))}",
            node.where,
        )
    model = _single(node, inputs, values=False)
    results = guarded(
        lambda: onnx_evaluator(model).run(None, dict(inputs)),
        "bad-model",
        "it cannot be evaluated",
        node.where,
    )
    return tuple(np.asarray(r) for r in results)


def _constant(node: ModelNode) -> Array:
    for kind, dtype in (("value_float", "float32"), ("value_int", "int64")):
        for name in (kind, f"{kind}s"):
            if name in node.attributes:
                return np.array(node.attributes[name], dtype)
    value = node.attributes.get("value")
    if not isinstance(value, onnx.TensorProto):
        node.refuse("only constants that are tensors or numbers are supported")
    return tensor_array(value, node.where)


def _shape(node: ModelNode, x: Tensor) -> Array:
    shape = x.shape
    if node.op == "Size":
        return np.array(math.prod(shape), np.int64)
    if node.op == "EyeLike":
        kind = node.integer("dtype", 0)
        dtype = onnx_element_type(kind, node.where) if kind else x.dtype
        if len(shape) != 2 or x.elements > MOST_ELEMENTS:
            node.malformed(f"its input has the shape {list(shape)}")
        return np.eye(*shape, k=node.integer("k", 0), dtype=dtype.value)
    end = node.integer("end", len(shape))
    return np.array(shape[node.integer("start", 0) : end], np.int64)


def _single(node: ModelNode, inputs: Mapping[str, Array], values: bool) -> onnx.ModelProto:
    """`node` as a model of its own; small inputs with their values, on demand."""
    known = {n: a for n, a in inputs.items() if values and a.size <= SMALL}
    types = {n: (a.dtype.name, a.shape) for n, a in inputs.items() if n not in known}
    return single_node_model(node.proto, node.opset, types, known)


def _result_shapes(node: ModelNode, inputs: Mapping[str, Array]) -> list[Shape]:
    """The shapes of the results, before anything as large as them is allocated."""
    if node.op == "Range":
        start, limit, delta = (float(inputs[n].reshape(-1)[0]) for n in node.inputs[:3])
        if not delta or not math.isfinite((limit - start) / delta):
            node.malformed(f"it counts from {start} to {limit} by {delta}")
        return [(max(math.ceil((limit - start) / delta), 0),)]
    if node.op in AT_MOST_THE_INPUTS:
        return [(len(node.outputs), a.ndim, a.size) for a in inputs.values()]
    inferred = guarded(
        lambda: onnx.shape_inference.infer_shapes(
            _single(node, inputs, values=True), strict_mode=True, data_prop=True
        ),
        "bad-model",
        "its inputs do not fit together",
        node.where,
    )
    shapes = []
    for output in inferred.graph.output:
        dims = output.type.tensor_type.shape.dim
        if not output.type.tensor_type.HasField("shape") or any(
            not d.HasField("dim_value") for d in dims
        ):
            node.refuse("the shape of its constant result is not known")
        shapes.append(tuple(d.dim_value for d in dims))
    return shapes
