"""Weights of float blocks that are stored smaller than floats, converted as they are loaded.

    float16    pairs in a word, VCVTB and VCVTT: with 4 channels 7 cycles a step, floats take 5
    int8       four in a word, SBFX, VMOV and VCVT for each: 14 cycles
    int4       eight in a word or four in a half

A step begins with a new word (of int4 and up to 4 channels: half a word). Integers are multiplied
as they are; the finished sums are multiplied by the scales of their channels.

Stream of a block of channels: biases of float16; for every value of the window the channels'
weights, to whole words at the end; of integers scales and biases.
"""

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.half import FROM_FLOAT16
from tinyc.compiler.ops.kernel import Microkernel

FLOAT32, FLOAT16 = "float32", "float16"
BITS = {FLOAT32: 32, FLOAT16: 16, "int8": 8, "int4": 4}
WORD_BITS = 32
MOST_CONVERTED = 4  # pixels of blocks of integers: two address registers hold words

LOAD_FLOAT = Microkernel(
    "tinyc_load_float",
    """\
/* Four bytes as a float. */
static inline float tinyc_load_float(const int8_t *p) {
  float value;
  memcpy(&value, p, sizeof value);
  return value;
}
""",
)
LOAD_HALF = Microkernel(
    "tinyc_load_half",
    """\
/* Two bytes as a float16. */
static inline float tinyc_load_half(const int8_t *p) {
  uint16_t bits;
  memcpy(&bits, p, sizeof bits);
  return tinyc_from_float16(bits);
}
""",
    (FROM_FLOAT16,),
)


def is_whole(stored: str) -> bool:
    """Whether weights are integers."""
    return stored in ("int8", "int4")


def step_bytes(stored: str, channels: int) -> int:
    """Of the weights that all channels multiply one value by."""
    unit = 16 if stored == "int4" and channels <= 4 else WORD_BITS
    return -(-channels * BITS[stored] // unit) * unit // 8


def packed(weights: Array, scales: Array, bias: Array, channels: int, stored: str) -> Array:
    """The stream of the module's text, as bytes; weights [outputs, K] as they are stored."""
    outputs, _ = weights.shape
    parts: list[bytes] = []
    for n in range(0, outputs, channels):
        several = slice(n, n + channels)
        steps = _steps(weights[several].T, stored)
        products = steps.tobytes()
        ends = [part[several].astype("<f4").tobytes() for part in (scales, bias)]
        products += bytes(-len(products) % 4)
        parts += [products, *ends] if is_whole(stored) else [ends[1], products]
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def _steps(weights: Array, stored: str) -> Array:
    """Bytes of every step, [K, bytes]; weights [K, channels]."""
    count, channels = weights.shape
    bytes_ = np.zeros((count, step_bytes(stored, channels)), np.uint8)
    if stored == "int4":
        whole = np.zeros((count, 2 * bytes_.shape[1]), np.uint8)
        whole[:, :channels] = weights.astype(np.int8).view(np.uint8) & 15
        return np.asarray(whole[:, 0::2] | whole[:, 1::2] << 4)
    own = np.ascontiguousarray(weights, "<f2" if stored == FLOAT16 else "i1").view(np.uint8)
    bytes_[:, : own.shape[1]] = own
    return bytes_


def loaded(stored: str, registers: list[str], word: str, value: str) -> list[str]:
    """The next weights in FPU registers, neighbours in number; word, value: free core registers."""
    count = len(registers)
    if stored == FLOAT16:
        words = -(-count // 2)
        from_ = registers[count - words :]
        lines = [f"vldmia r6!, {{{', '.join(from_)}}}"]
        for i, register in enumerate(from_):
            pair = registers[2 * i : 2 * i + 2]
            # the odd one is the word's own register at the last, which is read before
            lines += [f"vcvt{'bt'[n]}.f32.f16 {to}, {register}" for n, to in enumerate(pair)]
        return lines
    bits = BITS[stored]
    per_word = WORD_BITS // bits
    lines = []
    for first in range(0, count, per_word):
        several = registers[first : first + per_word]
        short = step_bytes(stored, count) == 2
        lines.append(f"ldrh.w {word}, [r6], #2" if short else f"ldr.w {word}, [r6], #4")
        for i, register in enumerate(several):
            lines += [f"sbfx {value}, {word}, #{bits * i}, #{bits}", f"vmov {register}, {value}"]
    return lines + [f"vcvt.f32.s32 {r}, {r}" for r in registers]


def c_weight(stored: str, channel: int) -> str:
    """C: the weight of a channel at the byte pointer `w`."""
    if stored == FLOAT16:
        return f"tinyc_load_half(&w[{2 * channel}])"
    if stored == "int8":
        return f"(float)w[{channel}]"
    byte = f"w[{channel // 2}]"
    return f"(float)({byte} >> 4)" if channel % 2 else f"(float)((({byte} & 15) ^ 8) - 8)"


def scaled(accumulators: list[list[str]], free: list[str]) -> list[str]:
    """Sums of integers, by pixel, times the scales of their channels; then the biases."""
    lines = []
    for instruction in ("vmul.f32", "vadd.f32"):
        lines.append(f"vldmia r6!, {{{', '.join(free)}}}")
        lines += [
            f"{instruction} {acc}, {acc}, {factor}"
            for pixel in accumulators
            for acc, factor in zip(pixel, free, strict=True)
        ]
    return lines
