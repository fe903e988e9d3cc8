"""Weighted sums of two 8-bit tensors in assembly: the quantized Add and Sub of Arm cores.

Two multiply-accumulates an element are exact for multipliers of any width; SIMD halfwords would
take as many instructions, since the multipliers do not fit 16 bits.
"""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, clamped, quoted

TOGETHER = 4  # elements that are loaded before the first of them is stored
TURN = 8  # elements of a turn of the loop


def weighted_sum(shift: int, dtype: str, low: int, high: int) -> Microkernel:
    """`tinyc_sum_...(a, b, y, count, a_multiplier, b_multiplier, constant)`, count > 0.

    y = clamp((a * a_multiplier + b * b_multiplier + constant) >> shift), in ascending order; y may
    be a or b, or begin before them.
    """
    suffix = bounds_suffix(low, high) if dtype == "int8" else f"_u{low:02x}_{high:02x}"
    name = f"tinyc_sum_s{shift}{suffix}"
    text = TEXT.format(
        name=name,
        type=f"{dtype}_t",
        shift=shift,
        low=low,
        high=high,
        unused=" __attribute__((unused))",
        assembly=quoted(_assembly(shift, dtype, low, high)),
    )
    return Microkernel(name, text)


TEXT = """\
/* (a * a_multiplier + b * b_multiplier + constant) >> {shift}, {low} to {high}. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const {type} *a{unused}, const {type} *b{unused},
    {type} *y{unused}, int32_t count{unused},
    int32_t a_multiplier{unused}, int32_t b_multiplier{unused},
    int32_t constant{unused}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const {type} *a, const {type} *b, {type} *y, int32_t count,
    int32_t a_multiplier, int32_t b_multiplier, int32_t constant) {{
  for (int32_t i = 0; i < count; ++i) {{
    const int32_t sum = (a[i] * a_multiplier) + (b[i] * b_multiplier) + constant;
    y[i] = ({type})tinyc_min(tinyc_max(sum >> {shift}, {low}), {high});
  }}
}}
#endif
"""


def _assembly(shift: int, dtype: str, low: int, high: int) -> list[str]:
    """The naked function: r0 a, r1 b, r2 y, r3 count; stack: multipliers, constant.

    a r4 to r7, b r8 to r11, multipliers r12 and lr, constant r3; s0 the end of the whole turns,
    s1 the end of y.
    """
    form = shift, dtype, low, high
    return [
        "push.w {r4-r11, lr}",
        "ldr.w r12, [sp, #36]",
        "ldr.w lr, [sp, #40]",
        "add.w r4, r2, r3",
        "vmov s1, r4",
        f"bic.w r4, r3, #{TURN - 1}",
        "cmp.w r4, #0",
        "add.w r4, r4, r2",
        "vmov s0, r4",
        "ldr.w r3, [sp, #44]",
        "beq.w 2f",
        ".balign 4",
        "1:",
        *(line for i in range(0, TURN, TOGETHER) for line in _sums(i, TOGETHER, *form)),
        *(f"add.w {p}, {p}, #{TURN}" for p in ("r0", "r1", "r2")),
        "vmov r4, s0",
        "cmp.w r2, r4",
        "bne.w 1b",
        "2:",
        "vmov r4, s1",
        "cmp.w r2, r4",
        "beq.w 4f",
        ".balign 4",
        "3:",
        *_sums(0, 1, *form),
        *(f"add.w {p}, {p}, #1" for p in ("r0", "r1", "r2")),
        "vmov r4, s1",
        "cmp.w r2, r4",
        "bne.w 3b",
        "4:",
        "pop.w {r4-r11, pc}",
    ]


def _sums(first: int, count: int, shift: int, dtype: str, low: int, high: int) -> list[str]:
    """`count` elements from `first` on."""
    load, saturate = ("ldrsb.w", "ssat") if dtype == "int8" else ("ldrb.w", "usat")
    a, b = [f"r{4 + i}" for i in range(count)], [f"r{8 + i}" for i in range(count)]
    lines = [f"{load} {r}, [r0, #{first + i}]" for i, r in enumerate(a)]
    lines += [f"{load} {r}, [r1, #{first + i}]" for i, r in enumerate(b)]
    lines += [f"mla {r}, {r}, r12, r3" for r in a]
    lines += [f"mla {r}, {s}, lr, {r}" for r, s in zip(a, b, strict=True)]
    for r in a:
        lines.append(f"{saturate} {r}, #8, {r}, asr #{shift}")
        lines += clamped(r, low, high, dtype)
    return [*lines, *(f"strb.w {r}, [r2, #{first + i}]" for i, r in enumerate(a))]
