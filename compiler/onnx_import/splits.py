"""The branches of a model's trees as splits by "not above"; missing values go where they went.

A value is below t when it is not above the next smaller float, and equal to t when it is not
above t and not below it: comparisons stay exact.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.trees import Trees

MODES = (
    "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ",
    "BRANCH_MEMBER", "LEAF",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Branch:
    """A node as the model has it; yes and no: a node, or ~leaf; members: of a set, else ()."""

    mode: str
    feature: int
    value: float
    nan: bool
    yes: int
    no: int
    members: tuple[float, ...] = ()


@dataclass(slots=True)
class Splits:
    """Splits by "not above" that are being made of branches of any mode."""

    real: str
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    nan: list[bool] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)

    def add(self, feature: int, threshold: float, nan: bool, yes: int, no: int) -> int:
        for values, value in zip(
            (self.features, self.thresholds, self.nan, self.yes, self.no),
            (feature, threshold, nan, yes, no),
            strict=True,
        ):
            values.append(value)  # type: ignore[attr-defined]
        return len(self.features) - 1

    def below(self, value: float) -> float:
        kind = np.dtype(self.real).type
        return float(np.nextafter(kind(value), kind(-math.inf)))

    def equal(self, feature: int, value: float, nan: bool, yes: int, no: int) -> int:
        """value or less, and not less"""
        less = self.add(feature, self.below(value), False, no, yes)
        return self.add(feature, value, nan, less, no)

    def of(self, branch: Branch, yes: int, no: int) -> int:
        """What leads to `yes` and `no` as the branch does; missing values too."""
        feature, value, nan = branch.feature, branch.value, branch.nan
        if branch.mode == "BRANCH_LEQ":
            return self.add(feature, value, nan, yes, no)
        if branch.mode == "BRANCH_LT":
            return self.add(feature, self.below(value), nan, yes, no)
        if branch.mode == "BRANCH_GT":
            return self.add(feature, value, not nan, no, yes)
        if branch.mode == "BRANCH_GTE":
            return self.add(feature, self.below(value), not nan, no, yes)
        if branch.mode == "BRANCH_EQ":
            return self.equal(feature, value, nan, yes, no)
        if branch.mode == "BRANCH_NEQ":  # what is no number differs from every value
            return self.equal(feature, value, False, no, yes)
        at = no
        for member in reversed(branch.members):
            at = self.equal(feature, member, nan, yes, at)
        return at


def trees_of(
    node: ModelNode, branches: list[Branch], roots: list[int],
    leaves: list[tuple[tuple[int, float], ...]], real: str,
) -> Trees:  # fmt: skip
    """The branches in an order in which each comes before those that it leads to."""
    splits, made = Splits(real), dict[int, int]()
    for root in roots:
        waiting, entered = [(root, False)], set[int]()
        while waiting:
            at, done = waiting.pop()
            if at < 0 or at in made:
                continue
            branch = branches[at]
            if done:
                entered.discard(at)
                ends = [n if n < 0 else made[n] for n in (branch.yes, branch.no)]
                made[at] = splits.of(branch, *ends)
                continue
            if at in entered:
                node.malformed("a tree leads back to a node of its own")
            entered.add(at)
            waiting += [(at, True), (branch.yes, False), (branch.no, False)]
    last = len(splits.features) - 1

    def turned(at: int) -> int:
        return at if at < 0 else last - at

    return Trees(
        tuple(reversed(splits.features)),
        tuple(reversed(splits.thresholds)),
        tuple(reversed(splits.nan)),
        tuple(map(turned, reversed(splits.yes))),
        tuple(map(turned, reversed(splits.no))),
        tuple(leaves),
        tuple(turned(r if r < 0 else made[r]) for r in roots),
    )
