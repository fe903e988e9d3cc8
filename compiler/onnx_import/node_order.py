"""Nodes in an order in which each follows those that it reads, as onnxruntime puts them."""

from collections.abc import Iterator

import onnx

from tinyc.compiler.errors import CompileError


def put_in_order(graph: onnx.GraphProto) -> None:
    """Sort the nodes of `graph` where they are not in order; others stay where they are.

    Raises CompileError("bad-model") that names all nodes of circles, and all that read a value
    which nothing writes.
    """
    known = _given(graph)
    if _is_in_order(graph, known):
        return
    _check_written(graph, known)
    waiting, ordered = list(graph.node), list[onnx.NodeProto]()
    written = {name for node in waiting for name in node.output}
    while waiting:
        later = []
        for node in waiting:
            if {name for name in names_read(node) if name in written} <= known:
                known.update(node.output)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise CompileError(
                "bad-model",
                "nodes read their own results, in a circle",
                ", ".join(_named(node) for node in later),
                "export the model again; loops are written as Loop, Scan or LSTM",
            )
        waiting = later
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def names_read(proto: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, and the bodies that it has."""
    yield from proto.input
    for attribute in proto.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from (output.name for output in body.output)
            for inner in body.node:
                yield from names_read(inner)


def _given(graph: onnx.GraphProto) -> set[str]:
    """The values that no node has to write; "" is an input that is left out."""
    stored = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    return {"", *stored, *(value.name for value in graph.input)}


def _is_in_order(graph: onnx.GraphProto, given: set[str]) -> bool:
    known = set(given)
    for node in graph.node:
        if not known.issuperset(node.input):
            return False
        known.update(node.output)
    return True


def _check_written(graph: onnx.GraphProto, given: set[str]) -> None:
    written = given.union(*(node.output for node in graph.node))
    missing = [
        f"'{name}' of {_named(node)}"
        for node in graph.node
        for name in node.input
        if name not in written
    ]
    if missing:
        raise CompileError("bad-model", "nodes read values that nothing writes", ", ".join(missing))


def _named(node: onnx.NodeProto) -> str:
    return f"node '{node.name}' ({node.op_type})" if node.name else f"a node ({node.op_type})"
