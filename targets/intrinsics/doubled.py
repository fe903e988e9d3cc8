"""Requantization by twice the multiplier: one instruction less on cores without a rounding one.

    floor((acc * m + 2^31) / 2^32) = floor((floor(acc * 2m / 2^32) + 1) / 2)

because nested floors compose; 2m is unsigned (`mulhsu` on RISC-V). The output's zero point and
the rounding one are a single constant, and the clamp is one comparison of what is above `low`.
"""

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.ops.fixed_point import Requantization
from tinyc.compiler.ops.kernel import Microkernel


def doubled(to: Requantization, channels: int) -> Array:
    """2m for each channel, uint32; `to` is narrow."""
    assert to.shifts is None, "the wide form has multipliers of 31 bits"
    return np.broadcast_to(2 * to.multipliers.astype(np.int64), (channels,)).astype("<u4")


def bounds(zero_point: int, low: int, high: int) -> list[int]:
    """What a result needs beside its multiplier."""
    return [2 * (zero_point - low) + 1, high - low, low]


def stored_doubled() -> Microkernel:
    """`tinyc_stored_doubled(acc, doubled, bounds)`: the stored result of an accumulator."""
    return Microkernel("tinyc_stored_doubled", STORED)


STORED = """\
/* A sum, requantized by the doubled multiplier and clamped: a stored result. */
static inline int8_t tinyc_stored_doubled(int32_t acc, uint32_t doubled, const int32_t *bounds) {
  int32_t y = ((int32_t)(((int64_t)acc * (int64_t)doubled) >> 32) + bounds[0]) >> 1;
  if ((uint32_t)y > (uint32_t)bounds[1]) {
    y = bounds[1] & ~(y >> 31);
  }
  return (int8_t)(y + bounds[2]);
}
"""
