"""The transforms of F(2x2, 3x3) in plain C; formulas and layouts are in `riscv_winograd.py`."""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.doubled import stored_doubled


def input_tile(channels: int) -> Microkernel:
    """`tinyc_winograd_input_<c>(row_0, row_1, row_2, row_3, inputs)`: one tile's 4x4 pixels."""
    name = f"tinyc_winograd_input_{channels}"
    loads = "\n".join(
        f"    const int32_t d_{i}{j} = row_{i}[{channels * j}];" for i in range(4) for j in range(4)
    )
    columns = "\n".join(_input_column(j) for j in range(4))
    rows = "\n".join(_input_row(i) for i in range(4))
    text = INPUT.format(name=name, channels=channels, loads=loads, columns=columns, rows=rows)
    return Microkernel(name, text)


def _input_column(j: int) -> str:
    return "\n".join(
        [
            f"    const int32_t t_0{j} = d_0{j} - d_2{j};",
            f"    const int32_t t_1{j} = d_1{j} + d_2{j};",
            f"    const int32_t t_2{j} = d_2{j} - d_1{j};",
            f"    const int32_t t_3{j} = d_1{j} - d_3{j};",
        ]
    )


def _input_row(i: int) -> str:
    terms = (f"t_{i}0 - t_{i}2", f"t_{i}1 + t_{i}2", f"t_{i}2 - t_{i}1", f"t_{i}1 - t_{i}3")
    return "\n".join(f"    to[{16 * i + 4 * j}] = (int16_t)({t});" for j, t in enumerate(terms))


INPUT = """\
/* Four rows of four pixels as transformed inputs of one tile, B' d B. */
static __attribute__((noinline)) void {name}(const int8_t *row_0, const int8_t *row_1,
    const int8_t *row_2, const int8_t *row_3, void *inputs) {{
  int16_t *to = (int16_t *)inputs;
  for (int32_t c = 0; c < {channels}; ++c) {{
{loads}
{columns}
{rows}
    ++row_0;
    ++row_1;
    ++row_2;
    ++row_3;
    to += 64;
  }}
}}
"""


def weights_block() -> Microkernel:
    """`tinyc_winograd_weights(taps, channels, weights)`: 4 output channels' int8 as int16."""
    return Microkernel("tinyc_winograd_weights", WEIGHTS)


WEIGHTS = """\
/* The 3x3 weights of 4 output channels as they are multiplied, (2 G) g (2 G)'. */
static __attribute__((noinline)) void tinyc_winograd_weights(const int8_t *taps, int32_t channels,
    void *weights) {
  int16_t *to = (int16_t *)weights;
  for (int32_t i = 0; i < channels; ++i) {
    for (int32_t n = 0; n < 4; ++n) {
      int32_t g[4][3];
      for (int32_t j = 0; j < 3; ++j) {
        const int32_t outer = taps[4 * j] + taps[4 * (j + 6)];
        g[0][j] = 2 * taps[4 * j];
        g[1][j] = outer + taps[4 * (j + 3)];
        g[2][j] = outer - taps[4 * (j + 3)];
        g[3][j] = 2 * taps[4 * (j + 6)];
      }
      for (int32_t p = 0; p < 4; ++p) {
        const int32_t outer = g[p][0] + g[p][2];
        to[16 * p] = (int16_t)(2 * g[p][0]);
        to[(16 * p) + 4] = (int16_t)(outer + g[p][1]);
        to[(16 * p) + 8] = (int16_t)(outer - g[p][1]);
        to[(16 * p) + 12] = (int16_t)(2 * g[p][2]);
      }
      ++taps;
      ++to;
    }
    taps += 32;
    to += 60;
  }
}
"""


def output_tile() -> Microkernel:
    """`tinyc_winograd_output(sums, bounds, channel, y, right, below)`: 4 channels of one tile.

    sums          the tile's first
    bounds        what `tinyc_stored_doubled` takes
    channel       4 biases, 4 doubled multipliers (int32, uint32)
    right, below  bytes to the neighbouring outputs; 0 where there is none
    """
    return Microkernel("tinyc_winograd_output", OUTPUT, (stored_doubled(),))


OUTPUT = """\
/* 2x2 outputs of 4 channels, A' M A / 4; the first is written last, over those that are not. */
static __attribute__((noinline)) void tinyc_winograd_output(const void *sums, const int32_t *bounds,
    const int32_t *channel, int8_t *y, int32_t right, int32_t below) {
  const int32_t *m = (const int32_t *)sums;
  for (int32_t n = 0; n < 4; ++n) {
    const int32_t a_0 = m[16] + m[80] + m[144];
    const int32_t b_0 = m[32] + m[96] + m[160];
    const int32_t a_1 = m[80] - m[144] - m[208];
    const int32_t b_1 = m[96] - m[160] - m[224];
    const int32_t y_00 = m[0] + m[64] + m[128] + a_0 + b_0;
    const int32_t y_01 = a_0 - b_0 - (m[48] + m[112] + m[176]);
    const int32_t y_10 = m[64] - m[128] - m[192] + a_1 + b_1;
    const int32_t y_11 = a_1 - b_1 - (m[112] - m[176] - m[240]);
    const int32_t bias = channel[0];
    const uint32_t doubled = (uint32_t)channel[4];
    y[below + right] = tinyc_stored_doubled((y_11 >> 2) + bias, doubled, bounds);
    y[below] = tinyc_stored_doubled((y_10 >> 2) + bias, doubled, bounds);
    y[right] = tinyc_stored_doubled((y_01 >> 2) + bias, doubled, bounds);
    y[0] = tinyc_stored_doubled((y_00 >> 2) + bias, doubled, bounds);
    ++m;
    ++channel;
    ++y;
  }
}
"""
