"""Trees: decision trees whose leaves add up, or whose least, largest or mean value counts.

Features are floats, or int16: ranks (`tree_ranks.py`), or whole numbers that the caller has.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import FLOATS, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.tree_branches import branches, branches_bytes
from tinyc.compiler.ops.tree_tables import TreeTables, tables_of, walker
from tinyc.targets import Target

AGGREGATES = ("sum", "average", "min", "max")


@dataclass(frozen=True, slots=True)
class Trees:
    """The splits and leaves of all trees. A split goes to `yes` where the feature's value is not
    above the threshold, else to `no`; where it is no number, to `yes` when `nan` says so.

    yes, no, roots  a split, or ~leaf; a split comes before those that it leads to
    leaves          (target, weight) pairs
    """

    features: tuple[int, ...] = field(repr=False)
    thresholds: tuple[float, ...] = field(repr=False)
    nan: tuple[bool, ...] = field(repr=False)
    yes: tuple[int, ...] = field(repr=False)
    no: tuple[int, ...] = field(repr=False)
    leaves: tuple[tuple[tuple[int, float], ...], ...] = field(repr=False)
    roots: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TreesAttrs:
    """base: what is added to each target at the end; aggregate: one of AGGREGATES;
    scores: the type of the results where the features are int16, else it is the features'."""

    trees: Trees = field(repr=False)
    targets: int
    aggregate: str = "sum"
    base: tuple[float, ...] = ()
    scores: DType = DType.FLOAT32


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("trees", x, (*FLOATS, DType.INT16))
    return (((x.shape[0], attrs.targets), x.dtype if x.dtype.is_float else attrs.scores),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a = arrays, call.attrs
    rows = [_scores(a, row) for row in x.tolist()]
    base = np.array(a.base or (0.0,) * a.targets)
    return ((np.array(rows) + base).astype(call.output.dtype.value),)


def _scores(a: TreesAttrs, row: list[float]) -> list[float]:
    found: list[list[float]] = [[] for _ in range(a.targets)]
    trees = a.trees
    for root in a.trees.roots:
        at = root
        while at >= 0:
            value = row[trees.features[at]]
            below = trees.nan[at] if math.isnan(value) else value <= trees.thresholds[at]
            at = trees.yes[at] if below else trees.no[at]
        for target, weight in trees.leaves[~at]:
            found[target].append(weight)
    return [_aggregated(a, weights) for weights in found]


def _aggregated(a: TreesAttrs, weights: list[float]) -> float:
    if a.aggregate in ("min", "max"):
        return (min if a.aggregate == "min" else max)(weights, default=0.0)
    total = math.fsum(weights)
    return total / len(a.trees.roots) if a.aggregate == "average" else total


def smaller_form(call: Call) -> str:
    """ "branches" or "tables", whichever takes fewer bytes, about."""
    a = call.attrs
    if a.aggregate in ("min", "max"):
        return "tables"
    written = branches_bytes(a.trees, call.inputs[0].dtype)
    return "branches" if written < tables_of(call).total_bytes else "tables"


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    form = schedule.algorithm or smaller_form(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    constants: tuple[Constant, ...] = ()
    if form == "branches":
        block = branches(a.trees, a.targets, x.dtype, y.dtype)
        note = f"{len(a.trees.roots)} trees as branches"
        arguments: tuple[Any, ...] = ()
    else:
        tables: TreeTables = tables_of(call)
        constants = tables.constants
        arguments = (len(a.trees.roots),)
        block = walker(tables, a.targets, a.aggregate, x.dtype, y.dtype)
        note = f"{len(a.trees.roots)} trees as tables, {tables.bytes} bytes"
    base, based = _base(a, y.dtype)
    own = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants]

    def row(r: Any) -> list[Any]:
        return [
            loops.run(
                block.name,
                loops.pointer(source, r * x.shape[1]),
                loops.pointer(result, r * a.targets),
                *map(loops.pointer, own),
                *arguments,
            ),
            *_finish(a, result, r * a.targets, based, y.dtype),
        ]

    body = [loops.loop("r", x.shape[0], lambda r: row(_int(r)))]
    function = loops.function([source, result, *own, *([based] if base else [])], body)
    return Kernel(
        "trees", function, (*constants, *base), microkernels=(block,), float_code=True, note=note
    )


def _int(value: Any) -> Any:
    return loops.const(value) if isinstance(value, int) else value


def _base(a: TreesAttrs, dtype: DType) -> tuple[tuple[Constant, ...], Any]:
    """The table of what is added, where it is more than one value."""
    if len(a.base) < 2:
        return (), None
    values = np.array(a.base, dtype.value)
    values.flags.writeable = False
    return (Constant("base", values),), loops.buffer("base", values.size, dtype)


def _finish(a: TreesAttrs, result: Any, at: Any, based: Any, dtype: DType) -> list[Any]:
    """The mean of the sums, and the base."""
    average = a.aggregate == "average" and len(a.trees.roots) > 1
    if not average and not a.base:
        return []

    def one(k: Any) -> list[Any]:
        value = loops.load(result, at + k)
        if average:
            value = value / loops.const(float(len(a.trees.roots)), dtype)
        if based is not None:
            value = value + loops.load(based, k)
        elif a.base:
            value = value + loops.const(a.base[0], dtype)
        return [loops.store(result, at + k, value)]

    return [loops.loop("k", a.targets, lambda k: one(_int(k)))]


TREES = Op("Trees", infer, reference, kernel)
