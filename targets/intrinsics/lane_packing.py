"""Values of two pixels in a word, as the blocks of `riscv_gemm.py` read them."""

from tinyc.compiler.ops.kernel import Microkernel


def pack_pair() -> Microkernel:
    """`tinyc_pack_pair(a, b, count, lanes)`: the values of two pixels as every third word."""
    return Microkernel("tinyc_pack_pair", PACK_PAIR)


PACK_PAIR = """\
/* The values of two pixels, a + (b << 16), as every third word for tinyc_lane_gemm. */
static __attribute__((noinline)) void tinyc_pack_pair(const int8_t *a, const int8_t *b,
    int32_t count, void *lanes) {
  int32_t *words = (int32_t *)lanes;
  for (int32_t k = 0; k < count; ++k) {
    *words = a[k] + (b[k] * 65536);
    words += 3;
  }
}
"""


def pack_pixels() -> Microkernel:
    """`tinyc_pack_pixels(x, step, count, lanes)`: six pixels that lie `step` bytes apart."""
    return Microkernel("tinyc_pack_pixels", PACK_PIXELS)


PACK_PIXELS = """\
/* The values of six pixels, `step` bytes apart, two in a word for tinyc_lane_gemm. */
static __attribute__((noinline)) void tinyc_pack_pixels(const int8_t *x, int32_t step,
    int32_t count, void *lanes) {
  int32_t *words = (int32_t *)lanes;
  const int8_t *const x_1 = &x[step];
  const int8_t *const x_2 = &x[2 * step];
  const int8_t *const x_3 = &x[3 * step];
  const int8_t *const x_4 = &x[4 * step];
  const int8_t *const x_5 = &x[5 * step];
  for (int32_t k = 0; k < count; ++k) {
    words[0] = x[k] + (x_1[k] * 65536);
    words[1] = x_2[k] + (x_3[k] * 65536);
    words[2] = x_4[k] + (x_5[k] * 65536);
    words += 3;
  }
}
"""
