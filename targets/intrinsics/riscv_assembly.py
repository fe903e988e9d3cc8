"""What the assembly blocks of 32-bit RISC-V cores share: registers, frames, how results finish."""

from collections.abc import Iterable

GUARD = "defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_mul) && !defined(__riscv_32e)"
SAVED = ("ra", *(f"s{i}" for i in range(12)))
# Those with two-byte encodings of loads and shifts come first; gp and tp belong to the system.
REGISTERS = (
    *("s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5"),
    *("a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "ra"),
    *(f"s{i}" for i in range(2, 12)),
)


def quoted(lines: Iterable[str]) -> str:
    """Instructions as the string literals of an asm statement."""
    return "\n".join(f'      "{line}\\n"' for line in lines)


def framed(body: Iterable[str], words: int) -> list[str]:
    """A naked function: all saved registers in its frame, below them `words` words of its own."""
    size = -(-(4 * (words + len(SAVED))) // 16) * 16
    places = [(r, 4 * (words + i)) for i, r in enumerate(SAVED)]
    return [
        f"addi sp, sp, -{size}",
        *(f"sw {r}, {at}(sp)" for r, at in places),
        *body,
        *(f"lw {r}, {at}(sp)" for r, at in places),
        f"addi sp, sp, {size}",
        "ret",
    ]


def requantized(acc: str, doubled: str, bounds: tuple[str, str, str], t: str) -> list[str]:
    """The accumulator in `acc` becomes the stored result, as tinyc_stored_doubled does it.

    doubled, bounds  registers with the values of `doubled.py`; t is overwritten
    """
    offset, reach, low = bounds
    return [
        f"mulhsu {acc}, {acc}, {doubled}",
        f"add {acc}, {acc}, {offset}",
        f"srai {acc}, {acc}, 1",
        f"bgeu {reach}, {acc}, 9f",
        f"srai {t}, {acc}, 31",  # below: all ones
        f"not {t}, {t}",
        f"and {acc}, {reach}, {t}",
        "9:",
        f"add {acc}, {acc}, {low}",
    ]
