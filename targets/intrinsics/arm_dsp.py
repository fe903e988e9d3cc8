"""Instructions of the Arm DSP extension as inline functions, each with its plain C twin."""

from tinyc.compiler.ops.kernel import Microkernel

_LOAD_WORD = """\
/* Four bytes as a word, the byte at the lowest address in its low bits. */
static inline uint32_t tinyc_load_word(const void *p) {
  uint32_t word;
  memcpy(&word, p, 4u);
  return word;
}
"""
_EXTEND = """\
/* {comment} */
static inline uint32_t tinyc_{name}(uint32_t x) {{
#if defined(__ARM_FEATURE_DSP)
  uint32_t y;
  __asm__("{instruction}" : "=r"(y) : "r"(x));
  return y;
#else
  return ({low}) | (({high}) << 16);
#endif
}}
"""
_ACCUMULATE = """\
/* {comment} */
static inline int32_t tinyc_{name}(uint32_t x, uint32_t y, int32_t acc) {{
#if defined(__ARM_FEATURE_DSP)
  int32_t sum;
  __asm__("{name} %0, %1, %2, %3" : "=r"(sum) : "r"(x), "r"(y), "r"(acc));
  return sum;
#else
  return acc
      + {product};
#endif
}}
"""
_ACCUMULATE_LONG = """\
/* acc + low(x) * low(y) + high(x) * high(y), halfwords, in 64 bits. */
static inline int64_t tinyc_smlald(uint32_t x, uint32_t y, int64_t acc) {
#if defined(__ARM_FEATURE_DSP)
  __asm__("smlald %Q0, %R0, %1, %2" : "+r"(acc) : "r"(x), "r"(y));
  return acc;
#else
  return acc + (int16_t)(uint16_t)(x & 0xffffu) * (int16_t)(uint16_t)(y & 0xffffu)
      + (int16_t)(uint16_t)(x >> 16) * (int16_t)(uint16_t)(y >> 16);
#endif
}
"""
_EXTENSIONS = (  # name, instruction, what the comment says, the two halfwords in plain C
    ("sxtb16", "sxtb16 %0, %1", "Bytes 0 and 2, sign-extended to halfwords.",
     "(uint32_t)(uint16_t)(int8_t)x", "(uint32_t)(int8_t)(x >> 16)"),
    ("sxtb16_ror8", "sxtb16 %0, %1, ror #8", "Bytes 1 and 3, sign-extended to halfwords.",
     "(uint32_t)(uint16_t)(int8_t)(x >> 8)", "(uint32_t)(int8_t)(x >> 24)"),
    ("uxtb16", "uxtb16 %0, %1", "Bytes 0 and 2 as halfwords.", "x & 0xffu", "(x >> 16) & 0xffu"),
    ("uxtb16_ror8", "uxtb16 %0, %1, ror #8", "Bytes 1 and 3 as halfwords.", "(x >> 8) & 0xffu",
     "x >> 24"),
)  # fmt: skip
_LOW = "(int16_t)(uint16_t)({} & 0xffffu)"
_HIGH = "(int16_t)(uint16_t)({} >> 16)"
_BOTTOM = f"{_LOW.format('x')} * {_LOW.format('y')}"
_TOP = f"{_HIGH.format('x')} * {_HIGH.format('y')}"
_PRODUCTS = (
    (
        "smlad",
        "acc + low(x) * low(y) + high(x) * high(y), halfwords.",
        f"{_BOTTOM}\n      + {_TOP}",
    ),
    ("smlabb", "acc + low(x) * low(y), halfwords.", _BOTTOM),
    ("smlatt", "acc + high(x) * high(y), halfwords.", _TOP),
)


def _microkernels() -> dict[str, Microkernel]:
    texts = {"load_word": _LOAD_WORD, "smlald": _ACCUMULATE_LONG}
    for name, instruction, comment, low, high in _EXTENSIONS:
        texts[name] = _EXTEND.format(
            name=name, instruction=instruction, comment=comment, low=low, high=high
        )
    for name, comment, product in _PRODUCTS:
        texts[name] = _ACCUMULATE.format(name=name, comment=comment, product=product)
    return {name: Microkernel(f"tinyc_{name}", text) for name, text in texts.items()}


_BY_NAME = _microkernels()


def dsp(*names: str) -> tuple[Microkernel, ...]:
    """The named ones: load_word, sxtb16, uxtb16 (and _ror8), smlad, smlald, smlabb, smlatt."""
    return tuple(_BY_NAME[name] for name in dict.fromkeys(names))


def extension(dtype: str) -> tuple[str, str]:
    """The two instructions that take a word of int8 or uint8 apart."""
    return ("uxtb16", "uxtb16_ror8") if dtype == "uint8" else ("sxtb16", "sxtb16_ror8")
