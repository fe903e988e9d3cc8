"""3x3 depthwise convolution of a row of outputs in assembly, for RISC-V cores without SIMD.

Along the row of a channel every column of three inputs is loaded once: it ends one output's sum,
is the middle of the next one's and begins the one after that. With stride 2 one column is the
middle, and the next one ends a sum and begins another. A compiler would spill: the nine weights,
the sums and three row pointers live in registers.

A row outside the image counts as the padding's value by way of the bias, its weights as 0.
Stream of a channel: bias (int32), doubled multiplier (uint32), 9 weights (int8), 3 bytes unused.
"""

from collections.abc import Sequence

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.doubled import stored_doubled
from tinyc.targets.intrinsics.riscv_assembly import GUARD, REGISTERS, framed, quoted, requantized

MOST_PADDING = 1
STREAM_BYTES = 20


def packed_streams(weights: Array, bias: Array, doubled: Array) -> Array:
    """The streams of all channels; weights [channels, 9] whole numbers of int8."""
    channels = weights.shape[0]
    words = np.stack([bias.astype("<i4"), doubled.view("<i4")], axis=1)
    padded = np.zeros((channels, STREAM_BYTES - 8), np.int8)
    padded[:, :9] = weights
    return read_only(np.concatenate([words.view(np.int8), padded], axis=1).reshape(-1))


def layer_numbers(
    stride: int, width: int, columns: int, left: int, channels: int, zero: int, bounds: list[int]
) -> Array:
    """What the row functions need to know of a layer, int32.

    Channels; columns of outputs whose inputs do not end in the padding, and the others (0 or 1);
    columns of padding on the left, and its value; bytes from the end of a channel's row to the
    next channel's, of inputs and of outputs; then the bounds of `doubled.py`.
    """
    inside = min(columns, width - 2 + left if stride == 1 else (width - 1 + left) // 2)
    seen = 1 - left + (inside + 1 if stride == 1 else columns + inside)
    back = [1 - seen * channels, 1 - columns * channels]
    numbers = [channels, inside, columns - inside, left, zero, *back, *bounds]
    return read_only(np.array(numbers), "int32")


def depthwise_row(stride: int) -> Microkernel:
    """`tinyc_depthwise_row_<stride>(x_0, x_1, x_2, layer, stream, y, outside)`: all channels.

    x_0, x_1, x_2  the first pixels of the three rows of inputs
    outside        1: the first row is outside the image, 2: the last, 3: both
    """
    name = f"tinyc_depthwise_row_{stride}"
    steps = TWIN_STEPS[stride]
    assembly = quoted(_assembly(stride))
    text = TEXT.format(name=name, stride=stride, guard=GUARD, assembly=assembly, steps=steps)
    return Microkernel(name, text, (stored_doubled(),))


TWIN_STEPS = {1: "ox - layer[3]", 2: "(2 * ox) - layer[3]"}
TEXT = """\
/* A row of outputs of a 3x3 depthwise convolution, stride {stride}, channel by channel. */
#if {guard}
__attribute__((naked, noinline)) static void {name}(
    const int8_t *x_0 __attribute__((unused)), const int8_t *x_1 __attribute__((unused)),
    const int8_t *x_2 __attribute__((unused)), const int32_t *layer __attribute__((unused)),
    const int8_t *stream __attribute__((unused)), int8_t *y __attribute__((unused)),
    int32_t outside __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int8_t *x_0, const int8_t *x_1, const int8_t *x_2,
    const int32_t *layer, const int8_t *stream, int8_t *y, int32_t outside) {{
  const int32_t channels = layer[0];
  const int32_t columns = layer[1] + layer[2];
  for (int32_t c = 0; c < channels; ++c) {{
    int32_t bias;
    uint32_t doubled;
    memcpy(&bias, stream, 4u);
    memcpy(&doubled, &stream[4], 4u);
    for (int32_t ox = 0; ox < columns; ++ox) {{
      int32_t acc = bias;
      for (int32_t i = 0; i < 9; ++i) {{
        const int8_t *const row = (i < 3) ? x_0 : (i < 6) ? x_1 : x_2;
        const int32_t ix = {steps} + (i % 3);
        const bool above = (i < 3) && ((outside & 1) != 0);
        const bool below = (i >= 6) && ((outside & 2) != 0);
        const bool beside = (ix < 0) || ((layer[2] != 0) && (ox == layer[1]) && (i % 3 == 2));
        const int32_t x = (above || below || beside) ? layer[4] : row[(ix * channels) + c];
        acc += x * stream[8 + i];
      }}
      y[(ox * channels) + c] = tinyc_stored_doubled(acc, doubled, &layer[7]);
    }}
    stream += 20;
  }}
}}
#endif
"""
LEFT_CHANNELS, INSIDE, REST, PADDED, ZERO, OUTSIDE, X_BACK, Y_BACK = range(8)
FRAME_WORDS = 8


def _assembly(stride: int) -> list[str]:
    """The naked function: a0, a1, a2 rows, a3 layer, a4 stream, a5 y, a6 outside."""
    p, stream, y, x = ["a0", "a1", "a2"], "a4", "a5", ["a3", "a6", "a7"]
    free = iter(r for r in REGISTERS if r not in (*p, stream, y, *x))
    channels, acc, later, bias, total, t, end, doubled = (next(free) for _ in range(8))
    bounds = (next(free), next(free), next(free))
    w = [next(free) for _ in range(9)]

    def dot(to: str, start: str, column: int) -> list[str]:
        lines = []
        for i in range(3):
            lines += [
                f"mul {t}, {x[i]}, {w[3 * i + column]}",
                f"add {to}, {to if i else start}, {t}",
            ]
        return lines

    def load() -> list[str]:
        return [
            line
            for v, q in zip(x, p, strict=True)
            for line in (f"lb {v}, 0({q})", f"add {q}, {q}, {channels}")
        ]

    def padded(to: str, start: str, taps: Sequence[int]) -> list[str]:
        """start + the padding's value times the weights' sum."""
        first, second, third = (w[i] for i in taps)
        return [
            f"add {t}, {first}, {second}",
            f"add {t}, {t}, {third}",
            f"lw {x[0]}, {4 * ZERO}(sp)",
            f"mul {t}, {t}, {x[0]}",
            f"add {to}, {start}, {t}",
        ]

    def finish() -> list[str]:
        return [
            *requantized(total, doubled, bounds, t),
            f"sb {total}, 0({y})",
            f"add {y}, {y}, {channels}",
        ]

    lines = [
        f"sw a6, {4 * OUTSIDE}(sp)",
        *(f"lw {b}, {28 + 4 * i}(a3)" for i, b in enumerate(bounds)),
        *(
            line
            for at, place in enumerate((REST, PADDED, ZERO, X_BACK, Y_BACK), 2)
            for line in (f"lw {t}, {4 * at}(a3)", f"sw {t}, {4 * place}(sp)")
        ),
        f"lw {end}, 4(a3)",
        f"lw {channels}, 0(a3)",
        f"sw {channels}, {4 * LEFT_CHANNELS}(sp)",
        f"mul {t}, {end}, {channels}",
        f"sw {t}, {4 * INSIDE}(sp)",
        "1:",
        f"lw {bias}, 0({stream})",
        f"lw {doubled}, 4({stream})",
        *(f"lb {v}, {8 + i}({stream})" for i, v in enumerate(w)),
        f"lw {total}, {4 * OUTSIDE}(sp)",
        f"addi {stream}, {stream}, {STREAM_BYTES}",
        f"beqz {total}, 3f",
        f"andi {t}, {total}, 1",
        f"beqz {t}, 2f",
        *padded(bias, bias, (0, 1, 2)),
        *(f"li {w[i]}, 0" for i in (0, 1, 2)),
        "2:",
        f"andi {t}, {total}, 2",
        f"beqz {t}, 3f",
        *padded(bias, bias, (6, 7, 8)),
        *(f"li {w[i]}, 0" for i in (6, 7, 8)),
        "3:",
        f"lw {end}, {4 * INSIDE}(sp)",
        f"lw {t}, {4 * PADDED}(sp)",
        f"add {end}, {end}, {y}",
        f"bnez {t}, 4f",
        *load(),
        *dot(acc, bias, 0),
        "j 5f",
        "4:",
        *padded(acc, bias, (0, 3, 6)),
        "5:",
    ]
    if stride == 1:
        lines += [*load(), *dot(later, bias, 0), *dot(acc, acc, 1)]
    lines += [f"beq {y}, {end}, 7f", ".balign 4", "6:", *load()]
    if stride == 1:
        lines += [*dot(total, acc, 2), *dot(acc, later, 1), *dot(later, bias, 0)]
    else:
        lines += [*dot(total, acc, 1), *load(), *dot(total, total, 2), *dot(acc, bias, 0)]
    lines += [*finish(), f"bne {y}, {end}, 6b", "7:"]
    lines += [f"lw {t}, {4 * REST}(sp)", f"lw {end}, {4 * LEFT_CHANNELS}(sp)", f"beqz {t}, 8f"]
    if stride == 2:
        lines += [*load(), *dot(acc, acc, 1)]
    lines += [*padded(total, acc, (2, 5, 8)), *finish(), "8:"]
    lines += [
        f"lw {x[0]}, {4 * X_BACK}(sp)",
        f"lw {x[1]}, {4 * Y_BACK}(sp)",
        f"addi {end}, {end}, -1",
        *(f"add {q}, {q}, {x[0]}" for q in p),
        f"add {y}, {y}, {x[1]}",
        f"sw {end}, {4 * LEFT_CHANNELS}(sp)",
        f"bnez {end}, 1b",
    ]
    return framed(lines, FRAME_WORDS)
