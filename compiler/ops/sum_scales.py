"""The integer multipliers of a quantized Add or Sub."""

import math
from dataclasses import dataclass

from tinyc.compiler.graph import SIXTEEN_BITS
from tinyc.compiler.ops.op import Call

SIGNIFICANT_BITS = 17  # of the larger multiplier: 0.02 % of sums rounded otherwise than exactly
LONG_BITS = 30  # of it where sums have 64 bits


@dataclass(frozen=True, slots=True)
class SumScales:
    """y = (a * a_multiplier + b * b_multiplier + constant) >> shift."""

    a_multiplier: int
    b_multiplier: int
    constant: int
    shift: int


def sum_scales(call: Call) -> SumScales | None:
    """Multipliers of a quantized Add or Sub; None when the scales are beyond int32.

    For 8-bit operands |stored|, |zero point| <= 255, so that every partial sum of
    a * ma + b * mb + constant stays below (512 * (ma + mb) + 257 * 2^shift), which the choice of
    shift keeps below 2^31. With 16 bits, sums of 64 bits stay below 2^17 * (ma + mb + 2^shift).
    """
    a, b = call.inputs
    assert a.quant and b.quant and call.output.quant, "all three are quantized"
    unit = call.output.quant.scale[0]
    a_scale, b_scale = a.quant.scale[0] / unit, b.quant.scale[0] / unit
    long = has_long_sums(call)
    bits = LONG_BITS if long else SIGNIFICANT_BITS
    precise = math.log2((2**bits - 0.5) / max(a_scale, b_scale))
    room = math.log2(2**31 / (512 * (a_scale + b_scale) + 260))
    shift = math.floor(min(precise, 40) if long else min(precise, room))
    if shift < 1:
        return None
    sign = -1 if call.node.op == "Sub" else 1
    a_multiplier, b_multiplier = round(a_scale * 2**shift), sign * round(b_scale * 2**shift)
    constant = (
        (call.output.quant.zero_point[0] << shift)
        + (1 << (shift - 1))
        - a.quant.zero_point[0] * a_multiplier
        - b.quant.zero_point[0] * b_multiplier
    )
    return SumScales(a_multiplier, b_multiplier, constant, shift)


def has_long_sums(call: Call) -> bool:
    """Whether an Add, Sub or Mul of stored values needs 64 bits: one of them has 16."""
    return any(t.dtype in SIXTEEN_BITS for t in (*call.inputs, call.output))


def in_steps(scales: SumScales) -> SumScales | None:
    """The same function in small numbers, where the factors are powers of two not far apart.

    The zeros that both multipliers end in go: what the constant has below them never carries.
    Constants of 128 and more, of operands that are never negative, keep the form that the records
    of their layers were measured with.
    """
    factors = (scales.a_multiplier, abs(scales.b_multiplier))
    least = max(min(*factors, 1 << scales.shift), 1)
    bits = least.bit_length() - 1
    small = SumScales(
        scales.a_multiplier >> bits,
        scales.b_multiplier >> bits,
        scales.constant >> bits,
        scales.shift - bits,
    )
    near = all(f in (least, 2 * least, 4 * least) for f in factors) and small.shift in (0, 1)
    kept = least == 1 << bits and small.constant >> small.shift < 128
    return small if near and kept else None


def room(scales: SumScales) -> int:
    """By how many bits all of them may be shifted to the left: no partial sum leaves int32."""
    most = 512 * (abs(scales.a_multiplier) + abs(scales.b_multiplier)) + (260 << scales.shift)
    return max(31 - most.bit_length(), 0)


def shifted(scales: SumScales, bits: int) -> SumScales:
    """The same function of its operands, `bits` more in every number."""
    return SumScales(
        scales.a_multiplier << bits,
        scales.b_multiplier << bits,
        scales.constant << bits,
        scales.shift + bits,
    )
