"""An int16 interface of trees: Trees(x) -> Trees(x) for an input x of floats that trees alone read.

A feature is stored as ceil(feature * 2^shift), with a shift for each feature. It is not above
floor(t * 2^shift) exactly when the feature is not above t rounded down to a multiple of 2^-shift:
multiples decide as before, and so does a feature that equals a threshold it had to be below.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor
from tinyc.compiler.ops.trees import TREES
from tinyc.passes.tree_features import thresholds_of, trees_attrs
from tinyc.targets import Target

LEAST, MOST = DType.INT16.limits
LARGEST_SHIFT = 15
CLOSE = 2.0**-20  # relative; thresholds "below n" are the float before n


def store_tree_inputs(graph: Graph, target: Target) -> Graph:
    """Raises CompileError("wrong-option") where no input is read by trees alone."""
    inputs = [name for name in graph.inputs if _for_trees_alone(graph, name)]
    if not inputs:
        raise CompileError(
            "wrong-option",
            "no float input of the model is read by trees alone",
            "option io_dtype",
            "leave --io-dtype int16 out; --tree-features int16 keeps the model's interface",
        )
    for name in inputs:
        graph = _stored(graph, graph.tensors[name])
    return graph


def stored_features(x: Array, quant: QParams | None) -> Array:
    """Rows of features as the interface takes them; what is no number is the least."""
    scales = np.array((1.0,) if quant is None else quant.scale)
    steps = np.nan_to_num(np.ceil(x.reshape(len(x), -1) / scales), nan=LEAST)
    stored: Array = np.clip(steps, LEAST, MOST).astype(np.int16).reshape(x.shape)
    return stored


def _for_trees_alone(graph: Graph, name: str) -> bool:
    readers = graph.readers[name]
    trees = bool(readers) and all(n.op == TREES.name for n in readers)
    return trees and name not in graph.outputs and graph.tensors[name].dtype.is_float


def _stored(graph: Graph, x: Tensor) -> Graph:
    readers = graph.readers[x.name]
    shifts = _shifts(readers, x)
    scales = tuple(2.0**-shift for shift in shifts)
    quant = QParams(scales, (0,) * len(scales), 1) if any(shifts) else None
    nodes = [_comparing_stored(n, x, shifts) if n in readers else n for n in graph.nodes]
    steps = f"2^-{min(shifts)} to 2^-{max(shifts)}" if any(shifts) else "1: whole numbers"
    note = f"input '{x.name}' has int16 for floats, in steps of {steps}"
    graph = graph.with_nodes(nodes, [replace(x, dtype=DType.INT16, quant=quant)])
    return replace(graph, notes=(*graph.notes, note))


def _shifts(readers: Iterable[Node], x: Tensor) -> tuple[int, ...]:
    """0 for all features where thresholds lie between whole numbers, or on them; else the largest
    for which int16 holds the feature's thresholds, and larger values.
    """
    found: list[list[float]] = [[] for _ in range(x.shape[1])]
    for node in readers:
        trees = trees_attrs(node).trees
        for feature, threshold in zip(trees.features, thresholds_of(trees, x), strict=True):
            if math.isfinite(threshold):
                found[feature].append(threshold)
    if all(_whole(threshold) for thresholds in found for threshold in thresholds):
        return (0,) * len(found)
    return tuple(map(_largest_shift, found))


def _whole(threshold: float) -> bool:
    """Whether it is a multiple of a half, about, as those of whole numbers are."""
    doubled = 2 * threshold
    near = abs(doubled - round(doubled)) <= CLOSE * max(1.0, abs(doubled))
    return near and _fits(threshold, 0)


def _fits(threshold: float, shift: int) -> bool:
    """The largest int16 is above all thresholds: it stands for all values from there on."""
    return LEAST <= math.floor(math.ldexp(threshold, shift)) < MOST


def _largest_shift(thresholds: list[float]) -> int:
    if not thresholds:
        return 0
    shift = LARGEST_SHIFT
    while not all(_fits(t, shift) for t in thresholds):
        shift -= 1
    return shift


def _comparing_stored(node: Node, x: Tensor, shifts: tuple[int, ...]) -> Node:
    """The node with trees that compare stored integers, of which all are numbers."""
    attrs = trees_attrs(node)
    trees = attrs.trees
    thresholds = [
        MOST if math.isinf(t) else math.floor(math.ldexp(t, shifts[feature]))
        for feature, t in zip(trees.features, thresholds_of(trees, x), strict=True)
    ]
    compared = replace(
        trees, thresholds=tuple(map(float, thresholds)), nan=(False,) * len(thresholds)
    )
    return replace(node, attrs=replace(attrs, trees=compared, scores=x.dtype))
