"""One row of int16 values times a matrix of int8 weights in assembly, for the DSP extension.

A block is up to eight channels, pairs of which share words as in `arm_halfwords.py`: 23 cycles for
the 16 products of a step with eight channels, 20 with int16 weights.
"""

from dataclasses import dataclass

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import entered, quoted
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_halfword_results import Results

MOST_COLUMNS = 8  # channels of a block: as many as there are registers for


@dataclass(frozen=True, slots=True)
class HalfwordRow:
    """What the text of a block depends on.

    columns  channels, an even number
    turn     steps written out in the loop, a power of 2
    wide     weights are int16
    """

    columns: int
    turn: int
    wide: bool
    results: Results

    @property
    def name(self) -> str:
        form = "wide" if self.wide else "narrow"
        return f"tinyc_dense16_{self.columns}_{form}_u{self.turn}_{self.results.suffix}"


def halfword_dense(row: HalfwordRow) -> Microkernel:
    """`tinyc_dense16_...(x, stream, y, end, steps, zero_point)`: a row, all channels."""
    results, columns = row.results, row.columns
    text = TEXT.format(
        name=row.name,
        columns=columns,
        y_dtype=results.dtype,
        assembly=quoted(_assembly(row)),
        unused=" __attribute__((unused))",
        step_bytes=(4 if row.wide else 2) * columns,
        products=WIDE if row.wide else NARROW,
        finish=results.c_value("multipliers"),
        end_bytes=results.end_bytes * columns,
        low=results.low,
        high=results.high,
    )
    return Microkernel(row.name, text, dsp("load_word", "sxtb16", "sxtb16_ror8", "smlad"))


NARROW = """\
          const uint32_t word = tinyc_load_word(&w[4 * (n / 2)]);
          const uint32_t weights = ((n % 2) == 0) ? tinyc_sxtb16(word) : tinyc_sxtb16_ror8(word);
"""
WIDE = """\
          const uint32_t weights = tinyc_load_word(&w[4 * n]);
"""
TEXT = """\
/* A row of `steps` pairs of int16 times all channels of the stream, {columns} a turn. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int16_t *x{unused}, const int8_t *stream{unused},
    {y_dtype}_t *y{unused}, const int8_t *end{unused},
    int32_t steps{unused}, int32_t zero_point{unused}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int16_t *x, const int8_t *stream, {y_dtype}_t *y,
    const int8_t *end, int32_t steps, int32_t zero_point) {{
  while (stream != end) {{
    int32_t acc[{columns}];
    memcpy(acc, stream, sizeof acc);
    const int8_t *w = &stream[sizeof acc];
    for (int32_t k = 0; k < steps; ++k) {{
      const uint32_t pair = tinyc_load_word(&x[2 * k]);
      for (int32_t n = 0; n < {columns}; ++n) {{
{products}\
          acc[n] = tinyc_smlad(pair, weights, acc[n]);
      }}
      w += {step_bytes};
    }}
    for (int32_t n = 0; n < {columns}; ++n) {{
      const int8_t *multipliers = w;
{finish}\
      y[n] = ({y_dtype}_t)tinyc_min(tinyc_max(value, {low}), {high});
    }}
    stream = &w[{end_bytes}];
    y += {columns};
  }}
}}
#endif
"""


def _assembly(row: HalfwordRow) -> list[str]:
    """The naked function: r0 x, r1 stream, r2 y, r3 end of the stream; stack: steps, zero point.

    s0 y, s1 end of the stream, s2 x, s3 end of x, s4 the zero point for `finished`, s6 where the
    loop is entered. Accumulators from r4 on, weights r2, r3 and r12, activations lr.
    """
    accumulators = [f"r{4 + n}" for n in range(row.columns)]
    step = _step(row, accumulators)
    lines = ["push.w {r4-r11, lr}", "vmov s0, r2", "vmov s1, r3", "ldr.w r4, [sp, #36]"]
    lines += ["ldr.w r5, [sp, #40]", *row.results.zero_point("r5"), "vmov s4, r5"]
    lines += [*entered("r4", row.turn, 4 * len(step), ("r6", "r7", "r8")), "vmov s6, r6"]
    lines += ["vmov s2, r0", "add.w r4, r0, r4, lsl #2", "vmov s3, r4", ".balign 4", "1:"]
    lines += [f"ldm.w r1!, {{{', '.join(accumulators)}}}", "vmov r0, s2", "vmov r12, s6"]
    lines += ["bx r12", ".balign 4", "2:", *(step * row.turn), "vmov r12, s3", "cmp.w r0, r12"]
    lines += ["bne.w 2b", "vmov r12, s4", "vmov lr, s0", *row.results.limit("r0")]
    store = "strb.w" if row.results.step == 1 else "strh.w"
    for n, acc in enumerate(accumulators):
        lines += ["ldr.w r2, [r1], #4"] if row.results.step == 1 else ["ldm.w r1!, {r2, r3}"]
        lines += row.results.finished(acc, "r2", "r3", "r12", "r0")
        lines.append(f"{store} {acc}, [lr, #{row.results.step * n}]")
    lines += [f"add.w lr, lr, #{row.results.step * row.columns}", "vmov s0, lr", "vmov r12, s1"]
    return [*lines, "cmp.w r1, r12", "bne.w 1b", "pop.w {r4-r11, pc}"]


def _step(row: HalfwordRow, accumulators: list[str]) -> list[str]:
    """Two values times every channel; 32-bit instructions only, the loop is entered by counting."""
    lines = ["ldr.w lr, [r0], #4"]
    if row.wide:
        for n in range(0, row.columns, 3):
            several = accumulators[n : n + 3]
            weights = ("r2", "r3", "r12")[: len(several)]
            lines += _words(weights)
            lines += [f"smlad {a}, lr, {w}, {a}" for a, w in zip(several, weights, strict=True)]
        return lines
    for n in range(0, row.columns, 4):
        pairs = [accumulators[i : i + 2] for i in range(n, min(n + 4, row.columns), 2)]
        words = ("r3", "r12")[: len(pairs)]
        lines += _words(words)
        for (first, second), word in zip(pairs, words, strict=True):
            lines += [f"sxtb16 r2, {word}", f"sxtb16 {word}, {word}, ror #8"]
            lines += [f"smlad {first}, lr, r2, {first}", f"smlad {second}, lr, {word}, {second}"]
    return lines


def _words(registers: tuple[str, ...]) -> list[str]:
    """The next words of the stream, the first one last: a chain that the core overlaps."""
    lines = [f"ldr.w {r}, [r1, #{4 * i}]" for i, r in enumerate(registers) if i]
    return [*lines, f"ldr.w {registers[0]}, [r1], #{4 * len(registers)}"]
