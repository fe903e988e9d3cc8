"""Triangle: matrices whose part above or below a diagonal is zero (Trilu of ONNX)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor, elements
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.operands import operands
from tinyc.compiler.ops.reshape import moves_stored_values
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class TriangleAttrs:
    """upper: whether what lies on the diagonal and above it is kept, else on it and below."""

    upper: bool


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    """The diagonal is a number: how far right of the main one it lies."""
    x, diagonal = inputs
    check_type("a diagonal", diagonal, (DType.INT64,))
    return ((x.shape, x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, diagonal = arrays
    rows, columns = x.shape[-2:]
    k = int(np.clip(diagonal.reshape(-1)[0], -rows, columns))
    inside = (np.triu if call.attrs.upper else np.tril)(np.ones((rows, columns), bool), k)
    return (np.where(inside, x, np.array(_zero(call), x.dtype)),)


def _zero(call: Call) -> int:
    quant = call.output.quant
    return quant.zero_point[0] if quant is not None else 0


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y = call.inputs[0], call.output
    given = operands(call.inputs, ("x", "diagonal"))
    (source, diagonal), result = given.buffers, loops.buffer("y", y.elements, y.dtype)
    rows, columns = x.shape[-2:]
    k = loops.load(diagonal, 0)

    def cell(matrix: Any, i: Any, j: Any) -> list[Any]:
        at = (matrix * rows + i) * columns + j
        right = (j - i).astype("int64")
        inside = right >= k if call.attrs.upper else right <= k
        value = loops.select(inside, loops.load(source, at), loops.const(_zero(call), str(y.dtype)))
        return [loops.store(result, at, value)]

    body = [
        loops.loop("m", elements(x.shape[:-2]), lambda m: [
            loops.loop("i", rows, lambda i: [loops.loop("j", columns, lambda j: cell(m, i, j))])
        ])
    ]  # fmt: skip
    function = loops.function([*given.moving, result, *given.fixed], body)
    return Kernel("triangle", function, given.constants, in_place=x.data is None)


TRIANGLE = Op("Triangle", infer, reference, kernel, quantize=moves_stored_values)
