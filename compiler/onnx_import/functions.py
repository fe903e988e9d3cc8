"""Functions of the model, and operators that ONNX defines by simpler ones, are inlined."""

from collections.abc import Collection, Iterator

import onnx
import onnx.inliner

from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.loading import opset_of
from tinyc.compiler.onnx_import.operators import FOLDABLE


def inline_functions(model: onnx.ModelProto, known: Collection[tuple[str, str]]) -> onnx.ModelProto:
    """The model without calls of functions; the `known` operators stay."""
    where = f"graph '{model.graph.name}'"
    if model.functions:
        model = guarded(
            lambda: onnx.inliner.inline_local_functions(model),
            "bad-model",
            "its functions cannot be inlined",
            where,
        )
    composed = sorted(
        {
            (n.domain, n.op_type)
            for n in _nodes(model.graph)
            if n.domain in ("", "ai.onnx")
            and ("", n.op_type) not in known
            and n.op_type not in FOLDABLE
            and _has_body(n.op_type, opset_of(model))
        }
    )
    if not composed:
        return model
    return guarded(
        lambda: onnx.inliner.inline_selected_functions(
            _with_types(model),  # some bodies depend on the types
            composed,
            inline_schema_functions=True,
        ),
        "bad-model",
        f"{', '.join(op for _, op in composed)} cannot be inlined",
        where,
    )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, and of the bodies that they have."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


def _has_body(op: str, version: int) -> bool:
    if not onnx.defs.has(op, version):
        return False
    schema = onnx.defs.get_schema(op, version)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the type of every value is written down, those of constants too."""
    typed: onnx.ModelProto = onnx.shape_inference.infer_shapes(model)
    known = {v.name for v in typed.graph.input}
    typed.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        for t in typed.graph.initializer
        if t.name not in known
    )
    return typed
