"""Softmax along one axis: exp(x - max) / sum of them; on 8-bit stored values by integers.

Integers: E[d] = round(exp(-d * scale_x) * 2^b) for d = max - x in 0..255 is a table, and

    y = zero_point + floor((N[d] * 256 + sum / 2) / sum),    N[d] = E[d] / (256 * scale_y)

b is the largest number of bits for which neither the sum nor the numerator leaves 32 bits.

Results of 16 bits in steps of 2^-16, of up to 64 values: E is as large as the sum allows to be
divided twice, each time with 8 more bits of the quotient:

    y = zero_point + floor((E[d] * 2^16 + sum / 2) / sum)
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, Array, Tensor, elements, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import FLOATS, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.real import Real
from tinyc.targets import Target

STEP = 2.0**-16  # of results of 16 bits
MOST_VALUES = 64  # of them: with more, E would be too coarse


@dataclass(frozen=True, slots=True)
class SoftmaxAttrs:
    """axis >= 0; log: the logarithm of the result."""

    axis: int
    log: bool = False


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("Softmax", inputs[0], FLOATS)
    return ((inputs[0].shape, inputs[0].dtype),)


def tables(call: Call) -> tuple[Array, Array]:
    """E and N of the module's formula, uint32 [256] each."""
    x, y = call.inputs[0], call.output
    assert x.quant and y.quant, "both are quantized"
    n = x.shape[call.attrs.axis]
    if y.dtype in SIXTEEN_BITS:
        largest = (2**32 - 1) // (257 * n)  # 256 times a remainder and half a sum fit 32 bits
        wide = np.rint(np.exp(-np.arange(256) * float(x.quant.scale[0])) * largest)
        return wide.astype(np.uint32), wide.astype(np.uint32)
    one = 1 / y.quant.scale[0]
    bits = math.floor(math.log2((2**32 - 1) / (n + max(one + n / 2, 1))))
    exponentials = np.exp(-np.arange(256) * float(x.quant.scale[0])) * 2.0**bits
    numerators = np.rint(exponentials * one / 256)
    return np.rint(exponentials).astype(np.uint32), numerators.astype(np.uint32)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), axis, y = arrays, call.attrs.axis, call.output
    if y.quant is None:
        shifted = x.astype(np.float64) - x.max(axis=axis, keepdims=True)
        total = np.exp(shifted).sum(axis=axis, keepdims=True)
        result = shifted - np.log(total) if call.attrs.log else np.exp(shifted) / total
        return (result.astype(y.dtype.value),)
    exponentials, numerators = (t.astype(np.int64) for t in tables(call))
    below = x.max(axis=axis, keepdims=True).astype(np.int64) - x.astype(np.int64)
    total = exponentials[below].sum(axis=axis, keepdims=True)
    factor = 1 << 16 if y.dtype in SIXTEEN_BITS else 256
    steps = (numerators[below] * factor + total // 2) // total + y.quant.zero_point[0]
    return (np.clip(steps, *y.dtype.limits).astype(y.dtype.value),)


def can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    if not per_tensor or call.attrs.log or x.dtype not in EIGHT_BITS or y.quant is None:
        return False
    n = x.shape[call.attrs.axis]
    if y.dtype in SIXTEEN_BITS:
        return n <= MOST_VALUES and y.quant.scale[0] == STEP
    return y.dtype in EIGHT_BITS and n < 1 << 16


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    build = _kernel_integer if call.quantized else _kernel_float
    return build(call, target)


def _kernel_integer(call: Call, target: Target) -> Kernel:
    (x,), y = call.inputs, call.output
    assert y.quant is not None
    zero_point = y.quant.zero_point[0]
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    exponentials, numerators = tables(call)
    same = np.array_equal(exponentials, numerators)
    constants = [Constant("exponentials", read_only(exponentials))]
    constants += [] if same else [Constant("numerators", read_only(numerators))]
    buffers = [loops.buffer(c.role, 256, "uint32") for c in constants]
    divide = "tinyc_divide" if "hardware-divide" in target.features else "tinyc_divide_by_shifts"
    largest, total = loops.local("largest"), loops.local("total", "uint32")
    quotient = loops.local("quotient", "uint32")
    low, high = y.dtype.limits
    wide = y.dtype in SIXTEEN_BITS

    def run(at: Any, stride: int, n: int) -> list[Any]:
        def below(i: Any) -> Any:
            return largest_value() - loops.load(source, at + i * stride, "int32")

        def largest_value() -> Any:
            return loops.load(largest, 0)

        def divided(value: Any) -> Any:
            return loops.call(divide, value, loops.load(total, 0), dtype="uint32")

        def stored(share: Any) -> Any:
            return loops.clamp(share.astype("int32") + zero_point, low, high)

        def in_two_steps(i: Any) -> list[Any]:
            byte, first = loops.const(256, "uint32"), loops.load(quotient, 0)
            numerator = loops.load(buffers[0], below(i)) * byte
            rest = numerator - first * loops.load(total, 0)
            rounded = rest * byte + (loops.load(total, 0) >> loops.const(1, "uint32"))
            return [
                loops.store(quotient, 0, divided(numerator)),
                loops.store(result, at + i * stride, stored(first * byte + divided(rounded))),
            ]

        def in_one_step(i: Any) -> list[Any]:
            numerator = loops.load(buffers[-1], below(i)) * loops.const(256, "uint32")
            rounded = numerator + (loops.load(total, 0) >> loops.const(1, "uint32"))
            return [loops.store(result, at + i * stride, stored(divided(rounded)))]

        return [
            *loops.declare(largest, total, *([quotient] if wide else [])),
            loops.store(largest, 0, loops.load(source, at, "int32")),
            loops.loop("i", n - 1, lambda i: [
                loops.store(largest, 0, loops.maximum(
                    largest_value(), loops.load(source, at + i * stride, "int32")))
            ], 1),
            loops.store(total, 0, loops.const(0, "uint32")),
            loops.loop("i", n, lambda i: [
                loops.store(total, 0, loops.load(total, 0) + loops.load(buffers[0], below(i)))
            ]),
            loops.loop("i", n, in_two_steps if wide else in_one_step),
        ]  # fmt: skip

    body = _over_axis(x, call.attrs.axis, run)
    function = loops.function([source, result, *buffers], body)
    return Kernel("softmax", function, tuple(constants), note="integer, table")


def _kernel_float(call: Call, target: Target) -> Kernel:
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    largest, total = loops.local("largest", x.dtype), loops.local("total", x.dtype)

    def run(at: Any, stride: int, n: int) -> list[Any]:
        def shifted(i: Any) -> Any:
            return loops.load(source, at + i * stride) - loops.load(largest, 0)

        def exponential(i: Any) -> Any:
            return Real(x.dtype).call("exp", shifted(i))

        def added(value: Any) -> Any:
            return loops.store(total, 0, loops.load(total, 0) + value)

        def summed(i: Any) -> list[Any]:
            if call.attrs.log:
                return [added(exponential(i))]
            place = at + i * stride  # the exponential waits there for the sum
            kept = loops.store(result, place, exponential(i))
            return [kept, added(loops.load(result, place))]

        def final(i: Any) -> Any:
            if call.attrs.log:
                return shifted(i) - loops.load(total, 0)
            return loops.load(result, at + i * stride) / loops.load(total, 0)

        logarithm = loops.store(total, 0, Real(x.dtype).call("log", loops.load(total, 0)))
        return [
            *loops.declare(largest, total),
            loops.store(largest, 0, loops.load(source, at)),
            loops.loop("i", n - 1, lambda i: [
                loops.store(largest, 0, loops.maximum(
                    loops.load(largest, 0), loops.load(source, at + i * stride)))
            ], 1),
            loops.store(total, 0, loops.const(0.0, x.dtype)),
            loops.loop("i", n, summed),
            *([logarithm] if call.attrs.log else []),
            loops.loop("i", n, lambda i: [loops.store(result, at + i * stride, final(i))]),
        ]  # fmt: skip

    body = _over_axis(x, call.attrs.axis, run)
    return Kernel("softmax", loops.function([source, result], body), float_code=True)


def _over_axis(x: Tensor, axis: int, run: Any) -> list[Any]:
    """`run(start, stride, n)` for every line of `x` along `axis`."""
    n, inner = x.shape[axis], elements(x.shape[axis + 1 :])
    outer = elements(x.shape[:axis])
    return [
        loops.loop("o", outer, lambda o: [
            loops.loop("k", inner, lambda k: run(o * (n * inner) + k, inner, n))
        ])
    ]  # fmt: skip


SOFTMAX = Op("Softmax", infer, reference, kernel, quantize=can_quantize)
