"""The graph: what verify refuses, its networkx view, its text."""

from dataclasses import replace

import networkx as nx
import pytest

from tests.harness import random_constant
from tinyc.compiler.graph import DType, Graph, Node, QParams, Tensor, to_text, verify
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.unary import UnaryAttrs


def diamond() -> Graph:
    """x -> a, b -> y = a + b."""
    tensors = {n: Tensor(n, (2,), DType.FLOAT32) for n in "xaby"}
    nodes = (
        Node("one", "Unary", ("x",), ("a",), UnaryAttrs("tanh")),
        Node("two", "Unary", ("x",), ("b",), UnaryAttrs("exp")),
        Node("sum", "Add", ("a", "b"), ("y",), BinaryAttrs()),
    )
    return Graph("diamond", ("x",), ("y",), nodes, tensors)


def test_a_sound_graph_passes() -> None:
    verify(diamond())


def test_reading_before_writing_is_refused() -> None:
    graph = diamond()

    with pytest.raises(AssertionError, match="sum: reads 'a' before it is written"):
        verify(replace(graph, nodes=graph.nodes[::-1]))


def test_writing_twice_is_refused() -> None:
    graph = diamond()
    twice = (*graph.nodes, replace(graph.nodes[0], name="again"))

    with pytest.raises(AssertionError, match="again: writes 'a' twice"):
        verify(replace(graph, nodes=twice))


def test_the_view_is_a_networkx_graph_of_nodes() -> None:
    view = diamond().view

    assert set(view.edges) == {("one", "sum"), ("two", "sum")}
    assert list(nx.lexicographical_topological_sort(view)) == ["one", "two", "sum"]


def test_readers_and_producers_are_found() -> None:
    graph = diamond()

    assert [n.name for n in graph.readers["x"]] == ["one", "two"]
    assert graph.only_reader("a", graph.nodes[2]) and not graph.only_reader("y", graph.nodes[2])


def test_a_constant_is_read_only() -> None:
    constant = random_constant("w", (3,), DType.INT8)

    assert constant.data is not None
    with pytest.raises(ValueError, match="read-only"):
        constant.data[0] = 1


def test_the_text_shows_types_and_scales() -> None:
    graph = diamond()
    stored = replace(graph.tensors["x"], dtype=DType.INT8, quant=QParams((0.5,), (3,)))

    text = to_text(replace(graph, tensors={**graph.tensors, "x": stored}))

    assert text.startswith("graph diamond(x:int8[2] q(0.5, 3))\n")
    assert text.endswith("  return y\n")
