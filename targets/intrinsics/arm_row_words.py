"""Depthwise 3x3 of one output row on cores with the DSP extension, four channels as a word.

The three input rows of four channels are packed as words of two halfwords: of every column the
values of the upper two rows, and of every two columns those of the third row. A slot holds two
columns, 48 bytes:

    even column: (row 0, row 1) of channels 0 to 3;  odd column: the same;
    row 2: (even column, odd column) of channels 0 to 3

Columns are counted from the first pixel that is packed, so that a slot holds no padding but behind
an odd last pixel. An output takes three SMLAD of the upper rows and two multiplications of the
third; values that neighbouring outputs share are loaded once.

Stream of a channel, seven words: the weights of the upper rows in each column, (w0, w1) and
(w1, w2) of the third row, bias, multiplier (narrow form).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted, requantized

SLOT_BYTES = 48
STREAM_WORDS = 7
WIDEST = 5  # outputs of a block that is written out; those of the loop are 4, 2 and 1
MOST_OFFSET = 4095  # of a store
SUMS, VALUES = ("r2", "r3", "r9", "r10", "r1"), ("r11", "r12", "lr")
WEIGHTS = ("r4", "r5", "r6")  # of the upper rows, by column


@dataclass(frozen=True, slots=True)
class RowWords:
    """How the microkernel moves.

    stride     to the side
    left       columns of padding, 0 or 1
    outputs    of a call, written out; 0: an argument, a loop
    channels   bytes from output to output; 0: an argument
    low, high  bounds of the results
    """

    stride: int
    left: int
    outputs: int
    channels: int
    low: int
    high: int

    @property
    def name(self) -> str:
        size = f"_{self.outputs}x{self.channels}" if self.outputs else ""
        bounds = bounds_suffix(self.low, self.high)
        return f"tinyc_depthwise_row_s{self.stride}p{self.left}{size}{bounds}"


def packed_streams(weights: Array, bias: Array, multipliers: Array) -> Array:
    """The streams of all channels; weights [channels, 9] whole numbers of int8."""
    channels = weights.shape[0]
    rows = weights.reshape(channels, 3, 3)
    upper = rows[:, :2].transpose(0, 2, 1).reshape(channels, 6)
    third = rows[:, 2][:, [0, 1, 1, 2]]
    halves = np.concatenate([upper, third], axis=1).astype("<i2")
    multipliers = np.broadcast_to(multipliers, (channels,))
    table = np.concatenate([halves.view("<i4"), bias[:, None], multipliers[:, None]], axis=1)
    return read_only(table.astype("<i4").reshape(-1))


def depthwise_row(row: RowWords) -> Microkernel:
    """`tinyc_depthwise_row_...(place, y, stream, base, row0, row1, row2, step0, step1, step2,
    pixels, outputs, channels, groups, zero_point, zero)`: `groups` of four channels.

    place         the slot that the first two pixels are packed into; those around hold the zero
    base          the slot of the column that output 0 begins with, padding left of it
    row0 to row2  the first pixel of each row, `step` bytes from pixel to pixel; a row above or
                  below the image has a step of 0
    pixels        that are packed
    zero          the stored zero, four times in a word
    """
    text = TEXT.format(name=row.name, row=row, assembly=quoted(_assembly(row)))
    return Microkernel(row.name, text)


TEXT = """\
/* Depthwise 3x3, stride {row.stride}: a row of outputs, four channels after the other. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    int16_t *place __attribute__((unused)), int8_t *y __attribute__((unused)),
    const int32_t *stream __attribute__((unused)), const int16_t *base __attribute__((unused)),
    const int8_t *row0 __attribute__((unused)), const int8_t *row1 __attribute__((unused)),
    const int8_t *row2 __attribute__((unused)), int32_t step0 __attribute__((unused)),
    int32_t step1 __attribute__((unused)), int32_t step2 __attribute__((unused)),
    int32_t pixels __attribute__((unused)), int32_t outputs __attribute__((unused)),
    int32_t channels __attribute__((unused)), int32_t groups __attribute__((unused)),
    int32_t zero_point __attribute__((unused)), int32_t zero __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(int16_t *place, int8_t *y, const int32_t *stream, const int16_t *base,
    const int8_t *row0, const int8_t *row1, const int8_t *row2, int32_t step0, int32_t step1,
    int32_t step2, int32_t pixels, int32_t outputs, int32_t channels, int32_t groups,
    int32_t zero_point, int32_t zero) {{
  static const uint8_t halves[9] = {{0u, 2u, 4u, 1u, 3u, 5u, 6u, 7u, 9u}}; /* of the stream */
  const int8_t *const rows[3] = {{row0, row1, row2}};
  const int32_t steps[3] = {{step0, step1, step2}};
  const int32_t first = ((int32_t)(base - place) / 12) - {row.left};
  for (int32_t c = 0; c < 4 * groups; ++c) {{
    int16_t weights[10];
    memcpy(weights, stream, sizeof weights);
    for (int32_t o = 0; o < outputs; ++o) {{
      int32_t acc = stream[5];
      for (int32_t t = 0; t < 9; ++t) {{
        const int32_t at = first + (o * {row.stride}) + (t % 3);
        const bool inside = (at >= 0) && (at < pixels) && (steps[t / 3] != 0);
        const int32_t x = inside ? rows[t / 3][(at * steps[t / 3]) + c] : (int8_t)zero;
        acc += x * weights[halves[t]];
      }}
      acc = tinyc_requantize(acc, stream[6], zero_point);
      y[(o * channels) + c] = (int8_t)tinyc_min(tinyc_max(acc, {row.low}), {row.high});
    }}
    stream += 7;
  }}
}}
#endif
"""
# Offsets of the arguments from the stack pointer, behind the nine registers that are saved
ROWS, STEPS, PIXELS, OUTPUTS, CHANNELS, GROUPS, ZERO_POINT, ZERO = 36, 48, 60, 64, 68, 72, 76, 80


def _assembly(row: RowWords) -> list[str]:
    """s0 bias, s1 multiplier, s2 zero point, s3 channels, s4 outputs, s5 outputs to do, s7 place,
    s8 base, s9 stream, s10 base and s11 y of the channel, s12 end of the bases.
    """
    lines = ["push.w {r4-r11, lr}", "vmov s7, r0", "vmov s11, r1", "vmov s9, r2", "vmov s8, r3"]
    lines += ["add.w r3, r3, #16", "vmov s12, r3"]
    for place, register in (
        (ZERO_POINT, "s2"), (CHANNELS, "s3"), (OUTPUTS, "s4"),
    ):  # fmt: skip
        lines += [f"ldr.w r12, [sp, #{place}]", f"vmov {register}, r12"]
    lines.append(f"add.w r12, sp, #{ZERO}")
    for i in (0, 2):  # a row outside the image is four zeros
        lines += [f"ldr.w r0, [sp, #{STEPS + 4 * i}]", "cmp.w r0, #0", "it eq"]
        lines.append(f"streq.w r12, [sp, #{ROWS + 4 * i}]")
    lines += [".balign 4", "1:", *_packed(), "vmov r0, s8", ".balign 4", "5:"]
    lines += ["vmov r12, s9", "vmov s10, r0", "ldm.w r12!, {r4-r10}"]
    lines += ["vmov s9, r12", "vmov s0, r9", "vmov s1, r10", *_outputs(row)]
    lines += ["vmov r0, s10", "vmov r1, s11", "add.w r0, r0, #4", "add.w r1, r1, #1"]
    lines += ["vmov r2, s12", "vmov s11, r1", "cmp.w r0, r2", "bne.w 5b"]
    lines += [f"ldr.w r0, [sp, #{GROUPS}]", "subs.w r0, r0, #1", f"str.w r0, [sp, #{GROUPS}]"]
    return [*lines, "bne.w 1b", "pop.w {r4-r11, pc}"]


def _packed() -> list[str]:
    """All pixels of four channels; the rows' addresses move on to the next four.

    r0 to r2 rows, r3 to r5 steps, r6 slot, r7 slots to do; an odd last pixel takes a turn whose
    steps lead to the argument of four zeros.
    """
    lines = [f"add.w r12, sp, #{ROWS}", f"ldr.w r7, [sp, #{PIXELS}]", "ldm.w r12, {r0-r5}"]
    lines += ["add.w r8, r0, #4", "add.w r9, r1, #4", "add.w r10, r2, #4", "vmov r6, s7"]
    lines += ["cmp.w r3, #0", "it eq", "moveq.w r8, r0", "cmp.w r5, #0", "it eq", "moveq.w r10, r2"]
    lines += ["stm.w r12, {r8-r10}", "lsrs.w r7, r7, #1", "beq.w 3f", ".balign 4", "2:"]
    lines += ["ldr.w r8, [r0]", "ldr.w r9, [r1]", "ldr.w r12, [r0, r3]", "ldr.w lr, [r1, r4]"]
    lines += [*_pack("r8", "r9", 0), "add.w r0, r0, r3, lsl #1", "add.w r1, r1, r4, lsl #1"]
    lines += ["ldr.w r8, [r2]", "ldr.w r9, [r2, r5]", *_pack("r12", "lr", 16)]
    lines += ["add.w r2, r2, r5, lsl #1", *_pack("r8", "r9", 32)]
    lines += [f"add.w r6, r6, #{SLOT_BYTES}", "subs.w r7, r7, #1", "bgt.w 2b", "bmi.w 4f", "3:"]
    lines += [f"ldr.w r8, [sp, #{PIXELS}]", "tst.w r8, #1", "beq.w 4f", f"add.w r8, sp, #{ZERO}"]
    return [*lines, "sub.w r3, r8, r0", "sub.w r4, r8, r1", "sub.w r5, r8, r2", "b.w 2b", "4:"]


def _pack(a: str, b: str, at: int) -> list[str]:
    """Pairs (a, b) of the four bytes of each become four words of the slot."""
    lines = [f"pkhbt r10, {a}, {b}, lsl #16", f"pkhtb {b}, {b}, {a}, asr #16"]
    lines += ["sxtb16 r11, r10", "sxtb16 r10, r10, ror #8"]
    lines += [f"sxtb16 {a}, {b}", f"sxtb16 {b}, {b}, ror #8"]
    return lines + [f"str.w {r}, [r6, #{at + 4 * c}]" for c, r in enumerate(("r11", "r10", a, b))]


def _outputs(row: RowWords) -> list[str]:
    """All outputs of a channel, from the slots at r0 to s11."""
    if row.outputs:
        blocks = -(-row.outputs // WIDEST)
        firsts = [b * row.outputs // blocks for b in range(blocks + 1)]
        pairs = itertools.pairwise(firsts)
        return [line for first, end in pairs for line in _block(row, end - first, first)]
    lines = [
        "vmov r1, s11",
        "vmov r11, s4",
        "subs.w r11, r11, #4",
        "blt.w 7f",
        ".balign 4",
        "6:",
        "vmov s5, r11",
    ]
    lines += [*_block(row, 4, 0), "vmov r11, s5", "subs.w r11, r11, #4", "bge.w 6b", "7:"]
    lines += ["tst.w r11, #2", "beq.w 8f", *_block(row, 2, 0), "8:"]
    return [*lines, "vmov r11, s4", "tst.w r11, #1", "beq.w 9f", *_block(row, 1, 0), "9:"]


def _block(row: RowWords, count: int, first: int) -> list[str]:
    """`count` outputs, from the `first` one on; without written out addresses r0 and r1 move on."""
    sums = SUMS[:count]
    lines, started = [f"vmov {sums[-1]}, s0"], set[str]()  # where the last sum starts
    for batch in _batches(row, count, first):
        lines += [f"ldr.w {r}, [r0, #{at}]" for r, (at, _) in zip(VALUES, batch, strict=False)]
        for value, (_, products) in zip(VALUES, batch, strict=False):
            for instruction, output, weight in products:
                acc = sums[output]
                addend = acc if acc in started else sums[-1]
                lines.append(f"{instruction} {acc}, {value}, {weight}, {addend}")
                started.add(acc)
    lines += ["vmov r11, s1", "vmov r12, s2", f"vmov lr, {'s11' if row.outputs else 's3'}"]
    for acc in sums:
        lines += requantized(acc, "r11", "r12", row.low, row.high)
    return lines + _stored(row, sums, first)


Product = tuple[str, int, str]  # instruction, output, weights
Value = tuple[int, Sequence[Product]]  # offset of the word, what it is multiplied by


def _batches(row: RowWords, count: int, first: int) -> list[list[Value]]:
    """The words of the slots, as many as are loaded together; an output starts in order."""
    upper: dict[int, list[Product]] = {}
    third: dict[int, list[Product]] = {}
    for output in range(count):
        column = (first + output) * row.stride - row.left
        for k, weight in enumerate(WEIGHTS):
            upper.setdefault(column + k, []).append(("smlad", output, weight))
        slot, odd = divmod(column, 2)
        pairs = (("smlatb", "r7"), ("smlad", "r8")) if odd else (("smlad", "r7"), ("smlabt", "r8"))
        for i, (instruction, weight) in enumerate(pairs):
            third.setdefault(slot + i, []).append((instruction, output, weight))
    places = [(c // 2 * SLOT_BYTES + c % 2 * 16, upper[c]) for c in sorted(upper)]
    places += [(slot * SLOT_BYTES + 32, third[slot]) for slot in sorted(third)]
    return [list(places[i : i + len(VALUES)]) for i in range(0, len(places), len(VALUES))]


def _stored(row: RowWords, sums: Sequence[str], first: int) -> list[str]:
    if row.outputs:
        return [f"strb.w {a}, [lr, #{(first + i) * row.channels}]" for i, a in enumerate(sums)]
    lines = []
    for i in range(0, len(sums), 2):
        pair = sums[i : i + 2]
        lines.append(f"strb.w {pair[0]}, [r1]")
        lines += [f"strb.w {a}, [r1, lr]" for a in pair[1:]]
        lines += ["add.w r1, r1, lr, lsl #1"] if pair[1:] else []
    if len(sums) == 1:  # the last one
        return lines
    return [*lines, f"add.w r0, r0, #{len(sums) * row.stride * SLOT_BYTES // 2}"]
