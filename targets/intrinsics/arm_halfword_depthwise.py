"""Depthwise 3x3 of int16 values in assembly, for cores with the DSP extension: two channels a word.

Neighbouring channels of a pixel share a word as they lie. The nine words of weights of a pair of
channels stay in registers, so that a pixel takes 36 cycles for 18 products, and 31 for the rest.

Stream of a pair of channels: biases, multipliers (of results of 16 bits each with its r - 33), nine
words of two weights.
"""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import clamped, quoted
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_halfword_results import Results
from tinyc.targets.intrinsics.arm_halfwords import LEAST_SHIFT, MOST_OFFSET

TAPS = 3  # in both directions


@dataclass(frozen=True, slots=True)
class HalfwordWindow:
    """What the text depends on: channels of the image, strides and dilations to the side."""

    channels: int
    stride: int
    dilation: int
    results: Results

    @property
    def fits(self) -> bool:
        """Whether all taps of a row, and the next pixel, are within reach."""
        return 2 * self.channels * max((TAPS - 1) * self.dilation, self.stride) <= MOST_OFFSET

    @property
    def name(self) -> str:
        moves = f"s{self.stride}" + (f"d{self.dilation}" if self.dilation != 1 else "")
        return f"tinyc_depthwise16_3x3_n{self.channels}_{moves}_{self.results.suffix}"


def packed_pairs(weights: Array, bias: Array, multipliers: Array, shifts: Array | None) -> Array:
    """The streams of the module's text (int32); weights [channels, 9], channels even."""
    pairs = weights.shape[0] // 2
    finish = [multipliers] if shifts is None else [multipliers, shifts - LEAST_SHIFT]
    ends = np.stack(finish, axis=1).reshape(pairs, -1)
    words = weights.reshape(pairs, 2, -1).transpose(0, 2, 1).astype("<i2")
    products = np.ascontiguousarray(words).view("<i4").reshape(pairs, -1)
    table = np.concatenate([bias.reshape(pairs, 2), ends, products], axis=1)
    return read_only(table.astype("<i4").reshape(-1))


def halfword_depthwise(window: HalfwordWindow) -> Microkernel:
    """The function; `TEXT` says what its parameters mean."""
    results = window.results
    text = TEXT.format(
        name=window.name,
        n=window.channels,
        stride=window.stride,
        dilation=window.dilation,
        y_dtype=results.dtype,
        unused=" __attribute__((unused))",
        assembly=quoted(_assembly(window)),
        finish=results.c_value("ends"),
        weights=2 + 2 * results.step,
        low=results.low,
        high=results.high,
    )
    return Microkernel(window.name, text, dsp("load_word"))


TEXT = """\
/* 3x3 windows of `pixels` neighbours, all pairs of channels of the stream; an image of {n}.
 *
 * x_row  values from row to row of a window */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int16_t *x{unused}, const int32_t *stream{unused},
    {y_dtype}_t *y{unused}, const int32_t *end{unused},
    int32_t pixels{unused}, int32_t x_row{unused},
    int32_t zero_point{unused}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int16_t *x, const int32_t *stream, {y_dtype}_t *y,
    const int32_t *end, int32_t pixels, int32_t x_row, int32_t zero_point) {{
  while (stream != end) {{
    int16_t weights[18];
    memcpy(weights, &stream[{weights}], sizeof weights);
    const int8_t *const ends = (const int8_t *)&stream[2];
    for (int32_t p = 0; p < pixels; ++p) {{
      int32_t acc[2] = {{stream[0], stream[1]}};
      for (int32_t n = 0; n < 2; ++n) {{
        for (int32_t t = 0; t < 9; ++t) {{
          const int32_t at = ((t / 3) * x_row) + ((t % 3) * {dilation} * {n});
          acc[n] += x[(p * {stride} * {n}) + at + n] * weights[(2 * t) + n];
        }}
{finish}\
        y[(p * {n}) + n] = ({y_dtype}_t)tinyc_min(tinyc_max(value, {low}), {high});
      }}
    }}
    stream = &stream[{weights} + 9];
    x += 2;
    y += 2;
  }}
}}
#endif
"""


def _assembly(window: HalfwordWindow) -> list[str]:
    """The naked function: r0 x, r1 y, weights r2 to r10, sums r11 and r12, all else in lr.

    s0 x and s1 y of the pair, s2 stream, s3 its end, s4 the zero point for results, s5 bytes from
    row to row, s6 from the last row to the next pixel, s7 end of the pair's y, s8 and s9 biases,
    from s10 on the multipliers, s14 the upper bound.
    """
    results, n = window.results, window.channels
    y_pixel = n * results.step
    lines = ["push.w {r4-r11, lr}", "vmov s0, r0", "vmov s1, r2", "vmov s2, r1", "vmov s3, r3"]
    lines += ["ldr.w r4, [sp, #36]", f"movw r5, #{y_pixel}", "mla r4, r4, r5, r2", "vmov s7, r4"]
    lines += ["ldr.w r4, [sp, #40]", "lsl.w r4, r4, #1", "vmov s5, r4"]
    lines += [f"movw r5, #{2 * window.stride * n}", "sub.w r5, r5, r4, lsl #1", "vmov s6, r5"]
    lines += ["ldr.w r4, [sp, #44]", *results.zero_point("r4"), "vmov s4, r4"]
    if results.is_limited:
        lines += [*results.limit("r4"), "vmov s14, r4"]
    lines += [".balign 4", "1:", "vmov lr, s2", f"vldmia lr!, {{s8-s{9 + 2 * results.step}}}"]
    lines += ["ldm.w lr!, {r2-r10}", "vmov s2, lr", "vmov r0, s0", "vmov r1, s1"]
    lines += [".balign 4", "2:", "vmov r11, s8", "vmov r12, s9"]
    for i in range(TAPS):
        for j in range(TAPS):
            weights = f"r{2 + TAPS * i + j}"
            lines.append(f"ldr.w lr, [r0, #{2 * j * window.dilation * n}]")
            lines += [f"smlabb r11, lr, {weights}, r11", f"smlatt r12, lr, {weights}, r12"]
        lines += [f"vmov lr, s{5 if i + 1 < TAPS else 6}", "add.w r0, r0, lr"]
    lines += [*_finished(results, "r11", 10), *_finished(results, "r12", 10 + results.step)]
    if results.step == 1:
        lines += ["strb.w r11, [r1]", "strb.w r12, [r1, #1]"]
    else:
        lines += ["pkhbt r11, r11, r12, lsl #16", "str.w r11, [r1]"]
    lines += [f"addw r1, r1, #{y_pixel}", "vmov lr, s7", "cmp.w r1, lr", "bne.w 2b"]
    for register, step in (("s0", 4), ("s1", 2 * results.step), ("s7", 2 * results.step)):
        lines += [f"vmov lr, {register}", f"add.w lr, lr, #{step}", f"vmov {register}, lr"]
    lines += ["vmov r2, s2", "vmov r3, s3", "cmp.w r2, r3", "bne.w 1b", "pop.w {r4-r11, pc}"]
    return lines


def _finished(results: Results, acc: str, multiplier: int) -> list[str]:
    """As `Results.finished`, with one register: the FPU's `multiplier`, and its shift behind it."""
    lines = [f"vmov lr, s{multiplier}"]
    if results.step == 1:
        lines += [f"smmulr {acc}, {acc}, lr", "vmov lr, s4", f"add.w {acc}, {acc}, lr"]
        return [*lines, f"ssat {acc}, #8, {acc}", *clamped(acc, results.low, results.high, "int8")]
    lines += [f"smmul {acc}, {acc}, lr", f"vmov lr, s{multiplier + 1}", f"asr.w {acc}, {acc}, lr"]
    lines += ["vmov lr, s4", f"add.w {acc}, {acc}, lr", results.saturated(acc)]
    return lines + (["vmov lr, s14", *results.limited(acc, "lr")] if results.is_limited else [])
