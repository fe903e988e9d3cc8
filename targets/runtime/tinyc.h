/* tinyc.h - what every generated model shares. No state, no allocation.
 *
 * SPDX-License-Identifier: 0BSD
 *
 * Known deviations from strictly conforming C, all of them here:
 * - a byte of the arena is read as a wider type; the memory plan keeps every buffer aligned;
 * - `>>` of a negative number is arithmetic; the assertion below checks it.
 */
#ifndef TINYC_H
#define TINYC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Kernels stay functions of their own, so that a profile can name them. */
#if defined(__GNUC__)
#define TINYC_KERNEL static __attribute__((noinline))
#else
#define TINYC_KERNEL static
#endif

/* A kernel of several layers stays one function: gcc would make a copy for each one's arguments. */
#if defined(__GNUC__) && !defined(__clang__)
#define TINYC_SHARED_KERNEL TINYC_KERNEL __attribute__((noclone))
#else
#define TINYC_SHARED_KERNEL TINYC_KERNEL
#endif

/* A loop over the rows of several layers; its kernels' calls are those of the run function. */
#if defined(__GNUC__)
#define TINYC_STREAM static inline __attribute__((always_inline))
#else
#define TINYC_STREAM static inline
#endif

/* A function that several places call, and models without them do not have. */
#if defined(__GNUC__)
#define TINYC_HELPER static __attribute__((noinline, unused))
#else
#define TINYC_HELPER static inline
#endif

_Static_assert((-1 >> 1) == -1, "tinyc needs an arithmetic right shift");

/* Where a tensor would begin whose byte `bytes` lies at the beginning of a window.
 * Only what is in the window may be read or written. */
static inline void *tinyc_base(void *window, int32_t bytes) {
  return (void *)((uintptr_t)window - (uintptr_t)bytes);
}

/* The smaller of two numbers. */
static inline int32_t tinyc_min(int32_t a, int32_t b) {
  return (a < b) ? a : b;
}

/* The larger of two numbers. */
static inline int32_t tinyc_max(int32_t a, int32_t b) {
  return (a > b) ? a : b;
}

/* A word of memory that is known to be aligned. */
static inline uint32_t tinyc_load_aligned(const uint8_t *from) {
  uint32_t word;
#if defined(__GNUC__)
  memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
#else
  memcpy(&word, from, sizeof word);
#endif
  return word;
}

static inline void tinyc_store_aligned(uint8_t *to, uint32_t word) {
#if defined(__GNUC__)
  memcpy(__builtin_assume_aligned(to, 4), &word, sizeof word);
#else
  memcpy(to, &word, sizeof word);
#endif
}

/* Moves bytes down to `to`, where they may overlap; both places are multiples of 4. */
TINYC_HELPER void tinyc_move_down(uint8_t *to, const uint8_t *from, int32_t bytes) {
  for (; bytes >= 32; bytes -= 32) {
    const uint32_t a = tinyc_load_aligned(&from[0]), b = tinyc_load_aligned(&from[4]);
    const uint32_t c = tinyc_load_aligned(&from[8]), d = tinyc_load_aligned(&from[12]);
    tinyc_store_aligned(&to[0], a);
    tinyc_store_aligned(&to[4], b);
    tinyc_store_aligned(&to[8], c);
    tinyc_store_aligned(&to[12], d);
    const uint32_t e = tinyc_load_aligned(&from[16]), f = tinyc_load_aligned(&from[20]);
    const uint32_t g = tinyc_load_aligned(&from[24]), h = tinyc_load_aligned(&from[28]);
    tinyc_store_aligned(&to[16], e);
    tinyc_store_aligned(&to[20], f);
    tinyc_store_aligned(&to[24], g);
    tinyc_store_aligned(&to[28], h);
    from += 32;
    to += 32;
  }
  for (; bytes >= 4; bytes -= 4) {
    tinyc_store_aligned(to, tinyc_load_aligned(from));
    from += 4;
    to += 4;
  }
  while (bytes-- > 0) {
    *to++ = *from++;
  }
}

/* The same upwards; both places are those of the ends. */
TINYC_HELPER void tinyc_move_up(uint8_t *to, const uint8_t *from, int32_t bytes) {
  for (; bytes >= 16; bytes -= 16) {
    from -= 16;
    to -= 16;
    const uint32_t a = tinyc_load_aligned(&from[0]), b = tinyc_load_aligned(&from[4]);
    const uint32_t c = tinyc_load_aligned(&from[8]), d = tinyc_load_aligned(&from[12]);
    tinyc_store_aligned(&to[12], d);
    tinyc_store_aligned(&to[8], c);
    tinyc_store_aligned(&to[4], b);
    tinyc_store_aligned(&to[0], a);
  }
  for (; bytes >= 4; bytes -= 4) {
    from -= 4;
    to -= 4;
    tinyc_store_aligned(to, tinyc_load_aligned(from));
  }
  while (bytes-- > 0) {
    *--to = *--from;
  }
}

/* Moves the bytes oldest..end of a tensor to the beginning of its window, which holds those from
 * `first` on; the first byte that it holds then, a multiple of `alignment`. */
static inline int32_t tinyc_slide(uint8_t *window, int32_t first, int32_t oldest, int32_t end,
                                  int32_t alignment) {
  const int32_t start = tinyc_min(oldest, end) & -alignment;
  if (start > first && oldest < end) {
    tinyc_move_down(window, &window[start - first], end - start);
  }
  return tinyc_max(start, first);
}

/* The same from the end: bytes are counted from that of the tensor, and move to the window's. */
static inline int32_t tinyc_slide_up(uint8_t *window_end, int32_t first, int32_t oldest,
                                     int32_t end, int32_t alignment) {
  const int32_t start = tinyc_min(oldest, end) & -alignment;
  if (start > first && oldest < end) {
    tinyc_move_up(window_end, window_end - (start - first), end - start);
  }
  return tinyc_max(start, first);
}

/* zero_point + floor((acc * m + 2^31) / 2^32), 0 <= m < 2^31, |zero_point| < 2^16.
 * The narrow form of compiler/ops/fixed_point.py; needs a 32 x 32 -> 64 multiply. */
static inline int32_t tinyc_requantize(int32_t acc, int32_t m, int32_t zero_point) {
#if defined(__ARM_FEATURE_DSP)
  int32_t y;
  __asm__("smmlar %0, %1, %2, %3" : "=r"(y) : "r"(acc), "r"(m), "r"(zero_point));
  return y;
#else
  return (int32_t)(((int64_t)acc * m + INT64_C(0x80000000)) >> 32) + zero_point;
#endif
}

/* The value limited to an int8. */
static inline int32_t tinyc_saturate_int8(int32_t value) {
#if defined(__ARM_FEATURE_SAT)
  int32_t y;
  __asm__("ssat %0, #8, %1" : "=r"(y) : "r"(value));
  return y;
#else
  return tinyc_min(tinyc_max(value, -128), 127);
#endif
}

/* The whole number nearest to `value`, halves to the even one: rintf, without a call. What lies
 * beyond -2^17 to 2^17 becomes the end of that, NaN the lower one. A sum with 1.5 * 2^23 keeps no
 * bits below one, and counts steps of one in its lowest bits. */
static inline int32_t tinyc_nearest(float value) {
  const float above = (value > -131072.0f) ? value : -131072.0f;
  const float sum = ((above < 131072.0f) ? above : 131072.0f) + 12582912.0f;
  int32_t bits;
  memcpy(&bits, &sum, sizeof(bits));
  return bits - INT32_C(0x4b400000);
}

/* The same integers from 16-bit halves, for cores without a long multiply.
 * m16s = m16 | s << 16 with m = m16 << (16 - s), 0 < s <= 16. */
static inline int32_t tinyc_requantize16(int32_t acc, int32_t m16s, int32_t zero_point) {
  const uint32_t m16 = (uint32_t)m16s & 0xffffu;
  const uint32_t s = (uint32_t)m16s >> 16;
  const uint32_t low = (((uint32_t)acc & 0xffffu) * m16) >> 16;
  const uint32_t high = (uint32_t)(acc >> 16) * m16;
  return ((int32_t)(high + low + (1u << (s - 1u))) >> s) + zero_point;
}

/* zero_point + floor((acc * m + 2^(r-1)) / 2^r), saturated to int32; 1 <= r <= 62.
 * The wide form of compiler/ops/fixed_point.py, for scales of 0.5 and more. The 64-bit product
 * is built from 32-bit pieces, so that no core needs a library function for it. */
static inline int32_t tinyc_requantize_wide(int32_t acc, int32_t m, int32_t r, int32_t zero_point) {
  const uint32_t a = (acc < 0) ? 0u - (uint32_t)acc : (uint32_t)acc;
  const uint32_t b = (uint32_t)m;
  const uint32_t ll = (a & 0xffffu) * (b & 0xffffu);
  const uint32_t mid = (a >> 16) * (b & 0xffffu) + (ll >> 16);
  const uint32_t mid2 = (a & 0xffffu) * (b >> 16) + (mid & 0xffffu);
  uint32_t high = (a >> 16) * (b >> 16) + (mid >> 16) + (mid2 >> 16);
  uint32_t low = (mid2 << 16) | (ll & 0xffffu);
  const uint32_t s = (uint32_t)r;
  /* acc < 0: floor((-p + h) / 2^r) = -floor((p + 2^r - 1 - h) / 2^r) with h = 2^(r-1) */
  const uint32_t minus = (acc < 0) ? 1u : 0u;
  const uint32_t half_low = (s > 32u) ? 0u : (1u << (s - 1u));
  const uint32_t half_high = (s > 32u) ? (1u << (s - 33u)) : 0u;
  const uint32_t sum = low + half_low;
  high += half_high + ((sum < low) ? 1u : 0u);
  low = sum - minus;
  high -= (sum < minus) ? 1u : 0u;
  if (s >= 32u) {
    low = (s == 32u) ? high : (high >> (s - 32u));
    high = 0u;
  } else {
    low = (low >> s) | (high << (32u - s));
    high >>= s;
  }
  if (high != 0u || low > 0x3fffffffu) {
    low = 0x3fffffffu; /* far outside every stored type; the caller clamps */
  }
  return ((acc < 0) ? -(int32_t)low : (int32_t)low) + zero_point;
}

/* The same by the high word of the product, for 33 <= r <= 62; needs a 32 x 32 -> 64 multiply.
 * floor((acc * m + 2^(r-1)) / 2^r) = floor((floor(acc * m / 2^32) + 2^(r-33)) / 2^(r-32)) */
static inline int32_t tinyc_requantize_high(int32_t acc, int32_t m, int32_t r, int32_t zero_point) {
  const int32_t high = (int32_t)(((int64_t)acc * m) >> 32);
  return ((high + (INT32_C(1) << (r - 33))) >> (r - 32)) + zero_point;
}

/* zero_point + floor((acc * m + 2^(r-1)) / 2^r), saturated to int32; |acc| < 2^39, 0 <= m <= 2^23,
 * 1 <= r <= 62. The long form of compiler/ops/fixed_point.py, for accumulators of 64 bits. */
static inline int32_t tinyc_requantize_long(int64_t acc, int32_t m, int32_t r, int32_t zero_point) {
  const int64_t limit = 0x3fffffff; /* far outside every stored type; the caller clamps */
  int64_t y = (acc * m + (INT64_C(1) << (r - 1))) >> r;
  y = (y > limit) ? limit : y;
  y = (y < -limit) ? -limit : y;
  return (int32_t)y + zero_point;
}

/* floor(numerator / denominator), denominator > 0, on a core that divides. */
static inline uint32_t tinyc_divide(uint32_t numerator, uint32_t denominator) {
  return numerator / denominator;
}

/* The same without a divide instruction, by shifts and subtractions (long division in base 2). */
static inline uint32_t tinyc_divide_by_shifts(uint32_t numerator, uint32_t denominator) {
  uint32_t quotient = 0u;
  uint32_t rest = 0u;
  for (uint32_t bit = 32u; bit > 0u; --bit) {
    const uint32_t carry = rest >> 31;
    rest = (rest << 1) | ((numerator >> (bit - 1u)) & 1u);
    quotient <<= 1;
    if (carry != 0u || rest >= denominator) {
      rest -= denominator;
      quotient |= 1u;
    }
  }
  return quotient;
}

#endif /* TINYC_H */
