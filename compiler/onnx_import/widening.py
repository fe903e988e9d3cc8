"""Nodes on float types without a kernel of their own: computed in float32, rounded at their end.

F(x: float16) -> Cast(F(Cast(x, float32)), float16)
"""

from collections.abc import Callable

import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.casting import cast
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.values import Value
from tinyc.compiler.ops.binary_functions import FUNCTIONS
from tinyc.compiler.ops.element_types import HALVES

Results = tuple[Value, ...]
Reader = Callable[[Builder, ModelNode], Value | Results]
WIDENED = (*HALVES, DType.FLOAT64)


def read_typed(build: Builder, node: ModelNode, reader: Reader) -> Results:
    """What `reader` makes of the node; where an operator refuses a type, of float32 instead."""
    if not any(build.tensors[name].dtype in WIDENED for name in _operands(build, node).values()):
        return _several(reader(build, node))
    before = build.copy()
    try:
        results = _several(reader(build, node))
        if not _rounds_between(build, len(before.nodes)):
            return results
    except CompileError as error:
        if error.code != "unsupported-type":
            raise
    build.become(before)
    return _read_in_float32(build, node, reader)


def _rounds_between(build: Builder, begin: int) -> bool:
    """Whether a node became several that compute with halves, which ONNX would not round."""
    computing = [n for n in build.nodes[begin:] if n.op == "Unary" or n.op in FUNCTIONS]
    return len(computing) > 1 and any(build.tensors[n.output].dtype in HALVES for n in computing)


def _several(results: Value | Results) -> Results:
    return results if isinstance(results, tuple) else (results,)


def _operands(build: Builder, node: ModelNode) -> dict[str, str]:
    """The tensors that the node's inputs became, by value."""
    return {name: build.values[name] for name in node.inputs if name in build.values}


def _read_in_float32(build: Builder, node: ModelNode, reader: Reader) -> Results:
    own = _operands(build, node)
    types = {v: build.tensors[name].dtype for v, name in own.items()}
    if DType.FLOAT64 in types.values():
        build.notes.append(f"{node.where} computes in float32: it has no kernel for double")
    for value, name in own.items():
        if types[value] in WIDENED:
            build.values[value] = cast(build, node, build.tensors[name], DType.FLOAT32).name
    results = _several(reader(build, node))
    build.values.update(own)
    return tuple(
        _rounded(build, node, result, _type_of_output(node, index, types))
        for index, result in enumerate(results)
    )


def _rounded(build: Builder, node: ModelNode, result: Value, dtype: DType) -> Value:
    if isinstance(result, Tensor) and result.dtype == DType.FLOAT32:
        return cast(build, node, result, dtype)
    return result


def _type_of_output(node: ModelNode, index: int, types: dict[str, DType]) -> DType:
    """The element type of a real output: that of the inputs of which ONNX says so."""
    wide = [types[name] for name in node.inputs if types.get(name) in WIDENED]
    if node.domain or not onnx.defs.has(node.op, node.opset):
        return wide[0]
    schema = onnx.defs.get_schema(node.op, node.opset)
    wanted = schema.outputs[min(index, len(schema.outputs) - 1)].type_str
    for position, name in enumerate(node.inputs):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        if name in types and formal.type_str == wanted:
            return types[name] if types[name].is_float else DType.FLOAT32
    return DType.FLOAT32
