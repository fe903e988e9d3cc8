"""Real scales as integer multipliers: the one definition of requantization.

    y = clamp(zp + floor((acc * m + 2^31) / 2^32))

The multiplier m stands for the real scale m / 2^32. It has at most 16 significant bits,
m = m16 * 2^(16 - s) with 0 <= m16 < 2^16 and 0 < s <= 16, so that cores without a long multiply
get the same integers from 16-bit halves:

    floor((acc * m + 2^31) / 2^32) = floor((ah * m16 + floor(al * m16 / 2^16) + 2^(s-1)) / 2^s),
    acc = ah * 2^16 + al, 0 <= al < 2^16

because nested floors compose. Bound against the real scale: |m / 2^32 - scale| <= scale * 2^-16
for scale >= 2^-17, and <= 2^-33 below, so the argument of the floor is off by at most
|acc * scale| * 2^-16 (in the range of an int8 output: 2^-8).

Scales of 0.5 or more take the wide form, y = clamp(zp + floor((acc * m + 2^(r-1)) / 2^r)) in
64 bits, with 2^30 <= m < 2^31 and 1 <= r <= 62; its relative error is 2^-31. So do results of
16 bits, for which 16 significant bits are too few.

Accumulators of 64 bits, |acc| < 2^39, take the long form: the wide form's formula with m of 23
significant bits, so that acc * m fits 64 bits. Its relative error is 2^-23, in the range of an
int16 output 2^-8.
"""

import math
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array

NARROW_LIMIT = 0.5  # m must stay below 2^31
WIDE_BITS, LONG_BITS = 31, 23  # significant bits of m
LONG_LIMIT = 1 << 39  # of accumulators of 64 bits


@dataclass(frozen=True, slots=True, eq=False)
class Requantization:
    """Multipliers of one layer, one for each channel (or one).

    multipliers  int32; the m of the module's formulas
    shifts       int32; the r of the wide and the long form; None: the narrow form
    is_long      whether accumulators have 64 bits
    """

    multipliers: Array
    shifts: Array | None = None
    is_long: bool = False

    @property
    def is_wide(self) -> bool:
        return self.shifts is not None

    @property
    def packed16(self) -> Array:
        """The narrow form for cores without long multiply: m16 | s << 16, int32."""
        assert self.shifts is None, "the wide form has no 16-bit halves"
        words = [m16 | s << 16 for m16, s in map(_halves, self.multipliers.tolist())]
        return np.array(words, np.int32)


def requantization(scales: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Requantization:
    """The multipliers for real `scales` (float64, > 0), all narrow or all wide."""
    if max(scales.tolist()) < NARROW_LIMIT * (1 - 2**-17):
        return Requantization(np.array([_narrow(s) for s in scales.tolist()], np.int32))
    return wide_requantization(scales)


def wide_requantization(
    scales: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
) -> Requantization:
    """The wide form for any scales: where accumulators are larger than outputs by many bits."""
    return _with_shifts(scales, WIDE_BITS)


def long_requantization(
    scales: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
) -> Requantization:
    """The form for accumulators of 64 bits."""
    return _with_shifts(scales, LONG_BITS)


def _with_shifts(
    scales: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", bits: int
) -> Requantization:
    pairs = [_wide(s, bits) for s in scales.tolist()]
    multipliers, shifts = (np.array([p[i] for p in pairs], np.int32) for i in (0, 1))
    return Requantization(multipliers, shifts, bits == LONG_BITS)


def requantize(acc: Array, to: Requantization, zero_point: int, low: int, high: int) -> Array:
    """The NumPy twin of tinyc_requantize, _wide and _long; channels are the last axis."""
    wide = acc.astype(np.int64) * to.multipliers.astype(np.int64)
    if to.shifts is None:
        rounded = (wide + (1 << 31)) >> 32
    else:
        shifts = to.shifts.astype(np.int64)
        rounded = (wide + (np.int64(1) << (shifts - 1))) >> shifts
    return np.asarray(np.clip(rounded + zero_point, low, high))


def _narrow(scale: float) -> int:
    """The m for a scale below 0.5, rounded to 16 significant bits."""
    exponent = max(math.frexp(scale)[1], -16)  # scale < 2^exponent; s = 16 at the least
    return round(math.ldexp(scale, 16 - exponent)) << (16 + exponent)


def _halves(m: int) -> tuple[int, int]:
    """m16 and s with m = m16 << (16 - s)."""
    s = 16
    while m >= 1 << 16:
        assert m % 2 == 0, "a narrow multiplier has 16 significant bits"
        m, s = m >> 1, s - 1
    return m, s


def _wide(scale: float, bits: int) -> tuple[int, int]:
    """m of so many bits and r with scale = m / 2^r."""
    fraction, exponent = math.frexp(scale)
    m, r = round(fraction * (1 << bits)), bits - exponent
    if m == 1 << bits:
        m, r = m >> 1, r - 1
    if r > 62:  # so small that every product rounds to nothing
        m, r = m >> min(r - 62, 31), 62
    assert r >= 1, f"a requantization scale of {scale} is beyond 2^30"
    return m, r
