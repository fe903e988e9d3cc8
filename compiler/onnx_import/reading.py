"""An ONNX file -> Graph."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph, Node, Shape, Tensor, verify
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.functions import inline_functions, inlined_operator
from tinyc.compiler.onnx_import.inputs import read_inputs
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.onnx_import.model_node import opset_versions
from tinyc.compiler.onnx_import.node_reading import (
    check_operators,
    hold_initializers,
    live_nodes,
    read_node,
)
from tinyc.compiler.onnx_import.operators import READERS
from tinyc.compiler.onnx_import.remarks import remarks
from tinyc.compiler.onnx_import.states import remembered, with_states, without_initializers
from tinyc.compiler.ops.reshape import ReshapeAttrs


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
    nodes = live_nodes(model.graph, versions)
    check_operators(nodes, model.graph)
    inputs, notes = read_inputs(model.graph, input_shapes, dims)
    build = Builder(_value_names(model.graph), declared=_declared_shapes(model.graph))
    for tensor in inputs:
        build.values[tensor.name] = build.hold(tensor).name
        if not tensor.elements:
            build.values[tensor.name] = _nothing(build, tensor).name
    hold_initializers(build, model.graph, nodes)
    for node in nodes:
        read_node(build, node, versions)
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
