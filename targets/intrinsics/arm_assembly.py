"""What the assembly blocks of the Arm cores share: how they finish a result, how C holds them."""

from collections.abc import Iterable


def quoted(lines: Iterable[str]) -> str:
    """Instructions as the string literals of an asm statement."""
    return "\n".join(f'      "{line}\\n"' for line in lines)


def bounds_suffix(low: int, high: int) -> str:
    """What a block's name says of the bounds of its results; nothing when they are int8's."""
    return "" if (low, high) == (-128, 127) else f"_{low & 0xFF:02x}_{high & 0xFF:02x}"


def requantized(
    acc: str, multiplier: str, zero_point: str, low: int, high: int, scaled: bool = False
) -> list[str]:
    """The accumulator in register `acc` becomes the int8 result: tinyc_requantize, then the clamp.

    multiplier, zero_point  registers; the narrow form of ops/fixed_point.py
    scaled                  the accumulator is 256 times what it stands for, and the register of the
                            zero point holds 256 * zero_point + 128 (`arm_stream.py`)
    """
    if scaled:
        lines = [
            f"smmla {acc}, {acc}, {multiplier}, {zero_point}",
            f"ssat {acc}, #8, {acc}, asr #8",
        ]
    else:
        lines = [f"smmlar {acc}, {acc}, {multiplier}, {zero_point}", f"ssat {acc}, #8, {acc}"]
    return lines + clamped(acc, low, high, "int8")


def scaled_zero_point(register: str) -> list[str]:
    """The zero point in `register` becomes what `requantized` wants of scaled accumulators."""
    return [f"lsl.w {register}, {register}, #8", f"add.w {register}, {register}, #128"]


def clamped(value: str, low: int, high: int, dtype: str) -> list[str]:
    """The number in register `value`, saturated to `dtype`, limited to low..high."""
    lines = []
    if low > (-128 if dtype == "int8" else 0):
        lines += [f"cmp.w {value}, #{low}", "it lt", f"movlt.w {value}, #{low}"]
    if high < (127 if dtype == "int8" else 255):
        lines += [f"cmp.w {value}, #{high}", "it gt", f"movgt.w {value}, #{high}"]
    return lines


def entered(count: str, turn: int, code_bytes: int, free: tuple[str, str, str]) -> list[str]:
    """Where to enter the loop at label 2, of `turn` steps written out, to make `count` steps.

    code_bytes  of a step
    free        registers; afterwards the first holds the address to branch to, the second how many
                steps of the first turn are left out
    """
    entry, skipped, size = free
    return [
        f"rsb.w {skipped}, {count}, #0",
        f"and.w {skipped}, {skipped}, #{turn - 1}",
        f"movw {size}, #{code_bytes}",
        f"adr.w {entry}, 2f",
        f"add.w {entry}, {entry}, #1",
        f"mla {entry}, {skipped}, {size}, {entry}",
    ]
