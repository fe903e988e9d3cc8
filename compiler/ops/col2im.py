"""Col2Im: columns of blocks back to an image, where blocks overlap their values are added.

x [N, C * block cells, blocks], y [N, C, image...]; cell k of block b lies at
b * stride + k * dilation - before.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.cells import Axis, cell_slices, cells, flat, over
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class Col2ImAttrs:
    """One value for each axis of the image; blocks: how many there are along it."""

    image: Shape
    block: Shape
    blocks: Shape
    strides: Shape
    before: Shape
    dilations: Shape


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("Col2Im", x, (DType.FLOAT32,))
    return (((x.shape[0], x.shape[1] // math.prod(attrs.block), *attrs.image), x.dtype),)


def _axes(a: Col2ImAttrs) -> list[Axis]:
    return [
        Axis(blocks, size, cells_, stride, dilation, before, True)
        for blocks, size, cells_, stride, dilation, before in zip(
            a.blocks, a.image, a.block, a.strides, a.dilations, a.before, strict=True
        )
    ]


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, y = call.attrs, np.zeros(call.output.shape, np.float64)
    x = arrays[0].reshape(*y.shape[:2], *a.block, *a.blocks)
    for place, outputs, inputs in cell_slices(_axes(a)):
        to: Any = (..., *outputs)
        at: Any = (slice(None), slice(None), *place, *inputs)
        y[to] += x[at]
    return (y.astype(np.float32),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    total = loops.local("total", "float32")

    def one(at: list[Any]) -> list[Any]:
        def add(places: list[Any], inputs: list[Any]) -> list[Any]:
            from_x = flat([*at[:2], *places, *inputs], (*y.shape[:2], *a.block, *a.blocks))
            return [loops.store(total, 0, loops.load(total, 0) + loops.load(source, from_x))]

        return [
            *loops.declare(total),
            loops.store(total, 0, loops.const(0.0, "float32")),
            *cells(_axes(a), at[2:], add),
            loops.store(result, flat(at, y.shape), loops.load(total, 0)),
        ]

    function = loops.function([source, result], over(y.shape, one))
    return Kernel("col2im", function, float_code=True)


COL2IM = Op("Col2Im", infer, reference, kernel)
