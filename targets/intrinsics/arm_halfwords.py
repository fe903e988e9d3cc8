"""Blocks of int16 activations times int8 weights in assembly, for cores with the DSP extension.

A block is up to four pixels times all output channels, two channels at a time. Activations are
pairs as they lie: a window is rows of neighbouring values, an even number of them, which a block
reads in place, from the image or from a copy with padding. A step takes two values of every pixel:

    int8 weights   one word, w[n][k], w[n + 1][k], w[n][k + 1], w[n + 1][k + 1], that SXTB16 takes
                   apart: with four pixels 17 cycles for 16 products
    int16 weights  two words, a channel each, in twice the flash: 16 cycles

Sums have 32 bits. Results of 16 bits take the wide form of ops/fixed_point.py for r >= 33, where
the low word of the product does not matter, since nested floors compose:

    floor((acc * m + 2^(r-1)) / 2^r) = floor((floor(floor(acc * m / 2^32) / 2^(r-33)) + 1) / 2)

Stream of a block of channels: biases; for every step its words; then multipliers for results of 8
bits, else multiplier and r - 33 of one channel after the other (all int32).
"""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import entered, quoted
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_halfword_results import Results

COLUMNS = 2  # channels that are computed together
STEP = 2  # values of a pixel
MOST_OFFSET = 4095  # of a load from a register
LEAST_SHIFT = 33  # r of results of 16 bits


@dataclass(frozen=True, slots=True)
class HalfwordBlock:
    """What the text of a block depends on.

    pixels  1 to 4
    pitch   bytes from pixel to pixel of the activations
    turn    steps written out in the loop, a power of 2
    wide    weights are int16
    """

    pixels: int
    pitch: int
    turn: int
    wide: bool
    results: Results

    @property
    def fits(self) -> bool:
        """Whether all activations of a turn are within reach."""
        return (self.pixels - 1) * self.pitch + 4 * self.turn <= MOST_OFFSET

    @property
    def name(self) -> str:
        form = "wide" if self.wide else "narrow"
        shape = f"{self.pixels}x2_p{self.pitch}_{form}_u{self.turn}"
        return f"tinyc_gemm16_{shape}_{self.results.suffix}"


def packed_stream(
    weights: Array, bias: Array, multipliers: Array, shifts: Array | None, columns: int, wide: bool
) -> Array:
    """The stream of the module's text, as bytes, for whole blocks of `columns` channels.

    weights  whole numbers of int8 [channels, K], K even
    shifts   r of every channel; None: results have 8 bits
    """
    blocks = weights.shape[0] // columns
    pairs = weights.reshape(blocks, columns // 2, 2, -1, STEP)  # block, pair, channel, step, value
    ordered = pairs.transpose(0, 3, 1, 2, 4) if wide else pairs.transpose(0, 3, 1, 4, 2)
    products = ordered.astype("<i2" if wide else "i1")
    finish = [multipliers] if shifts is None else [multipliers, shifts - LEAST_SHIFT]
    ends = np.stack(finish, axis=1).reshape(blocks, -1).astype("<i4")
    starts = bias.reshape(blocks, -1).astype("<i4")
    parts = [part[n].tobytes() for n in range(blocks) for part in (starts, products, ends)]
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def halfword_gemm(block: HalfwordBlock) -> Microkernel:
    """The function of a block; `TEXT` says what its parameters mean."""
    text = TEXT.format(
        name=block.name,
        pixels=block.pixels,
        values=block.pitch // 2,
        y_dtype=block.results.dtype,
        naked=",\n    ".join(f"{p} __attribute__((unused))" for p in _parameters(block)),
        plain=",\n    ".join(_parameters(block)),
        assembly=quoted(_assembly(block)),
        step_bytes=8 if block.wide else 4,
        products=WIDE if block.wide else NARROW,
        finish=block.results.c_value("w"),
        end_bytes=2 * block.results.end_bytes,
        low=block.results.low,
        high=block.results.high,
    )
    return Microkernel(block.name, text, dsp("load_word", "sxtb16", "sxtb16_ror8", "smlad"))


def _parameters(block: HalfwordBlock) -> list[str]:
    first = ["const int16_t *x", "const int8_t *stream", f"{block.results.dtype}_t *y"]
    return [*first, "const int8_t *end", *(f"int32_t {name}" for name in ORDER)]


ORDER = ("y_pixel", "x_row", "rows", "steps", "zero_point")  # on the stack
NARROW = """\
          const uint32_t word = tinyc_load_word(w);
          acc[0] = tinyc_smlad(pair, tinyc_sxtb16(word), acc[0]);
          acc[1] = tinyc_smlad(pair, tinyc_sxtb16_ror8(word), acc[1]);
"""
WIDE = """\
          acc[0] = tinyc_smlad(pair, tinyc_load_word(w), acc[0]);
          acc[1] = tinyc_smlad(pair, tinyc_load_word(&w[4]), acc[1]);
"""
TEXT = """\
/* {pixels} pixels of int16, {values} values apart, times all channels of the stream, two a turn.
 *
 * y_pixel  from pixel to pixel of the results
 * x_row    from row to row of a window of `rows` rows of `steps` pairs of neighbours */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    {naked}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(
    {plain}) {{
  while (stream != end) {{
    const int8_t *w = stream;
    for (int32_t p = 0; p < {pixels}; ++p) {{
      int32_t acc[2] = {{(int32_t)tinyc_load_word(stream), (int32_t)tinyc_load_word(&stream[4])}};
      w = &stream[8];
      for (int32_t i = 0; i < rows; ++i) {{
        for (int32_t k = 0; k < steps; ++k) {{
          const uint32_t pair = tinyc_load_word(&x[(p * {values}) + (i * x_row) + (2 * k)]);
{products}\
          w += {step_bytes};
        }}
      }}
      for (int32_t n = 0; n < 2; ++n) {{
{finish}\
        y[(p * y_pixel) + n] = ({y_dtype}_t)tinyc_min(tinyc_max(value, {low}), {high});
      }}
    }}
    stream = &w[{end_bytes}];
    y += 2;
  }}
}}
#endif
"""


def _assembly(block: HalfwordBlock) -> list[str]:
    """The naked function: r0 x, r1 stream, r2 y, r3 end of the stream; the others on the stack.

    s0 y of this pair, s1 end of the stream, s2 bytes from pixel to pixel of y, s3 where a window
    is entered, s4 the zero point for `finished`, s5 end of a window's first row, s6 where the loop
    is entered, s7 rows, s8 from the end of a row to where the next is entered, s9 rows to go, s10
    bytes from row to row, s11 end of this row.
    Accumulators from r4 on, weights r2 and r3, activations r12, lr and what is left.
    """
    step = _step(block, 0)
    steps = [line for u in range(block.turn) for line in _step(block, u)]
    lines = ["push.w {r4-r11, lr}", "vmov s0, r2", "vmov s1, r3"]
    lines += [f"ldr.w {r}, [sp, #{36 + 4 * i}]" for i, r in enumerate(("r4", "r5", "r6", "r7"))]
    lines += ["ldr.w r8, [sp, #52]", *block.results.zero_point("r8"), "vmov s4, r8", "vmov s7, r6"]
    lines += ["lsl.w r4, r4, #1"] if block.results.step == 2 else []
    lines += ["vmov s2, r4", "lsl.w r5, r5, #1", "vmov s10, r5"]
    lines += [*entered("r7", block.turn, 4 * len(step), ("r8", "r9", "r10")), "vmov s6, r8"]
    lines += ["add.w r10, r0, r7, lsl #2", "vmov s5, r10", "sub.w r0, r0, r9, lsl #2"]
    lines += ["vmov s3, r0", "add.w r9, r9, r7", "sub.w r5, r5, r9, lsl #2", "vmov s8, r5"]
    lines += [".balign 4", "1:", "ldm.w r1!, {r4, r5}"]
    lines += [f"mov.w r{4 + i}, r{4 + i % 2}" for i in range(2, 2 * block.pixels)]
    lines += ["vmov r0, s3", "vmov r12, s5", "vmov s11, r12", "vmov r12, s7"]
    lines += [".balign 4", "3:", "vmov s9, r12", "vmov r12, s6", "bx r12", ".balign 4", "2:"]
    lines += [*steps, f"addw r0, r0, #{4 * block.turn}", "vmov r12, s11", "cmp.w r0, r12"]
    lines += ["bne.w 2b", "vmov r2, s8", "vmov r3, s10", "add.w r0, r0, r2", "add.w r12, r12, r3"]
    lines += ["vmov s11, r12", "vmov r12, s9", "subs.w r12, r12, #1", "bne.w 3b"]
    lines += _stored(block)
    lines += ["vmov lr, s0", f"add.w lr, lr, #{2 * block.results.step}", "vmov s0, lr"]
    lines += ["vmov r12, s1", "cmp.w r1, r12", "bne.w 1b", "pop.w {r4-r11, pc}"]
    return lines


def _step(block: HalfwordBlock, step: int) -> list[str]:
    """Two values of every pixel; 32-bit instructions only, the loop is entered by counting."""
    free = ["r12", "lr", *(f"r{r}" for r in range(4 + 2 * block.pixels, 12))]
    at_once = min(len(free), block.pixels)
    lines: list[str] = []
    for begin in range(0, block.pixels, at_once):
        several = list(zip(range(begin, min(begin + at_once, block.pixels)), free, strict=False))
        lines += [f"ldr.w {x}, [r0, #{4 * step + p * block.pitch}]" for p, x in several]
        if begin == 0 and block.wide:
            lines += ["ldr.w r3, [r1, #4]", "ldr.w r2, [r1], #8"]
        elif begin == 0:
            lines += ["ldr.w r3, [r1], #4", "sxtb16 r2, r3", "sxtb16 r3, r3, ror #8"]
        for p, x in several:
            accs = (f"r{4 + 2 * p}", f"r{5 + 2 * p}")
            lines += [f"smlad {a}, {x}, r{2 + n}, {a}" for n, a in enumerate(accs)]
    return lines


def _stored(block: HalfwordBlock) -> list[str]:
    """The results from s0 on, channel by channel: r2 multiplier, r3 shift, r12 zero point.

    r0 is from pixel to pixel, r1 the upper bound where there is one.
    """
    results, lines = block.results, ["vmov r12, s4", "vmov r0, s2"]
    store = "strb.w" if results.step == 1 else "strh.w"
    for n in range(COLUMNS):
        lines += ["ldr.w r2, [r1], #4"] if results.step == 1 else ["ldm.w r1!, {r2, r3}"]
        lines += ["vmov lr, s0"]
        lines += ["vmov s9, r1", *results.limit("r1")] if results.is_limited else []
        for p in range(block.pixels):
            acc = f"r{4 + 2 * p + n}"
            lines += results.finished(acc, "r2", "r3", "r12", "r1")
            lines += [f"{store} {acc}, [lr, #{results.step * n}]", "add.w lr, lr, r0"]
        lines += ["vmov r1, s9"] if results.is_limited else []
    return lines
