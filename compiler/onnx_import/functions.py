"""Functions of the model, and operators that ONNX defines by simpler ones, are inlined."""

from collections.abc import Collection, Iterable, Iterator

import onnx
import onnx.inliner
import onnx.parser

from tinyc.compiler.onnx_import.folding import is_constant
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.model_node import model_node, opset_versions
from tinyc.compiler.onnx_import.operators import FOLDABLE
from tinyc.compiler.onnx_import.states import DOMAIN

INLINED = "tinyc.inlined"  # metadata of the nodes of a body: the operator that they are part of
# Their bodies need what is not supported either: loops of unknown length, random numbers.
WORSE_INLINED = frozenset({"Bernoulli", "Range", "SequenceMap"})


BODIES = {  # of operators of onnxruntime's optimizer
    ("com.microsoft", "DynamicQuantizeMatMul"): """
        <domain: "com.microsoft", opset_import: ["" : 17, "com.microsoft" : 1]>
        DynamicQuantizeMatMul (a, b, b_scale, b_zero, bias) => (y) {
          stored, scale, zero = DynamicQuantizeLinear (a)
          y = com.microsoft.MatMulIntegerToFloat (stored, b, scale, b_scale, zero, b_zero, bias)
        }""",
}


def inline_functions(model: onnx.ModelProto, known: Collection[tuple[str, str]]) -> onnx.ModelProto:
    """The model without calls of functions; the `known` operators and constants stay.

    Nodes of the body of an operator are marked, and named after the node that it was.
    """
    foreign = [(f.domain, f.name) for f in model.functions if f.domain != DOMAIN]
    if foreign:
        model = guarded(
            lambda: onnx.inliner.inline_selected_functions(model, foreign),
            "bad-model",
            "its functions cannot be inlined",
            f"graph '{model.graph.name}'",
        )
    before = None
    while (composed := _composed(model, known)) and composed != before:
        model, before = _inlined(model, composed), composed
    return model


def inlined_operator(proto: onnx.NodeProto) -> str:
    """The operator whose body the node is part of; "" for a node of the model."""
    return next((p.value for p in proto.metadata_props if p.key == INLINED), "")


def _composed(
    model: onnx.ModelProto, known: Collection[tuple[str, str]]
) -> frozenset[tuple[str, str]]:
    """Operators that are not known, have a body, and are not merely evaluated."""
    versions = opset_versions(model)
    constants = {t.name for t in model.graph.initializer}
    found = set()
    for index, proto in enumerate(model.graph.node):
        node = model_node(proto, index, versions)
        if is_constant(node, constants):
            constants.update(node.outputs)
        elif (node.domain, node.op) not in known and _has_body(node.domain, node.op, node.opset):
            found.add((proto.domain, node.op))
    for proto in _nodes(model.graph):
        kind, version = (proto.domain, proto.op_type), versions.get(proto.domain, 1)
        within = kind not in known and proto.op_type not in FOLDABLE
        if within and _has_body(*kind, version):
            found.add(kind)
    return frozenset(found)


def _has_body(domain: str, op: str, version: int) -> bool:
    if (domain, op) in BODIES:
        return True
    if op in WORSE_INLINED or not onnx.defs.has(op, version, domain):
        return False
    schema = onnx.defs.get_schema(op, version, domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _inlined(model: onnx.ModelProto, composed: Collection[tuple[str, str]]) -> onnx.ModelProto:
    names = sorted({op for _, op in composed})
    inlined = guarded(
        lambda: onnx.inliner.inline_selected_functions(
            _with_bodies(_with_types(model), composed),  # some bodies depend on the types
            sorted(composed),
            inline_schema_functions=True,
        ),
        "bad-model",
        f"{', '.join(names)} cannot be inlined",
        f"graph '{model.graph.name}'",
    )
    _mark(model.graph.node, inlined.graph.node)
    return inlined


def _with_bodies(model: onnx.ModelProto, composed: Collection[tuple[str, str]]) -> onnx.ModelProto:
    """`model`, with the bodies of those of BODIES that are to be inlined, in its operator sets."""
    for operator in sorted(BODIES.keys() & composed):
        body = model.functions.add()
        body.CopyFrom(onnx.parser.parse_function(BODIES[operator]))
        del body.opset_import[:]
        body.opset_import.extend(model.opset_import)
    return model


def _mark(before: Iterable[onnx.NodeProto], after: Iterable[onnx.NodeProto]) -> None:
    """Name the nodes of each body, which stand where their node was and end with its outputs."""
    nodes = iter(after)
    for index, origin in enumerate(before):
        missing, count = set(filter(None, origin.output)), 0
        name = origin.name or f"{origin.op_type}_{index}"
        operator = inlined_operator(origin) or origin.op_type
        while missing and (node := next(nodes, None)) is not None:
            missing.difference_update(node.output)
            if (node.op_type, node.output) == (origin.op_type, origin.output):
                node.name = name
                continue
            node.name = f"{name}/{node.name or node.op_type}_{count}"
            node.metadata_props.add(key=INLINED, value=operator)
            count += 1


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, and of the bodies that they have."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the type of every value is written down, those of constants too."""
    typed: onnx.ModelProto = onnx.shape_inference.infer_shapes(model)
    known = {v.name for v in typed.graph.input}
    typed.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        for t in typed.graph.initializer
        if t.name not in known
    )
    # the inliner asks for the type of inputs that are left out, too, and makes no use of it
    left_out = onnx.helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, [])
    typed.graph.value_info.append(left_out)
    return typed
