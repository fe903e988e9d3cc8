"""Clamps of floats that integers decide on their bits, in C and in Thumb assembly."""

import math

import numpy as np

from tinyc.compiler.ops.clamp import Clamp


def is_simple(clamp: Clamp) -> bool:
    """No clamp, or one that integers decide on the bits of a float: from 0 on."""
    return clamp == Clamp() or (clamp.low == 0 and clamp.high > 0)


def suffix(clamp: Clamp) -> str:
    if clamp == Clamp():
        return ""
    return "_relu" if clamp.high == math.inf else f"_relu_{bits(clamp.high):08x}"


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def clamped_text(value: str, clamp: Clamp) -> str:
    """A simple clamp in C."""
    if clamp == Clamp():
        return value
    low = f"fmaxf({value}, 0.0f)"
    return low if clamp.high == math.inf else f"fminf({low}, {float(np.float32(clamp.high))!r}f)"


def high_bound(register: str, clamp: Clamp) -> list[str]:
    """The bits of the upper bound, when there is one."""
    if clamp.high == math.inf:
        return []
    high = bits(clamp.high)
    return [f"movw {register}, #{high & 0xFFFF}", f"movt {register}, #{high >> 16}"]


def clamped(accs: list[str], registers: list[str], bound: str, clamp: Clamp) -> list[str]:
    """Floats as clamped bits in core registers: the bits of positive floats are in order.

    bound  the register of `high_bound`
    """
    lines = [f"vmov {r}, {acc}" for r, acc in zip(registers, accs, strict=True)]
    lines += [f"bic.w {r}, {r}, {r}, asr #31" for r in registers]
    if clamp.high != math.inf:
        for r in registers:
            lines += [f"cmp.w {r}, {bound}", "it gt", f"movgt.w {r}, {bound}"]
    return lines
