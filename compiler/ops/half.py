"""C functions between float and its halves, float16 (IEEE 754 binary16) and bfloat16.

A half is stored as its bits in a uint16_t: no compiler needs to know the type. Conversions to a
half round once, half to even; that of a double goes through a float whose last bit says whether
anything was cut off ("round to odd"), which never changes how the half is rounded.
"""

from typing import Any

from tinyc.compiler.graph import DType
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import HALVES, computed_type
from tinyc.compiler.ops.kernel import Microkernel

FROM_FLOAT16 = Microkernel(
    "tinyc_from_float16",
    """\
/* The value of a float16, by its bits. */
static inline float tinyc_from_float16(uint16_t bits) {
  const uint32_t sign = ((uint32_t)bits & 0x8000u) << 16;
  const uint32_t rest = (uint32_t)bits & 0x7fffu;
  const float tiny = (float)rest * (1.0f / 16777216.0f); /* below 2^-14: multiples of 2^-24 */
  uint32_t word;
  memcpy(&word, &tiny, sizeof word);
  if (rest >= 0x0400u) {
    word = (rest << 13) + ((rest >= 0x7c00u) ? 0x70000000u : 0x38000000u);
  }
  word |= sign;
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}
""",
)
TO_FLOAT16 = Microkernel(
    "tinyc_to_float16",
    """\
/* The bits of the nearest float16, half to even. */
static inline uint16_t tinyc_to_float16(float value) {
  uint32_t word;
  memcpy(&word, &value, sizeof word);
  const uint32_t sign = (word >> 16) & 0x8000u;
  const uint32_t rest = word & 0x7fffffffu;
  uint32_t half = 0u;
  if (rest > 0x7f800000u) {
    half = 0x7e00u;
  } else if (rest >= 0x47800000u) { /* 2^16 */
    half = 0x7c00u;
  } else if (rest >= 0x38800000u) { /* 2^-14 */
    half = (rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13;
  } else if (rest > 0x33000000u) { /* 2^-25: multiples of 2^-24 are left */
    const uint32_t digits = (rest & 0x7fffffu) | 0x800000u;
    const uint32_t shift = 126u - (rest >> 23);
    half = (digits + (1u << (shift - 1u)) - 1u + ((digits >> shift) & 1u)) >> shift;
  }
  return (uint16_t)(sign | half);
}
""",
)
FROM_BFLOAT16 = Microkernel(
    "tinyc_from_bfloat16",
    """\
/* The value of a bfloat16, by its bits: the upper half of a float. */
static inline float tinyc_from_bfloat16(uint16_t bits) {
  const uint32_t word = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}
""",
)
TO_BFLOAT16 = Microkernel(
    "tinyc_to_bfloat16",
    """\
/* The bits of the nearest bfloat16, half to even. */
static inline uint16_t tinyc_to_bfloat16(float value) {
  uint32_t word;
  memcpy(&word, &value, sizeof word);
  if ((word & 0x7fffffffu) > 0x7f800000u) {
    return (uint16_t)((word >> 16) | 0x40u);
  }
  return (uint16_t)((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
}
""",
)
ODD_FLOAT = Microkernel(
    "tinyc_odd_float",
    """\
/* A double as the float towards zero from it, the last bit set where that is not exact. */
static inline float tinyc_odd_float(double exact) {
  float value = (float)exact;
  if (isnan(exact) || (double)value == exact) {
    return value;
  }
  uint32_t word;
  memcpy(&word, &value, sizeof word);
  word -= (fabs((double)value) > fabs(exact)) ? 1u : 0u;
  word |= 1u;
  memcpy(&value, &word, sizeof value);
  return value;
}
""",
)
FROM = {DType.FLOAT16: FROM_FLOAT16, DType.BFLOAT16: FROM_BFLOAT16}
TO = {DType.FLOAT16: TO_FLOAT16, DType.BFLOAT16: TO_BFLOAT16}


def widened(value: Any, dtype: DType) -> Any:
    """A loaded value in the type that it is computed in."""
    return loops.call(FROM[dtype].name, value, dtype="float32") if dtype in HALVES else value


def narrowed(value: Any, source: DType, dtype: DType) -> Any:
    """A computed value of type `source` as it is stored: rounded, where that is a half."""
    if dtype not in HALVES:
        return value
    if source == DType.FLOAT64:
        value = loops.call(ODD_FLOAT.name, value, dtype="float32")
    return loops.call(TO[dtype].name, value.astype("float32"), dtype=str(dtype))


def conversions(x: DType, y: DType) -> tuple[Microkernel, ...]:
    """The C functions of `widened` from x and `narrowed` to y."""
    odd = (ODD_FLOAT,) if y in HALVES and computed_type(x) == DType.FLOAT64 else ()
    return (*((FROM[x],) if x in HALVES else ()), *odd, *((TO[y],) if y in HALVES else ()))
