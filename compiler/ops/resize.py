"""Resize: every output is a weighted sum of a few neighbours on each axis, or one of them.

    y[o0, o1, ...] = sum over t0, t1, ... of w0[o0, t0] * w1[o1, t1] * ... * x[first0[o0] + t0, ...]

The tables are computed at compile time, one for each axis that is resized. Quantized: the weights
are whole numbers of 2^-bits, their products and sums exact in int32, rounded once at the end.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Tensor, read_only
from tinyc.compiler.kernels import integer_resize
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.cells import flat
from tinyc.compiler.ops.clamp import quantize_real
from tinyc.compiler.ops.copying import dense_strides
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import (
    Requantization,
    requantization,
    requantize,
    wide_requantization,
)
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.requantize import high_requantizer, requantizer
from tinyc.compiler.ops.resampling import AxisScale, Sampling, Taps, taps_of, whole_weights
from tinyc.targets import Target

MOST_BITS = 14  # of a weight: 1.0 fits int16
MOST_ERROR = 0.5  # so that with its rounding a result is within one step of the exact one
MOST_UNROLLED = 4  # taps whose weights are held in variables


@dataclass(frozen=True, slots=True)
class ResizeAttrs:
    """axes: one for each axis of the tensor, None for those that stay as they are.

    value  of outputs whose coordinate lies outside, for tf_crop_and_resize
    """

    axes: tuple[AxisScale | None, ...]
    how: Sampling
    value: float = 0.0

    def moved(self, perm: tuple[int, ...]) -> "ResizeAttrs":
        """The same Resize of the tensor's Transpose by `perm`."""
        return replace(self, axes=tuple(self.axes[axis] for axis in perm))


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    if attrs.how.mode != "nearest":
        check_type(f"a {attrs.how.mode} Resize", x, (DType.FLOAT32,))
    shape = tuple(n if a is None else a.size for n, a in zip(x.shape, attrs.axes, strict=True))
    return ((shape, x.dtype),)


def _taps(call: Call) -> list[Taps | None]:
    a = call.attrs
    return [
        None if axis is None else taps_of(n, axis, a.how)
        for n, axis in zip(call.inputs[0].shape, a.axes, strict=True)
    ]


def is_choice(attrs: ResizeAttrs) -> bool:
    """Whether it only moves values, so that stored integers stay what they are."""
    return attrs.how.mode == "nearest" and attrs.how.coordinates != "tf_crop_and_resize"


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), y = arrays, call.output
    taps = _taps(call)
    outside = np.zeros(y.shape, np.bool_)
    if call.attrs.how.mode == "nearest":
        values = x
    else:
        zero = call.inputs[0].quant.zero_point[0] if call.inputs[0].quant else 0
        values = x.astype(np.float64) - zero
    bits = _bits(taps) if call.quantized else 0
    for number, axis in enumerate(taps):
        if axis is None:
            continue
        shape = [-1 if i == number else 1 for i in range(len(taps))]
        outside |= (axis.first < 0).reshape(shape)
        weights = axis.weights if not call.quantized else whole_weights(axis.weights, bits)
        parts = []
        for t in range(axis.count):
            part = values.take(np.maximum(axis.first, 0) + t, axis=number)
            parts.append(part if axis.is_choice else part * weights[:, t].reshape(shape))
        values = parts[0] if len(parts) == 1 else np.sum(parts, axis=0)
    if call.quantized and call.attrs.how.mode != "nearest":
        assert y.quant is not None
        values = requantize(
            np.rint(values).astype(np.int64), _scale(call), y.quant.zero_point[0], *y.dtype.limits
        )
    return (np.where(outside, _outside_value(call), values).astype(y.dtype.value),)


def _outside_value(call: Call) -> float | int:
    y = call.output
    if y.quant is None:
        return float(call.attrs.value)
    low, high = y.dtype.limits
    return min(max(quantize_real(call.attrs.value, y.quant), low), high)


def _bits(taps: list[Taps | None]) -> int:
    """Of the weights of each axis, so that sums of 8-bit values less a zero point fit int32."""
    found = [axis.weights for axis in taps if axis is not None and not axis.is_choice]

    def largest_sum(bits: int) -> int:
        sums = [np.abs(whole_weights(w, bits).astype(np.int64)).sum(axis=1).max() for w in found]
        return 255 * math.prod(int(s) for s in sums)

    return next((b for b in range(MOST_BITS, 0, -1) if largest_sum(b) < 1 << 31), 0)


def _scale(call: Call) -> Requantization:
    x, y = call.inputs[0], call.output
    assert x.quant and y.quant
    taps = _taps(call)
    axes = sum(axis is not None and not axis.is_choice for axis in taps)
    ratio = np.float64(x.quant.scale[0]) / np.float64(y.quant.scale[0])
    scale = np.array([ratio / (1 << (_bits(taps) * axes))])
    return requantization(scale) if ratio == 1 else wide_requantization(scale)


def can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    if is_choice(call.attrs):
        return x.quant == y.quant and x.dtype == y.dtype
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    narrow = per_tensor and x.dtype in EIGHT_BITS and y.dtype in EIGHT_BITS
    if all(axis is None or axis.is_choice for axis in _taps(call)):
        return narrow and x.quant == y.quant and x.dtype == y.dtype
    return narrow and _error(call) <= MOST_ERROR


def _error(call: Call) -> float:
    """The most by which whole-number weights can miss the sum of real ones, in output steps."""
    x, y, taps = call.inputs[0], call.output, _taps(call)
    assert x.quant and y.quant
    bits, total = _bits(taps), 0.0
    for axis in taps:
        if axis is not None and not axis.is_choice:
            missed = np.abs(whole_weights(axis.weights, bits) / (1 << bits) - axis.weights)
            total += float(missed.sum(axis=1).max())
    return 255 / 2 * total * x.quant.scale[0] / y.quant.scale[0]  # half is missed each way


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, taps = call.inputs, call.output, _taps(call)
    if call.quantized and not is_choice(call.attrs) and integer_resize.suits(taps):
        exact = high_requantizer(_scale(call), target)
        return integer_resize.kernel(call, taps, _tables(call, taps), exact)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    summed = [n for n, axis in enumerate(taps) if axis is not None and not axis.is_choice]
    tables = _tables(call, taps)
    to = requantizer(_scale(call), target) if call.quantized and summed else None
    wide = "int32" if call.quantized else "float32"
    strides = dense_strides(x.shape)
    buffers = {name: loops.buffer(name, c.array.size, str(c.array.dtype))
               for name, c in tables.items()}  # fmt: skip

    def weight(number: int, o: Any, t: Any) -> Any:
        axis = taps[number]
        assert axis is not None
        return loops.load(buffers[f"weights_{number}"], o * axis.count + t, wide)

    def finished(value: Any) -> Any:
        if to is None:
            return value
        assert y.quant is not None
        return loops.clamp(to.apply(value, 0, y.quant.zero_point[0]), *y.dtype.limits)

    def total(at: Any, outputs: list[Any]) -> tuple[list[Any], Any]:
        """Statements that come first, and the value of an output."""
        zero = x.quant.zero_point[0] if x.quant and summed else 0
        if not summed:
            return [], loops.load(source, at)
        acc = loops.local("total", wide)

        def add(depth: int, place: Any, product: Any) -> list[Any]:
            if depth == len(summed):
                value = loops.load(source, place, wide)
                value = (value - zero if zero else value) * product
                return [loops.store(acc, 0, loops.load(acc, 0) + value)]
            number = summed[depth]
            axis = taps[number]
            assert axis is not None
            turn = loops.unrolled if axis.count <= MOST_UNROLLED else loops.loop

            def tap(t: Any) -> list[Any]:
                own = weight(number, outputs[number], t)
                both = own if product is None else product * own
                return add(depth + 1, place + t * strides[number], both)

            return [turn(f"t{number}", axis.count, tap)]

        first = [*loops.declare(acc), loops.store(acc, 0, loops.const(0, wide))]
        return [*first, *add(0, at, None)], finished(loops.load(acc, 0))

    def nest(number: int, outputs: list[Any], at: Any, inside: list[Any]) -> list[Any]:
        if number == len(taps):
            lines, value = total(at, outputs)
            to_y = flat(outputs, y.shape)
            stored = [*lines, loops.store(result, to_y, value)]
            if not inside:
                return stored
            beyond = loops.store(result, to_y, loops.const(_outside_value(call), y.dtype))
            return [loops.when(loops.every(inside), stored, [beyond])]

        def one(o: Any) -> list[Any]:
            axis = taps[number]
            first, checks = o, inside
            if axis is not None:
                first = loops.load(buffers[f"first_{number}"], o, "int32")
                checks = [*inside, first >= 0] if (axis.first < 0).any() else inside
            return nest(number + 1, [*outputs, o], at + first * strides[number], checks)

        return [loops.loop(f"o{number}", y.shape[number], one)]

    needed = (to.constants, to.buffers) if to else ((), ())
    function = loops.function(
        [source, result, *buffers.values(), *needed[1]], nest(0, [], loops.const(0), [])
    )
    return Kernel(
        f"resize_{call.attrs.how.mode}", function, (*tables.values(), *needed[0]),
        float_code=x.dtype.is_float,
    )  # fmt: skip


def _tables(call: Call, taps: list[Taps | None]) -> dict[str, Constant]:
    """By name: where each axis reads, and its weights."""
    tables = {}
    for number, axis in enumerate(taps):
        if axis is None:
            continue
        narrow = "int16" if axis.first.max(initial=0) < 1 << 15 else "int32"
        tables[f"first_{number}"] = Constant(f"first_{number}", read_only(axis.first, narrow))
        if not axis.is_choice:
            weights = axis.weights
            values = (
                whole_weights(weights, _bits(taps)) if call.quantized
                else weights.astype(np.float32)
            )  # fmt: skip
            table = Constant(f"weights_{number}", read_only(values.reshape(-1)))
            tables[f"weights_{number}"] = table
    return tables


RESIZE = Op("Resize", infer, reference, kernel, quantize=can_quantize)
