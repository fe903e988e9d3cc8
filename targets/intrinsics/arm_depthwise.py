"""Depthwise 3x3, stride 1, on planes of int16 values in assembly: two rows x two columns at a time.

With a = (x0, x1), b = (x2, x3) and the weights' pairs w01 = (w0, w1), w12 = (w1, w2):

    y0 = a . w01 + x2 * w2      smlad, smlabt
    y1 = x1 * w0 + b . w12      smlatb, smlad

Four instructions make six products, and the six pairs of weights stay in registers. An odd last
row, an odd last column are blocks of half the size.

Stream of a channel, eight words: w01 and w12 of each row, bias, multiplier (narrow form).
"""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted, requantized

MOST_OFFSET = 4095  # of a load or store
STREAM_WORDS = 8


@dataclass(frozen=True, slots=True)
class Walk:
    """How a microkernel moves over its planes and the output.

    pitch         values in a row of a plane
    planes        that lie side by side, row by row
    columns       of the output
    channels      bytes from column to column of the output; 0: an argument of the call
    unroll        blocks of columns that are written out
    low, high     bounds of the results
    """

    pitch: int
    planes: int
    columns: int
    channels: int
    unroll: int
    low: int
    high: int

    @property
    def row_bytes(self) -> int:
        """From row to row of a plane."""
        return 2 * self.pitch * self.planes

    @property
    def suffix(self) -> str:
        places = f"{self.planes}x{self.pitch}_{self.columns}x{self.channels or 'n'}u{self.unroll}"
        return f"{places}{bounds_suffix(self.low, self.high)}"


def packed_streams(weights: Array, bias: Array, multipliers: Array) -> Array:
    """The streams of all channels; weights [channels, 9] whole numbers of int8."""
    channels = weights.shape[0]
    rows = weights.reshape(channels, 3, 3)
    pairs = np.stack([rows[:, :, 0:2], rows[:, :, 1:3]], axis=2).astype("<i2")
    words = pairs.reshape(channels, -1).view("<i4")
    multipliers = np.broadcast_to(multipliers, (channels,))
    table = np.concatenate([words, bias[:, None], multipliers[:, None]], axis=1)
    return read_only(table.astype("<i4").reshape(-1))


def depthwise_3x3(walk: Walk) -> Microkernel:
    """`tinyc_depthwise_3x3_...(plane, y, stream, rows, zero_point, channels, count)`.

    plane     the first row of the first plane; row r of the output reads rows r, r + 1, r + 2
    y         the first output; `count` neighbouring channels are computed
    channels  bytes from column to column of the output
    """
    name = f"tinyc_depthwise_3x3_{walk.suffix}"
    text = TEXT.format(name=name, walk=walk, assembly=quoted(_assembly(walk)))
    return Microkernel(name, text)


TEXT = """\
/* 3x3, stride 1: `rows` rows of {walk.columns} outputs of `count` channels. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int16_t *plane __attribute__((unused)), int8_t *y __attribute__((unused)),
    const int32_t *stream __attribute__((unused)), int32_t rows __attribute__((unused)),
    int32_t zero_point __attribute__((unused)), int32_t channels __attribute__((unused)),
    int32_t count __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int16_t *plane, int8_t *y, const int32_t *stream, int32_t rows,
    int32_t zero_point, int32_t channels, int32_t count) {{
  for (int32_t c = 0; c < count; ++c) {{
    int16_t pairs[12];
    memcpy(pairs, stream, sizeof pairs);
    for (int32_t at = 0; at < rows * {walk.columns}; ++at) {{
      const int32_t row = at / {walk.columns};
      int32_t acc = stream[6];
      for (int32_t i = 0; i < 3; ++i) {{
        const int16_t *const x =
            &plane[((((row + i) * {walk.planes}) + c) * {walk.pitch}) + (at % {walk.columns})];
        acc += (x[0] * pairs[4 * i]) + (x[1] * pairs[(4 * i) + 1]) + (x[2] * pairs[(4 * i) + 3]);
      }}
      acc = tinyc_requantize(acc, stream[7], zero_point);
      y[(at * channels) + c] = (int8_t)tinyc_min(tinyc_max(acc, {walk.low}), {walk.high});
    }}
    stream += 8;
  }}
}}
#endif
"""


def _assembly(walk: Walk) -> list[str]:
    """r0 plane, r1 y, weights r4 to r9; the other registers are those of `_block`.

    s0 bias, s1 multiplier, s2 zero point, s3 plane, s4 y and s5 stream of the channel, s6 rows,
    s7 pairs of rows to do, s8 end of the columns' loop, s9 channels, s10 bytes of an output row,
    s11 count.
    """
    lines = ["push.w {r4-r11, lr}", "vmov s3, r0", "vmov s4, r1", "vmov s5, r2", "vmov s6, r3"]
    for place, register in ((36, "s2"), (40, "s9"), (44, "s11")):
        lines += [f"ldr.w r12, [sp, #{place}]", f"vmov {register}, r12"]
    if not walk.channels:
        lines += ["vmov r12, s9", f"movw lr, #{walk.columns}", "mul r12, r12, lr", "vmov s10, r12"]
    lines += [".balign 4", "1:", "vmov r2, s5", "ldm.w r2!, {r4-r11}", "vmov s5, r2"]
    lines += ["vmov s0, r10", "vmov s1, r11", "vmov r0, s3", "vmov r1, s4"]
    lines += ["vmov r12, s6", "lsrs.w r12, r12, #1", "beq.w 4f", ".balign 4", "2:", "vmov s7, r12"]
    lines += [*_row(walk, 2, "3"), "vmov r12, s7", "subs.w r12, r12, #1", "bne.w 2b", "4:"]
    lines += ["vmov r12, s6", "tst.w r12, #1", "beq.w 6f", *_row(walk, 1, "5"), "6:"]
    lines += ["vmov r12, s3", f"addw r12, r12, #{2 * walk.pitch}", "vmov s3, r12"]
    lines += ["vmov r12, s4", "add.w r12, r12, #1", "vmov s4, r12"]
    lines += ["vmov r12, s11", "subs.w r12, r12, #1", "vmov s11, r12", "bne.w 1b"]
    return [*lines, "pop.w {r4-r11, pc}"]


def _row(walk: Walk, rows: int, label: str) -> list[str]:
    """All columns of `rows` rows; r0 and r1 move on to the next ones."""
    pairs, odd = divmod(walk.columns, 2)
    unroll = min(walk.unroll, pairs) if rows == 2 else min(1, pairs)
    turns = pairs // max(unroll, 1)
    done = unroll * turns if turns > 1 else 0
    lines: list[str] = []
    if done:
        lines += [f"addw r12, r0, #{4 * done}", "vmov s8, r12", ".balign 4", f"{label}:"]
        for b in range(unroll):
            lines += _block(walk, rows, 2, b)
        lines += [*_moved(walk, unroll), "vmov r12, s8", "cmp.w r0, r12", f"bne.w {label}b"]
    left = pairs - done
    for b in range(left + odd):
        lines += _block(walk, rows, 2 if b < left else 1, b)
    lines += [f"{'addw' if rows * walk.row_bytes >= 4 * done else 'subw'} r0, r0, "
              f"#{abs(rows * walk.row_bytes - 4 * done)}"]  # fmt: skip
    if walk.channels:
        return [*lines, f"addw r1, r1, #{(rows * walk.columns - 2 * done) * walk.channels}"]
    return [*lines, "vmov r12, s10", "add.w r1, r1, r12"] if rows == 2 else lines


def _moved(walk: Walk, blocks: int) -> list[str]:
    """r0 and, where offsets are immediate, r1 behind some blocks of two columns."""
    lines = [f"addw r0, r0, #{4 * blocks}"]
    return lines + ([f"addw r1, r1, #{2 * walk.channels * blocks}"] if walk.channels else [])


def _block(walk: Walk, rows: int, columns: int, number: int) -> list[str]:
    """`rows` x `columns` outputs, the `number`-th block from r0 and r1 on.

    Sums r2 and r3, of the second row r12 and lr; values r12, lr, r10 and r11.
    """
    first, second = [("r2", "r3"), ("r12", "lr")]
    lines = ["vmov r3, s0"]  # between the store before and the loads, which would wait for it
    lines += _values(walk, number, 0, "r12", "lr") + _values(walk, number, 1, "r10", "r11")
    lines += _products(first, columns, 0, "r12", "lr", start="r3")
    lines += _products(first, columns, 1, "r10", "r11")
    if rows == 2:
        lines += ["vmov lr, s0", *_products(second, columns, 0, "r10", "r11", start="lr")]
    for i in range(2, rows + 2):
        lines += _values(walk, number, i, "r10", "r11")
        for row, sums in enumerate((first, second)[:rows]):
            if i - row < 3:
                lines += _products(sums, columns, i - row, "r10", "r11")
    done = [sums[:columns] for sums in (first, second)[:rows]]
    lines += ["vmov r10, s1", "vmov r11, s2"]
    for acc in (acc for sums in done for acc in sums):
        lines += requantized(acc, "r10", "r11", walk.low, walk.high)
    return lines + _stored(walk, done, number)


def _values(walk: Walk, number: int, row: int, a: str, b: str) -> list[str]:
    at = row * walk.row_bytes + 4 * number
    return [f"ldr.w {a}, [r0, #{at}]", f"ldr.w {b}, [r0, #{at + 4}]"]


def _products(
    sums: tuple[str, str], columns: int, row: int, a: str, b: str, start: str = ""
) -> list[str]:
    """Row `row` of the kernel; `start`: what sums begin with, in the register of the second."""
    w01, w12 = f"r{4 + 2 * row}", f"r{5 + 2 * row}"
    y0, y1 = sums
    lines = [f"smlad {y0}, {a}, {w01}, {start or y0}", f"smlabt {y0}, {b}, {w12}, {y0}"]
    if columns == 2:
        lines += [f"smlatb {y1}, {a}, {w01}, {y1}", f"smlad {y1}, {b}, {w12}, {y1}"]
    return lines


def _stored(walk: Walk, results: list[tuple[str, ...]], number: int) -> list[str]:
    """The results at r1, where r10 and r11 are free; r1 moves on when `channels` is an argument."""
    if walk.channels:
        return [
            f"strb.w {acc}, [r1, #{(row * walk.columns + 2 * number + i) * walk.channels}]"
            for row, sums in enumerate(results)
            for i, acc in enumerate(sums)
        ]
    lines = ["vmov r10, s9"]
    if len(results) == 2:
        lines += ["vmov r11, s10", "add.w r11, r11, r1"]
    for place, sums in zip(("r1", "r11"), results, strict=False):
        lines.append(f"strb.w {sums[0]}, [{place}]")
        lines += [f"strb.w {acc}, [{place}, r10]" for acc in sums[1:]]
    return [*lines, "add.w r1, r1, r10" + (", lsl #1" if len(results[0]) == 2 else "")]
