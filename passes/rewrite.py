"""Rewriting a graph node by node until nothing changes."""

from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from tinyc.compiler.graph import Graph, Node, Tensor

Rule = Callable[[Graph, Node], Graph | None]  # the changed graph, or None when it does not apply


def rewrite(graph: Graph, *rules: Rule) -> Graph:
    """Apply the first rule that fits anywhere, sweep after sweep, until none does."""
    before = None
    while graph is not before:
        before = graph
        position = 0
        while position < len(graph.nodes):
            node = graph.nodes[position]
            changed = next((g for r in rules if (g := r(graph, node)) is not None), None)
            if changed is None:
                position += 1
            else:  # the node that now stands here is looked at again
                graph = live_part(changed)
    return graph


def live_part(graph: Graph) -> Graph:
    """The graph without the nodes whose results nobody reads."""
    live = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.outputs):
            live.update(node.inputs)
            kept.append(node)
    return graph if len(kept) == len(graph.nodes) else graph.with_nodes(reversed(kept))


def replace_nodes(
    graph: Graph, old: Iterable[Node], new: Iterable[Node], tensors: Iterable[Tensor] = ()
) -> Graph:
    """`new` stands where the last of `old` stood."""
    gone = list(old)
    last = max(gone, key=graph.nodes.index)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node is last:
            nodes.extend(new)
        elif node not in gone:
            nodes.append(node)
    return graph.with_nodes(nodes, tensors)


def redirect(graph: Graph, old: str, new: str, without: Node) -> Graph:
    """Readers of `old` read `new`; the node that wrote `old` goes. `old` is no graph output."""
    assert old not in graph.outputs, f"'{old}' is an output"
    nodes = [
        replace(n, inputs=tuple(new if i == old else i for i in n.inputs))
        for n in graph.nodes
        if n is not without
    ]
    return graph.with_nodes(nodes)


def fresh_tensor(graph: Graph, hint: str, new: Container[str] = ()) -> str:
    """A tensor name that neither the graph nor `new` has; names of the model hold no tab."""
    base, number, name = hint.partition("\t")[0], 1, hint
    while name in graph.tensors or name in new:
        number += 1
        name = f"{base}\t{number}"
    return name


def fresh_node(graph: Graph, hint: str) -> str:
    """A node name that is not taken."""
    taken = {n.name for n in graph.nodes}
    base, number, name = hint.partition("\t")[0], 1, hint
    while name in taken:
        number += 1
        name = f"{base}\t{number}"
    return name


def joined_origin(*nodes: Node) -> tuple[str, ...]:
    """The model's nodes that `nodes` came from, in order, each once."""
    return tuple(dict.fromkeys(name for node in nodes for name in node.origin))
