"""3x3 depthwise convolution of one channel in assembly, for cores with the DSP extension.

The channel lies as a plane of int16 values with its padding, so that a word holds two
neighbours. With a = (x0, x1), b = (x2, x3) and the weights' pairs w01 = (w0, w1), w12 = (w1, w2):

    y0 = a . w01 + x2 * w2      smlad, smlabt          (stride 1 and 2)
    y1 = x1 * w0 + b . w12      smlatb, smlad          (stride 1)

Stride 1 computes 2 rows x 2 columns at a time, four instructions for six products. An odd column
at the end is computed by a block that lies one column further back.

Stream of a channel, eight words: w01 and w12 of each row, bias, multiplier (narrow form).
"""

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted, requantized

STREAM_BYTES = 32
MOST_OFFSET = 4095  # of a load or store


def packed_streams(weights: Array, bias: Array, multipliers: Array) -> Array:
    """The streams of all channels; weights [channels, 9] whole numbers of int8."""
    channels = weights.shape[0]
    rows = weights.reshape(channels, 3, 3)
    pairs = np.stack([rows[:, :, 0:2], rows[:, :, 1:3]], axis=2).astype("<i2")
    words = pairs.reshape(channels, -1).view("<i4")
    multipliers = np.broadcast_to(multipliers, (channels,))
    table = np.concatenate([words, bias[:, None], multipliers[:, None]], axis=1)
    return read_only(table.astype("<i4").reshape(-1))


def gather_row() -> Microkernel:
    """`tinyc_gather_row(x, step, count, row)`: every `step`-th byte as a halfword."""
    return Microkernel("tinyc_gather_row", GATHER)


GATHER = """\
/* `count` bytes that lie `step` bytes apart, sign-extended to neighbouring halfwords. */
static inline void tinyc_gather_row(const int8_t *x, int32_t step, int32_t count, int16_t *row) {
  int32_t i = 0;
  for (; i < count - 3; i += 4) {
    const int16_t x_0 = x[0];
    const int16_t x_1 = x[step];
    const int16_t x_2 = x[2 * step];
    const int16_t x_3 = x[3 * step];
    row[i] = x_0;
    row[i + 1] = x_1;
    row[i + 2] = x_2;
    row[i + 3] = x_3;
    x += 4 * step;
  }
  for (; i < count; ++i) {
    row[i] = *x;
    x += step;
  }
}
"""


def depthwise(
    stride: int, rows: int, pitch: int, columns: int, channels: int, low: int, high: int
) -> Microkernel:
    """`tinyc_depthwise_...(plane, y, stream, turns, zero_point)`: `turns` times `rows` rows.

    stride    1 or 2; rows computed together: 1, or 2 with stride 1
    pitch     values in a row of the plane
    columns   of the output, two at least
    channels  bytes from column to column of the output
    """
    name = f"tinyc_depthwise_s{stride}r{rows}_{columns}x{channels}{bounds_suffix(low, high)}"
    assembly = _assembly(stride, rows, pitch, columns, channels, low, high)
    text = TEXT.format(
        name=name, rows=rows, stride=stride, pitch=pitch, columns=columns, channels=channels,
        low=low, high=high, assembly=quoted(assembly),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* One channel, 3x3, stride {stride}: {rows} rows of {columns} outputs a turn. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int16_t *plane __attribute__((unused)), int8_t *y __attribute__((unused)),
    const int32_t *stream __attribute__((unused)), int32_t turns __attribute__((unused)),
    int32_t zero_point __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int16_t *plane, int8_t *y, const int32_t *stream, int32_t turns,
    int32_t zero_point) {{
  int16_t pairs[12];
  memcpy(pairs, stream, sizeof pairs);
  for (int32_t row = 0; row < turns * {rows}; ++row) {{
    for (int32_t column = 0; column < {columns}; ++column) {{
      int32_t acc = stream[6];
      for (int32_t i = 0; i < 3; ++i) {{
        const int16_t *const x = &plane[(((row * {stride}) + i) * {pitch}) + (column * {stride})];
        acc += (x[0] * pairs[4 * i]) + (x[1] * pairs[(4 * i) + 1]) + (x[2] * pairs[(4 * i) + 3]);
      }}
      acc = tinyc_requantize(acc, stream[7], zero_point);
      y[((row * {columns}) + column) * {channels}] =
          (int8_t)tinyc_min(tinyc_max(acc, {low}), {high});
    }}
  }}
}}
#endif
"""


def _assembly(
    stride: int, rows: int, pitch: int, columns: int, channels: int, low: int, high: int
) -> list[str]:
    """r0 plane, r1 y, weights r4 to r9, accumulators r2, r3, r10, r11, values r12 and lr (r10).

    s0 bias, s1 multiplier, s2 zero point, s3 row of the plane, s4 row of y, s5 turns, s6 end.
    """
    advance = 4 * stride  # bytes of the plane for two columns
    block = _block(stride, rows, pitch, columns, channels, low, high)
    lines = ["push.w {r4-r11, lr}"]
    lines += [f"ldr.w r{4 + i}, [r2, #{4 * i}]" for i in range(6)]
    lines += ["ldr.w r10, [r2, #24]", "vmov s0, r10", "ldr.w r10, [r2, #28]", "vmov s1, r10"]
    lines += ["ldr.w r10, [sp, #36]", "vmov s2, r10"]
    lines += ["vmov s3, r0", "vmov s4, r1", "vmov s5, r3", ".balign 4", "1:"]
    lines += [f"addw r12, r0, #{columns // 2 * advance}", "vmov s6, r12", ".balign 4", "2:"]
    lines += [*block, f"add.w r0, r0, #{advance}", f"addw r1, r1, #{2 * channels}"]
    lines += ["vmov r12, s6", "cmp.w r0, r12", "bne.w 2b"]
    if columns % 2:
        lines += [f"sub.w r0, r0, #{advance // 2}", f"subw r1, r1, #{channels}", *block]
    lines += ["vmov r0, s3", f"addw r0, r0, #{2 * pitch * stride * rows}", "vmov s3, r0"]
    lines += ["vmov r1, s4", f"addw r1, r1, #{rows * columns * channels}", "vmov s4, r1"]
    lines += ["vmov r12, s5", "subs.w r12, r12, #1", "vmov s5, r12", "bne.w 1b"]
    return [*lines, "pop.w {r4-r11, pc}"]


def _block(
    stride: int, rows: int, pitch: int, columns: int, channels: int, low: int, high: int
) -> list[str]:
    """`rows` x 2 outputs."""
    accs = [("r2", "r3"), ("r10", "r11")][:rows]
    lines = [f"vmov {acc}, s0" for pair in accs for acc in pair]
    for i in range(3 + rows - 1):
        at = 2 * pitch * i
        lines += [f"ldr.w r12, [r0, #{at}]", f"ldr.w lr, [r0, #{at + 4}]"]
        if stride == 2:
            lines.append(f"ldr.w r10, [r0, #{at + 8}]")
        for row, (y0, y1) in enumerate(accs):
            if not 0 <= i - row < 3:
                continue
            w01, w12 = f"r{4 + 2 * (i - row)}", f"r{5 + 2 * (i - row)}"
            lines += [f"smlad {y0}, r12, {w01}, {y0}", f"smlabt {y0}, lr, {w12}, {y0}"]
            if stride == 1:
                lines += [f"smlatb {y1}, r12, {w01}, {y1}", f"smlad {y1}, lr, {w12}, {y1}"]
            else:
                lines += [f"smlad {y1}, lr, {w01}, {y1}", f"smlabt {y1}, r10, {w12}, {y1}"]
    lines += ["vmov r12, s2", "vmov lr, s1"]
    for row, pair in enumerate(accs):
        for column, acc in enumerate(pair):
            lines += requantized(acc, "lr", "r12", low, high)
            lines.append(f"strb.w {acc}, [r1, #{(row * columns + column) * channels}]")
    return lines
