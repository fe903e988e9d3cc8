"""Sums of two int8 tensors whose scales are powers of two apart: Add and Sub on Arm DSP cores.

Halfwords hold every partial sum: an operand is added as often as its factor says, four elements
with two instructions, and nothing is multiplied. A difference adds ~b, which is -b - 1.
"""

from dataclasses import dataclass

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted

TURN = 8  # bytes of a turn of the loop, loaded before the first of them is stored


@dataclass(frozen=True, slots=True)
class Lanes:
    """(a_factor * a + b_factor * b + offset) >> shift, or less b_factor * b; shift is 0 or 1."""

    a_factor: int
    b_factor: int
    shift: int
    subtracts: bool = False


def lane_sum(lanes: Lanes, low: int, high: int) -> Microkernel:
    """`tinyc_lane_...(a, b, y, count, offset)`, count > 0; y = clamp(the sum), in ascending order.

    y may be a or b, or begin before them.
    """
    operation = "sub" if lanes.subtracts else "add"
    form = f"{operation}_{lanes.a_factor}_{lanes.b_factor}{'_half' if lanes.shift else ''}"
    name = f"tinyc_lane_{form}{bounds_suffix(low, high)}"
    text = TEXT.format(
        name=name,
        a=f"(a[i] * {lanes.a_factor})",
        b=f"{'-' if lanes.subtracts else '+'} (b[i] * {lanes.b_factor})",
        shift=lanes.shift,
        low=low,
        high=high,
        assembly=quoted(_assembly(lanes, low, high)),
    )
    return Microkernel(name, text)


TEXT = """\
/* ({a} {b} + offset) >> {shift}, {low} to {high}. */
#if defined(__ARM_FEATURE_DSP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int8_t *a __attribute__((unused)), const int8_t *b __attribute__((unused)),
    int8_t *y __attribute__((unused)), int32_t count __attribute__((unused)),
    int32_t offset __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int8_t *a, const int8_t *b, int8_t *y, int32_t count,
    int32_t offset) {{
  for (int32_t i = 0; i < count; ++i) {{
    const int32_t sum = {a} {b} + offset;
    y[i] = (int8_t)tinyc_min(tinyc_max(sum >> {shift}, {low}), {high});
  }}
}}
#endif
"""


def _assembly(lanes: Lanes, low: int, high: int) -> list[str]:
    """The naked function: r0 a, r1 b, r2 y, r3 count; stack: offset.

    a r4 and r5, b r6 and r7, low r8, high r9, offset in both halves of r12, scratch r10 and lr.
    """
    raised = (128 << lanes.shift) + (lanes.b_factor if lanes.subtracts else 0)
    return [
        "push.w {r4-r10, lr}",
        "ldr.w r12, [sp, #32]",
        f"add.w r12, r12, #{raised}",
        "pkhbt r12, r12, r12, lsl #16",
        *_bounds(low, high),
        f"subs r3, #{TURN}",
        "blt.w 2f",
        ".balign 4",
        "1:",
        *_words(lanes, low, high, TURN // 4),
        *_moved(TURN),
        "bge.w 1b",
        "2:",
        f"adds r3, #{TURN - 4}",
        "blt.w 4f",
        "3:",
        *_words(lanes, low, high, 1),
        *_moved(4),
        "bge.w 3b",
        "4:",
        "adds r3, #4",
        "beq.w 6f",
        "5:",
        *_words(lanes, low, high, 1, "b"),
        *_moved(1),
        "bne.w 5b",
        "6:",
        "pop.w {r4-r10, pc}",
    ]


def _words(lanes: Lanes, low: int, high: int, count: int, size: str = "") -> list[str]:
    """`count` words; of size "b" the lowest byte alone counts."""
    a, b = [f"r{4 + i}" for i in range(count)], [f"r{6 + i}" for i in range(count)]
    lines = [f"ldr{size}.w {r}, [r0, #{4 * i}]" for i, r in enumerate(a)]
    lines += [f"ldr{size}.w {r}, [r1, #{4 * i}]" for i, r in enumerate(b)]
    for r, s in zip(a, b, strict=True):
        lines += [*_sums(lanes, r, s), *_clamped(r, low, high)]
    return [*lines, *(f"str{size}.w {r}, [r2, #{4 * i}]" for i, r in enumerate(a))]


def _moved(count: int) -> list[str]:
    return [*(f"add.w {p}, {p}, #{count}" for p in ("r0", "r1", "r2")), f"subs r3, #{count}"]


def _sums(lanes: Lanes, a: str, b: str) -> list[str]:
    """Four sums in register `a`: from 0 to 255 as they are saturated, then less 128."""
    negated = [f"mvn.w {b}, {b}"] if lanes.subtracts else []
    operands = [b] * lanes.b_factor + [a] * lanes.a_factor
    halves = [_half(t, operands, lanes.shift, r) for t, r in (("lr", ""), ("r10", ", ror #8"))]
    return [
        *negated,
        *(line for half in halves for line in half),
        *(f"usat16 {t}, #8, {t}" for t in ("lr", "r10")),
        f"orr.w {a}, lr, r10, lsl #8",
        f"eor.w {a}, {a}, #0x80808080",
    ]


def _half(to: str, operands: list[str], shift: int, rotation: str) -> list[str]:
    """Two of four sums as halfwords, shifted."""
    first, *others = operands
    added = [f"sxtab16 {to}, {to}, {r}{rotation}" for r in others]
    if shift:
        return [f"sxtb16 {to}, {first}{rotation}", *added, f"shadd16 {to}, {to}, r12"]
    return [f"sxtab16 {to}, r12, {first}{rotation}", *added]


def _bounds(low: int, high: int) -> list[str]:
    """The bounds in every byte of their registers."""
    bounds = (("r8", low, -128), ("r9", high, 127))
    return [f"mov.w {r}, #{(b & 0xFF) * 0x01010101:#x}" for r, b, own in bounds if b != own]


def _clamped(a: str, low: int, high: int) -> list[str]:
    lines = [] if low == -128 else [f"ssub8 lr, {a}, r8", f"sel {a}, {a}, r8"]
    return lines + ([] if high == 127 else [f"ssub8 lr, r9, {a}", f"sel {a}, {a}, r9"])
