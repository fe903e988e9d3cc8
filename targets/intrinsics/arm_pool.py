"""Four bytes of a word at once, for pooling: sums of halfwords and maxima of bytes.

Each function stands beside its plain C twin. A sum of 256 int8 or 257 uint8 fits a halfword.
"""

from tinyc.compiler.ops.kernel import Microkernel

MOST_CELLS = 256  # -128 * 256 fits a signed halfword, 255 * 256 an unsigned one

ADD = """\
/* The halfwords of `sums` plus bytes {low} and {high} of x. */
static inline uint32_t tinyc_{name}(uint32_t sums, uint32_t x) {{
#if defined(__ARM_FEATURE_DSP)
  uint32_t y;
  __asm__("{instruction} %0, %1, %2{rotation}" : "=r"(y) : "r"(sums), "r"(x));
  return y;
#else
  const int32_t low = (int32_t)(sums & 0xffffu) + ({dtype})(x >> {low_shift});
  const int32_t high = (int32_t)(sums >> 16) + ({dtype})(x >> {high_shift});
  return ((uint32_t)low & 0xffffu) | ((uint32_t)high << 16);
#endif
}}
"""
EXTREME = """\
/* The {word} of the bytes of x and y, one by one. */
static inline uint32_t tinyc_{name}(uint32_t x, uint32_t y) {{
#if defined(__ARM_FEATURE_DSP)
  uint32_t z;
  __asm__("{subtract} %0, %1, %2\\n\\tsel %0, {order}"
          : "=&r"(z) : "r"(x), "r"(y) : "cc");
  return z;
#else
  uint32_t z = 0u;
  for (uint32_t shift = 0u; shift < 32u; shift += 8u) {{
    const {dtype} a = ({dtype})(x >> shift);
    const {dtype} b = ({dtype})(y >> shift);
    z |= (uint32_t)(uint8_t)((a {relation} b) ? a : b) << shift;
  }}
  return z;
#endif
}}
"""
HALF = """\
/* The {which} halfword of sums as a number. */
static inline int32_t tinyc_{name}(uint32_t sums) {{
  return ({dtype})(uint16_t)(sums{shift});
}}
"""
STORE_WORD = """\
/* Four bytes to any address. */
static inline void tinyc_store_word(void *p, uint32_t word) {
  memcpy(p, &word, 4u);
}
"""


def store_word() -> Microkernel:
    return Microkernel("tinyc_store_word", STORE_WORD)


def add_bytes(dtype: str) -> tuple[Microkernel, Microkernel]:
    """`sums = f(sums, x)` for bytes 0 and 2, and for bytes 1 and 3, of int8 or uint8."""
    instruction = "uxtab16" if dtype == "uint8" else "sxtab16"
    first = ADD.format(
        name=instruction, instruction=instruction, rotation="", dtype=f"{dtype}_t",
        low=0, high=2, low_shift=0, high_shift=16,
    )  # fmt: skip
    second = ADD.format(
        name=f"{instruction}_ror8", instruction=instruction, rotation=", ror #8",
        dtype=f"{dtype}_t", low=1, high=3, low_shift=8, high_shift=24,
    )  # fmt: skip
    names = (f"tinyc_{instruction}", f"tinyc_{instruction}_ror8")
    return Microkernel(names[0], first), Microkernel(names[1], second)


def halves(dtype: str) -> tuple[Microkernel, Microkernel]:
    """The two sums in a word, int32."""
    prefix, half = ("u", "uint16_t") if dtype == "uint8" else ("s", "int16_t")
    names = (f"{prefix}low", f"{prefix}high")
    texts = (
        HALF.format(which="low", name=names[0], dtype=half, shift=""),
        HALF.format(which="high", name=names[1], dtype=half, shift=" >> 16"),
    )
    low, high = (Microkernel(f"tinyc_{n}", t) for n, t in zip(names, texts, strict=True))
    return low, high


def extremes(dtype: str) -> tuple[Microkernel, Microkernel]:
    """The larger and the smaller bytes of two words of int8 or uint8."""
    prefix = "u" if dtype == "uint8" else "s"
    kinds = (("max", "larger", "%1, %2", ">"), ("min", "smaller", "%2, %1", "<"))
    larger, smaller = (
        Microkernel(
            f"tinyc_{prefix}{name}8",
            EXTREME.format(
                word=word, name=f"{prefix}{name}8", subtract=f"{prefix}sub8", order=order,
                dtype=f"{dtype}_t", relation=relation,
            ),
        )
        for name, word, order, relation in kinds
    )  # fmt: skip
    return larger, smaller
