"""An ONNX file -> Graph."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import DType, Graph, Node, Shape, constant, verify
from tinyc.compiler.names import short_names
from tinyc.compiler.onnx_import import folding
from tinyc.compiler.onnx_import.building import KEEP_STORED, Builder, element_type
from tinyc.compiler.onnx_import.functions import inline_functions
from tinyc.compiler.onnx_import.inputs import read_inputs
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.onnx_import.model_node import ModelNode, model_node, tensor_array
from tinyc.compiler.onnx_import.operators import READERS
from tinyc.compiler.onnx_import.widening import read_typed
from tinyc.compiler.ops.reshape import ReshapeAttrs

MOVE_TEXTS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
TAKE_TEXTS = (*MOVE_TEXTS, "ArrayFeatureExtractor", "LabelEncoder", "ZipMap")


def read_onnx(path: Path, input_shapes: Mapping[str, Shape] = {}, name: str | None = None) -> Graph:
    """Read the model at `path`; `input_shapes` fixes dimensions that it leaves open.

    Raises CompileError when the file is damaged or asks for something unsupported.
    """
    model = inline_functions(load_model(path), READERS.keys())
    nodes = _live_nodes(model)
    _check_operators(nodes, model.graph)
    inputs, notes = read_inputs(model.graph, input_shapes)
    build = Builder(_value_names(model.graph))
    for tensor in inputs:
        build.values[tensor.name] = build.hold(tensor).name
    _hold_initializers(build, model.graph, nodes)
    for node in nodes:
        _read_node(build, node)
    outputs = tuple(dict.fromkeys(o.name for o in model.graph.output))
    for output in outputs:
        _keep_name(build, output)
    graph = Graph(
        name or path.stem,
        tuple(t.name for t in inputs),
        outputs,
        tuple(build.nodes),
        build.tensors,
        (*notes, *build.notes, *_type_notes(build)),
        {o: build.names[o] for o in outputs if o in build.names},
    )
    graph = graph.with_nodes(build.nodes)
    verify(graph)
    return graph


def _live_nodes(model: onnx.ModelProto) -> tuple[ModelNode, ...]:
    """The nodes that the outputs depend on, in the model's order."""
    versions = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    needed = {output.name for output in model.graph.output}
    live = []
    for index, proto in reversed(list(enumerate(model.graph.node))):
        if needed.intersection(proto.output):
            needed.update(proto.input)
            live.append(model_node(proto, index, versions))
    return tuple(reversed(live))


def _check_operators(nodes: Iterable[ModelNode], graph: onnx.GraphProto) -> None:
    """Refuse the model when it has operators that nothing is known of: all of them at once."""
    constants = {t.name for t in graph.initializer}
    unknown = []
    for node in nodes:
        if folding.is_constant(node, constants):
            constants.update(node.outputs)
        elif (node.domain, node.op) not in READERS:
            domain = f", domain {node.domain}" if node.domain else ""
            unknown.append(f"node '{node.name}' ({node.op}{domain})")
    if unknown:
        count = f"{len(unknown)} nodes have operators that are"
        raise CompileError(
            "unsupported-op",
            f"{count if len(unknown) > 1 else 'a node has an operator that is'} not supported",
            ", ".join(unknown),
            "express them by other operators; `tinyc ops` lists those that are supported",
        )


def _value_names(graph: onnx.GraphProto) -> frozenset[str]:
    names = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    return frozenset(names.union(*(n.output for n in graph.node)))


def _hold_initializers(build: Builder, graph: onnx.GraphProto, nodes: Iterable[ModelNode]) -> None:
    used = {name for node in nodes for name in node.inputs} | {o.name for o in graph.output}
    for proto in graph.initializer:
        if proto.name in used:
            where = f"tensor '{proto.name}'"
            data = tensor_array(proto, where)
            if proto.data_type == onnx.TensorProto.STRING:
                build.hold_texts(proto.name, data)
                continue
            dtype = element_type(data.dtype, where)
            build.values[proto.name] = build.hold(constant(proto.name, data, dtype)).name


def _read_node(build: Builder, node: ModelNode) -> None:
    if folding.is_constant(node, _constants(build, node)):
        for value, data in zip(node.outputs, folding.evaluate(build, node), strict=False):
            dtype = element_type(data.dtype, node.where)
            build.values[value] = build.constant(f"{value}/value", data, dtype).name
        return
    _check_texts(build, node)
    results = read_typed(build, node, READERS[node.domain, node.op])
    for value, tensor in zip(node.outputs, results, strict=False):
        if value:
            first = build.optional(node, 0) if node.inputs else None
            if first is not None and first.name in build.names and node.op in MOVE_TEXTS:
                build.names[tensor.name] = build.names[first.name]
            build.bind(value, tensor)


def _check_texts(build: Builder, node: ModelNode) -> None:
    """Integers that stand for texts may be moved and looked up, not computed with."""
    for index in range(len(node.inputs)):
        tensor = build.optional(node, index)
        if tensor is not None and tensor.name in build.names and node.op not in TAKE_TEXTS:
            node.refuse("computing with texts is not supported", "give numbers to the model")


def _type_notes(build: Builder) -> tuple[str, ...]:
    """Doubles that are computed at run time are worth knowing of."""
    slow = [n.name for n in build.nodes if _computes_doubles(build, n)]
    if not slow:
        return ()
    return (f"double is slow on cores without a unit for it: {short_names(slow)}",)


def _computes_doubles(build: Builder, node: Node) -> bool:
    return node.op not in KEEP_STORED and any(
        build.tensors[name].dtype == DType.FLOAT64 for name in (*node.inputs, *node.outputs)
    )


def _constants(build: Builder, node: ModelNode) -> set[str]:
    """The inputs of `node` that are constants."""
    names = (name for name in node.inputs if name in build.values)
    return {name for name in names if build.tensors[build.values[name]].data is not None}


def _keep_name(build: Builder, output: str) -> None:
    """The graph's output `output` is a tensor of that name."""
    if output not in build.values:
        raise CompileError("bad-model", "no node writes this output", f"output '{output}'")
    tensor = build.tensors[build.values[output]]
    if tensor.name == output:
        return
    named = replace(tensor, name=output)
    build.tensors[output] = named
    if tensor.name in build.names:
        build.names[output] = build.names[tensor.name]
    if tensor.data is None:
        attrs = ReshapeAttrs(tensor.shape)
        build.nodes.append(Node(f"{output} as output", "Reshape", (tensor.name,), (output,), attrs))
