"""The Arm DSP extension as inline functions, and their plain C twins for every other core."""

from tinyc.compiler.ops.kernel import Microkernel

_ASSEMBLY = """\
static inline uint32_t tinyc_{name}(uint32_t x) {{
  uint32_t y;
  __asm__("{instruction}" : "=r"(y) : "r"(x));
  return y;
}}
"""
_ACCUMULATE = """\
static inline int32_t tinyc_{name}(uint32_t x, uint32_t y, int32_t acc) {{
  int32_t sum;
  __asm__("{name} %0, %1, %2, %3" : "=r"(sum) : "r"(x), "r"(y), "r"(acc));
  return sum;
}}
"""
_EXTENSIONS = {
    "sxtb16": ("sxtb16 %0, %1", "(uint32_t)(uint16_t)(int8_t)x", "(uint32_t)(int8_t)(x >> 16)"),
    "sxtb16_ror8": (
        "sxtb16 %0, %1, ror #8",
        "(uint32_t)(uint16_t)(int8_t)(x >> 8)",
        "(uint32_t)(int8_t)(x >> 24)",
    ),
    "uxtb16": ("uxtb16 %0, %1", "x & 0xffu", "(x >> 16) & 0xffu"),
    "uxtb16_ror8": ("uxtb16 %0, %1, ror #8", "(x >> 8) & 0xffu", "x >> 24"),
}
_PRODUCTS = {  # which halves of x and y are multiplied and added
    "smlad": "tinyc_low(x) * tinyc_low(y) + tinyc_high(x) * tinyc_high(y)",
    "smlabb": "tinyc_low(x) * tinyc_low(y)",
    "smlatt": "tinyc_high(x) * tinyc_high(y)",
}


def _text() -> str:
    lines = [
        "/* Four bytes as a word; bytes lie in the order of the address. */",
        "static inline uint32_t tinyc_load_word(const void *p) {",
        "  uint32_t word;",
        "  memcpy(&word, p, 4u);",
        "  return word;",
        "}",
        "",
        "/* sxtb16, uxtb16: bytes 0 and 2 (ror8: 1 and 3) as two halfwords.",
        " * smlad: acc + the products of both halves; smlabb: of the low, smlatt: of the high. */",
        "#if defined(__ARM_FEATURE_DSP)",
    ]
    for name, (instruction, _, _) in _EXTENSIONS.items():
        lines.append(_ASSEMBLY.format(name=name, instruction=instruction))
    for name in _PRODUCTS:
        lines.append(_ACCUMULATE.format(name=name))
    lines += [
        "#else",
        "static inline int32_t tinyc_low(uint32_t x) {",
        "  return (int16_t)(uint16_t)(x & 0xffffu);",
        "}",
        "",
        "static inline int32_t tinyc_high(uint32_t x) {",
        "  return (int16_t)(uint16_t)(x >> 16);",
        "}",
        "",
    ]
    for name, (_, low, high) in _EXTENSIONS.items():
        lines += [
            f"static inline uint32_t tinyc_{name}(uint32_t x) {{",
            f"  return ({low}) | (({high}) << 16);",
            "}",
            "",
        ]
    for name, product in _PRODUCTS.items():
        lines += [
            f"static inline int32_t tinyc_{name}(uint32_t x, uint32_t y, int32_t acc) {{",
            f"  return acc + {product};",
            "}",
            "",
        ]
    return "\n".join([*lines[:-1], "#endif"])


DSP_INTRINSICS = Microkernel("tinyc_dsp", _text())
