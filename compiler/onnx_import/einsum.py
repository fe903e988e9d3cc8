"""Einsum: any equation, by diagonals, sums, and products of two operands at a time."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.linear import matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.expand import ExpandAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs

TERM = re.compile(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*")
ELLIPSIS = "0123456789"  # the labels of its axes, from the last one backwards


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """An operand and the label of each of its axes."""

    labels: str
    tensor: Tensor


def read_einsum(build: Builder, node: ModelNode) -> Tensor:
    tensors = [build.operand(node, i) for i in range(len(node.inputs))]
    terms, output = _equation(node, tensors)
    terms = [_without_diagonals(build, node, term) for term in terms]
    sizes: dict[str, int] = {}
    for term in terms:
        for label, size in zip(term.labels, term.tensor.shape, strict=True):
            if sizes.setdefault(label, size) == 1:
                sizes[label] = size
            if size not in (1, sizes[label]):
                node.malformed(f"axis '{label}' has {sizes[label]} and {size} elements")
    wide = {label for label, size in sizes.items() if size != 1}
    terms = [_without_ones(build, node, term, wide) for term in terms]
    left = terms[0]
    for number, right in enumerate(terms[1:], 2):
        later = {*output, *(label for term in terms[number:] for label in term.labels)}
        left = _product(build, node, left, right, later)
    return _arranged(build, node, left, output, sizes)


def _equation(node: ModelNode, tensors: Sequence[Tensor]) -> tuple[list[Term], str]:
    """The terms, and the labels of the output; an ellipsis is digits."""
    equation = node.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    texts = left.split(",")
    if len(texts) != len(tensors) or not all(TERM.fullmatch(t) for t in (*texts, right)):
        node.malformed(f"the equation '{equation}' does not fit {len(tensors)} inputs")
    terms, most = [], 0
    for text, tensor in zip(texts, tensors, strict=True):
        hidden = len(tensor.shape) - len(text.replace("...", ""))
        if hidden < 0 or hidden > (len(ELLIPSIS) if "..." in text else 0):
            node.malformed(f"'{text}' does not fit {list(tensor.shape)}")
        terms.append(Term(text.replace("...", ELLIPSIS[:hidden][::-1]), tensor))
        most = max(most, hidden)
    every = ELLIPSIS[:most][::-1]
    if arrow:
        output = right.replace("...", every)
    else:
        counts = Counter(left.replace("...", "").replace(",", ""))
        output = every + "".join(sorted(label for label, n in counts.items() if n == 1))
    known = {label for term in terms for label in term.labels}
    if len(set(output)) != len(output) or not known.issuperset(output):
        node.malformed(f"the output of the equation '{equation}' is ambiguous")
    return terms, output


def _without_diagonals(build: Builder, node: ModelNode, term: Term) -> Term:
    """A label that stands twice: every (n + 1)-th element of the two axes as one."""
    for label in dict.fromkeys(term.labels):
        while term.labels.count(label) > 1:
            first = term.labels.index(label)
            second = term.labels.index(label, first + 1)
            shape, size = term.tensor.shape, term.tensor.shape[first]
            if shape[second] != size:
                node.malformed(f"axis '{label}' has {size} and {shape[second]} elements")
            rest = [i for i in range(len(shape)) if i not in (first, second)]
            x = _transposed(build, node, term.tensor, (*rest, first, second))
            kept = tuple(shape[i] for i in rest)
            x = build.reshaped(node, x, (*kept, size * size))
            steps = (*(1 for _ in rest), size + 1)
            attrs = SliceAttrs((0,) * (len(rest) + 1), steps, (*kept, size))
            x = build.layout(node, "Slice", x, attrs)
            term = Term("".join(term.labels[i] for i in rest) + label, x)
    return term


def _without_ones(build: Builder, node: ModelNode, term: Term, wide: set[str]) -> Term:
    """Axes of one element do not matter to a product."""
    kept = [
        (t, n) for t, n in zip(term.labels, term.tensor.shape, strict=True) if n != 1 and t in wide
    ]
    shape = tuple(n for _, n in kept)
    return Term("".join(t for t, _ in kept), build.reshaped(node, term.tensor, shape))


def _transposed(build: Builder, node: ModelNode, x: Tensor, perm: tuple[int, ...]) -> Tensor:
    if perm == tuple(range(len(perm))):
        return x
    return build.layout(node, "Transpose", x, TransposeAttrs(perm))


def _as(build: Builder, node: ModelNode, term: Term, labels: str) -> Tensor:
    """The term's tensor with its axes in the order of `labels`."""
    return _transposed(build, node, term.tensor, tuple(map(term.labels.index, labels)))


def _summed(build: Builder, node: ModelNode, term: Term, needed: set[str]) -> Term:
    """The sum over the axes that are not `needed`."""
    axes = tuple(i for i, label in enumerate(term.labels) if label not in needed)
    if not axes:
        return term
    y = build.add(node, "Reduce", (term.tensor,), ReduceAttrs("sum", axes, keep_dims=False))
    return Term("".join(label for label in term.labels if label in needed), y)


def _product(build: Builder, node: ModelNode, a: Term, b: Term, later: set[str]) -> Term:
    """The product of two terms, summed over the labels that are not needed `later`."""
    a = _summed(build, node, a, later | set(b.labels))
    b = _summed(build, node, b, later | set(a.labels))
    shared = [label for label in a.labels if label in b.labels]
    batch = "".join(label for label in shared if label in later)
    gone = "".join(label for label in shared if label not in later)
    rows = "".join(label for label in a.labels if label not in shared)
    columns = "".join(label for label in b.labels if label not in shared)
    size = {t: n for x in (a, b) for t, n in zip(x.labels, x.tensor.shape, strict=True)}
    lead, m, k, n = (tuple(size[t] for t in part) for part in (batch, rows, gone, columns))
    left, right = (
        _as(build, node, a, batch + rows + gone),
        _as(build, node, b, batch + gone + columns),
    )
    if gone and a.tensor.dtype == DType.FLOAT32:
        left = build.reshaped(node, left, (*lead, math.prod(m), math.prod(k)))
        right = build.reshaped(node, right, (*lead, math.prod(k), math.prod(n)))
        y = matrix_product(build, node, left, right)
        return Term(batch + rows + columns, build.reshaped(node, y, (*lead, *m, *n)))
    left = build.reshaped(node, left, (*lead, *m, *k, *(1 for _ in n)))
    right = build.reshaped(node, right, (*lead, *(1 for _ in m), *k, *n))
    y = build.binary(node, "Mul", left, right)
    return _summed(build, node, Term(batch + rows + gone + columns, y), later)


def _arranged(
    build: Builder, node: ModelNode, term: Term, output: str, sizes: dict[str, int]
) -> Tensor:
    """The axes in the order of the output, those of one element among them."""
    term = _summed(build, node, term, set(output))
    y = _as(build, node, term, "".join(label for label in output if label in term.labels))
    ones = tuple(sizes[label] if label in term.labels else 1 for label in output)
    y = build.reshaped(node, y, ones)
    shape = tuple(sizes[label] for label in output)
    return y if shape == y.shape else build.add(node, "Expand", (y,), ExpandAttrs(shape))
