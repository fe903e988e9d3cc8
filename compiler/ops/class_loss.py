"""ClassLoss: minus the logarithm of the probability of the right class, weighted and reduced.

    loss[n, d] = -weight[target[n, d]] * x[n, target[n, d], d]

A target that is `ignored`, or no class, has the loss and the weight 0.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import FLOATS, check_same_type, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ClassLossAttrs:
    """Inputs: logarithms [n, classes, ...], targets [n, ...], and maybe weights [classes].

    reduction  "none", "sum", or "mean": the sum over that of the weights
    """

    reduction: str
    ignored: int | None = None


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, target = inputs[:2]
    check_type("the loss", x, FLOATS)
    check_type("the loss by targets", target, (DType.INT32, DType.INT64))
    for weights in inputs[2:]:
        check_same_type(x, weights)
    return ((target.shape if attrs.reduction == "none" else (), x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, target, a = arrays[0].astype(np.float64), arrays[1], call.attrs
    classes = np.arange(x.shape[1]).reshape(-1, *(1,) * (x.ndim - 2))
    hot = (target[:, None] == classes) & (target[:, None] != a.ignored)
    each = arrays[2].astype(np.float64) if len(arrays) > 2 else np.ones(x.shape[1])
    weights = np.where(hot, each.reshape(classes.shape), 0.0)
    loss = -np.where(hot, x * weights, 0.0).sum(axis=1)
    with np.errstate(all="ignore"):
        if a.reduction == "mean":
            loss = loss.sum() / weights.sum()
    return (np.asarray(loss.sum() if a.reduction == "sum" else loss).astype(arrays[0].dtype),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, targets, *rest = call.inputs
    y, a, dtype = call.output, call.attrs, str(x.dtype)
    n, classes, inner = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    names = ("x", "targets", "weights")[: len(call.inputs)]
    operands = [
        loops.buffer(m, t.elements, t.dtype) for m, t in zip(names, call.inputs, strict=True)
    ]
    result = loops.buffer("y", y.elements, dtype)
    total, weight, share = (loops.local(m, dtype) for m in ("total", "weight", "share"))
    whole, zero = a.reduction != "none", loops.const(0.0, dtype)

    def one(i: Any, k: Any) -> list[Any]:
        chosen = loops.load(operands[1], i * inner + k)
        at = (i * classes + chosen.astype("int32")) * inner + k
        first, end = (loops.const(c, targets.dtype) for c in (0, classes))
        conditions = [chosen >= first, chosen < end]
        if a.ignored is not None and a.ignored in range(*targets.dtype.limits):
            conditions.append(loops.unequal(chosen, loops.const(a.ignored, targets.dtype)))
        each = loops.load(operands[2], chosen.astype("int32")) if rest else loops.const(1.0, dtype)
        value = loops.load(operands[0], at) * loops.load(weight, 0)
        take = [*loops.declare(weight), loops.store(weight, 0, each)]
        if not whole:
            to = i * inner + k
            take.append(loops.store(result, to, zero - value))
            return [loops.when(loops.every(conditions), take, [loops.store(result, to, zero)])]
        take.append(loops.store(total, 0, loops.load(total, 0) - value))
        take.append(loops.store(share, 0, loops.load(share, 0) + loops.load(weight, 0)))
        return [loops.when(loops.every(conditions), take)]

    body = []
    if whole:
        body += loops.declare(total, share)
        body += [loops.store(b, 0, zero) for b in (total, share)]
    body.append(loops.loop("i", n, lambda i: [loops.loop("k", inner, lambda k: one(i, k))]))
    if whole:
        value = loops.load(total, 0)
        mean = a.reduction == "mean"
        body.append(loops.store(result, 0, value / loops.load(share, 0) if mean else value))
    moving = [b for b, t in zip(operands, call.inputs, strict=True) if t.data is None]
    fixed = [b for b, t in zip(operands, call.inputs, strict=True) if t.data is not None]
    tables = tuple(
        Constant(name, t.data.reshape(-1))
        for name, t in zip(names, call.inputs, strict=True)
        if t.data is not None
    )
    function = loops.function([*moving, result, *fixed], body)
    return Kernel("class_loss", function, tables, float_code=True)


CLASS_LOSS = Op("ClassLoss", infer, reference, kernel)
