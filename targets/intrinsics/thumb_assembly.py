"""What the assembly blocks for Thumb-1 cores share: the frame, packed pairs, finished results.

Two products an instruction. With x = a0 + a1 * 2^16 and y = w1 + w0 * 2^16,

    x * y = a0 * w1 + (a0 * w0 + a1 * w1) * 2^16  (mod 2^32),

so that the sum of both products is x * y, rounded to its upper half: MULS; ASRS #16, which leaves
bit 15 as the carry; ADCS. Exact where the low product and the sum stay in 16 bits, that is for
int8 values and |w0| + |w1| <= 255: all pairs of int8 weights but (-128, -128).
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tinyc.compiler.graph import Array

HIGH_REGISTERS = ("r8", "r9", "r10", "r11")
ARGUMENTS = 36  # bytes from the stack pointer to the fifth argument, behind `entry`


def entry() -> list[str]:
    """Saves what a function must; gas takes inline assembly for the old syntax if not told."""
    moves = [f"mov r{4 + i}, {high}" for i, high in enumerate(HIGH_REGISTERS)]
    return [".syntax unified", "push {r4-r7, lr}", *moves, "push {r4-r7}"]


def leave() -> list[str]:
    moves = [f"mov {high}, r{4 + i}" for i, high in enumerate(HIGH_REGISTERS)]
    return ["pop {r4-r7}", *moves, "pop {r4-r7, pc}"]


def multiplied(acc: str, x: str, y: str) -> list[str]:
    """acc += the two products of the packed pairs in `x` and `y`; `y` is lost."""
    return [f"muls {y}, {x}, {y}", f"asrs {y}, {y}, #16", f"adcs {acc}, {y}"]


def requantized(
    acc: str, multiplier: str, shift: str, spare: str, zero_point: str, bounds: tuple[int, int]
) -> list[str]:
    """The accumulator becomes the result's byte: tinyc_requantize16, then the clamp.

    multiplier, shift  registers with m16 and s
    zero_point         a high register, 128 above the zero point; results count from -128

    The shift leaves the bit that rounds as the carry.
    """
    low, high = (b + 128 for b in bounds)
    lines = [
        f"uxth {spare}, {acc}",
        f"asrs {acc}, {acc}, #16",
        f"muls {spare}, {multiplier}, {spare}",
        f"muls {acc}, {multiplier}, {acc}",
        f"lsrs {spare}, {spare}, #16",
        f"adds {acc}, {acc}, {spare}",
        f"mov {spare}, {zero_point}",
        f"asrs {acc}, {acc}, {shift}",
        f"adcs {acc}, {spare}",
    ]
    if (low, high) == (0, 255):
        lines += [f"cmp {acc}, #255", "bls 9f", f"asrs {acc}, {acc}, #31", f"mvns {acc}, {acc}"]
    else:
        lines += [f"cmp {acc}, #{high}", "ble 8f", f"movs {acc}, #{high}", "8:"]
        lines += [f"cmp {acc}, #{low}", "bge 9f", f"movs {acc}, #{low}"]
    return [*lines, "9:", f"subs {acc}, #128"]


def sums_fit(weights: Array) -> Array:
    """Whether sums of products with `weights` [..., of one sum] stay in 16 bits; [...], bool."""
    return np.asarray(np.abs(weights).sum(axis=-1) <= 255)


def packed_pairs(weights: Array) -> Array:
    """The words w1 + w0 * 2^16 of pairs (w0, w1), int32; [..., 2] -> [...]."""
    whole = weights.astype(np.int64)
    return (whole[..., 1] + (whole[..., 0] << 16)).astype(np.uint32).view(np.int32)


def constant(register: str, spare: str, byte: int, shifts: Sequence[int]) -> Iterable[str]:
    """`byte` at every shift of `shifts`, which starts with 0 and doubles: 0, 8, 16."""
    yield f"movs {register}, #{byte}"
    for shift in shifts:
        yield from (f"lsls {spare}, {register}, #{shift}", f"orrs {register}, {spare}")
