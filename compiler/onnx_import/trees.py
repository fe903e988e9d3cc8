"""Tree ensembles of ai.onnx.ml as one node with all trees, and what follows it."""

import math
from collections.abc import Sized
from dataclasses import replace

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode, tensor_array
from tinyc.compiler.onnx_import.scores import (
    TRANSFORMS,
    beside,
    class_names,
    features_of,
    label_of,
    transform_of,
    transformed,
    two_columns,
)
from tinyc.compiler.onnx_import.splits import MODES, Branch, trees_of
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.trees import AGGREGATES, Trees, TreesAttrs

HALF = 0.5  # scores that are shares of one decide for the second of two classes above it


def read_classifier(build: Builder, node: ModelNode) -> tuple[Tensor, Tensor]:
    """TreeEnsembleClassifier: of two classes, one score may be for both."""
    x, transform = features_of(build, node), transform_of(node)
    labels, names = class_names(node, "classlabels_int64s")
    base = _numbers(node, "base_values")
    trees = _ensemble(node, x, "class", len(labels))
    used = {target for leaf in trees.leaves for target, _ in leaf}
    if len(labels) > 2 or (len(labels) == 2 and len(used) == 2):
        scores = _scores(build, node, x, trees, len(labels), "sum", base)
        label = label_of(build, node, scores, labels, names)
        return label, transformed(build, node, scores, transform)
    if len(base) > 1 or transform == "PROBIT":
        node.refuse("one score for two classes with two base values or PROBIT is not defined")
    share = all(weight >= 0 for leaf in trees.leaves for _, weight in leaf)
    first = used == {0}
    single = TreesAttrs(_only_target(trees), 1, "sum", base if first else ())
    score = _single(build, node, build.add(node, "Trees", (x,), single))
    if len(labels) == 1:
        if names:
            node.refuse("a single class with a text for label is not supported")
        return label_of(build, node, score, (0, 1), (), 0.0), score
    label = label_of(build, node, score, labels, names, HALF if share else 0.0)
    if first:
        return label, two_columns(build, node, score, transform, share)
    zero = build.constant(f"{node.name}/zeros", np.zeros((x.shape[0], 1), np.float32), score.dtype)
    return label, transformed(build, node, beside(build, node, zero, score), transform)


def _only_target(trees: Trees) -> Trees:
    return replace(trees, leaves=tuple(tuple((0, w) for _, w in leaf) for leaf in trees.leaves))


def read_regressor(build: Builder, node: ModelNode) -> Tensor:
    """TreeEnsembleRegressor."""
    x, targets = features_of(build, node), node.integer("n_targets", 1)
    aggregate = node.text("aggregate_function", "SUM").lower()
    trees = _ensemble(node, x, "target", targets)
    scores = _scores(build, node, x, trees, targets, aggregate, _numbers(node, "base_values"))
    return _outcome(build, node, scores, transform_of(node))


def read_ensemble(build: Builder, node: ModelNode) -> Tensor:
    """TreeEnsemble, the newer operator: leaves are apart from the nodes, with one weight each."""
    x, targets = features_of(build, node), node.integer("n_targets", 1)
    aggregate = ("average", "sum", "min", "max")[node.integer("aggregate_function", 1)]
    transform = TRANSFORMS[node.integer("post_transform", 0)]
    weights = _numbers(node, "leaf_weights")
    leaves: list[tuple[tuple[int, float], ...]] = [
        ((target, weight),)
        for target, weight in zip(node.integers("leaf_targetids") or (), weights, strict=True)
    ]
    values, modes = _numbers(node, "nodes_splits"), _numbers(node, "nodes_modes")
    features = node.integers("nodes_featureids") or ()
    nan = node.integers("nodes_missing_value_tracks_true") or (0,) * len(features)
    ends = []
    for side in ("true", "false"):
        ids = node.integers(f"nodes_{side}nodeids") or ()
        is_leaf = node.integers(f"nodes_{side}leafs") or ()
        ends.append([~i if leaf else i for i, leaf in zip(ids, is_leaf, strict=True)])
    sets = _member_sets(node, modes)
    branches = [
        Branch(MODES[int(mode)], feature, value, bool(tracks), yes, no, members)
        for mode, feature, value, tracks, yes, no, members in zip(
            modes, features, values, nan, *ends, sets, strict=True
        )
    ]
    roots = [
        branches[r].yes if branches[r].yes == branches[r].no < 0 else r
        for r in node.integers("tree_roots") or ()
    ]
    trees = trees_of(node, branches, roots, leaves, x.dtype.value)
    _check(node, x, trees, targets)
    scores = _scores(build, node, x, trees, targets, aggregate, ())
    return _outcome(build, node, scores, transform)


def _member_sets(node: ModelNode, modes: tuple[float, ...]) -> list[tuple[float, ...]]:
    """The members of each node's set; sets are ended by NaN, in the order of their nodes."""
    sets, members = [], list(_numbers(node, "membership_values"))
    for mode in modes:
        mine: list[float] = []
        if MODES[int(mode)] == "BRANCH_MEMBER":
            while members and not math.isnan(members[0]):
                mine.append(members.pop(0))
            del members[:1]
        sets.append(tuple(mine))
    return sets


def _outcome(build: Builder, node: ModelNode, scores: Tensor, transform: str) -> Tensor:
    if scores.shape[1] == 1 and transform not in ("NONE", "PROBIT"):
        node.refuse(
            f"the transform {transform} of a single target is not supported: onnxruntime leaves "
            "it out",
            "apply it by a node of its own",
        )
    return transformed(build, node, scores, transform)


def _scores(
    build: Builder, node: ModelNode, x: Tensor, trees: Trees, targets: int, aggregate: str,
    base: tuple[float, ...],
) -> Tensor:  # fmt: skip
    if aggregate not in AGGREGATES or (base and len(base) != targets):
        node.malformed(f"aggregate '{aggregate}', {len(base)} base values for {targets} targets")
    scores = build.add(node, "Trees", (x,), TreesAttrs(trees, targets, aggregate, base))
    return scores if node.op == "TreeEnsemble" else _single(build, node, scores)


def _single(build: Builder, node: ModelNode, scores: Tensor) -> Tensor:
    """Scores are float32 where operators before TreeEnsemble computed with doubles."""
    if scores.dtype == DType.FLOAT32:
        return scores
    return build.add(node, "Cast", (scores,), CastAttrs(DType.FLOAT32))


def _alike(node: ModelNode, *columns: Sized) -> None:
    """Lists of one entry for each node, or for each leaf."""
    if len(set(map(len, columns))) > 1:
        node.malformed("its lists of nodes, or those of leaves, differ in length")


def _ensemble(node: ModelNode, x: Tensor, kind: str, targets: int) -> Trees:
    """The trees of the older operators, whose nodes and leaves are in one list."""
    place_columns = [node.integers(f"nodes_{n}") or () for n in ("treeids", "nodeids")]
    modes = node.texts("nodes_modes") or ()
    _alike(node, *place_columns, modes)
    places = list(zip(*place_columns, strict=True))
    position = {place: i for i, place in enumerate(places)}
    weights = _numbers(node, f"{kind}_weights")
    ids = [node.integers(f"{kind}_{n}") or () for n in ("treeids", "nodeids", "ids")]
    _alike(node, *ids, weights)
    found: dict[int, list[tuple[int, float]]] = {}
    for tree, at, target, weight in zip(*ids, weights, strict=True):
        if (tree, at) not in position:
            node.malformed(f"a weight belongs to node {at} of tree {tree}, which there is not")
        found.setdefault(position[tree, at], []).append((target, weight))
    leaves: list[tuple[tuple[int, float], ...]] = []
    leaf_of: dict[int, int] = {}
    for i, mode in enumerate(modes):
        if mode == "LEAF":
            leaf_of[i] = len(leaves)
            leaves.append(tuple(found.get(i, ())))
    columns = [node.integers(f"nodes_{n}") or () for n in (
        "featureids", "truenodeids", "falsenodeids",
    )]  # fmt: skip
    nan = node.integers("nodes_missing_value_tracks_true") or (0,) * len(places)
    values = _numbers(node, "nodes_values")
    _alike(node, places, *columns, nan, values)

    def end(tree: int, at: int) -> int:
        if (tree, at) not in position:
            node.malformed(f"tree {tree} has no node {at}")
        i = position[tree, at]
        return ~leaf_of[i] if i in leaf_of else i

    branches = []
    for i, (feature, yes, no, tracks, value) in enumerate(zip(*columns, nan, values, strict=True)):
        tree, mode = places[i][0], modes[i]
        if mode not in MODES:
            node.malformed(f"there is no mode '{mode}'")
        ends = (-1, -1) if i in leaf_of else (end(tree, yes), end(tree, no))
        branches.append(Branch(mode, feature, value, bool(tracks), *ends))
    firsts = [i for i, (tree, _) in enumerate(places) if i == 0 or places[i - 1][0] != tree]
    roots = [~leaf_of[i] if i in leaf_of else i for i in firsts]
    trees = trees_of(node, branches, roots, leaves, x.dtype.value)
    _check(node, x, trees, targets)
    return trees


def _check(node: ModelNode, x: Tensor, trees: Trees, targets: int) -> None:
    if (
        not trees.roots
        or not 0 <= min(trees.features, default=0) <= max(trees.features, default=0) < x.shape[1]
    ):
        node.malformed(f"its features are not among the {x.shape[1]} of its input")
    if any(not 0 <= t < targets for leaf in trees.leaves for t, _ in leaf):
        node.malformed(f"a leaf is for a target beyond {targets}")
    if any(math.isnan(t) or t == -math.inf for t in trees.thresholds):
        node.refuse("thresholds that are no numbers, or below all, are not supported")


def _numbers(node: ModelNode, name: str) -> tuple[float, ...]:
    """Numbers that are a list, or a tensor under the same or a longer name."""
    for attribute in (name, f"{name}_as_tensor"):
        value = node.attributes.get(attribute)
        if value is not None and not isinstance(value, list):
            return tuple(tensor_array(value, node.where).astype(np.float64).reshape(-1).tolist())
    return node.reals(name) or ()
