"""Convolutions of any rank, forward and transposed; the weights may be activations.

ConvND         y[o, oc] = sum x[o * s + k * d - before, ic] * w[oc, k, ic] + b[oc]
ConvTranspose  y[o, oc] = sum x[i, ic] * w[oc, k, ic] + b[oc], over i * s + k * d - before = o

x [N, spatial..., C], w [oc, kernel..., ic / groups], b [oc] constant or absent. Both gather: an
output is written once. x and w may be plain int32 too. What suits Conv2D or DepthwiseConv2D runs
there, by faster kernels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Shape, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import (
    can_quantize,
    centred,
    output_of,
    output_requantization,
    product_scales,
    result_type,
)
from tinyc.compiler.ops.cells import Axis, cell_slices, cells, flat, over
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float, stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.requantize import requantizer
from tinyc.targets import Target

BLOCK = 4  # output channels that share what is read of the input
LARGEST_SUM = (1 << 31) - 1
MOST_PRODUCTS = LARGEST_SUM // (255 * 255)  # of two 8-bit values that fit a sum


@dataclass(frozen=True, slots=True)
class ConvNDAttrs:
    """One value for each spatial axis; `outputs` are the output's spatial sizes."""

    strides: Shape
    before: Shape
    outputs: Shape
    dilations: Shape
    groups: int = 1
    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, w = inputs[:2]
    dtype = DType.INT32 if x.dtype == DType.INT32 else result_type(x, "Conv")
    return (((x.shape[0], *attrs.outputs, w.shape[0]), dtype),)


def _axes(call: Call) -> list[Axis]:
    a, (x, w) = call.attrs, call.inputs[:2]
    transposed = call.node.op == "ConvTranspose"
    return [
        Axis(size, outputs, kernel, stride, dilation, before, transposed)
        for size, outputs, kernel, stride, dilation, before in zip(
            x.shape[1:-1], a.outputs, w.shape[1:-1], a.strides, a.dilations, a.before, strict=True
        )
    ]


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, w = (centred(v, t) for v, t in zip(arrays[:2], call.inputs[:2], strict=True))
    acc = np.zeros(call.output.shape, np.float64)
    groups, ic = call.attrs.groups, w.shape[-1]
    per_group = w.shape[0] // groups
    for place, outputs, inputs in cell_slices(_axes(call)):
        seen = x[(slice(None), *inputs)]
        for g in range(groups):
            mine = slice(g * per_group, (g + 1) * per_group)
            cell: Any = (mine, *place)
            product = seen[..., g * ic : (g + 1) * ic] @ w[cell].T
            acc[(slice(None), *outputs, mine)] += product
    if call.inputs[0].dtype == DType.INT32:
        return (acc.astype(np.int64).astype(np.int32),)
    return (output_of(call, acc, arrays[2] if len(arrays) > 2 else None),)


def can_quantize_nd(call: Call) -> bool:
    """As for Conv2D; also weights that are 8-bit activations, with one scale."""
    w = call.inputs[1]
    if w.data is not None:
        return can_quantize(call)
    if w.dtype not in EIGHT_BITS or w.quant is None or w.quant.axis is not None:
        return False
    x, y = call.inputs[0], call.output
    if x.dtype not in EIGHT_BITS or x.quant is None or x.quant.axis is not None:
        return False
    if y.quant is None:
        return y.dtype == DType.INT32 and len(call.inputs) == 2
    narrow = y.dtype in EIGHT_BITS and y.quant.axis is None
    return narrow and _products(w) < MOST_PRODUCTS and float(product_scales(call).max()) < 2.0**20


def macs(call: Call) -> int:
    """Of a transposed one: every input meets every weight, apart from the borders."""
    reader = call.inputs[0] if call.node.op == "ConvTranspose" else call.output
    return reader.elements // reader.shape[-1] * call.inputs[1].elements


def _products(w: Tensor) -> int:
    return w.elements // w.shape[0]


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y, groups = call.inputs[:2], call.output, call.attrs.groups
    axes, oc = _axes(call), w.shape[0]
    wide = "float32" if x.dtype.is_float else "int32"
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    constants, weights, moving = _weights(call)
    bias = _bias(call)
    tables = [] if bias is None else [loops.buffer("bias", oc, wide)]
    finished, to = _finish(call, target)
    zeros = [t.quant.zero_point[0] if t.quant else 0 for t in (x, w)]
    zero_w = zeros[1] if moving else 0
    per_group, ic = oc // groups, w.shape[-1]

    def products(n: Any, at: list[Any], g: Any, first: Any, sums: list[Any], tag: str) -> list[Any]:
        """Adds what output `at` gets for as many channels as there are sums."""

        def cell(places: list[Any], inputs: list[Any]) -> list[Any]:
            pixel = flat([n, *inputs, g * ic], [x.shape[0], *x.shape[1:-1], x.shape[-1]])
            rows = [flat([first + j, *places, 0], w.shape) for j in range(len(sums))]

            def multiply(c: Any) -> list[Any]:
                value = loops.load(source, pixel + c, wide)
                value = value - zeros[0] if zeros[0] else value
                lines = []
                for total, row in zip(sums, rows, strict=True):
                    weight = loops.load(weights, row + c, wide)
                    weight = weight - zero_w if zero_w else weight
                    lines.append(loops.store(total, 0, loops.load(total, 0) + value * weight))
                return lines

            return [loops.loop("c", ic, multiply)]

        return cells(axes, at, cell, tag)

    def channels(n: Any, at: list[Any], g: Any, first: Any, count: int, tag: str) -> list[Any]:
        sums = [loops.local(f"sum{j}{tag}", wide) for j in range(count)]
        start = [
            loops.load(tables[0], first + j) if tables else loops.const(0, wide)
            for j in range(count)
        ]
        to_y = flat([n, *at, first], y.shape)
        return [
            *loops.declare(*sums),
            *(loops.store(s, 0, v) for s, v in zip(sums, start, strict=True)),
            *products(n, at, g, first, sums, tag),
            *(
                loops.store(result, to_y + j, finished(loops.load(s, 0), first + j))
                for j, s in enumerate(sums)
            ),
        ]

    def pixel(n: Any, at: list[Any]) -> list[Any]:
        blocks, rest = divmod(per_group, BLOCK)

        def group(g: Any) -> list[Any]:
            lines = []
            if blocks:
                lines.append(loops.loop("b", blocks, lambda b: channels(
                    n, at, g, g * per_group + b * BLOCK, BLOCK, "")))  # fmt: skip
            if rest:
                lines.append(loops.loop("b", rest, lambda b: channels(
                    n, at, g, g * per_group + blocks * BLOCK + b, 1, "r")))  # fmt: skip
            return lines

        return [loops.loop("g", groups, group)]

    body = over([x.shape[0], *call.attrs.outputs], lambda at: pixel(at[0], at[1:]))
    fixed = [] if moving else [weights]
    function = loops.function(
        [source, *([weights] if moving else []), result, *fixed, *tables, *to.buffers], body
    )
    constants = (*constants, *([] if bias is None else [bias]), *to.constants)
    kind = "conv_transpose" if axes[0].transposed else "conv"
    return Kernel(
        f"{kind}_{'x'.join(map(str, w.shape[1:-1]))}", function, constants,
        float_code=x.dtype.is_float,
    )  # fmt: skip


def _weights(call: Call) -> tuple[tuple[Constant, ...], Any, bool]:
    """The tables, the buffer, and whether it is an activation; constants are centred."""
    w = call.inputs[1]
    if w.data is None:
        return (), loops.buffer("w", w.elements, w.dtype), True
    values = w.data
    if call.quantized:
        symmetric = w.dtype == DType.INT8 and not (w.quant and any(w.quant.zero_point))
        values = centred(w.data, w).astype(np.int8 if symmetric else np.int16)
    table = Constant("weights", read_only(values.reshape(-1)))
    return (table,), loops.buffer("weights", w.elements, str(values.dtype)), False


def _bias(call: Call) -> Constant | None:
    """The bias; of integers clipped so far that no partial sum of the kernel leaves int32."""
    w, bias = call.inputs[1], call.inputs[2].data if len(call.inputs) > 2 else None
    if bias is None:
        return None
    if not call.quantized:
        return Constant("bias", read_only(bias, "float32"))
    if w.data is None:
        most = np.full(w.shape[0], 255 * 255 * _products(w), np.int64)
    else:
        most = 255 * np.abs(centred(w.data, w)).reshape(w.shape[0], -1).sum(axis=1)
    room = LARGEST_SUM - most.astype(np.int64)
    if (room < 0).any():
        raise CompileError(
            "accumulator-overflow",
            f"sums of {_products(w)} products do not fit 32 bits",
            f"node '{call.node.name}'",
            "split the layer in the model",
        )
    return Constant("bias", read_only(np.clip(bias.astype(np.int64), -room, room), "int32"))


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    constants: tuple[Constant, ...] = ()
    buffers: tuple[Any, ...] = ()


def _finish(call: Call, target: Target) -> tuple[Any, _Tables]:
    """From a sum and its channel to the value to store, and the tables for it."""
    y, clamp = call.output, call.attrs.clamp
    if y.quant is None:
        if y.dtype.is_float:
            return (lambda acc, channel: clamp_float(acc, clamp)), _Tables()
        return (lambda acc, channel: acc), _Tables()
    to = requantizer(output_requantization(call), target)
    low, high = stored_bounds(y, clamp)
    zero_point = y.quant.zero_point[0]

    def finished(acc: Any, channel: Any) -> Any:
        return loops.clamp(to.apply(acc, channel, zero_point), low, high)

    return finished, _Tables(to.constants, to.buffers)


CONV_ND = Op("ConvND", infer, reference, kernel, macs=macs, quantize=can_quantize_nd)
CONV_TRANSPOSE = Op("ConvTranspose", infer, reference, kernel, macs=macs, quantize=can_quantize_nd)
