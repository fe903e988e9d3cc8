"""Depthwise windows of any shape on planes of int16 values in assembly: one row x four columns.

Where the output is one column wide, a block is four rows instead.

A word of a plane holds two neighbours, x[2n] and x[2n + 1]. Weights lie in words of two taps, and
a step multiplies one or two of these words by what the four outputs see:

    even outputs    x[2n], x[2n + 1]  with  w[2j], w[2j + 1]        smlad
    odd outputs     the same          with  w[2j - 1], w[2j]        smlad, where the stride is odd
    dilated, or of one column         one tap at a time             smlabb, smlabt, smlatb, smlatt

Sums live in r4 to r7, seven registers hold words: as many loads as there is room for in a chain.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted, requantized
from tinyc.targets.intrinsics.arm_depthwise import Walk

OUTPUTS = 4  # of a block
SUMS = ("r4", "r5", "r6", "r7")
WORDS = ("r3", "r8", "r9", "r10", "r11", "r12", "lr")


@dataclass(frozen=True, slots=True)
class Window:
    """kernel, strides, dilations: (height, width)."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)

    @property
    def by_taps(self) -> bool:
        """Whether taps are multiplied one by one, since neighbours do not meet neighbours."""
        return self.kernel[1] == 1 or self.dilations[1] > 1

    @property
    def words_a_step(self) -> int:
        """Words of weights for the same taps: two where odd outputs need them shifted."""
        return 1 if self.by_taps or self.strides[1] % 2 == 0 else 2

    @property
    def steps(self) -> int:
        """Words a row of the kernel is cut into; an even width is shifted out of its last one."""
        return self.kernel[1] // 2 + 1 if self.words_a_step == 2 else -(-self.kernel[1] // 2)

    @property
    def stream_words(self) -> int:
        """Weights, bias and multiplier of a channel."""
        return self.weight_words + 2

    @property
    def weight_words(self) -> int:
        kh, kw = self.kernel
        return -(-kh * kw // 2) if self.by_taps else kh * self.steps * self.words_a_step

    def reach(self, columns: int) -> int:
        """Values of a row of a plane that `columns` outputs read, what they multiply by 0 too."""
        last = 0
        for start in (o * self.strides[1] for o in range(max(columns - 2, 0), columns)):
            words = 0 if self.by_taps else self.steps
            span = start + (self.kernel[1] - 1) * self.dilations[1]
            last = max(last, span // 2, start // 2 + words - 1)
        return 2 * last + 2

    def tap_place(self) -> str:
        """C: the halfword of the stream where tap (i, j) lies, the one for even outputs."""
        if self.by_taps:
            return f"(i * {self.kernel[1]}) + j"
        row, step = 2 * self.steps * self.words_a_step, 2 * self.words_a_step
        return f"(i * {row}) + ((j / 2) * {step}) + (j % 2)"


def packed_windows(window: Window, weights: Array, bias: Array, multipliers: Array) -> Array:
    """The streams of all channels; weights [channels, taps] whole numbers of int8."""
    channels, (kh, kw) = weights.shape[0], window.kernel
    multipliers = np.broadcast_to(multipliers, (channels,))
    rows = weights.reshape(channels, kh, kw)
    if window.by_taps:
        table = np.zeros((channels, 2 * window.weight_words), "<i2")
        table[:, : kh * kw] = weights
    else:
        padded = np.zeros((channels, kh, 2 * window.steps + 1), "<i2")
        padded[:, :, 1 : kw + 1] = rows
        shifts = (1, 0)[: window.words_a_step]  # for even outputs, for odd ones
        parts = [
            padded[:, :, s : s + 2 * window.steps].reshape(channels, kh, -1, 2) for s in shifts
        ]
        table = np.stack(parts, axis=3)
    words = np.ascontiguousarray(table).reshape(channels, -1).view("<i4")
    table = np.concatenate([words, bias[:, None], multipliers[:, None]], axis=1)
    return read_only(table.astype("<i4").reshape(-1))


@dataclass(frozen=True, slots=True)
class Product:
    """sum of output `output` += x * w; the operands are where their words are loaded from."""

    instruction: str
    output: int
    x: str
    w: str


def _products(window: Window, walk: Walk, outputs: int) -> Iterator[Product]:
    """Every multiplication of a block, each output once in the first step."""
    kh, kw = window.kernel
    down = walk.columns == 1
    for i in range(kh):
        for j in range(kw if window.by_taps else window.steps):
            for o in range(outputs):
                row = (i * window.dilations[0] + down * o * window.strides[0]) * walk.row_bytes
                first = 0 if down else o * window.strides[1]
                if window.by_taps:
                    at, tap = first + j * window.dilations[1], i * kw + j
                    instruction = f"smla{'bt'[at % 2]}{'bt'[tap % 2]}"
                    x, w = row + at // 2 * 4, tap // 2 * 4
                else:
                    at, shifted = divmod(first, 2)
                    if 2 * j >= kw and not shifted:
                        continue
                    instruction = "smlad"
                    x = row + 4 * (at + j)
                    w = 4 * ((i * window.steps + j) * window.words_a_step + shifted)
                yield Product(instruction, o, f"[r0, #{x}]", f"[r2, #{w}]")


def depthwise_window(window: Window, walk: Walk) -> Microkernel:
    """`tinyc_window_...(plane, y, stream, rows, zero_point, channels, count)`.

    plane     the first row of the first plane; row r of the output begins at row r * stride
    y         the first output; `count` neighbouring channels are computed
    channels  bytes from column to column of the output
    """
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.strides, window.dilations
    moves = f"s{sh}{sw}" + (f"d{dh}{dw}" if (dh, dw) != (1, 1) else "")
    name = f"tinyc_window_{kh}x{kw}{moves}_{walk.suffix}"
    text = TEXT.format(
        name=name, window=window, walk=walk, kh=kh, kw=kw, sh=sh, sw=sw, dh=dh, dw=dw,
        halves=2 * window.weight_words, weights=window.weight_words, place=window.tap_place(),
        assembly=quoted(_assembly(window, walk)),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* {kh}x{kw}, strides {sh}, {sw}: `rows` rows of {walk.columns} outputs of `count` channels. */
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
    int16_t taps[{halves}];
    memcpy(taps, stream, sizeof taps);
    for (int32_t at = 0; at < rows * {walk.columns}; ++at) {{
      const int16_t *const window =
          &plane[(((at / {walk.columns}) * {sh} * {walk.planes}) + c) * {walk.pitch}];
      int32_t acc = stream[{weights}];
      for (int32_t i = 0; i < {kh}; ++i) {{
        const int16_t *const x = &window[i * {dh} * {walk.planes} * {walk.pitch}];
        for (int32_t j = 0; j < {kw}; ++j) {{
          acc += x[((at % {walk.columns}) * {sw}) + (j * {dw})] * taps[{place}];
        }}
      }}
      acc = tinyc_requantize(acc, stream[{weights} + 1], zero_point);
      y[(at * channels) + c] = (int8_t)tinyc_min(tinyc_max(acc, {walk.low}), {walk.high});
    }}
    stream += {weights} + 2;
  }}
}}
#endif
"""


def _assembly(window: Window, walk: Walk) -> list[str]:
    """r0 plane, r1 y, r2 stream of the channel, sums and words as the module says.

    s0 bias, s1 multiplier, s2 zero point, s3 plane and s4 y of the channel, s6 rows, s7 rows to
    do, s8 end of the columns' loop, s9 channels, s11 count.
    """
    bias = 4 * window.weight_words
    lines = ["push.w {r4-r11, lr}", "vmov s3, r0", "vmov s4, r1", "vmov s6, r3"]
    for place, register in ((36, "s2"), (40, "s9"), (44, "s11")):
        lines += [f"ldr.w r12, [sp, #{place}]", f"vmov {register}, r12"]
    lines += [".balign 4", "1:", f"ldr.w r3, [r2, #{bias}]", f"ldr.w r8, [r2, #{bias + 4}]"]
    lines += ["vmov s0, r3", "vmov s1, r8", "vmov r0, s3", "vmov r1, s4", "vmov r12, s6"]
    if walk.columns == 1:
        step = window.strides[0] * walk.row_bytes
        whole = [*_block(window, walk, OUTPUTS), f"addw r0, r0, #{OUTPUTS * step}"]
        lines += ["lsrs.w r12, r12, #2", "beq.w 3f", *_repeated("2", whole), "3:"]
        single = [*_block(window, walk, 1), f"addw r0, r0, #{step}"]
        lines += ["vmov r12, s6", "ands.w r12, r12, #3", "beq.w 5f", *_repeated("4", single), "5:"]
    else:
        lines += _repeated("2", _row(window, walk))
    lines += [
        f"addw r2, r2, #{bias + 8}",
        "vmov r12, s3",
        f"addw r12, r12, #{2 * walk.pitch}",
        "vmov s3, r12",
    ]
    lines += ["vmov r12, s4", "add.w r12, r12, #1", "vmov s4, r12"]
    lines += ["vmov r12, s11", "subs.w r12, r12, #1", "vmov s11, r12", "bne.w 1b"]
    return [*lines, "pop.w {r4-r11, pc}"]


def _repeated(label: str, lines: list[str]) -> list[str]:
    """r12 times; the count is kept in s7."""
    loop = [".balign 4", f"{label}:", "vmov s7, r12", *lines, "vmov r12, s7"]
    return [*loop, "subs.w r12, r12, #1", f"bne.w {label}b"]


def _row(window: Window, walk: Walk) -> list[str]:
    """All columns of a row; r0 and r1 move on to the next one."""
    whole, rest = divmod(walk.columns, OUTPUTS)
    unroll = max(min(walk.unroll, whole), 1)
    turns, single = divmod(whole, unroll)
    step = 2 * OUTPUTS * window.strides[1]  # bytes of the plane from block to block
    lines: list[str] = []
    if turns > 1:
        lines += [f"addw r12, r0, #{step * unroll * turns}", "vmov s8, r12", ".balign 4", "3:"]
    for _ in range(unroll if turns else 0):
        lines += [*_block(window, walk, OUTPUTS), f"addw r0, r0, #{step}"]
    if turns > 1:
        lines += ["vmov r12, s8", "cmp.w r0, r12", "bne.w 3b"]
    for _ in range(single):
        lines += [*_block(window, walk, OUTPUTS), f"addw r0, r0, #{step}"]
    lines += _block(window, walk, rest) if rest else []
    forward = window.strides[0] * walk.row_bytes - step * whole
    return [*lines, f"{'addw' if forward >= 0 else 'subw'} r0, r0, #{abs(forward)}"]


def _block(window: Window, walk: Walk, outputs: int) -> list[str]:
    """`outputs` neighbours from r0 on, stored from r1 on; r1 moves behind them."""
    sums = SUMS[:outputs]
    lines = [f"vmov {sums[-1]}, s0"]
    lines += _allocated(list(_products(window, walk, outputs)), outputs)
    lines += ["vmov r3, s1", "vmov r8, s2"] + ([] if walk.channels else ["vmov r9, s9"])
    for acc in sums:
        lines += requantized(acc, "r3", "r8", walk.low, walk.high)
    if walk.channels:
        lines += [f"strb.w {acc}, [r1, #{i * walk.channels}]" for i, acc in enumerate(sums)]
        return [*lines, f"addw r1, r1, #{outputs * walk.channels}"]
    places = ("r1", "r10", "r11", "r12")[:outputs]
    lines += [f"add.w {b}, {a}, r9" for a, b in itertools.pairwise(places)]
    lines += [f"strb.w {acc}, [{place}]" for acc, place in zip(sums, places, strict=True)]
    return [*lines, f"add.w r1, {places[-1]}, r9"]


def _allocated(products: list[Product], outputs: int) -> list[str]:
    """The products in their order; words are loaded in chains, as many as there are registers for.

    Where there are too few, the word that is used last goes, and is loaded again.
    """
    free, held = list(WORDS), dict[str, str]()
    lines: list[str] = []
    for n, product in enumerate(products):
        ahead = list(dict.fromkeys(word for p in products[n:] for word in (p.x, p.w)))
        for word in [word for word in held if word not in ahead]:
            free.append(held.pop(word))
        missing = [word for word in ahead if word not in held]
        needed = sum(word in missing for word in {product.x, product.w})
        while len(free) < needed:
            free.append(held.pop(max(held, key=ahead.index)))
        for word in missing[: len(free)] if needed else []:
            held[word] = free.pop(0)
            lines.append(f"ldr.w {held[word]}, {word}")
        acc = SUMS[product.output]
        first = all(p.output != product.output for p in products[:n])
        addend = SUMS[outputs - 1] if first else acc  # the last sum starts as the bias
        lines.append(f"{product.instruction} {acc}, {held[product.x]}, {held[product.w]}, {addend}")
    return lines
