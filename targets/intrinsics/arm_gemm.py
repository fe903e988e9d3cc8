"""Blocks of a matrix product in assembly, for cores with the DSP extension.

A block is `pixels` rows of expanded values times all output channels, two channels at a time. The
compiler would spill: the 4x2 block lives in all 14 registers.

Expanded values, one word for two products, K padded to a multiple of 4:

    group g of 4 values:  pixels words (k0, k2), then pixels words (k1, k3), signed halfwords

Stream of weights, for every pair of channels (n0, n1):

    bias n0, bias n1 (int32);  for every group  n0k0 n1k0 n0k2 n1k2 | n0k1 n1k1 n0k3 n1k3 (int8);
    multiplier n0, multiplier n1 (int32, the narrow form of ops/fixed_point.py)

SXTB16 of such a word gives the pair of n0, and rotated by 8 that of n1. 17 cycles for 16 products
with 4 pixels: two chains of loads (4 and 2), two extensions, eight SMLAD.
"""

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted, requantized
from tinyc.targets.intrinsics.arm_dsp import dsp, extension

GROUP = 4  # values that are expanded together
MOST_UNROLLED_GROUPS = 8  # a shorter product is written out, a longer one is a loop
# Groups in a turn of the loop, 34 cycles each; its end takes 6. Against turns of 4 groups, on
# Cortex-M4: ResNet8 15.890 -> 15.522 M cycles, 97,600 -> 100,504 B of flash.
TURN_GROUPS = range(12, 3, -1)
BLOCKS = (4, 2, 1)  # pixels of a block: the wide one, and two for what is left


def packed_stream(weights: Array, bias: Array, multipliers: Array) -> Array:
    """The stream of the module's text; weights int8 [channels, K], channels even, K % 4 == 0."""
    channels, _ = weights.shape
    multipliers = np.broadcast_to(multipliers, (channels,))
    parts = []
    for n in range(0, channels, 2):
        pair = weights[n : n + 2].reshape(2, -1, GROUP).astype(np.int8)
        words = pair[:, :, [0, 2, 1, 3]].transpose(1, 2, 0)  # group, k0 k2 k1 k3, channel
        parts += [bias[n : n + 2].astype("<i4").tobytes(), words.tobytes()]
        parts.append(multipliers[n : n + 2].astype("<i4").tobytes())
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def expand(pixels: int, x_dtype: str) -> Microkernel:
    """`tinyc_expand_<pixels>(x[, stride], groups, block)`: bytes of pixels as expanded values."""
    even, odd = extension(x_dtype)
    prefix = "u" if x_dtype == "uint8" else ""
    lines = [
        "/* Pixels, `stride` bytes apart, as pairs of halfwords for tinyc_gemm. */",
        f"static inline void tinyc_expand_{prefix}{pixels}(const {x_dtype}_t *x,"
        f"{' int32_t stride,' if pixels > 1 else ''}",
        "    int32_t groups, void *block) {",
        "  uint32_t *pairs = (uint32_t *)block;",
        "  for (int32_t g = 0; g < groups; ++g) {",
    ]
    for p in range(pixels):
        place = "&x[g * 4]" if p == 0 else f"&x[(g * 4) + ({p} * stride)]"
        lines.append(f"    const uint32_t word_{p} = tinyc_load_word({place});")
    for half, name in enumerate((even, odd)):
        for p in range(pixels):
            lines.append(f"    pairs[{half * pixels + p}] = tinyc_{name}(word_{p});")
    lines += [f"    pairs += {2 * pixels};", "  }", "}"]
    name = f"tinyc_expand_{prefix}{pixels}"
    return Microkernel(name, "\n".join(lines), dsp("load_word", even, odd))


def gemm(pixels: int, groups: int, low: int, high: int) -> Microkernel:
    """`tinyc_gemm_...(block, stream, y, y_stride, end, zero_point)`: every channel of the pixels.

    y, y_stride  the first pixel's first output, and bytes from pixel to pixel
    end          behind the stream
    """
    name = f"tinyc_gemm_{pixels}x2_k{groups * GROUP}{bounds_suffix(low, high)}"
    text = TEXT.format(
        name=name,
        pixels=pixels,
        products=groups * GROUP,
        assembly=quoted(_assembly(pixels, groups, low, high)),
        groups=groups,
        low=low,
        high=high,
    )
    return Microkernel(name, text, dsp("smlad", "sxtb16", "sxtb16_ror8"))


TEXT = """\
/* {pixels} pixels of {products} expanded values times all channels of the stream, two a turn. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *block __attribute__((unused)), const int8_t *stream __attribute__((unused)),
    int8_t *y __attribute__((unused)), int32_t y_stride __attribute__((unused)),
    const int8_t *end __attribute__((unused)), int32_t zero_point __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *block, const int8_t *stream, int8_t *y, int32_t y_stride,
    const int8_t *end, int32_t zero_point) {{
  while (stream != end) {{
    int32_t bias[2];
    int32_t multipliers[2];
    memcpy(bias, stream, 8u);
    memcpy(multipliers, &stream[8 + (8 * {groups})], 8u);
    for (int32_t p = 0; p < {pixels}; ++p) {{
      const uint32_t *pairs = (const uint32_t *)block + p;
      int32_t acc_0 = bias[0];
      int32_t acc_1 = bias[1];
      for (int32_t step = 0; step < 2 * {groups}; ++step) {{
        uint32_t word;
        memcpy(&word, &stream[8 + (4 * step)], 4u);
        acc_0 = tinyc_smlad(pairs[{pixels} * step], tinyc_sxtb16(word), acc_0);
        acc_1 = tinyc_smlad(pairs[{pixels} * step], tinyc_sxtb16_ror8(word), acc_1);
      }}
      acc_0 = tinyc_requantize(acc_0, multipliers[0], zero_point);
      acc_1 = tinyc_requantize(acc_1, multipliers[1], zero_point);
      y[p * y_stride] = (int8_t)tinyc_min(tinyc_max(acc_0, {low}), {high});
      y[(p * y_stride) + 1] = (int8_t)tinyc_min(tinyc_max(acc_1, {low}), {high});
    }}
    stream += 16 + (8 * {groups});
    y += 2;
  }}
}}
#endif
"""


def _assembly(pixels: int, groups: int, low: int, high: int) -> list[str]:
    """The naked function: r0 block, r1 stream, r2 y, r3 stride; stack: end, zero point.

    s0 y of this pair, s1 end of the stream, s2 stride, s3 block, s4 zero point, s5 end of the
    block's loop. Accumulators r4 to r11, weights r2 and r3, values r12 and lr.
    """
    turn_groups = next((n for n in TURN_GROUPS if groups % n == 0), TURN_GROUPS[-1])
    turns, rest = divmod(groups, turn_groups) if groups > MOST_UNROLLED_GROUPS else (0, groups)
    group_bytes = 2 * pixels * 4
    loop_bytes = turns * turn_groups * group_bytes
    lines = [
        "push.w {r4-r11, lr}",
        "vmov s0, r2",
        "vmov s2, r3",
        "ldr.w r12, [sp, #36]",
        "vmov s1, r12",
        "ldr.w r12, [sp, #40]",
        "vmov s4, r12",
        "vmov s3, r0",
        f"movw r12, #{loop_bytes}",
        "add.w r12, r12, r0",
        "vmov s5, r12",
        ".balign 4",
        "1:",
        "ldr.w r4, [r1]",
        "ldr.w r5, [r1, #4]",
        "add.w r1, r1, #8",
    ]
    lines += [f"mov.w r{4 + 2 * p + n}, r{4 + n}" for p in range(1, pixels) for n in range(2)]
    if turns:
        lines += [".balign 4", "2:"]
        for g in range(turn_groups):
            lines += _group(pixels, g)
        lines += [
            f"addw r0, r0, #{turn_groups * group_bytes}",
            "vmov r12, s5",
            "cmp.w r0, r12",
            "bne.w 2b",
        ]
    for g in range(rest):
        lines += _group(pixels, g)
    lines += ["ldr.w r2, [r1]", "ldr.w r3, [r1, #4]", "add.w r1, r1, #8"]
    lines += ["vmov r12, s4", "vmov lr, s0", "vmov r0, s2"]
    for p in range(pixels):
        for n in range(2):
            acc = f"r{4 + 2 * p + n}"
            lines += requantized(acc, f"r{2 + n}", "r12", low, high)
            lines.append(f"strb.w {acc}, [lr, #{n}]")
        if p + 1 < pixels:
            lines.append("add.w lr, lr, r0")
    lines += ["vmov lr, s0", "add.w lr, lr, #2", "vmov s0, lr", "vmov r0, s3", "vmov r12, s1"]
    return [*lines, "cmp.w r1, r12", "bne.w 1b", "pop.w {r4-r11, pc}"]


def _group(pixels: int, group: int) -> list[str]:
    """Four products of every pixel and both channels."""
    lines = []
    for half in range(2):
        base = (group * 2 + half) * pixels * 4
        first = ["r12", "lr"][: min(pixels, 2)]
        lines += [f"ldr.w {x}, [r0, #{base + 4 * i}]" for i, x in enumerate(first)]
        lines += ["ldr.w r3, [r1], #4", "sxtb16 r2, r3", "sxtb16 r3, r3, ror #8"]
        for begin in range(0, pixels, 2):
            seen = ["r12", "lr"][: min(pixels - begin, 2)]
            if begin:
                lines += [f"ldr.w {x}, [r0, #{base + 4 * (begin + i)}]" for i, x in enumerate(seen)]
            for i, x in enumerate(seen):
                for n in range(2):
                    acc = f"r{4 + 2 * (begin + i) + n}"
                    lines.append(f"smlad {acc}, {x}, r{2 + n}, {acc}")
    return lines
