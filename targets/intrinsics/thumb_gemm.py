"""Matrix products in assembly for Thumb-1 cores: one row of packed values, two channels a turn.

Packed values, of every group of 4: the words a0 + a2 * 2^16 and a1 + a3 * 2^16.

Stream of weights, words, for every two channels (n0, n1):

    bias n0, bias n1;  for every group: n0's weights, then n1's;
    m16 n0, s n0 | n0 << 8, m16 n1, s n1 | n1 << 8 (the narrow form of ops/fixed_point.py)

A group's weights are the two pairs (w0, w2), (w1, w3) in the form "int16". In the form "int8" they
are one word of bytes w2, w3, w0, w1, signs flipped; the pairs are its even and its odd bytes less
128 each, which costs 7 instructions for 4 products beside the 6 of multiplying.

"quads" is "int16" for channels whose groups all have a sum of |w| up to 255: both products are
added before the shift, 5 instructions instead of 6.
"""

from collections.abc import Sequence

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted
from tinyc.targets.intrinsics.thumb_assembly import (
    ARGUMENTS,
    constant,
    entry,
    leave,
    multiplied,
    packed_pairs,
    requantized,
    sums_fit,
)

GROUP = 4  # values that are packed together
UNROLLS = {"int16": (8, 4, 2), "int8": (4, 2)}  # groups in a turn of the loop; within a branch


def pairs_fit(weights: Array) -> Array:
    """The channels of whole `weights` [channels, K], K % 4 == 0, whose pairs are exact; bool."""
    return np.asarray(sums_fit(_pairs(weights)).all(axis=(1, 2)))


def quads_fit(weights: Array) -> Array:
    """The channels whose groups are exact when both pairs are summed first."""
    return np.asarray(sums_fit(weights.reshape(weights.shape[0], -1, GROUP)).all(axis=1))


def _pairs(weights: Array) -> Array:
    """[channels, K] -> [channels, groups, 2 pairs, 2]."""
    return weights.reshape(weights.shape[0], -1, 2, 2).swapaxes(2, 3)


def packed_stream(
    form: str, channels: Sequence[int], weights: Array, bias: Array, packed16: Array
) -> Array:
    """The stream of the module's text for an even number of `channels`; K % 4 == 0."""
    turns = weights.shape[0] // 2
    if form == "int16":
        words = packed_pairs(_pairs(weights))
    else:
        flipped = weights.astype(np.int8).view(np.uint8) ^ 0x80
        ordered = flipped.reshape(weights.shape[0], -1, GROUP)[..., [2, 3, 0, 1]]
        words = np.ascontiguousarray(ordered).view("<i4")
    words = words.reshape(turns, 2, -1, words.shape[-1]).swapaxes(1, 2)
    scales = np.stack([packed16 & 0xFFFF, packed16 >> 16 | np.array(channels) << 8], axis=1)
    parts = (bias.reshape(-1, 2), words.reshape(turns, -1), scales.reshape(-1, 4))
    return read_only(np.concatenate(parts, axis=1).astype("<i4").reshape(-1))


def pack() -> Microkernel:
    """`tinyc_pack_pairs(x, groups, pairs)`: bytes as packed values.

    Only a caller's array may be misaligned; it is read byte by byte.
    """
    return Microkernel("tinyc_pack_pairs", PACK.format(assembly=quoted(_pack_assembly())))


PACK = """\
/* Groups of four bytes as pairs of halfwords (0, 2) and (1, 3), the upper one added. */
#if defined(__ARM_ARCH_6M__)
__attribute__((naked, noinline, aligned(4))) static void tinyc_pack_pairs(
    const int8_t *x __attribute__((unused)), int32_t groups __attribute__((unused)),
    void *pairs __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void tinyc_pack_pairs(const int8_t *x, int32_t groups, void *pairs) {{
  uint32_t *words = (uint32_t *)pairs;
  for (int32_t g = 0; g < groups; ++g) {{
    words[2 * g] = (uint32_t)x[4 * g] + ((uint32_t)x[(4 * g) + 2] << 16);
    words[(2 * g) + 1] = (uint32_t)x[(4 * g) + 1] + ((uint32_t)x[(4 * g) + 3] << 16);
  }}
}}
#endif
"""


def _pack_assembly() -> list[str]:
    """r0 x, r2 pairs, r1 0x80808080, r7 0x00ff00ff, lr -0x00800080, r12 end of x.

    A byte with its sign flipped is 128 above the value.
    """

    def split(word: str, even: str) -> list[str]:
        return [
            f"movs {even}, r7",
            f"ands {even}, {word}",
            f"subs {word}, {word}, {even}",
            f"lsrs {word}, {word}, #8",
            f"add {even}, lr",
            f"add {word}, lr",
        ]

    by_bytes = ["ldrb r4, [r0]"]
    for i in range(1, 4):
        by_bytes += [f"ldrb r3, [r0, #{i}]", f"lsls r3, r3, #{8 * i}", "orrs r4, r3"]
    by_bytes += ["adds r0, #4", "eors r4, r1", *split("r4", "r3"), "stmia r2!, {r3, r4}"]
    lines = [".syntax unified", "push {r4-r7, lr}", "lsls r3, r1, #2", "adds r3, r3, r0"]
    lines += ["mov r12, r3", "movs r6, #1", "ands r6, r1"]
    lines += [*constant("r1", "r3", 128, (16,)), "negs r4, r1", "mov lr, r4"]
    lines += ["lsls r3, r1, #8", "orrs r1, r3", *constant("r7", "r3", 255, (16,))]
    lines += ["lsls r3, r0, #30", "bne 4f", "cmp r6, #0", "beq 2f"]
    lines += ["ldmia r0!, {r4}", "eors r4, r1", *split("r4", "r3")]
    lines += ["stmia r2!, {r3, r4}", "2:", "cmp r0, r12", "beq 3f", ".balign 4", "1:"]
    lines += ["ldmia r0!, {r4, r6}", "eors r4, r1", "eors r6, r1"]
    lines += [*split("r4", "r3"), *split("r6", "r5"), "stmia r2!, {r3-r6}"]
    lines += ["cmp r0, r12", "bne 1b", "3:", "pop {r4-r7, pc}"]
    return [*lines, "4:", *by_bytes, "cmp r0, r12", "bne 4b", "pop {r4-r7, pc}"]


def pack_window(rows: int, columns: int) -> Microkernel:
    """`tinyc_pack_window_...(x[, pitch], pairs)`: rows of bytes anywhere, one after the other.

    pitch  bytes from row to row, where there are several
    """
    name = f"tinyc_pack_window_{rows}x{columns}"
    pitch = " int32_t pitch," if rows > 1 else ""
    values = [f"(uint32_t)x_{i}[{j}]" for i in range(rows) for j in range(columns)]
    lines = [
        f"/* {rows} x {columns} bytes of an image as the packed values of tinyc_pack_pairs. */",
        f"static void {name}(const int8_t *x_0,{pitch} void *pairs) {{",
        "  uint32_t *words = (uint32_t *)pairs;",
    ]
    lines += [f"  const int8_t *const x_{i} = x_{i - 1} + pitch;" for i in range(1, rows)]
    for g in range(0, len(values), GROUP):
        for first in (g, g + 1):
            pair = [f"{v}{' << 16' * i}" for i, v in enumerate(values[first : g + GROUP : 2])]
            text = " + ".join(f"({v})" if "<<" in v else v for v in pair) or "0u"
            lines.append(f"  words[{(g // 2) + first - g}] = {text};")
    return Microkernel(name, "\n".join([*lines, "}"]))


def gemm(kind: str, unroll: int, low: int, high: int) -> Microkernel:
    """`tinyc_gemm_...(pairs, stream, y, end, groups, rows, step, zero_point)`.

    pairs, stream, end  packed values of `rows` rows; the weights, and what lies behind them
    y, step             int8, the first row's outputs, and bytes from row to row
    groups              of 4 values in a row
    """
    form = "int8" if kind == "int8" else "int16"
    name = f"tinyc_gemm_{kind}_{unroll}{bounds_suffix(low, high)}"
    text = TEXT.format(
        name=name,
        unroll=unroll,
        words=WORDS[form],
        pairs=TWIN_PAIRS[form],
        low=low,
        high=high,
        assembly=quoted(_assembly(kind, unroll, low, high)),
    )
    return Microkernel(name, text)


WORDS = {"int16": 2, "int8": 1}  # of a group's weights for one channel
TWIN_PAIRS = {
    "int16": """\
          const uint32_t even = (uint32_t)w[at];
          const uint32_t odd = (uint32_t)w[at + 1];""",
    "int8": """\
          const uint32_t even = ((uint32_t)w[at] & 0xff00ffu) - 0x800080u;
          const uint32_t odd = (((uint32_t)w[at] >> 8) & 0xff00ffu) - 0x800080u;""",
}
TEXT = """\
/* Rows of packed values times the channels of the stream, {unroll} groups of 4 values a turn. */
#if defined(__ARM_ARCH_6M__)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *pairs __attribute__((unused)), const int32_t *stream __attribute__((unused)),
    int8_t *y __attribute__((unused)), const int32_t *end __attribute__((unused)),
    int32_t groups __attribute__((unused)), int32_t rows __attribute__((unused)),
    int32_t step __attribute__((unused)), int32_t zero_point __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *pairs, const int32_t *stream, int8_t *y, const int32_t *end,
    int32_t groups, int32_t rows, int32_t step, int32_t zero_point) {{
  const uint32_t *x = (const uint32_t *)pairs;
  for (int32_t row = 0; row < rows; ++row) {{
    const int32_t *w = stream;
    while (w != end) {{
      for (int32_t n = 0; n < 2; ++n) {{
        const int32_t *const scale = &w[2 + (2 * {words} * groups) + (2 * n)];
        int32_t acc = w[n];
        for (int32_t g = 0; g < groups; ++g) {{
          const int32_t at = 2 + ({words} * ((2 * g) + n));
{pairs}
          acc += (int32_t)((x[2 * g] * even) + 0x8000u) >> 16;
          acc += (int32_t)((x[(2 * g) + 1] * odd) + 0x8000u) >> 16;
        }}
        acc = tinyc_requantize16(acc, scale[0] | ((scale[1] & 0xff) << 16), zero_point);
        y[scale[1] >> 8] = (int8_t)tinyc_min(tinyc_max(acc, {low}), {high});
      }}
      w += 6 + (2 * {words} * groups);
    }}
    x += 2 * groups;
    y += step;
  }}
}}
#endif
"""


def _assembly(kind: str, unroll: int, low: int, high: int) -> list[str]:
    """r0 row, r1 stream, accumulators r6 and r7, values r2 and r3, weights r4 and r5.

    r8 end of the row, r11 zero point, r12 where the loop is entered so that its turns come out
    even, lr end of the stream. Pushed: the row's start, the stream's, y; else r9 and r10 hold the
    first and the last of them, with int8 the mask and the 128s that unpack.
    """
    at = ARGUMENTS + 12
    groups, rows, step, zero_point = (f"[sp, #{at + 4 * i}]" for i in range(4))
    in_registers = kind != "int8"
    one_group = _group(kind)
    lines = [*entry(), "push {r0-r2}", "mov lr, r3"]
    if in_registers:
        lines += ["mov r9, r0", "mov r10, r2"]
    else:
        lines += [*constant("r4", "r5", 255, (16,)), "mov r9, r4"]
        lines += [*constant("r4", "r5", 128, (16,)), "negs r4, r4", "mov r10, r4"]
    lines += [f"ldr r2, {zero_point}", "adds r2, #128", "mov r11, r2"]
    lines += [f"ldr r2, {groups}", "lsls r3, r2, #3", f"str r3, {groups}"]
    lines += ["adds r0, r0, r3", "mov r8, r0"]
    lines += ["negs r2, r2", f"movs r3, #{unroll - 1}", "ands r2, r3"]
    lines += [f"movs r3, #{2 * len(one_group)}", "muls r2, r3, r2", "adr r3, 2f"]
    lines += ["adds r2, r2, r3", "mov r12, r2", ".balign 4", "1:", "ldmia r1!, {r6, r7}"]
    lines += ["mov r0, r9" if in_registers else "ldr r0, [sp]", "mov pc, r12", ".balign 4", "2:"]
    lines += [*(one_group * unroll), "cmp r0, r8", "bne 2b", "ldmia r1!, {r2-r5}"]
    lines += requantized("r6", "r2", "r3", "r0", "r11", (low, high))
    lines += requantized("r7", "r4", "r5", "r0", "r11", (low, high))
    lines += ["mov r0, r10" if in_registers else "ldr r0, [sp, #8]"]
    lines += ["lsrs r3, r3, #8", "strb r6, [r0, r3]", "lsrs r5, r5, #8", "strb r7, [r0, r5]"]
    lines += ["cmp r1, lr", "beq 3f", "b 1b", "3:", f"ldr r1, {step}", "adds r0, r0, r1"]
    lines += ["mov r10, r0" if in_registers else "str r0, [sp, #8]", "mov r0, r8"]
    lines += ["mov r9, r0" if in_registers else "str r0, [sp]", f"ldr r1, {groups}", "add r8, r1"]
    lines += [f"ldr r0, {rows}", "ldr r1, [sp, #4]", "subs r0, #1", f"str r0, {rows}"]
    return [*lines, "beq 4f", "b 1b", "4:", "add sp, #12", *leave()]


def _group(kind: str) -> list[str]:
    """Four products of both channels, 2 bytes an instruction."""
    lines = ["ldmia r0!, {r2, r3}"]
    for acc in ("r6", "r7"):
        if kind == "int8":
            lines += ["ldmia r1!, {r5}", "mov r4, r9", "ands r4, r5", "subs r5, r5, r4"]
            lines += ["lsrs r5, r5, #8", "add r4, r10", "add r5, r10"]
        else:
            lines.append("ldmia r1!, {r4, r5}")
        if kind == "quads":
            lines += ["muls r4, r2, r4", "muls r5, r3, r5", "adds r4, r4, r5"]
            lines += ["asrs r4, r4, #16", f"adcs {acc}, r4"]
        else:
            lines += [*multiplied(acc, "r2", "r4"), *multiplied(acc, "r3", "r5")]
    return lines
