"""Support vector machines: SvmDecision, and what is made of its values: SvmVote, SvmProbability."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.svm_text import COUPLE, VOTE, decision, similarity
from tinyc.targets import Target

SIMILARITIES = ("LINEAR", "POLY", "RBF", "SIGMOID")
LEAST = 1e-7  # of a probability of one of a pair, as in libsvm
MOST_TURNS = 100  # of the iteration of couples of probabilities, as in libsvm


@dataclass(frozen=True, slots=True)
class SvmAttrs:
    """similarity  one of SIMILARITIES, with its parameters
    classes     how many vectors each class has; (): a regression, with one value
    """

    similarity: str
    gamma: float
    coef0: float
    degree: float
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SvmClassesAttrs:
    """labels of the classes; a, b: the sigmoid's parameters of each pair, for probabilities."""

    labels: tuple[int, ...]
    a: tuple[float, ...] = ()
    b: tuple[float, ...] = ()


def pairs(classes: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(classes) for j in range(i + 1, classes)]


def infer_decision(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    """x [rows, features], vectors [vectors, features], coefficients [classes - 1, vectors], rho"""
    x = inputs[0]
    return (((x.shape[0], len(pairs(len(attrs.classes))) or 1), x.dtype),)


def decision_reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, vectors, coefficients, rho = (a.astype(np.float64) for a in arrays)
    a = call.attrs
    if a.similarity == "RBF":
        near = np.exp(-a.gamma * ((x[:, None] - vectors) ** 2).sum(-1))
    else:
        near = x @ vectors.T
        if a.similarity != "LINEAR":
            near = near * a.gamma + a.coef0
            near = near**a.degree if a.similarity == "POLY" else np.tanh(near)
    if not a.classes:
        return ((near @ coefficients.T + rho).astype(np.float32),)
    bounds = np.cumsum([0, *a.classes])
    columns = []
    for number, (i, j) in enumerate(pairs(len(a.classes))):
        own_i, own_j = slice(bounds[i], bounds[i + 1]), slice(bounds[j], bounds[j + 1])
        value = near[:, own_i] @ coefficients[j - 1, own_i]
        columns.append(value + near[:, own_j] @ coefficients[i, own_j] + rho[number])
    return (np.stack(columns, 1).astype(np.float32),)


def decision_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, vectors, coefficients, rho = call.inputs
    y, a = call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    count, features = vectors.shape
    constants = []
    for role, tensor in (("vectors", vectors), ("coefficients", coefficients), ("rho", rho)):
        assert tensor.data is not None, "the reader makes constants"
        constants.append(Constant(role, tensor.data.reshape(-1)))
    if a.classes:
        sizes = np.array(a.classes, np.int32)
        sizes.flags.writeable = False
        constants.append(Constant("classes", sizes))
    tables = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants]
    near = loops.buffer("near", count, "float32")
    compare, combine = similarity(a.similarity, a.degree), decision(bool(a.classes))
    numbers = {"LINEAR": (), "RBF": (a.gamma,), "POLY": (a.gamma, a.coef0, a.degree)}
    parameters = numbers.get(a.similarity, (a.gamma, a.coef0))
    shape = (len(a.classes), tables[3]) if a.classes else ()

    def row(r: Any) -> list[Any]:
        return [
            loops.run(
                compare.name, loops.pointer(source, r * features), loops.pointer(tables[0]),
                count, features, *(loops.const(p, "float32") for p in parameters),
                loops.pointer(near),
            ),
            loops.run(
                combine.name, loops.pointer(near), loops.pointer(tables[1]), count,
                loops.pointer(tables[2]),
                *(s if isinstance(s, int) else loops.pointer(s) for s in shape),
                loops.pointer(result, r * y.shape[1]),
            ),
        ]  # fmt: skip

    body = [loops.loop("r", x.shape[0], lambda r: row(_int(r)))]
    function = loops.function([source, result, *tables, near], body)
    return Kernel(
        "svm", function, tuple(constants), 4 * count, (compare, combine), float_code=True,
        note=f"{count} support vectors",
    )  # fmt: skip


def _int(value: Any) -> Any:
    return loops.const(value) if isinstance(value, int) else value


def infer_vote(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return (((inputs[0].shape[0],), DType.INT64),)


def vote_reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), labels = arrays, call.attrs.labels
    votes = np.zeros((len(x), len(labels)))
    for number, (i, j) in enumerate(pairs(len(labels))):
        votes[:, i] += x[:, number] > 0
        votes[:, j] += x[:, number] <= 0
    return (np.array(labels, np.int64)[votes.argmax(1)],)


def vote_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, labels = call.inputs, call.output, call.attrs.labels
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    values = np.array(labels, np.int64)
    values.flags.writeable = False
    table, votes = (
        loops.buffer("labels", len(labels), "int64"),
        loops.buffer("votes", len(labels), "int32"),
    )

    def row(r: Any) -> list[Any]:
        winner = loops.call(
            VOTE.name, loops.pointer(source, r * x.shape[1]), len(labels), loops.pointer(votes)
        )
        return [loops.store(result, r, loops.load(table, winner))]

    body = [loops.loop("r", x.shape[0], lambda r: row(_int(r)))]
    function = loops.function([source, result, table, votes], body)
    constants = (Constant("labels", values),)
    return Kernel("svm_vote", function, constants, 4 * len(labels), (VOTE,), float_code=True)


def infer_probability(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return (((inputs[0].shape[0], len(attrs.labels)), inputs[0].dtype),)


def probability_reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, a = arrays[0].astype(np.float64), call.attrs
    return (np.stack([_coupled(row, a) for row in x]).astype(np.float32),)


def _coupled(row: Array, a: SvmClassesAttrs) -> Array:
    """Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise
    coupling", 2004, algorithm 2, as libsvm has it; the iteration ends early, so it is followed."""
    n = len(a.labels)
    r = np.zeros((n, n))
    for number, (i, j) in enumerate(pairs(n)):
        share = 1 / (1 + np.exp(row[number] * a.a[number] + a.b[number]))
        r[i, j] = np.clip(share, LEAST, 1 - LEAST)
        r[j, i] = 1 - r[i, j]
    q = -(r.T * r)
    np.fill_diagonal(q, (r**2).sum(0))
    p = np.full(n, 1 / n)
    for _ in range(MOST_TURNS):
        qp = q @ p
        pqp = p @ qp
        if abs(qp - pqp).max() < 0.005 / n:
            break
        for t in range(n):
            change = (pqp - qp[t]) / q[t, t]
            p[t] += change
            pqp = (pqp + change * (change * q[t, t] + 2 * qp[t])) / (1 + change) ** 2
            qp = (qp + change * q[t]) / (1 + change)
            p /= 1 + change
    return p


def probability_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    n = len(a.labels)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    sigmoids = np.array([a.a, a.b], np.float32).reshape(-1)
    sigmoids.flags.writeable = False
    table = loops.buffer("sigmoids", sigmoids.size, "float32")
    room = loops.buffer("room", n * n + n, "float32")

    def row(r: Any) -> list[Any]:
        return [loops.run(
            COUPLE.name, loops.pointer(source, r * x.shape[1]), loops.pointer(table), n,
            loops.pointer(room), loops.pointer(result, r * n),
        )]  # fmt: skip

    body = [loops.loop("r", x.shape[0], lambda r: row(_int(r)))]
    function = loops.function([source, result, table, room], body)
    return Kernel(
        "svm_probability", function, (Constant("sigmoids", sigmoids),), 4 * (n * n + n), (COUPLE,),
        float_code=True,
    )  # fmt: skip


def macs(call: Call) -> int:
    count, features = call.inputs[1].shape
    return int(call.inputs[0].shape[0] * (count * features + call.inputs[2].elements))


SVM_OPS = (
    Op("SvmDecision", infer_decision, decision_reference, decision_kernel, macs=macs),
    Op("SvmVote", infer_vote, vote_reference, vote_kernel),
    Op("SvmProbability", infer_probability, probability_reference, probability_kernel),
)
