"""Normalize of 8-bit stored values by integers: what the kernel and the reference agree on.

For the n values of a line, with s = sum of x (n * zero point where no mean is taken away):

    V = n * sum of x^2 - s^2 + E,    E = n^2 * epsilon / scale_x^2,    in steps of 2^-16
    w = V * 4^j with 2^46 <= w < 2^48,   q = floor(2^46 / floor(sqrt(w))),   R = q * 2^(j - 38)
    t = x * floor(n * R * 2^f) - floor(s * R * 2^f)

(x - mean) / deviation is (n * x - s) / sqrt(V), which t is in steps of 2^-f: at most sqrt(n).
R is below the exact 1 / sqrt(V) by at most 2^-21 of it. Every element is then

    y = clamp((floor(t * g / 2^16) + h) >> k),
    g = round(scale * 2^(k + 16 - f) / scale_y),
    h = round((shift / scale_y + zero_y) * 2^k) + 2^(k-1)

g has 16 bits, so that a core without a long multiply gets the same integers from halves.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, Array, Tensor
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.op import Call, dequantized

MEASURES = ("variance", "square")
MOST_VALUES = 1 << 14  # of a line: sums of squares fit int32, V * 2^16 int64
MOST_EPSILON = 1 << 60  # E in steps of 2^-16
STEP_BITS = 30  # of t
FACTOR_LIMIT = (1 << 15) - 1  # of g
SHIFT_LIMIT = 1 << 29  # of h; |floor(t * g / 2^16)| is below it too
LEAST_BITS = 14  # k: t is off by less than 2^8 of its steps, which is 2^(7 - k) of a step of y
FRACTION = 16  # bits of V


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """The module's f, k, E, and g and h of every element of scale and shift (or one)."""

    step_bits: int
    bits: int
    epsilon: int
    scale: Array
    shift: Array


def count_of(call: Call) -> int:
    """n: the values of a line."""
    return math.prod(call.inputs[0].shape[axis] for axis in call.attrs.axes)


def can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.outputs[0]
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    if not per_tensor or x.dtype not in EIGHT_BITS or y.dtype not in EIGHT_BITS:
        return False
    fixed = x.data is None and all(t.data is not None for t in call.inputs[1:])
    known = call.attrs.measure in MEASURES and not call.attrs.statistics
    return fixed and known and 0 < count_of(call) <= MOST_VALUES and factors(call) is not None


def factors(call: Call) -> Factors | None:
    """None where scale, shift or epsilon leave their integers."""
    x, y, n = call.inputs[0], call.output, count_of(call)
    assert x.quant and y.quant, "both are quantized"
    scale, shift = (_reals(call.inputs[i : i + 1], i) / y.quant.scale[0] for i in (1, 2))
    shift = shift + y.quant.zero_point[0]
    epsilon = round(n * n * call.attrs.epsilon / x.quant.scale[0] ** 2 * (1 << FRACTION))
    largest, widest = float(np.abs(scale).max()), float(np.abs(shift).max())
    if not (math.isfinite(largest) and math.isfinite(widest)) or epsilon > MOST_EPSILON:
        return None
    step_bits = STEP_BITS - math.ceil(math.log2(n) / 2)
    factor_bits = math.floor(math.log2(FACTOR_LIMIT / max(largest, 2.0**-16)))
    bits = min(step_bits + factor_bits - 16, 28, math.floor(math.log2(SHIFT_LIMIT / (widest + 1))))
    step_bits = bits + 16 - factor_bits
    if bits < LEAST_BITS or step_bits < LEAST_BITS:
        return None
    g = np.rint(scale * 2.0**factor_bits).astype(np.int16)
    h = np.rint(shift * 2.0**bits).astype(np.int32) + (1 << (bits - 1))
    return Factors(step_bits, bits, epsilon, g, h.astype(np.int32))


def _reals(given: tuple[Tensor, ...], position: int) -> Array:
    """Scale (position 1) or shift as float64, flat; one that stands for all where there is none."""
    if not given:
        return np.array([1.0 if position == 1 else 0.0])
    assert given[0].data is not None, "scale and shift are constants"
    return np.asarray(dequantized(given[0].data, given[0]).reshape(-1))


def reference(call: Call, x: Array) -> Array:
    f, a, y = factors(call), call.attrs, call.output
    quant = call.inputs[0].quant
    assert f is not None and quant is not None
    n = count_of(call)
    axes: dict[str, Any] = {"axis": a.axes, "keepdims": True}
    values = x.astype(np.int64)
    if a.measure == "variance":
        offset = values.sum(**axes)
        spread = n * (values * values).sum(**axes) - offset * offset
    else:
        shifted = values - quant.zero_point[0]
        offset = np.full_like(values.sum(**axes), n * quant.zero_point[0])
        spread = n * (shifted * shifted).sum(**axes)
    rows = [
        _row(int(v) * 2**FRACTION + f.epsilon, n, int(s), f.step_bits)
        for v, s in zip(spread.flat, offset.flat, strict=True)
    ]
    slope, start = (
        np.array(part, object).reshape(offset.shape) for part in zip(*rows, strict=True)
    )
    t = (values * slope - start).astype(np.int64)
    steps = (t * _along(f.scale, call, 1) >> 16) + _along(f.shift, call, 2) >> f.bits
    return np.asarray(np.clip(steps, *stored_bounds(y, a.clamp)).astype(y.dtype.value))


def _row(spread: int, n: int, offset: int, step_bits: int) -> tuple[int, int]:
    """floor(n * R * 2^f) and floor(s * R * 2^f)."""
    w, j = max(spread, 1), 0
    while w < 1 << 46:
        w, j = w * 4, j + 1
    while w >= 1 << 48:
        w, j = w // 4, j - 1
    inverse = (1 << 46) // math.isqrt(w)
    exponent = j - 38 + step_bits
    up, down = 1 << max(exponent, 0), 1 << max(-exponent, 0)
    return n * inverse * up // down, offset * inverse * up // down


def _along(values: Array, call: Call, position: int) -> Array:
    """g or h, to be broadcast to x."""
    if values.size == 1:
        return values.astype(np.int64)
    return values.astype(np.int64).reshape(call.inputs[position].shape)
