"""DeformConv: a convolution whose cells are moved by offsets, and weighed by a mask, at run time.

x [N, C, H, W], w [O, C / groups, KH, KW], offset [N, D * KH * KW * 2, OH, OW] in rows and columns,
bias [O], mask [N, D * KH * KW, OH, OW]: channels share offsets in D groups. Between its elements x
is linear, and zero outside.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.cells import flat, over
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.operands import operands
from tinyc.compiler.ops.sampling import sample_taps
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class DeformConvAttrs:
    """Pairs are (height, width); biased, masked: which of the last two inputs there are."""

    strides: tuple[int, int]
    before: tuple[int, int]
    dilations: tuple[int, int]
    groups: int
    offset_groups: int
    biased: bool
    masked: bool


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, w, offset = inputs[:3]
    for tensor in inputs:
        check_type("DeformConv", tensor, (DType.FLOAT32,))
    return (((x.shape[0], w.shape[0], *offset.shape[2:]), x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, (x, w, offset) = call.attrs, arrays[:3]
    bias = arrays[3] if a.biased else np.zeros(w.shape[0])
    mask = arrays[-1] if a.masked else None
    n, c, height, width = x.shape
    oc, _, kh, kw = w.shape
    y = np.zeros(call.output.shape, np.float64)
    y += bias.reshape(1, -1, 1, 1)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (2, 2), (2, 2)))
    moved = offset.reshape(n, a.offset_groups, kh, kw, 2, *offset.shape[2:])
    for b, ic, i, j, oy, ox in np.ndindex(n, c, kh, kw, *y.shape[2:]):
        d = ic // (c // a.offset_groups)
        at = [
            o * s + k * step - before + float(moved[b, d, i, j, axis, oy, ox])
            for axis, (o, s, k, step, before) in enumerate(
                zip((oy, ox), a.strides, (i, j), a.dilations, a.before, strict=True)
            )
        ]
        row, column = min(max(at[0], -2), height + 1), min(max(at[1], -2), width + 1)
        top, left = min(int(np.floor(row)), height), min(int(np.floor(column)), width)
        r, s = row - top, column - left
        cell = padded[b, ic, top + 2 : top + 4, left + 2 : left + 4]
        value = np.array([1 - r, r]) @ cell @ np.array([1 - s, s])
        if mask is not None:
            value *= mask.reshape(n, a.offset_groups, kh, kw, *y.shape[2:])[b, d, i, j, oy, ox]
        g = ic // (c // a.groups)
        mine = slice(g * (oc // a.groups), (g + 1) * (oc // a.groups))
        y[b, mine, oy, ox] += value * w[mine, ic % (c // a.groups), i, j]
    return (y.astype(np.float32),)


def macs(call: Call) -> int:
    w = call.inputs[1]
    return call.output.elements * (w.elements // w.shape[0])


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """The values of one pixel's window go into the scratch, then every output channel sums them."""
    a, (x, w), y = call.attrs, call.inputs[:2], call.output
    names = ("x", "weights", "offset", *["bias"] * a.biased, *["mask"] * a.masked)
    given = operands(call.inputs, names)
    by_name = dict(zip(names, given.buffers, strict=True))
    _, channels, height, width = x.shape
    oc, ic, kh, kw = w.shape
    shared = channels // a.offset_groups
    result = loops.buffer("y", y.elements, y.dtype)
    window = loops.buffer("scratch", channels * kh * kw, "float32")
    place, weight = loops.local("place", "int32", 4), loops.local("weight", "float32", 4)
    total = loops.local("total", "float32")

    def taps(at: Any, size: int, first: int) -> Any:
        """Linear, zeros outside; the limits matter for other paddings only."""
        none = loops.const(0.0, "float32")
        return loops.run(
            "tinyc_sample_taps", at, loops.const(size), loops.const(2), loops.const(0), none, none,
            loops.pointer(place, first), loops.pointer(weight, first),
        )  # fmt: skip

    def pixel(indices: list[Any]) -> list[Any]:
        n, oy, ox = indices

        def cell(d: Any, i: Any, j: Any) -> list[Any]:
            number = (d * kh + i) * kw + j
            parts = a.offset_groups * kh * kw

            def moved(axis: int, o: Any, k: Any) -> Any:
                at = flat([n, number * 2 + axis, oy, ox], (y.shape[0], parts * 2, *y.shape[2:]))
                base = o * a.strides[axis] + k * a.dilations[axis] - a.before[axis]
                return base.astype("float32") + loops.load(by_name["offset"], at)

            mask = loops.const(1.0, "float32")
            if a.masked:
                at = flat([n, number, oy, ox], (y.shape[0], parts, *y.shape[2:]))
                mask = loops.load(by_name["mask"], at)

            def read(c: Any) -> list[Any]:
                channel = d * shared + c
                rows = (n * channels + channel) * height
                value: Any = loops.const(0.0, "float32")
                for r in range(2):
                    for s in range(2):
                        at = (rows + loops.load(place, r)) * width + loops.load(place, 2 + s)
                        both = loops.load(weight, r) * loops.load(weight, 2 + s)
                        value = value + both * loops.load(by_name["x"], at)
                return [loops.store(window, (channel * kh + i) * kw + j, value * mask)]

            return [
                taps(moved(0, oy, i), height, 0),
                taps(moved(1, ox, j), width, 2),
                loops.loop("c", shared, read),
            ]

        def channel(o: Any) -> list[Any]:
            first = loops.quotient(o, oc // a.groups) * (ic * kh * kw)
            start = loops.load(by_name["bias"], o) if a.biased else loops.const(0.0, "float32")

            def add(k: Any) -> list[Any]:
                product = loops.load(window, first + k) * loops.load(
                    by_name["weights"], o * (ic * kh * kw) + k
                )
                return [loops.store(total, 0, loops.load(total, 0) + product)]

            return [
                *loops.declare(total),
                loops.store(total, 0, start),
                loops.loop("k", ic * kh * kw, add),
                loops.store(result, flat([n, o, oy, ox], y.shape), loops.load(total, 0)),
            ]

        every_cell = over([a.offset_groups, kh, kw], lambda at: cell(*at))
        return [*every_cell, loops.loop("o", oc, channel)]

    nest = [
        loops.loop("n", y.shape[0], lambda n: [
            loops.loop("oy", y.shape[2], lambda oy: [
                loops.loop("ox", y.shape[3], lambda ox: pixel([n, oy, ox]))
            ])
        ])
    ]  # fmt: skip
    body = [*loops.declare(place, weight), *nest]
    function = loops.function([*given.moving, result, *given.fixed, window], body)
    return Kernel(
        "deform_conv", function, given.constants, channels * kh * kw * 4, (sample_taps(),),
        float_code=True,
    )  # fmt: skip


DEFORM_CONV = Op("DeformConv", infer, reference, kernel, macs=macs)
