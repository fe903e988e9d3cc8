"""Blocks of a matrix product with two pixels in a register, for RISC-V cores without SIMD.

x = a0 + (a1 << 16) holds a value of two pixels, so that x * w is a product of both. Of the sum T
of four such products the halfwords are those sums, exactly, when no sum leaves 16 bits; with
T + 0x8000 the low one lies in 0..65535 and the high one is T >> 16 (arithmetic). Over all groups

    R = sum of T mod 2^32, F = sum of T >> 16: sum of a1 * w = F, sum of a0 * w = R - (F << 16)

less the 0x8000 of every group. 11 instructions for 8 products. Sums of four stay in 16 bits where
their weights' absolute values add up to 255 at most; what a weight has above that goes to a list
of extra products, which are groups of their own.

A block is 6 pixels times all output channels, two channels at a time, in 28 registers. Its pixels
lie packed, `LANES` words for every k. Stream of weights (little-endian):

    header:            pairs of channels, groups, the bounds of `doubled.py` (int32)
    each pair n0, n1:  bias n0, bias n1 (int32);  for every k  n0 n1 (int8), K padded to 4;
                       for n0, then n1: 4 * number of extras (int32), each offset of k's words
                       (uint16), weight (int8), an unused byte; doubled multiplier (uint32)
"""

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.doubled import stored_doubled
from tinyc.targets.intrinsics.riscv_assembly import GUARD, REGISTERS, framed, quoted, requantized

LANES = 3  # words of two pixels
PIXELS = 2 * LANES
GROUP = 4  # products that are summed in halfwords
MOST_ABSOLUTE = 255  # 128 * 255 < 2^15
EXTRA = np.dtype([("offset", "<u2"), ("weight", "<i2")])
MOST_PRODUCTS = 4096  # keeps an extra's offset in 16 bits


def packed_stream(
    weights: Array,
    bias: Array,
    doubled: Array,
    bounds: list[int],
    multiple: int = GROUP,
) -> Array:
    """The stream of the module's text; weights [channels, K] whole numbers, channels even.

    multiple  of GROUP, that K is padded to
    """
    channels, products = weights.shape
    whole = np.zeros((channels, -(-products // multiple) * multiple), np.int64)
    whole[:, :products] = weights
    kept = within_halfwords(whole, GROUP)
    extra = whole - kept
    header = [channels // 2, whole.shape[1] // GROUP, *bounds]
    parts = [np.array(header, "<i4").tobytes()]
    for n in range(0, channels, 2):
        parts.append(bias[n : n + 2].astype("<i4").tobytes())
        parts.append(kept[n : n + 2].T.astype(np.int8).tobytes())
        for row, multiplier in zip(extra[n : n + 2], doubled[n : n + 2], strict=True):
            listed = [(4 * LANES * k, row[k]) for k in np.flatnonzero(row).tolist()]
            parts.append(np.array([4 * len(listed)], "<i4").tobytes())
            parts.append(np.array(listed, EXTRA).tobytes())
            parts.append(multiplier.tobytes())
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def within_halfwords(weights: Array, group: int) -> Array:
    """The weights with the largest of a group made smaller until the group's sum stays in reach."""
    groups = weights.reshape(-1, group).copy()
    for _ in range(group):
        excess = np.maximum(np.abs(groups).sum(axis=1) - MOST_ABSOLUTE, 0)
        rows, largest = np.arange(len(groups)), np.abs(groups).argmax(axis=1)
        value = groups[rows, largest]
        groups[rows, largest] -= np.sign(value) * np.minimum(np.abs(value), excess)
    return np.asarray(groups.reshape(weights.shape))


def gemm(unroll: int) -> Microkernel:
    """`tinyc_lane_gemm(lanes, stream, y, stride, last)`: every channel of up to six pixels.

    y, stride, last  the first pixel's first output, bytes from pixel to pixel, the last pixel's
    unroll           groups in a turn of the loop; divides the stream's groups
    """
    name = "tinyc_lane_gemm" + (f"_{unroll}" if unroll > 1 else "")
    text = TEXT.format(name=name, guard=GUARD, assembly=quoted(_assembly(unroll)))
    return Microkernel(name, text, (stored_doubled(), Microkernel("tinyc_lane", LANE)))


LANE = """\
/* The value of one of two pixels in a word. */
static inline int32_t tinyc_lane(int32_t word, int32_t pixel) {
  const int32_t low = ((word & 0xffff) ^ 0x8000) - 0x8000;
  return (pixel == 0) ? low : ((word - low) >> 16);
}
"""
TEXT = """\
/* Six pixels, two in a word, times all channels of the stream; products are summed in halfwords. */
#if {guard}
__attribute__((naked, noinline)) static void {name}(
    const void *lanes __attribute__((unused)), const int8_t *stream __attribute__((unused)),
    int8_t *y __attribute__((unused)), int32_t stride __attribute__((unused)),
    const int8_t *last __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *lanes, const int8_t *stream, int8_t *y, int32_t stride,
    const int8_t *last) {{
  int32_t header[5];
  memcpy(header, stream, sizeof header);
  stream += sizeof header;
  for (int32_t pair = 0; pair < header[0]; ++pair) {{
    const int8_t *const weights = &stream[8];
    const int8_t *extras = &weights[8 * header[1]];
    for (int32_t n = 0; n < 2; ++n) {{
      int32_t bias;
      int32_t extra_bytes;
      uint32_t doubled;
      memcpy(&bias, &stream[4 * n], 4u);
      memcpy(&extra_bytes, extras, 4u);
      extras += 4;
      memcpy(&doubled, &extras[extra_bytes], 4u);
      int8_t *place = &y[(2 * pair) + n];
      for (int32_t p = 0;; ++p) {{
        const int32_t *const words = (const int32_t *)lanes + (p / 2);
        int32_t acc = bias;
        for (int32_t k = 0; k < 4 * header[1]; ++k) {{
          acc += tinyc_lane(words[3 * k], p % 2) * weights[(2 * k) + n];
        }}
        for (int32_t e = 0; e < extra_bytes; e += 4) {{
          uint16_t offset;
          memcpy(&offset, &extras[e], 2u);
          acc += tinyc_lane(words[offset / 4], p % 2) * extras[e + 2];
        }}
        *place = tinyc_stored_doubled(acc, doubled, &header[2]);
        if (place == &last[(2 * pair) + n]) {{
          break;
        }}
        place += stride;
      }}
      extras += extra_bytes + 4;
    }}
    stream = extras;
  }}
}}
#endif
"""

Y, STRIDE, TO_LAST, BASE, END, END_Y, HALVES, BOUNDS = range(8)  # words of the frame
FRAME_WORDS = BOUNDS + 3


def _assembly(unroll: int) -> list[str]:
    """The naked function: a0 lanes, a1 stream, a2 y, a3 stride, a4 last."""
    free = iter(REGISTERS)
    sums = [next(free) for _ in range(2 * LANES)]  # T, [channel][lane]
    x = [next(free) for _ in range(LANES)]
    w = [next(free) for _ in range(2)]
    total = [next(free) for _ in range(2 * LANES)]  # R
    high = [next(free) for _ in range(2 * LANES)]  # F
    product, half, at, stream, end = (next(free) for _ in range(5))

    def group(k: int) -> list[str]:
        lines = []
        for i in range(GROUP):
            lines += [f"lw {v}, {4 * (LANES * (k + i) + n)}({at})" for n, v in enumerate(x)]
            lines += [f"lb {v}, {2 * (k + i) + n}({stream})" for n, v in enumerate(w)]
            for n, t in enumerate(sums):
                operands = f"{x[n % LANES]}, {w[n // LANES]}"
                if i == 0:
                    lines += [f"mul {t}, {operands}", f"add {t}, {t}, {half}"]
                else:
                    lines += [f"mul {product}, {operands}", f"add {t}, {t}, {product}"]
        for t, r, f in zip(sums, total, high, strict=True):
            lines += [f"add {r}, {r}, {t}", f"srai {t}, {t}, 16", f"add {f}, {f}, {t}"]
        return lines

    lines = [
        "sub a4, a4, a2",
        *(f"sw a{2 + i}, {4 * place}(sp)" for i, place in enumerate((Y, STRIDE, TO_LAST))),
        f"sw a0, {4 * BASE}(sp)",
        "lw a5, 0(a1)",
        "slli a5, a5, 1",
        "add a5, a5, a2",
        f"sw a5, {4 * END_Y}(sp)",
        *(
            line
            for i in range(3)
            for line in (f"lw a5, {8 + 4 * i}(a1)", f"sw a5, {4 * (BOUNDS + i)}(sp)")
        ),
        "lw a2, 4(a1)",
        f"li a4, {4 * LANES * GROUP}",
        "mul a4, a4, a2",
        "slli a2, a2, 15",  # the 0x8000 of all groups
        "add a4, a4, a0",
        f"sw a2, {4 * HALVES}(sp)",
        f"sw a4, {4 * END}(sp)",
        f"addi {stream}, a1, 20",
        f"lui {half}, 8",
        "1:",
        f"lw {high[0]}, 0({stream})",
        f"lw {high[LANES]}, 4({stream})",
        f"lw {product}, {4 * HALVES}(sp)",
        f"lw {at}, {4 * BASE}(sp)",
        f"lw {end}, {4 * END}(sp)",
        f"addi {stream}, {stream}, 8",
    ]
    for n in range(0, 2 * LANES, LANES):
        lines += [
            f"slli {total[n]}, {high[n]}, 16",
            f"sub {total[n]}, {total[n]}, {product}",
            f"add {total[n]}, {total[n]}, {high[n]}",
        ]
        for i in range(n + 1, n + LANES):
            lines += [f"mv {total[i]}, {total[n]}", f"mv {high[i]}, {high[n]}"]
    lines += [
        ".balign 4",
        "2:",
        *(line for g in range(unroll) for line in group(g * GROUP)),
        f"addi {at}, {at}, {4 * LANES * GROUP * unroll}",
        f"addi {stream}, {stream}, {2 * GROUP * unroll}",
        f"bne {at}, {end}, 2b",
        f"lw {at}, {4 * BASE}(sp)",
    ]
    for n, v in enumerate(w):
        mine = slice(n * LANES, (n + 1) * LANES)
        lines += [
            f"lw {end}, 0({stream})",
            f"addi {stream}, {stream}, 4",
            f"beqz {end}, 4f",
            f"add {end}, {end}, {stream}",
            "3:",
            f"lhu {product}, 0({stream})",
            f"lb {w[1]}, 2({stream})",
            f"add {product}, {product}, {at}",
            *(f"lw {value}, {4 * i}({product})" for i, value in enumerate(x)),
            f"addi {stream}, {stream}, 4",
        ]
        for t, value, r, f in zip(sums[:LANES], x, total[mine], high[mine], strict=True):
            lines += [
                f"mul {t}, {value}, {w[1]}",
                f"add {r}, {r}, {t}",
                f"add {t}, {t}, {half}",
                f"srai {t}, {t}, 16",
                f"add {f}, {f}, {t}",
            ]
        lines += [f"bne {stream}, {end}, 3b", "4:"]
        lines += [f"lw {v}, 0({stream})", f"addi {stream}, {stream}, 4"]
    place, stride, last = x
    bounds, scaled = (sums[0], sums[1], sums[2]), sums[3]
    lines += [
        f"lw {place}, {4 * Y}(sp)",
        f"lw {last}, {4 * TO_LAST}(sp)",
        f"lw {stride}, {4 * STRIDE}(sp)",
        f"add {last}, {last}, {place}",
        *(f"lw {b}, {4 * (BOUNDS + i)}(sp)" for i, b in enumerate(bounds)),
    ]
    for r, f in zip(total, high, strict=True):
        lines += [f"slli {scaled}, {f}, 16", f"sub {r}, {r}, {scaled}"]
    for pixel in range(PIXELS):
        for n in range(2):
            acc = (total, high)[pixel % 2][n * LANES + pixel // 2]
            lines += requantized(acc, w[n], bounds, scaled)
            lines.append(f"sb {acc}, {n}({place})")
        if pixel + 1 < PIXELS:
            lines += [f"beq {place}, {last}, 5f", f"add {place}, {place}, {stride}"]
    lines += [
        "5:",
        f"lw {place}, {4 * Y}(sp)",
        f"lw {last}, {4 * END_Y}(sp)",
        f"addi {place}, {place}, 2",
        f"sw {place}, {4 * Y}(sp)",
        f"bne {place}, {last}, 1b",
    ]
    return framed(lines, FRAME_WORDS)
