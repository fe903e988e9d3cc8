"""A Winograd convolution of single output rows in assembly, for cores with the DSP extension.

Both sides of the products (`arm_winograd_products.py`), whose channels are those of three rows of
inputs: four tiles times two output channels, or two tiles times four, weights and inputs swapped.
"""

import itertools

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted, requantized
from tinyc.targets.intrinsics.arm_winograd_input import braced
from tinyc.targets.intrinsics.winograd import Form

BLOCK = 8  # tiles times output channels
OFFSET = 256  # is added to inputs, so that no lower halfword of 4 d - d' is negative
POINTERS = ("r0", "r1", "r2", "r3", "r11", "r12")  # to the pixels of a tile


def row_input(form: Form, channels: int, groups: int, tiles: int) -> Microkernel:
    """`tinyc_winograd_row<m>_input_...(x, zeros, at, last, width, count, u)`: tiles of one row.

    x          the row's first pixel, `channels` bytes each, `width` of them
    zeros      a pixel of zero points, for columns outside
    at, last   columns of x where the first and the last tile begin; they lie m columns apart, the
               last one perhaps fewer
    count      tiles, up to `tiles`
    u          [group of 4 channels][position][half][tile], words of two channels
    """
    name = f"tinyc_winograd{form.name}_input_c{channels}x{groups}_{tiles}"
    text = INPUT.format(
        name=name, n=form.points, m=form.outputs, matrix=braced(form.input), channels=channels,
        k=4 * groups, offset=OFFSET, tiles=tiles,
        assembly=quoted(_input(form, channels, groups, tiles)),
    )  # fmt: skip
    return Microkernel(name, text)


def row_output(form: Form, tiles: int, channels: int, low: int, high: int) -> Microkernel:
    """`tinyc_winograd_row<m>_output_...(sums, y, last, parameters, zero_point)`.

    tiles       of a block
    channels    bytes from pixel to pixel of y
    last        bytes from the first tile in y to the last one, as of `row_input`
    parameters  of the block's channels: biases times the form's factor, then multipliers
    """
    name = f"tinyc_winograd{form.name}_output_{tiles}_c{channels}{bounds_suffix(low, high)}"
    count = BLOCK // tiles
    text = OUTPUT.format(
        name=name, m=form.outputs, n=form.points, matrix=braced(form.output), channels=channels,
        count=count, factor=form.bias_factor, low=low, high=high, block=BLOCK,
        tile=_steps(tiles)[0], channel=_steps(tiles)[1],
        assembly=quoted(_output(form, tiles, channels, low, high)),
    )  # fmt: skip
    return Microkernel(name, text)


INPUT = """\
/* Tiles of {n} columns of {k} int8 channels, transformed, each into its lane of u. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *x __attribute__((unused)), const void *zeros __attribute__((unused)),
    int32_t at __attribute__((unused)), int32_t last __attribute__((unused)),
    int32_t width __attribute__((unused)), int32_t count __attribute__((unused)),
    void *u __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *x, const void *zeros, int32_t at, int32_t last, int32_t width,
    int32_t count, void *u) {{
  static const int8_t matrix[{n}][{n}] = {matrix};
  for (int32_t tile = 0; tile < count; ++tile) {{
    const int32_t first = tinyc_min(at + (tile * {m}), last);
    for (int32_t p = 0; p < {n}; ++p) {{
      for (int32_t k = 0; k < {k}; ++k) {{
        int32_t sum = 0;
        for (int32_t i = first; i < first + {n}; ++i) {{
          const int8_t *const pixel = (i >= 0) && (i < width)
              ? (const int8_t *)x + (i * {channels}) : (const int8_t *)zeros;
          sum += matrix[p][i - first] * (pixel[k] + {offset});
        }}
        ((int16_t *)u)[(((((((k / 4) * {n}) + p) * 2) + (k % 2)) * {tiles} + tile) * 2)
            + ((k / 2) % 2)] = (int16_t)sum;
      }}
    }}
  }}
}}
#endif
"""

OUTPUT = """\
/* {m} outputs of each tile of a row and of {count} channels from their {n} sums. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *sums __attribute__((unused)), int8_t *y __attribute__((unused)),
    int32_t last __attribute__((unused)), const int32_t *parameters __attribute__((unused)),
    int32_t zero_point __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *sums, int8_t *y, int32_t last, const int32_t *parameters,
    int32_t zero_point) {{
  static const int8_t matrix[{m}][{n}] = {matrix};
  const int32_t step = {m} * {channels};
  for (int32_t channel = 0; channel < {count}; ++channel) {{
    for (int32_t tile = 0; tile * step < last + step; ++tile) {{
      int8_t *const to = &y[tinyc_min(tile * step, last) + channel];
      const uint32_t *const values = (const uint32_t *)sums + (tile * {tile})
          + (channel * {channel});
      for (int32_t i = 0; i < {m}; ++i) {{
        uint32_t total = (uint32_t)matrix[i][1] * (uint32_t)parameters[channel];
        for (int32_t p = 0; p < {n}; ++p) {{
          total += (uint32_t)matrix[i][p] * values[p * {block}];
        }}
        const int32_t value = tinyc_requantize((int32_t)total / {factor},
            parameters[{count} + channel], zero_point);
        to[i * {channels}] = (int8_t)tinyc_min(tinyc_max(value, {low}), {high});
      }}
    }}
  }}
}}
#endif
"""


def _steps(tiles: int) -> tuple[int, int]:
    """Words of the sums from tile to tile and from channel to channel."""
    return (2, 1) if tiles == 4 else (1, 2)


def _input(form: Form, channels: int, groups: int, tiles: int) -> list[str]:
    """POINTERS, lr u; s0 end of u, s1 x, s2 zeros, s3 column, s4 last, s5 width, s6 count, s7 u."""
    n, group_bytes = form.points, form.points * 2 * tiles * 4
    lines = ["push.w {r4-r11, lr}"]
    lines += [f"vmov s{1 + i}, r{i}" for i in range(4)]
    lines += ["ldr.w r4, [sp, #36]", "ldr.w r5, [sp, #40]", "ldr.w lr, [sp, #44]"]
    lines += ["vmov s5, r4", "vmov s6, r5", "mov.w r4, r2", ".balign 4", "1:"]
    # r4 column, r5 x, r6 zeros, r7 width
    lines += ["vmov s3, r4", "vmov s7, lr", "vmov r5, s1", "vmov r6, s2", "vmov r7, s5"]
    lines += [f"movw r8, #{channels}", "mla r0, r4, r8, r5"]
    lines += [f"add.w {to}, {one}, r8" for one, to in itertools.pairwise(POINTERS)]
    lines += [f"movw r8, #{groups * group_bytes}", "add.w r8, r8, lr", "vmov s0, r8"]
    lines += [f"add.w r9, r4, #{n}", "cmp.w r4, #0", "it ge", "cmpge.w r7, r9", "bge.w 2f"]
    for pointer in POINTERS:
        lines += ["cmp.w r4, r7", "it hs", f"movhs.w {pointer}, r6", "add.w r4, r4, #1"]
    lines += [".balign 4", "2:"]
    for half, (move, rotation) in enumerate((("", ""), (", #4", ", ror #8"))):
        values = [f"r{4 + i}" for i in range(n)]
        lines += [f"ldr.w {r}, [{p}]{move}" for r, p in zip(values, POINTERS, strict=True)]
        lines += [f"mov.w r10, #0x{OFFSET << 16 | OFFSET:08x}"]
        lines += [f"sxtab16 {r}, r10, {r}{rotation}" for r in values]
        lines += TRANSFORM
        for p, r in enumerate(RESULTS):
            lines.append(f"str.w {r}, [lr, #{4 * tiles * (2 * p + half)}]")
    lines += [f"add.w lr, lr, #{group_bytes}", "vmov r4, s0", "cmp.w lr, r4", "bne.w 2b"]
    lines += ["vmov r5, s6", "subs.w r5, r5, #1", "it eq", "popeq.w {r4-r11, pc}"]
    lines += ["vmov s6, r5", "vmov r4, s3", "vmov r5, s4", f"add.w r4, r4, #{form.outputs}"]
    lines += ["cmp.w r4, r5", "it gt", "movgt.w r4, r5", "vmov lr, s7", "add.w lr, lr, #4"]
    return [*lines, "b.w 1b"]


TRANSFORM = [  # F4's input matrix by r4 to r9; r10 is free
    "ssub16 r10, r8, r6",  # d4 - d2
    "rsb.w r4, r6, r4, lsl #2",
    "rsb.w r6, r8, r6, lsl #2",  # 4 d2 - d4
    "ssub16 r4, r4, r6",  # 4 d0 - d2 - (4 d2 - d4)
    "ssub16 r8, r7, r5",
    "rsb.w r9, r9, r7, lsl #2",
    "rsb.w r5, r7, r5, lsl #2",  # 4 d1 - d3
    "ssub16 r9, r5, r9",  # 4 d1 - d3 - (4 d3 - d5)
    "sadd16 r8, r8, r8",  # 2 (d3 - d1)
    "add.w r7, r6, r5",
    "ssub16 r6, r6, r5",
    "sadd16 r5, r10, r8",
    "ssub16 r8, r10, r8",
]
RESULTS = ("r4", "r7", "r6", "r5", "r8", "r9")


OUTPUT_TRANSFORM = [  # F4_ROW's output matrix by r2 to r7
    "add.w r8, r3, r4",
    "sub.w r3, r3, r4",  # d = m1 - m2
    "add.w r4, r5, r6",
    "sub.w r5, r5, r6",  # e = m3 - m4
    "add.w r2, r2, r8",
    "add.w r2, r2, r4",
    "add.w r6, r3, r5, lsl #1",  # d + 2 e
    "add.w r8, r8, r4, lsl #2",
    "add.w r5, r5, r7",
    "add.w r5, r3, r5, lsl #3",  # d + 8 (e + m5)
]
OUTPUTS = ("r2", "r6", "r8", "r5")


def _output(form: Form, tiles: int, channels: int, low: int, high: int) -> list[str]:
    """r0 sums, r1 last tile, r9 reciprocal, r10 multiplier, r11 zero point, r12 bias, lr tile.

    SMMULR by round(2^32 / 24), which is off by 1/3, divides multiples of 24 in int32 exactly.
    s0 sums, s1 y, s2 last, s3 parameters: of the channel; s4 channels to do.
    """
    count, (tile_words, channel_words) = BLOCK // tiles, _steps(tiles)
    lines = ["push.w {r4-r11, lr}", "ldr.w r11, [sp, #36]"]
    lines += ["vmov s0, r0", "vmov s2, r2", "vmov s3, r3", f"mov.w r4, #{count}", "vmov s4, r4"]
    reciprocal = round((1 << 32) / form.bias_factor)
    lines += [f"movw r9, #{reciprocal & 0xFFFF}", f"movt r9, #{reciprocal >> 16}"]
    lines += ["mov.w lr, r1", ".balign 4", "1:"]
    lines += ["vmov s1, lr", "vmov r3, s3", "vmov r1, s2", "add.w r1, r1, lr"]
    lines += [f"ldr.w r10, [r3, #{4 * count}]", "ldr.w r12, [r3], #4", "vmov s3, r3"]
    lines += [".balign 4", "2:"]
    lines += [f"ldr.w r{2 + p}, [r0, #{4 * BLOCK * p}]" for p in range(form.points)]
    lines += ["add.w r3, r3, r12", *OUTPUT_TRANSFORM]
    for column, r in enumerate(OUTPUTS):
        lines.append(f"smmulr {r}, {r}, r9")
        lines += requantized(r, "r10", "r11", low, high)
        lines.append(f"strb.w {r}, [lr, #{column * channels}]")
    step = form.outputs * channels
    lines += ["cmp.w lr, r1", "beq.w 3f", f"addw lr, lr, #{step}", "cmp.w lr, r1"]
    lines += ["it hi", "movhi.w lr, r1", f"add.w r0, r0, #{4 * tile_words}", "b.w 2b"]
    lines += [".balign 4", "3:", "vmov r2, s4", "subs.w r2, r2, #1", "it eq"]
    lines += ["popeq.w {r4-r11, pc}", "vmov s4, r2", "vmov r0, s0", "vmov lr, s1"]
    lines += [f"add.w r0, r0, #{4 * channel_words}", "vmov s0, r0", "add.w lr, lr, #1"]
    return [*lines, "b.w 1b"]
