"""The float model that is quantized: its nodes, constants and shapes, folded by onnxruntime."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Shape
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.inputs import read_inputs
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.onnx_import.states import has_states
from tinyc.quantization.runtime import session_of
from tinyc.quantization.single_precision import in_single_precision

LEAST_OPSET = 13  # the first in which DequantizeLinear has an axis
QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv")


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of the model."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True, eq=False)
class FloatModel:
    """A model as a list of ONNX nodes, in execution order; never changed, only replaced.

    domains  versions of the operator sets, by domain
    """

    name: str
    nodes: tuple[onnx.NodeProto, ...]
    constants: Mapping[str, Array]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    domains: Mapping[str, int]
    ir_version: int

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        return next((n for n in self.nodes if tensor in n.output), None)

    def readers(self, tensor: str) -> tuple[onnx.NodeProto, ...]:
        return tuple(n for n in self.nodes if tensor in names_read(n))

    def only_reader(self, tensor: str) -> onnx.NodeProto | None:
        """The node that alone reads `tensor`; None for an output of the model too."""
        readers = self.readers(tensor)
        is_output = any(v.name == tensor for v in self.outputs)
        return readers[0] if len(readers) == 1 and not is_output else None

    def with_constants(self, new: Mapping[str, Array]) -> "FloatModel":
        return replace(self, constants={**self.constants, **new})

    def with_nodes(self, nodes: Iterable[onnx.NodeProto]) -> "FloatModel":
        """Other nodes; constants that none of them reads are left out."""
        kept = tuple(nodes)
        read = {name for node in kept for name in names_read(node)}
        constants = {n: c for n, c in self.constants.items() if n in read}
        return replace(self, nodes=kept, constants=constants)

    def to_proto(self) -> onnx.ModelProto:
        """As an ONNX file, with the shapes of its inputs and outputs."""
        ports = (
            [
                helper.make_tensor_value_info(
                    v.name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape
                )
                for v in values
            ]
            for values in (self.inputs, self.outputs)
        )
        inputs, outputs = ports
        tensors = [numpy_helper.from_array(c, n) for n, c in self.constants.items()]
        graph = helper.make_graph(list(self.nodes), self.name, inputs, outputs, tensors)
        domains = [helper.make_opsetid(d, v) for d, v in self.domains.items()]
        proto: onnx.ModelProto = helper.make_model(graph, opset_imports=domains)
        proto.ir_version = self.ir_version
        proto.producer_name = "tinyc"
        return proto


def names_read(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node reads, those of its inner graphs among them."""
    inner = [a.g for a in node.attribute if a.HasField("g")]
    return [n for n in node.input if n] + [
        name for graph in inner for child in graph.node for name in names_read(child)
    ]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, or `default`."""
    found = (a for a in node.attribute if a.name == name)
    return next((helper.get_attribute_value(a) for a in found), default)


def with_opset(model: FloatModel, version: int) -> FloatModel:
    """The same model by the operators of a later version.

    Raises CompileError("old-opset") where the ONNX package cannot convert one.
    """
    given = model.domains.get("", LEAST_OPSET)
    if given >= version:
        return model
    proto = guarded(
        lambda: onnx.version_converter.convert_version(model.to_proto(), version),
        "old-opset", f"opset {given} cannot be converted to opset {version}",
        f"graph '{model.name}'",
    )  # fmt: skip
    return model_of(proto, model.name)


def read_float_model(
    path: Path,
    input_shapes: Mapping[str, Shape] = {},
    dims: Mapping[str, int] = {},
) -> FloatModel:
    """The model of a file with static shapes, its functions inlined and its constants folded.

    Half and double floats become float32.

    Raises CompileError when it cannot be read, is quantized already, or leaves a shape open.
    """
    proto = load_model(path)
    where = f"file '{path}'"
    if proto.functions:
        proto = guarded(
            lambda: onnx.inliner.inline_local_functions(proto),
            "bad-model", "its functions cannot be inlined", where,
        )  # fmt: skip
    _refuse_quantized(proto, where)
    if has_states(proto):
        raise CompileError(
            "unsupported-op",
            "a model that remembers tensors from run to run cannot be changed",
            where,
            "quantize or prune it before it is converted to TensorFlow Lite",
        )
    proto = in_single_precision(proto)
    inputs, _ = read_inputs(proto.graph, input_shapes, dims)
    proto = _with_shapes(proto, {tensor.name: tensor.shape for tensor in inputs})
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version < LEAST_OPSET:
        proto = guarded(
            lambda: onnx.version_converter.convert_version(proto, LEAST_OPSET),
            "old-opset", f"opset {version} cannot be converted to opset {LEAST_OPSET}", where,
        )  # fmt: skip
    return model_of(_folded(proto), path.stem)


def model_of(proto: onnx.ModelProto, name: str) -> FloatModel:
    """The parts of an ONNX model whose shapes are static."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    graph = inferred.graph
    constants = {i.name: np.array(numpy_helper.to_array(i)) for i in graph.initializer}
    used = {"", *(n.domain for n in graph.node)}
    nodes: list[onnx.NodeProto] = []
    for position, node in enumerate(graph.node):
        if node.op_type == "Constant":
            (given,) = node.attribute
            constants[node.output[0]] = np.asarray(_constant_value(given))
            continue
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        kept.name = node.name or f"{node.op_type}_{position}"
        nodes.append(kept)
    return FloatModel(
        name=name,
        nodes=tuple(nodes),
        constants=constants,
        inputs=tuple(_value(v) for v in graph.input if v.name not in constants),
        outputs=tuple(_value(v) for v in graph.output),
        domains={o.domain: o.version for o in inferred.opset_import if o.domain in used},
        ir_version=inferred.ir_version,
    )


def _refuse_quantized(proto: onnx.ModelProto, where: str) -> None:
    found = next((n for n in proto.graph.node if n.op_type in QUANTIZED), None)
    if found is not None:
        raise CompileError(
            "already-quantized",
            f"the model is quantized already: it has a {found.op_type}",
            where,
            "give the float model it was made from",
        )


def _with_shapes(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """The model with static shapes of inputs; all others follow from them."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    for port in changed.graph.input:
        dims = port.type.tensor_type.shape.dim
        for dim, size in zip(dims, shapes.get(port.name, ()), strict=False):
            dim.dim_value = size
    del changed.graph.value_info[:]
    for port in changed.graph.output:
        port.type.tensor_type.ClearField("shape")
    return changed


def _folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Constants and batch normalizations folded by onnxruntime, which uses standard operators."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "folded.onnx")
        session_of(proto, written=file)
        return onnx.load(file)


def _constant_value(given: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(given)
    if isinstance(value, onnx.TensorProto):
        return np.array(numpy_helper.to_array(value))
    return np.array(value, np.float32 if given.name.startswith("value_float") else np.int64)


def _value(info: onnx.ValueInfoProto) -> Value:
    tensor = info.type.tensor_type
    shape = tuple(d.dim_value for d in tensor.shape.dim)
    return Value(info.name, shape, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
