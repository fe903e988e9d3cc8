"""Clamp(Conv(x)) -> Conv with a clamp; the same for every operator that has one."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.passes.rewrite import joined_origin, replace_nodes, rewrite
from tinyc.targets import Target


def fuse_activations(graph: Graph, target: Target) -> Graph:
    return rewrite(graph, _fuse)


def _fuse(graph: Graph, node: Node) -> Graph | None:
    attrs = node.attrs
    if not isinstance(attrs, UnaryAttrs) or attrs.function != "identity":
        return None
    before = graph.producer(node.inputs[0])
    if before is None or not has_clamp(before) or not graph.only_reader(node.inputs[0], node):
        return None
    return replace_nodes(graph, [before, node], [with_clamp(before, node, attrs)])


def has_clamp(node: Node) -> bool:
    """Whether the operator can limit its own result."""
    clamps = is_dataclass(node.attrs) and "clamp" in {f.name for f in fields(node.attrs)}
    return clamps and len(node.outputs) == 1


def with_clamp(before: Node, node: Node, attrs: UnaryAttrs) -> Node:
    """`before`, limited as `node` limits it, writing what `node` writes."""
    own: Any = before.attrs
    return replace(
        before,
        outputs=node.outputs,
        attrs=replace(own, clamp=own.clamp.within(attrs.clamp)),
        origin=joined_origin(before, node),
    )
