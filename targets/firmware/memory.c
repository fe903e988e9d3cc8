/* memcpy and its family for images without a C library: whole words where both ends allow it.
 * Compile with -fno-builtin, or the compiler turns each loop into a call of itself. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static int is_aligned(const void *a) {
  return ((uintptr_t)a & 3u) == 0u;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  uint8_t *d = to;
  const uint8_t *s = from;
  if (is_aligned(d) && is_aligned(s)) {
    uint32_t *dw = (uint32_t *)(void *)d;
    const uint32_t *sw = (const uint32_t *)(const void *)s;
    for (; bytes >= 16u; bytes -= 16u) {
      dw[0] = sw[0];
      dw[1] = sw[1];
      dw[2] = sw[2];
      dw[3] = sw[3];
      dw += 4;
      sw += 4;
    }
    for (; bytes >= 4u; bytes -= 4u) {
      *dw++ = *sw++;
    }
    d = (uint8_t *)dw;
    s = (const uint8_t *)sw;
  }
  for (; bytes > 0u; --bytes) {
    *d++ = *s++;
  }
  return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
  uint8_t *d = to;
  const uint8_t *s = from;
  if (d <= s) {
    for (; bytes > 0u; --bytes) {
      *d++ = *s++;
    }
    return to;
  }
  while (bytes > 0u) {
    --bytes;
    d[bytes] = s[bytes];
  }
  return to;
}

void *memset(void *to, int value, size_t bytes) {
  uint8_t *d = to;
  for (; bytes > 0u && !is_aligned(d); --bytes) {
    *d++ = (uint8_t)value;
  }
  const uint32_t word = (uint32_t)(uint8_t)value * 0x01010101u;
  uint32_t *dw = (uint32_t *)(void *)d;
  for (; bytes >= 4u; bytes -= 4u) {
    *dw++ = word;
  }
  d = (uint8_t *)dw;
  for (; bytes > 0u; --bytes) {
    *d++ = (uint8_t)value;
  }
  return to;
}

int memcmp(const void *a, const void *b, size_t bytes) {
  const uint8_t *x = a;
  const uint8_t *y = b;
  for (size_t i = 0; i < bytes; ++i) {
    if (x[i] != y[i]) {
      return (int)x[i] - (int)y[i];
    }
  }
  return 0;
}
