"""Trees(x) -> Trees(TreeRanks(x)): int16 ranks of all features that trees compare, once for each x.

Ranks decide as floats do, always.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import DType, Graph, Node, Tensor
from tinyc.compiler.ops.tree_ranks import TREE_RANKS, RankColumn, TreeRanksAttrs
from tinyc.compiler.ops.trees import TREES, Trees, TreesAttrs
from tinyc.passes.rewrite import fresh_node, fresh_tensor
from tinyc.targets import Target

MOST = DType.INT16.limits[1]


def rank_tree_features(graph: Graph, target: Target) -> Graph:
    """Raises CompileError("too-many-thresholds") where a rank does not fit int16."""
    trees = [n for n in graph.nodes if n.op == TREES.name]
    read = dict.fromkeys(n.inputs[0] for n in trees)
    for name in read:
        if graph.tensors[name].dtype.is_float:
            graph = _ranked(graph, graph.tensors[name])
    if trees:
        return graph
    note = "there are no trees in the model: --tree-features changes nothing"
    return replace(graph, notes=(*graph.notes, note))


def _ranked(graph: Graph, x: Tensor) -> Graph:
    """All trees that read x read ranks, which are computed once."""
    readers = [n for n in graph.readers[x.name] if n.op == TREES.name]
    columns = _columns([trees_attrs(n).trees for n in readers], x)
    if not columns:
        return graph
    places = {
        (c.feature, c.nan, threshold): (at, rank)
        for at, c in enumerate(columns)
        for rank, threshold in enumerate(c.thresholds)
    }
    ranks = Tensor(fresh_tensor(graph, f"{x.name}_ranks"), (x.shape[0], len(columns)), DType.INT16)
    node = Node(
        fresh_node(graph, f"ranks of {x.name}"), TREE_RANKS.name, (x.name,), (ranks.name,),
        TreeRanksAttrs(columns), tuple(dict.fromkeys(o for n in readers for o in n.origin)),
    )  # fmt: skip
    nodes = [_reading(n, x, ranks, places) if n in readers else n for n in graph.nodes]
    nodes.insert(graph.nodes.index(readers[0]), node)
    return graph.with_nodes(nodes, [ranks])


def trees_attrs(node: Node) -> TreesAttrs:
    assert isinstance(node.attrs, TreesAttrs)
    return node.attrs


def thresholds_of(trees: Trees, x: Tensor) -> list[float]:
    """Those that values of x are compared with: rounded to its type."""
    values: list[float] = np.array(trees.thresholds, x.dtype.value).tolist()
    return values


def _columns(all_trees: Sequence[Trees], x: Tensor) -> tuple[RankColumn, ...]:
    """One for each feature, and for each way that it goes where it is no number."""
    found: dict[tuple[int, bool], set[float]] = {}
    for trees in all_trees:
        splits = zip(trees.features, trees.nan, thresholds_of(trees, x), strict=True)
        for feature, nan, threshold in splits:
            found.setdefault((feature, nan), set()).add(threshold)
    for (feature, _), thresholds in found.items():
        if len(thresholds) > MOST:
            raise CompileError(
                "too-many-thresholds",
                f"trees compare feature {feature} with {len(thresholds)} values, {MOST} are ranked",
                f"tensor '{x.name}'",
                "compile without --tree-features int16",
            )
    return tuple(RankColumn(*key, tuple(sorted(found[key]))) for key in sorted(found))


def _reading(
    node: Node, x: Tensor, ranks: Tensor, places: dict[tuple[int, bool, float], tuple[int, int]]
) -> Node:
    """The node with trees that compare ranks."""
    attrs = trees_attrs(node)
    trees = attrs.trees
    splits = zip(trees.features, trees.nan, thresholds_of(trees, x), strict=True)
    at = [places[split] for split in splits]
    compared = replace(
        trees,
        features=tuple(column for column, _ in at),
        thresholds=tuple(float(rank) for _, rank in at),
        nan=(False,) * len(at),
    )
    return replace(node, inputs=(ranks.name,), attrs=replace(attrs, trees=compared, scores=x.dtype))
