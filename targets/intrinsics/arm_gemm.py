"""Blocks of a matrix product in assembly, for cores with the DSP extension.

A block is up to four pixels times all output channels, two channels at a time: 4x2 accumulators
fill all 14 registers, so a compiler would spill. The forms of `arm_stream.py` need as many cycles
as there are products: with 4 pixels 32 for a group, 16 SMLAD among them.

Activations lie expanded in a block of the scratch, in chunks: of 4 channels of one row of the
image, two words for every column that the pixels' windows cover, the first words of all columns
before the second ones. A window's `taps` neighbouring columns are read in place, so that pixels
share what is expanded.
"""

from dataclasses import dataclass

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import (
    bounds_suffix,
    entered,
    quoted,
    requantized,
    scaled_zero_point,
)
from tinyc.targets.intrinsics.arm_dsp import dsp

MOST_PIXELS = 4
COLUMNS = 2  # channels that are computed together
MOST_OFFSET = 4095  # of a load or store from a register


@dataclass(frozen=True, slots=True)
class Block:
    """How the activations of a block lie.

    pixels  output pixels
    taps    columns of the image that a pixel reads of a chunk
    step    columns from pixel to pixel
    wide    the form
    nibbles weights of the paired form have 4 bits
    """

    pixels: int
    taps: int
    step: int
    wide: bool
    chunks: int
    nibbles: bool = False

    @property
    def span(self) -> int:
        """Columns of a chunk."""
        return (self.pixels - 1) * self.step + self.taps

    @property
    def groups(self) -> int:
        """Of 4 products of a pixel."""
        return self.taps * self.chunks

    @property
    def chunk_bytes(self) -> int:
        return 8 * self.span

    @property
    def bytes(self) -> int:
        return self.chunks * self.chunk_bytes


def gemm(block: Block, turn: int, channels: int, low: int, high: int) -> Microkernel:
    """`tinyc_gemm_...(block, stream, y, y_stride, end, zero_point, chunks)`: all channels.

    y, y_stride  the first pixel's first output, and bytes from pixel to pixel
    end          behind the stream
    turn         chunks written out in a loop for any number of them, a power of 2; 0: all of the
                 block's, without a loop, for pixels of so many channels
    """
    taps = "" if block.taps == 1 else f"_t{block.taps}s{block.step}"
    length = f"u{turn}" if turn else f"k{4 * block.groups}_n{channels}"
    form = "wide" if block.wide else "nibbles" if block.nibbles else "paired"
    name = f"tinyc_gemm_{block.pixels}x2{taps}_{form}_{length}{bounds_suffix(low, high)}"
    extension = "uxtb16" if block.nibbles else "sxtb16"
    text = TEXT.format(
        name=name,
        pixels=block.pixels,
        assembly=quoted(_assembly(block, turn, channels, low, high)),
        unused=" __attribute__((unused))",
        group_bytes=GROUP_BYTES[form],
        value="" if block.wide else " >> 8",
        products=PRODUCTS[form].format(span=block.span),
        naked_sums=", const uint32_t *sums __attribute__((unused))" if block.nibbles else "",
        sums=", const uint32_t *sums" if block.nibbles else "",
        less=" - sums[p]" if block.nibbles else "",
        taps=block.taps,
        step=block.step,
        span=block.span,
        low=low,
        high=high,
    )
    return Microkernel(name, text, dsp("load_word", "smlad", extension))


WIDE = """\
          acc[n] += (uint32_t)tinyc_smlad(x[0], tinyc_load_word(&w[4 * n]), 0);
          acc[n] += (uint32_t)tinyc_smlad(x[{span}], tinyc_load_word(&w[8 + (4 * n)]), 0);
"""
PAIRED = """\
          const uint32_t word = tinyc_load_word(&w[4 * n]);
          acc[n] += (uint32_t)tinyc_smlad(x[0], word, 0);
          acc[n] += (uint32_t)tinyc_smlad(x[{span}], tinyc_sxtb16(word), 0);
"""
NIBBLES = """\
          const uint32_t word = (tinyc_load_word(w) >> (4 * n)) & 0x0f0f0f0fu;
          acc[n] += (uint32_t)tinyc_smlad(x[0], word, 0);
          acc[n] += (uint32_t)tinyc_smlad(x[{span}], tinyc_uxtb16(word), 0);
"""
PRODUCTS = {"wide": WIDE, "paired": PAIRED, "nibbles": NIBBLES}
GROUP_BYTES = {"wide": 16, "paired": 8, "nibbles": 4}  # of two channels
TEXT = """\
/* {pixels} pixels of expanded activations times all channels of the stream, two a turn. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *block{unused}, const int8_t *stream{unused},
    int8_t *y{unused}, int32_t y_stride{unused},
    const int8_t *end{unused}, int32_t zero_point{unused},
    int32_t chunks{unused}{naked_sums}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *block, const int8_t *stream, int8_t *y, int32_t y_stride,
    const int8_t *end, int32_t zero_point, int32_t chunks{sums}) {{
  while (stream != end) {{
    const int8_t *weights = &stream[8];
    const int8_t *multipliers = &weights[{group_bytes} * {taps} * chunks];
    for (int32_t p = 0; p < {pixels}; ++p) {{
      const uint32_t *pairs = (const uint32_t *)block + (p * {step});
      uint32_t acc[2] = {{tinyc_load_word(stream){less}, tinyc_load_word(&stream[4]){less}}};
      for (int32_t g = 0; g < {taps} * chunks; ++g) {{
        const uint32_t *x = &pairs[((g / {taps}) * {span} * 2) + (g % {taps})];
        const int8_t *w = &weights[{group_bytes} * g];
        for (int32_t n = 0; n < 2; ++n) {{
{products}\
        }}
      }}
      for (int32_t n = 0; n < 2; ++n) {{
        const int32_t multiplier = (int32_t)tinyc_load_word(&multipliers[4 * n]);
        const int32_t value = tinyc_requantize((int32_t)acc[n]{value}, multiplier, zero_point);
        y[(p * y_stride) + n] = (int8_t)tinyc_min(tinyc_max(value, {low}), {high});
      }}
    }}
    stream = &multipliers[8];
    y += 2;
  }}
}}
#endif
"""


def code_bytes(block: Block) -> int:
    """Of all its chunks, written out."""
    return 4 * block.chunks * len(_chunk(block, _accumulators(block), 0, False))


def _accumulators(block: Block) -> list[tuple[str, str]]:
    return [(f"r{4 + 2 * p}", f"r{5 + 2 * p}") for p in range(block.pixels)]


def _assembly(block: Block, turn: int, channels: int, low: int, high: int) -> list[str]:
    """The naked function: r0 block, r1 stream, r2 y, r3 stride; stack: end, zero point, chunks.

    s0 y of this pair, s1 end of the stream, s2 stride, s3 chunks, as the loop's offsets count them,
    s4 zero point, s5 end of the chunks, s6 where the loop is entered, from s8 on the pixels' sums.
    Accumulators from r4 on, weights r2 and r3, activations r12, lr and what is left.
    """
    acc = _accumulators(block)
    exact = not turn and not block.nibbles  # the first products take the biases
    chunks = [_chunk(block, acc, c, exact and c == 0) for c in range(turn or block.chunks)]
    lines = [
        "push.w {r4-r11, lr}",
        "vmov s0, r2",
        "vmov s2, r3",
        "ldr.w r2, [sp, #36]",
        "ldr.w r3, [sp, #40]",
        "ldr.w r12, [sp, #44]",
        "vmov s1, r2",
        *([] if block.wide else scaled_zero_point("r3")),
        "vmov s4, r3",
        *(_loaded_sums(block) if block.nibbles else []),
        *(_entry(block, turn, 4 * len(chunks[-1])) if turn else []),
        "vmov s3, r0",
        ".balign 4",
        "1:",
        *_start(acc, exact),
        *(_less_sums(acc) if block.nibbles else []),
        *(["vmov r12, s6", "bx r12", ".balign 4", "2:"] if turn else []),
        *(line for chunk in chunks for line in chunk),
    ]
    if turn:
        lines += [f"addw r0, r0, #{turn * block.chunk_bytes}", "vmov r12, s5"]
        lines += ["cmp.w r0, r12", "bne.w 2b"]
    lines += ["ldm.w r1!, {r2, r3}", "vmov r12, s4", "vmov lr, s0"]
    lines += _stored(block, turn, channels, low, high)
    lines += ["add.w lr, lr, #2", "vmov s0, lr", "vmov r12, s1", "cmp.w r1, r12"]
    return [*lines, "bne.w 1b", "pop.w {r4-r11, pc}"]


def _stored(block: Block, turn: int, channels: int, low: int, high: int) -> list[str]:
    """The results from lr on, which is kept; r0 is the block again."""
    fixed = turn == 0 and (block.pixels - 1) * channels + COLUMNS <= MOST_OFFSET
    lines = [] if fixed else ["vmov r0, s2"]
    for p, pair in enumerate(_accumulators(block)):
        for n, a in enumerate(pair):
            lines += requantized(a, f"r{2 + n}", "r12", low, high, not block.wide)
            lines.append(f"strb.w {a}, [lr, #{n + (p * channels if fixed else 0)}]")
        if not fixed and p + 1 < block.pixels:
            lines.append("add.w lr, lr, r0")
    return lines if fixed else [*lines, "vmov lr, s0", "vmov r0, s3"]


def _entry(block: Block, turn: int, code_bytes: int) -> list[str]:
    """Where the loop begins and ends, so that the first turn leaves out what makes whole ones."""
    return [
        *entered("r12", turn, code_bytes, ("r2", "r3", "lr")),
        "vmov s6, r2",
        f"movw lr, #{block.chunk_bytes}",
        "mls r0, r3, lr, r0",
        "add.w r12, r12, r3",
        "mla r12, r12, lr, r0",
        "vmov s5, r12",
    ]


def _loaded_sums(block: Block) -> list[str]:
    """What every pixel takes off its sums; r2 and r3 are free."""
    sums = ", ".join(f"s{8 + p}" for p in range(block.pixels))
    return ["ldr.w r2, [sp, #48]", f"vldmia r2, {{{sums}}}"]


def _less_sums(acc: list[tuple[str, str]]) -> list[str]:
    lines = []
    for p, pair in enumerate(acc):
        lines += [f"vmov r12, s{8 + p}", *(f"sub.w {a}, {a}, r12" for a in pair)]
    return lines


def _start(acc: list[tuple[str, str]], exact: bool) -> list[str]:
    """Every accumulator at its bias."""
    first = f"ldm.w r1!, {{{acc[0][0]}, {acc[0][1]}}}"
    if exact:
        return [first]  # the first products take the biases from there
    return [first, *(f"mov.w {pair[n]}, {acc[0][n]}" for pair in acc[1:] for n in range(2))]


def _chunk(block: Block, acc: list[tuple[str, str]], chunk: int, first: bool) -> list[str]:
    """The products of one chunk; 32-bit instructions only, the loop is entered by counting.

    first  the biases are still in acc[0] only
    """
    lines = []
    free = ["r12", "lr", *(f"r{r}" for r in range(4 + 2 * block.pixels, 12))]
    at_once = min(len(free), block.pixels)
    for tap in range(block.taps):
        for half in range(2):
            base = chunk * block.chunk_bytes + 4 * (half * block.span + tap)
            starting = first and tap == half == 0
            pixels = list(range(block.pixels))
            order = pixels[::-1] if starting else pixels  # pixel 0 holds the biases: it is last
            for begin in range(0, block.pixels, at_once):
                several = order[begin : begin + at_once]
                for p, x in zip(several, free, strict=False):
                    lines.append(f"ldr.w {x}, [r0, #{base + 4 * p * block.step}]")
                if begin == 0:
                    lines += (_nibbles if block.nibbles else _weights)(block.wide or half == 0)
                for p, x in zip(several, free, strict=False):
                    for n in range(COLUMNS):
                        addend = acc[0 if starting else p][n]
                        lines.append(f"smlad {acc[p][n]}, {x}, r{2 + n}, {addend}")
    return lines


def _weights(loaded: bool) -> list[str]:
    if loaded:
        return ["ldr.w r3, [r1, #4]", "ldr.w r2, [r1], #8"]
    return ["sxtb16 r2, r2", "sxtb16 r3, r3"]


def _nibbles(loaded: bool) -> list[str]:
    if not loaded:
        return ["uxtb16 r2, r2", "uxtb16 r3, r3"]
    lines = ["ldr.w r3, [r1], #4", "and.w r2, r3, #0x0f0f0f0f", "lsr.w r3, r3, #4"]
    return [*lines, "and.w r3, r3, #0x0f0f0f0f"]
