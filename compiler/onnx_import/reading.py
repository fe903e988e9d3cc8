"""An ONNX file -> Graph."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from tinyc.compiler.errors import CompileError, unsupported_operators
from tinyc.compiler.graph import Array, DType, Graph, Node, Shape, Tensor, constant, verify
from tinyc.compiler.onnx_import import folding, relax_road
from tinyc.compiler.onnx_import.building import Builder, element_type
from tinyc.compiler.onnx_import.control_flow import CONTROL_FLOW
from tinyc.compiler.onnx_import.functions import inline_functions, inlined_operator
from tinyc.compiler.onnx_import.inputs import read_inputs
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.onnx_import.model_node import (
    ModelNode,
    model_node,
    opset_versions,
    tensor_array,
)
from tinyc.compiler.onnx_import.node_order import names_read
from tinyc.compiler.onnx_import.operators import FOLDABLE, READERS
from tinyc.compiler.onnx_import.remarks import remarks
from tinyc.compiler.onnx_import.states import remembered, with_states, without_initializers
from tinyc.compiler.onnx_import.values import Value
from tinyc.compiler.onnx_import.widening import read_typed
from tinyc.compiler.ops.reshape import ReshapeAttrs

Versions = Mapping[str, int]  # of the operators, by domain
MOVE_TEXTS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
TAKE_TEXTS = (*MOVE_TEXTS, "ArrayFeatureExtractor", "LabelEncoder", "StringConcat", "ZipMap")
TAKE_TEXTS_OF_RUN = (
    "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "SequenceAt",
    "SequenceConstruct", "Slice", "Split", "Squeeze", "StringConcat", "StringNormalizer",
    "Transpose", "Unsqueeze",
)  # fmt: skip
REFUSALS = ("unsupported-op", "unsupported-type")


def read_onnx(
    path: Path,
    input_shapes: Mapping[str, Shape] = {},
    name: str | None = None,
    dims: Mapping[str, int] = {},
) -> Graph:
    """Read the model at `path`; `input_shapes` and `dims` fix dimensions that it leaves open.

    Raises CompileError when the file is damaged or asks for something unsupported.
    """
    model = load_model(path)
    states = remembered(model)
    model = inline_functions(without_initializers(model, states), READERS.keys())
    versions = opset_versions(model)
    nodes = _live_nodes(model.graph, versions)
    _check_operators(nodes, model.graph)
    inputs, notes = read_inputs(model.graph, input_shapes, dims)
    build = Builder(_value_names(model.graph), declared=_declared_shapes(model.graph))
    for tensor in inputs:
        build.values[tensor.name] = build.hold(tensor).name
        if not tensor.elements:
            build.values[tensor.name] = _nothing(build, tensor).name
    _hold_initializers(build, model.graph, nodes)
    for node in nodes:
        _read_node(build, node, versions)
    outputs = tuple(dict.fromkeys(o.name for o in model.graph.output))
    for output in outputs:
        _keep_name(build, output)
    graph = Graph(
        name or path.stem,
        tuple(t.name for t in inputs),
        outputs,
        tuple(build.nodes),
        build.tensors,
        (*notes, *build.notes, *remarks(build, model.graph)),
        {o: build.beside.texts[o] for o in outputs if o in build.beside.texts},
        inlined={n.name: inlined_operator(n.proto) for n in nodes if inlined_operator(n.proto)},
    )
    graph = with_states(graph.with_nodes(build.nodes), states)
    verify(graph)
    return graph


def _nothing(build: Builder, tensor: Tensor) -> Tensor:
    """What an input without elements is read as."""
    return build.constant(f"{tensor.name}/nothing", np.zeros(tensor.shape), tensor.dtype)


def _live_nodes(graph: onnx.GraphProto, versions: Versions) -> tuple[ModelNode, ...]:
    """The nodes that the outputs depend on, in the model's order."""
    needed = {output.name for output in graph.output}
    live = []
    for index, proto in reversed(list(enumerate(graph.node))):
        if needed.intersection(proto.output):
            needed.update(names_read(proto))
            live.append(model_node(proto, index, versions))
    return tuple(reversed(live))


def _check_operators(nodes: Iterable[ModelNode], graph: onnx.GraphProto) -> None:
    """Refuse the model when it has operators that nothing is known of: all of them at once."""
    constants = {t.name for t in graph.initializer}
    unknown = []
    for node in nodes:
        if folding.is_constant(node, constants):
            constants.update(node.outputs)
        elif not _is_known(node):
            domain = f", domain {node.domain}" if node.domain else ""
            unknown.append(f"node '{node.name}' ({node.op}{domain})")
    if unknown:
        raise unsupported_operators(unknown)


def _is_known(node: ModelNode) -> bool:
    """Whether it can be read, or evaluated if its inputs turn out to be constants."""
    own = node.op in CONTROL_FLOW or node.op in FOLDABLE
    known = (node.domain, node.op) in READERS or relax_road.reads(node)
    return known or (own and not node.domain)


def _declared_shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """What the model says of the shapes of its values, where that is all of a shape."""
    kinds = {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.output)}
    return {
        name: tuple(d.dim_value for d in kind.shape.dim)
        for name, kind in kinds.items()
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim)
    }


def _value_names(graph: onnx.GraphProto) -> frozenset[str]:
    names = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    return frozenset(names.union(*(n.output for n in graph.node)))


def _hold_initializers(build: Builder, graph: onnx.GraphProto, nodes: Iterable[ModelNode]) -> None:
    used = {name for node in nodes for name in names_read(node.proto)}
    used.update(o.name for o in graph.output)
    for proto in graph.initializer:
        if proto.name in used:
            where = f"tensor '{proto.name}'"
            data = tensor_array(proto, where)
            if proto.data_type == onnx.TensorProto.STRING:
                build.hold_texts(proto.name, data)
                continue
            data = _whole_bytes(build, proto.name, data)
            dtype = element_type(data.dtype, where)
            name = build.unused_name(proto.name) if build.prefix else proto.name
            build.values[proto.name] = build.hold(constant(name, data, dtype)).name


def _read_node(build: Builder, node: ModelNode, versions: Versions) -> None:
    if folding.is_constant(node, _constants(build, node)):
        for value, data in zip(node.outputs, folding.evaluate(build, node), strict=False):
            if data.dtype == object:
                build.hold_texts(value, data)
                continue
            data = _whole_bytes(build, value, data)
            dtype = element_type(data.dtype, node.where)
            build.values[value] = build.constant(f"{value}/value", data, dtype).name
        return
    _check_texts(build, node)
    if node.op in CONTROL_FLOW and not node.domain:
        results = CONTROL_FLOW[node.op](build, node, partial(_read_body, build, versions))
    else:
        results = read_typed(build, node, _read_by_any_road)
    for value, tensor in zip(node.outputs, results, strict=False):
        if value:
            if node.op in MOVE_TEXTS and isinstance(tensor, Tensor):
                first = build.operand(node, 0).name
                if first in build.beside.texts:
                    build.beside.texts[tensor.name] = build.beside.texts[first]
            build.bind(value, tensor)


def _check_texts(build: Builder, node: ModelNode) -> None:
    """Integers that stand for texts may be moved and looked up, not computed with; texts of the
    run may be moved, and go through the operators that are made for them."""
    tensors = [
        tensor
        for name in node.inputs
        for tensor in build.beside.sequences.get(name, (build.values.get(name, ""),))
    ]
    of_run = [t for t in tensors if t and build.tensors[t].dtype == DType.TEXT]
    if (of_run and node.op not in TAKE_TEXTS_OF_RUN) or (
        node.op not in TAKE_TEXTS and any(t in build.beside.texts for t in tensors)
    ):
        node.refuse("computing with texts is not supported", "give numbers to the model")


def _read_by_any_road(build: Builder, node: ModelNode) -> Value | tuple[Value, ...]:
    """By the operator's reader; where it has none, or that refuses the node, by Relax."""
    reader = READERS.get((node.domain, node.op))
    if reader is None and relax_road.reads(node):
        return relax_road.read_by_relax(build, node)
    if reader is None:
        node.refuse(
            "its inputs are known at run time only, they must be constants",
            "export the model with constant shapes and parameters",
        )
    try:
        return reader(build, node)
    except CompileError as refusal:
        if refusal.code not in REFUSALS or not relax_road.reads(node):
            raise
        try:
            return relax_road.read_by_relax(build, node)
        except CompileError:
            raise refusal from None


def _whole_bytes(build: Builder, value: str, data: Array) -> Array:
    """Constants of 2 or 4 bits as int8 or uint8; what they were is kept in `build.narrow`."""
    bits = data.dtype.name.removeprefix("u").removeprefix("int")
    if bits not in ("2", "4"):
        return data
    signed = data.dtype.name.startswith("int")
    low = -(1 << int(bits) - 1) if signed else 0
    build.narrow[value] = (low, low + (1 << int(bits)) - 1)
    return np.asarray(data.astype(np.int8 if signed else np.uint8))


def _read_body(
    build: Builder,
    versions: Versions,
    graph: onnx.GraphProto,
    prefix: str,
    inputs: Sequence[Value],
) -> tuple[Value, ...]:
    """The outputs of a body of a node; it sees the values around it. See `control_flow`."""
    around = build.values, build.beside.sequences, build.prefix
    build.values, build.beside.sequences = dict(build.values), dict(build.beside.sequences)
    build.prefix = prefix
    for info, value in zip(graph.input, inputs, strict=False):
        if isinstance(value, Tensor):
            build.bound.add(value.name)
            build.values[info.name] = value.name
            build.beside.sequences.pop(info.name, None)
        else:
            build.bind(info.name, value)
    nodes = tuple(replace(n, name=f"{prefix}{n.name}") for n in _live_nodes(graph, versions))
    _check_operators(nodes, graph)
    _hold_initializers(build, graph, nodes)
    for node in nodes:
        _read_node(build, node, versions)
    missing = [
        o.name for o in graph.output if o.name not in {**build.values, **build.beside.sequences}
    ]
    if missing:
        raise CompileError("bad-model", "no node writes this output", f"output '{missing[0]}'")
    for output in graph.output:  # each has texts of its own that its integers stand for
        if build.values.get(output.name) in build.beside.texts:
            raise CompileError(
                "unsupported-op",
                "a body that gives known texts is not supported",
                f"output '{output.name}'",
                "give numbers to the model",
            )
    outputs = tuple(build.value(o.name) for o in graph.output)
    build.values, build.beside.sequences, build.prefix = around
    return outputs


def _constants(build: Builder, node: ModelNode) -> set[str]:
    """The inputs of `node` that are constants, but for texts and integers that stand for some."""
    tensors = {n: build.tensors[build.values[n]] for n in node.inputs if n in build.values}
    return {
        name
        for name, tensor in tensors.items()
        if tensor.data is not None
        and tensor.dtype != DType.TEXT
        and tensor.name not in build.beside.texts
    }


def _keep_name(build: Builder, output: str) -> None:
    """The graph's output `output` is a tensor of that name."""
    if output in build.beside.sequences or output in build.beside.lengths:
        raise CompileError(
            "unsupported-type", "the output is no tensor", f"output '{output}'",
            "give back the tensors of the sequence",
        )  # fmt: skip
    if output not in build.values:
        raise CompileError("bad-model", "no node writes this output", f"output '{output}'")
    tensor = build.tensors[build.values[output]]
    if tensor.name == output:
        return
    named = replace(tensor, name=output)
    build.tensors[output] = named
    if tensor.name in build.beside.texts:
        build.beside.texts[output] = build.beside.texts[tensor.name]
    if tensor.data is None:
        attrs = ReshapeAttrs(tensor.shape)
        build.nodes.append(Node(f"{output} as output", "Reshape", (tensor.name,), (output,), attrs))
