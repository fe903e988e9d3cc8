"""Sums of expanded activations: what weights of 4 bits, stored from 0 on, have too much of.

A group of activations is the words (x0, x2) and v = 256 * (x1, x3) + 127 - (x0, x2), so that

    257 * (x0 + x2) + (v1 + v3) = 256 * (x0 + x1 + x2 + x3) + 254
"""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_dsp import dsp


def window_sums() -> Microkernel:
    """The function of TEXT."""
    return Microkernel("tinyc_window_sums", TEXT, dsp("smlad"))


TEXT = """\
/* 256 * zero times the sum of the activations of every pixel of a block for tinyc_gemm.
 *
 * span, chunks  words of a half chunk, and chunks
 * taps, step    columns that a pixel reads, and from pixel to pixel */
static void tinyc_window_sums(const void *block, int32_t span, int32_t chunks, int32_t taps,
    int32_t step, int32_t pixels, int32_t zero, uint32_t *sums) {
  memset(sums, 0, (uint32_t)pixels * sizeof sums[0]);
  for (int32_t c = 0; c < span; ++c) {
    const uint32_t *pairs = (const uint32_t *)block + c;
    int32_t sum = -254 * chunks;
    for (int32_t n = 0; n < chunks; ++n) {
      sum = tinyc_smlad(pairs[0], 0x01010101u, sum);
      sum = tinyc_smlad(pairs[span], 0x00010001u, sum);
      pairs += 2 * span;
    }
    for (int32_t p = 0; p < pixels; ++p) {
      const int32_t tap = c - (p * step);
      sums[p] += ((tap >= 0) && (tap < taps)) ? (uint32_t)(zero * sum) : 0u;
    }
  }
}
"""
