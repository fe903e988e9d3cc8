"""Bytes of an image as the words that the blocks of `arm_gemm.py` read, in assembly.

A column is 4 * groups neighbouring bytes; the columns of a call lie `stride` bytes apart.
"""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_dsp import dsp, extension

MOST_EXACT = 24  # groups of a call that are written out as a whole
TURN = 4  # groups that are loaded together


def expand(columns: int, wide: bool, x_dtype: str, groups: int) -> Microkernel:
    """`tinyc_expand_...(x, stride, groups, block[, sums])`: the words of one row of chunks.

    sums  of the paired form, increased
    """
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
        unused_sums="" if wide else ", void *sums_at __attribute__((unused))",
        sums_at="" if wide else ", void *sums_at",
        sums="" if wide else "  uint32_t *sums = (uint32_t *)sums_at;\n",
        words=expansion(columns, wide, x_dtype),
    )
    return Microkernel(name, text, dsp("load_word", *expansions(wide, x_dtype)))


def expansion_name(columns: int, wide: bool, x_dtype: str) -> str:
    form = "wide" if wide else "paired"
    return f"{columns}_{form}" + ("_u8" if x_dtype == "uint8" else "")


def expansions(wide: bool, x_dtype: str) -> tuple[str, str]:
    """The instructions that `expansion` names."""
    return extension(x_dtype) if wide else ("sxtb16", "smlad")


def expansion(columns: int, wide: bool, x_dtype: str) -> str:
    """C statements: `word`, four bytes of column `c`, as two words at `pairs`."""
    if wide:
        even, odd = extension(x_dtype)
        return WIDE.format(columns=columns, even=even, odd=odd)
    word = "word ^ 0x80808080u" if x_dtype == "uint8" else "word"
    return PAIRED.format(columns=columns, word=word)


WIDE = """\
      pairs[0] = tinyc_{even}(word);
      pairs[{columns}] = tinyc_{odd}(word);
"""
PAIRED = """\
      const uint32_t bytes = {word};
      const uint32_t swapped = ((bytes >> 8) & 0x00ff00ffu) | ((bytes << 8) & 0xff00ff00u);
      pairs[0] = tinyc_sxtb16(bytes);
      pairs[{columns}] = swapped ^ 0xff80ff80u;
      sums[c] += (uint32_t)tinyc_smlad(pairs[0], 0x00800080u, 0);
"""
TEXT = """\
/* {columns} columns of bytes as words for tinyc_gemm. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const {x_dtype}_t *x{unused}, int32_t stride{unused},
    int32_t groups{unused}, void *block{unused}{unused_sums}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const {x_dtype}_t *x, int32_t stride, int32_t groups, void *block{sums_at}) {{
{sums}\
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


# The naked functions: r0 x, r1 stride, r2 groups, r3 block; stack: sums. Words r4 to r7, their even
# halves r8, the sum of a column r9, constants r10 and r11, sums r12.


def _exact(columns: int, wide: bool, x_dtype: str, groups: int) -> list[str]:
    """Every group of every column written out."""
    lines = _begin(wide)
    for c in range(columns):
        lines += _loads(groups)
        lines += ["add.w r0, r0, r1"] if c + 1 < columns else []
        lines += [] if wide else [f"ldr.w r9, [r12, #{4 * c}]"]
        for g in range(groups):
            lines += expanded(f"r{4 + g}", 4 * (2 * columns * g + c), columns, wide, x_dtype)
        lines += [] if wide else [f"str.w r9, [r12, #{4 * c}]"]
    return [*lines, "pop.w {r4-r11, pc}"]


def _looped(columns: int, wide: bool, x_dtype: str, rest: bool) -> list[str]:
    """Any number of groups, `rest` of them left over from turns.

    lr groups left, s0 the end of the sums (wide: of the first words), s1 from the end of a column's
    words to the next one
    """
    counter = "r3" if wide else "r12"
    lines = [
        *_begin(wide),
        f"addw r8, {counter}, #{4 * columns}",
        "vmov s0, r8",
        "sub.w r1, r1, r2, lsl #2",
        f"movw r8, #{8 * columns}",
        "mul r8, r8, r2",
        "sub.w r8, r8, #4",
        "vmov s1, r8",
        ".balign 4",
        "1:",
        *([] if wide else ["ldr.w r9, [r12]"]),
        *([f"subs.w lr, r2, #{TURN}", "blt.w 3f", ".balign 4"] if rest else ["mov.w lr, r2"]),
        "2:",
        *_turn(TURN, columns, wide, x_dtype),
        f"subs.w lr, lr, #{TURN}",
        "bge.w 2b" if rest else "bne.w 2b",
    ]
    if rest:
        lines += ["3:", f"add.w lr, lr, #{TURN}", ".balign 4", "4:"]
        lines += [*_turn(1, columns, wide, x_dtype), "subs.w lr, lr, #1", "bne.w 4b"]
    lines += ["vmov r8, s1", "sub.w r3, r3, r8", "add.w r0, r0, r1"]
    lines += [] if wide else ["str.w r9, [r12], #4"]
    return [*lines, "vmov r8, s0", f"cmp.w {counter}, r8", "bne.w 1b", "pop.w {r4-r11, pc}"]


def _begin(wide: bool) -> list[str]:
    return ["push.w {r4-r11, lr}", *([] if wide else ["ldr.w r12, [sp, #36]", *constants()])]


def constants() -> list[str]:
    """What `expanded` needs of the paired form."""
    return ["movw r10, #0xff80", "movt r10, #0xff80", "mov.w r11, #0x00800080"]


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
    extend = "uxtb16.w" if wide and unsigned else "sxtb16.w"
    lines = [f"eor.w {word}, {word}, #0x80808080"] if unsigned and not wide else []
    lines.append(f"{extend} r8, {word}")
    if wide:
        lines.append(f"{extend} {word}, {word}, ror #8")
    else:
        lines += [f"rev16.w {word}, {word}", f"eor.w {word}, {word}, r10"]
        lines.append("smlad r9, r8, r11, r9")
    return [*lines, f"str.w r8, [r3, #{offset}]", f"str.w {word}, [r3, #{offset + 4 * columns}]"]
