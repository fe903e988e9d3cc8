"""ClassLabel: the label of each row's class by its scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import FLOATS, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ClassLabelAttrs:
    """labels     of the classes, in the order of the columns of the scores
    threshold  None: the class of the largest score, the first of equal ones; else there are two
               classes, and it is the second where the score is above
    """

    labels: tuple[int, ...]
    threshold: float | None = None


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("the largest score", x, FLOATS)
    columns = len(attrs.labels) if attrs.threshold is None else 1
    assert len(x.shape) == 2 and x.shape[1] == columns, "the readers check it"
    return (((x.shape[0],), DType.INT64),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a = arrays, call.attrs
    found = x.argmax(1) if a.threshold is None else (x[:, 0] > a.threshold).astype(np.int64)
    return (np.array(a.labels, np.int64)[found],)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    best, columns = loops.local("best"), x.shape[1]
    plain = a.labels == tuple(range(len(a.labels)))
    table = loops.buffer("labels", len(a.labels), "int64")
    labels = np.array(a.labels, np.int64)
    labels.flags.writeable = False

    def label(position: Any) -> Any:
        return position if plain else loops.load(table, position)

    def row(r: Any) -> list[Any]:
        if a.threshold is not None:
            above = loops.load(source, r) > loops.const(a.threshold, x.dtype)
            first, second = (loops.const(v, "int64") for v in a.labels)
            return [loops.store(result, r, loops.select(above, second, first))]

        def compare(k: Any) -> list[Any]:
            largest = loops.load(source, r * columns + loops.load(best, 0))
            better = loops.load(source, r * columns + k) > largest
            return [loops.when(better, [loops.store(best, 0, k)])]

        return [
            *loops.declare(best),
            loops.store(best, 0, 0),
            loops.loop("k", columns - 1, compare, 1),
            loops.store(result, r, label(loops.load(best, 0))),
        ]

    body = [loops.loop("r", x.shape[0], row)]
    used = a.threshold is None and not plain
    function = loops.function([source, result, *([table] if used else [])], body)
    constants = (Constant("labels", labels),) if used else ()
    return Kernel("class_label", function, constants, float_code=True)


CLASS_LABEL = Op("ClassLabel", infer, reference, kernel)
