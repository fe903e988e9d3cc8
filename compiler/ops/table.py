"""Table: y = values[x], by the bits of x as an unsigned byte: any function of one 8-bit value."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Tensor, read_only
from tinyc.compiler.kernels.look_up import look_up
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.row_range import same_rows
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class TableAttrs:
    """256 stored values of type `dtype`."""

    values: tuple[int, ...] = field(repr=False)
    dtype: DType


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("a table", inputs[0], EIGHT_BITS)
    return ((inputs[0].shape, attrs.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (_values(call)[arrays[0].view(np.uint8)],)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return look_up(call, read_only(_values(call)))


def _values(call: Call) -> Array:
    return np.array(call.attrs.values, call.attrs.dtype.value)


TABLE = Op("Table", infer, reference, kernel, same_rows, in_place=True)
