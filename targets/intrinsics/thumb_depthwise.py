"""3x3 depthwise convolution of one channel in assembly for Thumb-1 cores, two output rows a turn.

Values that lie one output row apart share a word, x = a0 + a1 * 2^16, so that a multiply by a
weight is one product for both outputs. With T a sum of two such products, whose lower half stays
in 16 bits (|w0| + |w1| <= 255), and F += T / 2^16 rounded (ASRS, which leaves bit 15 as the
carry; ADCS), R += T:

    F = the sum of the lower row,  R - F * 2^16 = the sum of the upper row.

A strip holds, for every input column, three words: one for each row of the window. The taps thus
go down the columns. Table of a channel, words: R's and F's first value, nine weights, m16, s.
"""

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted
from tinyc.targets.intrinsics.thumb_assembly import (
    ARGUMENTS,
    entry,
    leave,
    requantized,
    sums_fit,
)

TABLE_BYTES = 52
COLUMN_BYTES = 12  # of a strip


def in_tap_order(weights: Array) -> Array:
    """[3, 3, channels] -> [channels, 9], down the columns."""
    return np.ascontiguousarray(weights.transpose(2, 1, 0).reshape(-1, 9))


def fits(taps: Array) -> bool:
    """Whether the sums of the module's text are exact for whole numbers [channels, 9]."""
    return bool(sums_fit(taps[:, :8].reshape(-1, 4, 2)).all())


def tap_table() -> Microkernel:
    """`tinyc_tap_table(weights, bias, m16s, table)`: what the depthwise assembly reads."""
    return Microkernel("tinyc_tap_table", TABLE)


TABLE = """\
/* A channel's nine weights, bias and multiplier as the words of tinyc_depthwise_pairs. */
static void tinyc_tap_table(const int8_t *weights, int32_t bias, int32_t m16s,
    void *table) {
  int32_t *words = (int32_t *)table;
  words[0] = (int32_t)((uint32_t)bias + ((uint32_t)bias << 16));
  words[1] = bias;
  for (int32_t i = 0; i < 9; ++i) {
    words[2 + i] = weights[i];
  }
  words[11] = m16s & 0xffff;
  words[12] = m16s >> 16;
}
"""


def pair_rows(stride: int) -> Microkernel:
    """`tinyc_pair_rows_s...(x, step, pitch, columns, first, last, zero, strip)`.

    x            the first value of the window's first row
    step, pitch  bytes from column to column, from row to row
    first, last  the rows of the window, counted from x's, that lie inside the image
    """
    name = f"tinyc_pair_rows_s{stride}"
    text = ROWS.format(
        name=name, stride=stride, rows=3 + stride, assembly=quoted(_rows_assembly(stride))
    )
    return Microkernel(name, text)


ROWS = """\
#if defined(__ARM_ARCH_6M__)
/* The same where all rows lie inside the image. */
__attribute__((naked, noinline, aligned(4))) static void {name}_inside(
    const int8_t *x __attribute__((unused)), int32_t step __attribute__((unused)),
    int32_t pitch __attribute__((unused)), const int32_t *end __attribute__((unused)),
    int32_t *words __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#endif

/* Columns of {rows} values, `step` bytes apart, as three pairs of values an output row apart. */
static void {name}(const int8_t *x, int32_t step, int32_t pitch, int32_t columns,
    int32_t first, int32_t last, int32_t zero, void *strip) {{
  int32_t *words = (int32_t *)strip;
  int32_t *const end = words + (3 * columns);
#if defined(__ARM_ARCH_6M__)
  if (first == 0 && last == {rows}) {{
    {name}_inside(x, step, pitch, end, words);
    return;
  }}
#endif
  for (; words != end; words += 3) {{
    int32_t values[{rows}];
    for (int32_t i = 0; i < {rows}; ++i) {{
      values[i] = (i >= first && i < last) ? x[i * pitch] : zero;
    }}
    for (int32_t i = 0; i < 3; ++i) {{
      words[i] = values[i] + (values[i + {stride}] * 65536);
    }}
    x += step;
  }}
}}
"""


def _rows_assembly(stride: int) -> list[str]:
    """r0 x, r1 words, r2 to r4 the pitch once to three times, r5 to r7 values.

    r8 step, r9 end, r10 the pitch four times.
    """
    lines = [*entry(), "mov r8, r1", "mov r9, r3", f"ldr r1, [sp, #{ARGUMENTS}]"]
    lines += ["lsls r3, r2, #1", "adds r4, r3, r2", "adds r5, r3, r3", "mov r10, r5"]
    lines += [".balign 4", "1:", "ldrb r7, [r0]", "sxtb r7, r7"]
    if stride == 1:
        lines += ["ldrsb r5, [r0, r2]", "lsls r6, r5, #16", "adds r7, r7, r6", "stmia r1!, {r7}"]
        lines += ["ldrsb r6, [r0, r3]", "lsls r7, r6, #16", "adds r5, r5, r7"]
        lines += ["ldrsb r7, [r0, r4]", "lsls r7, r7, #16", "adds r6, r6, r7"]
    else:
        lines += ["ldrsb r6, [r0, r3]", "lsls r5, r6, #16", "adds r7, r7, r5", "stmia r1!, {r7}"]
        lines += ["ldrsb r5, [r0, r2]", "ldrsb r7, [r0, r4]", "lsls r7, r7, #16", "adds r5, r5, r7"]
        lines += ["mov r7, r10", "ldrsb r7, [r0, r7]", "lsls r7, r7, #16", "adds r6, r6, r7"]
    return [*lines, "stmia r1!, {r5, r6}", "add r0, r8", "cmp r1, r9", "bne 1b", *leave()]


def depthwise(stride: int, low: int, high: int) -> Microkernel:
    """`tinyc_depthwise_pairs_...(strip, table, y, end, step, below, zero_point)`.

    end    the strip's column behind the last output's first
    step   bytes from output to output
    below  bytes from an output to that of the lower row; 0: there is no lower row
    """
    name = f"tinyc_depthwise_pairs_s{stride}{bounds_suffix(low, high)}"
    text = TEXT.format(
        name=name,
        advance=3 * stride,
        low=low,
        high=high,
        assembly=quoted(_assembly(stride, low, high)),
    )
    return Microkernel(name, text)


TEXT = """\
/* One channel, 3x3: two rows of outputs from pairs of values. The upper row is stored last. */
#if defined(__ARM_ARCH_6M__)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *strip __attribute__((unused)), const void *table __attribute__((unused)),
    int8_t *y __attribute__((unused)), const void *end __attribute__((unused)),
    int32_t step __attribute__((unused)), int32_t below __attribute__((unused)),
    int32_t zero_point __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *strip, const void *table, int8_t *y, const void *end,
    int32_t step, int32_t below, int32_t zero_point) {{
  const int32_t *const t = (const int32_t *)table;
  for (const int32_t *x = (const int32_t *)strip; x != (const int32_t *)end; x += {advance}) {{
    uint32_t both = (uint32_t)t[0];
    int32_t lower = t[1];
    for (int32_t i = 0; i < 9; i += 2) {{
      uint32_t sum = (uint32_t)x[i] * (uint32_t)t[2 + i];
      sum += (i == 8) ? 0u : (uint32_t)x[i + 1] * (uint32_t)t[3 + i];
      both += sum;
      lower += (int32_t)(sum + 0x8000u) >> 16;
    }}
    int32_t upper = (int32_t)(both - ((uint32_t)lower << 16));
    lower = tinyc_requantize16(lower, t[11] | (t[12] << 16), zero_point);
    upper = tinyc_requantize16(upper, t[11] | (t[12] << 16), zero_point);
    y[below] = (int8_t)tinyc_min(tinyc_max(lower, {low}), {high});
    *y = (int8_t)tinyc_min(tinyc_max(upper, {low}), {high});
    y += step;
  }}
}}
#endif
"""


def _assembly(stride: int, low: int, high: int) -> list[str]:
    """r0 strip, r1 table, r7 F and then the lower sum, r6 the upper sum, others for operands.

    r8 R, r9 end of the strip, r10 y, r11 bytes to the next output, r12 zero point, lr to the
    lower row.
    """
    step, below, zero_point = (f"[sp, #{ARGUMENTS + 4 * i}]" for i in range(3))
    lines = [*entry(), "mov r9, r3", "mov r10, r2", f"ldr r2, {step}", "mov r11, r2"]
    lines += [f"ldr r2, {below}", "mov lr, r2"]
    lines += [f"ldr r2, {zero_point}", "adds r2, #128", "mov r12, r2"]
    lines += [".balign 4", "1:", "ldmia r1!, {r2, r7}", "mov r8, r2"]
    add = ["add r8, r2", "asrs r2, r2, #16", "adcs r7, r2"]
    for _ in range(4):
        lines += ["ldmia r0!, {r2, r3}", "ldmia r1!, {r4, r5}", "muls r2, r4, r2"]
        lines += ["muls r3, r5, r3", "adds r2, r2, r3", *add]
    lines += ["ldmia r0!, {r2}", "ldmia r1!, {r3-r5}", "muls r2, r3, r2", *add]
    lines += ["lsls r2, r7, #16", "mov r6, r8", "subs r6, r6, r2"]
    lines += requantized("r7", "r4", "r5", "r2", "r12", (low, high))
    lines += requantized("r6", "r4", "r5", "r2", "r12", (low, high))
    lines += ["mov r2, r10", "mov r3, lr", "strb r7, [r2, r3]", "strb r6, [r2]", "add r10, r11"]
    lines += [f"subs r1, #{TABLE_BYTES}", f"subs r0, #{36 - COLUMN_BYTES * stride}"]
    return [*lines, "cmp r0, r9", "bne 1b", *leave()]
