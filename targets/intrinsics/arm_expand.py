"""Bytes of an image as the words that the blocks of `arm_gemm.py` read, in assembly.

A column is 4 * groups neighbouring bytes; the columns of a call lie `stride` bytes apart.
"""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_dsp import dsp, extension

MOST_EXACT = 24  # groups of a call that are written out as a whole
TURN = 4  # groups that are loaded together


def expand(columns: int, wide: bool, x_dtype: str, groups: int) -> Microkernel:
    """`tinyc_expand_...(x, stride, groups, block)`: the words of one row of chunks."""
    exact = groups if groups <= TURN and groups * columns <= MOST_EXACT else 0
    name = f"tinyc_expand_{expansion_name(columns, wide, x_dtype)}"
    rest = groups % TURN != 0
    name += f"_g{exact}" if exact else "_r" if rest else ""
    form = columns, wide, x_dtype
    text = TEXT.format(
        name=name,
        columns=columns,
        assembly=quoted(_exact(*form, exact) if exact else _looped(*form, rest)),
        x_dtype=x_dtype,
        unused=" __attribute__((unused))",
        words=expansion(columns, wide, x_dtype),
    )
    return Microkernel(name, text, dsp("load_word", *expansions(wide, x_dtype)))


def expansion_name(columns: int, wide: bool, x_dtype: str) -> str:
    form = "wide" if wide else "paired"
    return f"{columns}_{form}" + ("_u8" if x_dtype == "uint8" else "")


def expansions(wide: bool, x_dtype: str) -> tuple[str, ...]:
    """The instructions that `expansion` names."""
    return extension(x_dtype) if wide else ("sxtb16",)


def expansion(columns: int, wide: bool, x_dtype: str) -> str:
    """C statements: `word`, four bytes, as two words at `pairs`."""
    if wide:
        even, odd = extension(x_dtype)
        return WIDE.format(columns=columns, even=even, odd=odd)
    centred = "word ^ 0x80808080u" if x_dtype == "uint8" else "word"
    return PAIRED.format(columns=columns, centred=centred)


WIDE = """\
      pairs[0] = tinyc_{even}(word);
      pairs[{columns}] = tinyc_{odd}(word);
"""
PAIRED = """\
      pairs[0] = tinyc_sxtb16({centred});
      pairs[{columns}] = ({centred}) ^ 0x007f007fu;
"""
TEXT = """\
/* {columns} columns of bytes as words for tinyc_gemm. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const {x_dtype}_t *x{unused}, int32_t stride{unused},
    int32_t groups{unused}, void *block{unused}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const {x_dtype}_t *x, int32_t stride, int32_t groups, void *block) {{
  for (int32_t c = 0; c < {columns}; ++c) {{
    uint32_t *pairs = (uint32_t *)block + c;
    for (int32_t g = 0; g < groups; ++g) {{
      const uint32_t word = tinyc_load_word(&x[(c * stride) + (4 * g)]);
{words}\
      pairs += 2 * {columns};
    }}
  }}
}}
#endif
"""


# The naked functions: r0 x, r1 stride, r2 groups, r3 block. Words r4 to r7, their even halves r8.


def _exact(columns: int, wide: bool, x_dtype: str, groups: int) -> list[str]:
    """Every group of every column written out."""
    lines = ["push.w {r4-r8, lr}"]
    for c in range(columns):
        lines += _loads(groups)
        lines += ["add.w r0, r0, r1"] if c + 1 < columns else []
        for g in range(groups):
            lines += expanded(f"r{4 + g}", 4 * (2 * columns * g + c), columns, wide, x_dtype)
    return [*lines, "pop.w {r4-r8, pc}"]


def _looped(columns: int, wide: bool, x_dtype: str, rest: bool) -> list[str]:
    """Any number of groups, `rest` of them left over from turns.

    r9 the end of the first chunk's first words, r10 from the end of a column's words to the next
    one, lr groups left
    """
    lines = [
        "push.w {r4-r11, lr}",
        f"addw r9, r3, #{4 * columns}",
        "sub.w r1, r1, r2, lsl #2",
        f"movw r10, #{8 * columns}",
        "mul r10, r10, r2",
        "sub.w r10, r10, #4",
        ".balign 4",
        "1:",
        *([f"subs.w lr, r2, #{TURN}", "blt.w 3f", ".balign 4"] if rest else ["mov.w lr, r2"]),
        "2:",
        *_turn(TURN, columns, wide, x_dtype),
        f"subs.w lr, lr, #{TURN}",
        "bge.w 2b" if rest else "bne.w 2b",
    ]
    if rest:
        lines += ["3:", f"add.w lr, lr, #{TURN}", ".balign 4", "4:"]
        lines += [*_turn(1, columns, wide, x_dtype), "subs.w lr, lr, #1", "bne.w 4b"]
    lines += ["sub.w r3, r3, r10", "add.w r0, r0, r1", "cmp.w r3, r9"]
    return [*lines, "bne.w 1b", "pop.w {r4-r11, pc}"]


def _loads(groups: int) -> list[str]:
    return [f"ldr.w r{4 + g}, [r0, #{4 * g}]" for g in range(groups)]


def _turn(groups: int, columns: int, wide: bool, x_dtype: str) -> list[str]:
    lines = [*_loads(groups), f"add.w r0, r0, #{4 * groups}"]
    for g in range(groups):
        lines += expanded(f"r{4 + g}", 8 * columns * g, columns, wide, x_dtype)
    return [*lines, f"addw r3, r3, #{8 * columns * groups}"]


def expanded(word: str, offset: int, columns: int, wide: bool, x_dtype: str) -> list[str]:
    """The four bytes in register `word` as two words at r3 + offset, `columns` words apart."""
    unsigned = x_dtype == "uint8"
    extend = "uxtb16" if wide and unsigned else "sxtb16"
    lines = [f"eor.w {word}, {word}, #0x80808080"] if unsigned and not wide else []
    lines.append(f"{extend} r8, {word}")
    if wide:
        lines.append(f"{extend} {word}, {word}, ror #8")
    else:
        lines.append(f"eor.w {word}, {word}, #0x007f007f")
    return [*lines, f"str.w r8, [r3, #{offset}]", f"str.w {word}, [r3, #{offset + 4 * columns}]"]
