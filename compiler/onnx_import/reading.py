"""An ONNX file as a Graph: bind shapes, fold what is constant, read every node."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph, Shape, Tensor, verify
from tinyc.compiler.onnx_import.building import (
    DTYPES,
    Building,
    Unsupported,
    array_of,
    source_of,
)
from tinyc.compiler.onnx_import.folding import evaluate, is_foldable
from tinyc.compiler.onnx_import.loading import MOST_ELEMENTS, load_model
from tinyc.compiler.onnx_import.operators import IMPORTERS

MOVING = ("Reshape", "Transpose", "Slice", "MaxPool2D")


def read_onnx(path: Path, input_shapes: Mapping[str, Shape] | None = None, name: str = "") -> Graph:
    """Read a model; the graph keeps its names.

    input_shapes  by input name, for dimensions that the file leaves open
    name          of the graph; the file's stem when empty

    Raises CompileError with all that is wrong in one message.
    """
    model = load_model(path)
    building = Building()
    inputs, notes = _inputs(model, input_shapes or {}, building)
    problems = _read_nodes(model, building)
    outputs = tuple(o.name for o in model.graph.output)
    problems += [
        (o, "the output is never written")
        for o in outputs
        if o not in building.tensors and not problems
    ]
    if problems:
        lines = [f"{name}: {reason}" for name, reason in problems]
        raise CompileError(
            "unsupported-op",
            "1 node cannot be compiled"
            if len(problems) == 1
            else f"{len(problems)} nodes cannot be compiled",
            "\n      ".join(lines),
            "`tinyc ops` lists what is read; replace these nodes in the model",
        )
    _spread_quantization(building)
    tensors = building.tensors
    graph = Graph(name or path.stem, inputs, outputs, tuple(building.nodes), tensors, notes)
    graph = graph.with_nodes(graph.nodes)
    verify(graph)
    return graph


def _inputs(
    model: onnx.ModelProto, shapes: Mapping[str, Shape], building: Building
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The inputs as tensors with static shapes, and what was assumed."""
    initializers = {i.name for i in model.graph.initializer}
    values = [i for i in model.graph.input if i.name not in initializers]
    unknown = sorted(shapes.keys() - {v.name for v in values})
    if unknown:
        raise CompileError(
            "wrong-input-shape",
            f"the model has no input named '{unknown[0]}'",
            f"--input-shape {unknown[0]}",
            f"its inputs are: {', '.join(v.name for v in values)}",
        )
    notes: list[str] = []
    for value in values:
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or kind.elem_type not in DTYPES:
            raise CompileError(
                "unsupported-type", "the input is no tensor of numbers", f"input '{value.name}'"
            )
        shape = _input_shape(value, shapes.get(value.name), notes)
        if int(np.prod(shape, dtype=object)) > MOST_ELEMENTS:
            raise CompileError(
                "too-large", f"the input has the shape {list(shape)}", f"input '{value.name}'"
            )
        building.tensors[value.name] = Tensor(value.name, shape, DTYPES[kind.elem_type])
    return tuple(v.name for v in values), tuple(notes)


def _input_shape(value: onnx.ValueInfoProto, given: Shape | None, notes: list[str]) -> Shape:
    dims = value.type.tensor_type.shape.dim
    own = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else 0 for d in dims]
    names = [d.dim_param or "?" for d in dims]
    shown = [n or name for n, name in zip(own, names, strict=True)]
    if given is not None:
        fits = len(given) == len(own) and all(o in (0, g) for o, g in zip(own, given, strict=True))
        if not fits:
            raise CompileError(
                "wrong-input-shape",
                f"the shape {list(given)} does not fit {shown}",
                f"input '{value.name}'",
                "give a size for every dimension, and keep the fixed ones",
            )
        return given
    for axis, size in enumerate(own):
        if size:
            continue
        if axis > 0:
            raise CompileError(
                "dynamic-shape",
                f"dimension {axis} ('{names[axis]}') of the input is open: {shown}",
                f"input '{value.name}'",
                f"fix it with --input-shape {value.name}="
                + ",".join(str(s) if s else "N" for s in [own[0] or 1, *own[1:]]),
            )
        own[0] = 1
        notes.append(f"dimension 0 ('{names[0]}') of input '{value.name}' is taken as 1")
    return tuple(own)


def _read_nodes(model: onnx.ModelProto, building: Building) -> list[tuple[str, str]]:
    """Read every node; (node, reason) for those that cannot be read."""
    opsets = {o.domain: o.version for o in model.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    problems: list[tuple[str, str]] = []
    lost: set[str] = set()  # results of nodes that could not be read
    for proto in model.graph.initializer:
        try:
            data = array_of(proto)
            building.tensors[proto.name] = Tensor(
                proto.name, data.shape, DTYPES[proto.data_type], data
            )
        except Unsupported as reason:
            problems.append((f"initializer '{proto.name}'", str(reason)))
            lost.add(proto.name)
    for index, proto in enumerate(model.graph.node):
        source = source_of(proto, index, opset)
        label = f"node '{source.name}' ({proto.domain + '.' if proto.domain else ''}{source.op})"
        known = proto.domain in ("", "ai.onnx", "com.microsoft") and source.op in IMPORTERS
        foldable = is_foldable(proto, building)
        if not known and not foldable:
            lost.update(source.outputs)
            if not lost.isdisjoint(source.inputs) and source.op in ("Shape", "Gather"):
                continue
            problems.append((label, "the operator is not supported"))
            continue
        if not lost.isdisjoint(source.inputs):
            lost.update(source.outputs)
            continue
        try:
            if foldable:
                evaluate(proto, source, building, opset)
            else:
                IMPORTERS[source.op](building, source)
        except Unsupported as reason:
            lost.update(source.outputs)
            problems.append((label, str(reason)))
        except CompileError as error:
            lost.update(source.outputs)
            problems.append((label, error.message))
    return problems


def _spread_quantization(building: Building) -> None:
    """Operators that only move stored integers have one quantization on both sides."""

    def same(one: str, other: str) -> bool:
        a, b = building.tensors[one], building.tensors[other]
        if a.quant is None or a.quant.axis is not None or b.quant is not None:
            return False
        if b.dtype != a.dtype or a.dtype.is_float:
            return False
        building.tensors[other] = replace(b, quant=a.quant)
        return True

    changed = True
    while changed:
        changed = False
        for node in building.nodes:
            if node.op in MOVING:
                changed |= same(node.inputs[0], node.output) or same(node.output, node.inputs[0])
