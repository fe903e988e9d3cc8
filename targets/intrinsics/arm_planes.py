"""Channels of an NHWC image as planes of int16 values, for cores with the DSP extension.

The planes of one or four neighbouring channels lie row by row, side by side:

    row 0 of plane 0, row 0 of plane 1, ...; row 1 of plane 0, ...        `pitch` values each

A row of a plane is `left` values of padding, the image's row, and padding. Two neighbours share a
word. Four channels are taken together: the words of two pixels become one word of each plane by
two packs and four SXTB16, 26 cycles for 16 values; a channel alone takes 20 cycles for 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted

MOST_UNROLLED_WORDS = 8  # of a row that is written out; a longer one is a loop
TURN_WORDS = 2  # of that loop


@dataclass(frozen=True, slots=True)
class Planes:
    """How a band of the image lies in the scratch.

    count  planes side by side: 1 or 4
    left   values of padding before a row of the image
    width  values of a row of the image that are taken
    skip   values of a row of the image that nobody reads
    pitch  values in a row of a plane, even
    """

    count: int
    left: int
    width: int
    skip: int
    pitch: int

    @property
    def row_bytes(self) -> int:
        """From row to row of a plane."""
        return 2 * self.count * self.pitch


def fill_pairs() -> Microkernel:
    """`tinyc_fill_pairs(plane, value, count)`: `count` words of two equal halfwords."""
    return Microkernel("tinyc_fill_pairs", FILL)


FILL = """\
/* `count` words, each twice the halfword `value`. */
static inline void tinyc_fill_pairs(int16_t *plane, int32_t value, int32_t count) {
  const uint32_t pair = ((uint32_t)value & 0xffffu) * 0x10001u;
  for (int32_t i = 0; i < count; ++i) {
    memcpy(&plane[2 * i], &pair, sizeof pair);
  }
}
"""


def gather(planes: Planes) -> Microkernel:
    """`tinyc_gather_...(x, channels, rows, plane, zero)`: `rows` rows of the planes.

    x         the first channel's first value, `channels` bytes from pixel to pixel
    plane     the first row of the first plane, its padding included
    zero      the stored zero, four times in a word: what the border of a row holds
    """
    name = f"tinyc_gather{planes.count}_{planes.left}_{planes.width}_{planes.skip}_{planes.pitch}"
    text = GATHER.format(
        name=name,
        planes=planes,
        what="Four channels" if planes.count == 4 else "One channel",
        assembly=quoted(_assembly(planes)),
    )
    return Microkernel(name, text)


GATHER = """\
/* {what} of rows of {planes.width} pixels as planes of halfwords. */
#if defined(__ARM_FEATURE_DSP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int8_t *x __attribute__((unused)), int32_t channels __attribute__((unused)),
    int32_t rows __attribute__((unused)), int16_t *plane __attribute__((unused)),
    int32_t zero __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int8_t *x, int32_t channels, int32_t rows, int16_t *plane,
    int32_t zero) {{
  (void)zero;
  for (int32_t row = 0; row < rows; ++row) {{
    for (int32_t column = 0; column < {planes.width}; ++column) {{
      for (int32_t c = 0; c < {planes.count}; ++c) {{
        plane[(((row * {planes.count}) + c) * {planes.pitch}) + {planes.left} + column] = x[c];
      }}
      x += channels;
    }}
    x += {planes.skip} * channels;
  }}
}}
#endif
"""


def _assembly(planes: Planes) -> list[str]:
    """r0 x, r1 channels, r2 rows, r3 plane, r11 turns, r12 three times `channels`, lr zero."""
    words = _words(planes)
    head = planes.left % 2  # words before the first whole one
    whole = (planes.width - head) // 2
    turns = whole // TURN_WORDS if len(words) > MOST_UNROLLED_WORDS else 0
    begin, end = head, head + turns * TURN_WORDS
    lines = ["push.w {r4-r11, lr}", "ldr.w lr, [sp, #36]", "add.w r12, r1, r1, lsl #1"]
    if planes.count == 1:
        lines.append("sxtb16 lr, lr")
    lines += _moved("r3", planes.left // 2 * 4)
    lines += [".balign 4", "1:"]
    if turns:
        lines += [*_chunks(planes, words[:begin]), *_moved("r3", 4 * begin)]
        lines += [f"mov.w r11, #{turns}", ".balign 4", "2:"]
        lines += [
            *_chunks(planes, words[begin : begin + TURN_WORDS]),
            *_moved("r3", 4 * TURN_WORDS),
        ]
        lines += ["subs.w r11, r11, #1", "bne.w 2b"]
        lines += _chunks(planes, words[end:])
    else:
        end = 0
        lines += _chunks(planes, words)
    lines += [f"add.w r0, r0, r1, lsl #{bit}" for bit in range(8) if planes.skip >> bit & 1]
    lines += [*_moved("r3", planes.row_bytes - 4 * end), "subs.w r2, r2, #1", "bne.w 1b"]
    return [*lines, "pop.w {r4-r11, pc}"]


def _moved(register: str, distance: int) -> list[str]:
    return [f"addw {register}, {register}, #{distance}"] if distance else []


def _words(planes: Planes) -> list[tuple[bool, bool]]:
    """For each word of a row, whether its halves are pixels; else they are padding."""
    head = planes.left % 2
    whole, rest = divmod(planes.width - head, 2)
    return [(False, True)] * head + [(True, True)] * whole + [(True, False)] * rest


def _chunks(planes: Planes, words: Sequence[tuple[bool, bool]]) -> list[str]:
    """The words from r3 on, two at a time: up to four pixels are loaded in a chain."""
    lines: list[str] = []
    for first in range(0, len(words), 2):
        pixels = iter(zip(("r4", "r5", "r6", "r7"), PIXELS, strict=True))
        loads, moves, taken = [], [], 0
        for at, halves in enumerate(words[first : first + 2], first):
            registers = []
            for is_pixel in halves:
                register, address = next(pixels) if is_pixel else ("lr", "")
                registers.append(register)
                if is_pixel:
                    taken += 1
                    load = "ldr.w" if planes.count == 4 else "ldrsb.w"
                    loads.append(f"{load} {register}, {address}")
            moves.append(_word(planes, at, *registers))
        step = {1: "r1", 2: "r1, lsl #1", 3: "r12", 4: "r1, lsl #2"}[taken]
        lines += [*loads, f"add.w r0, r0, {step}", *(line for move in moves for line in move)]
    return lines


PIXELS = ("[r0]", "[r0, r1]", "[r0, r1, lsl #1]", "[r0, r12]")


def _word(planes: Planes, at: int, a: str, b: str) -> list[str]:
    """Word `at` of every plane, from the pixels in the registers a and b."""
    if planes.count == 1:
        return [f"pkhbt r8, {a}, {b}, lsl #16", f"str.w r8, [r3, #{4 * at}]"]
    high = b if a == "lr" else a  # a register that may be overwritten
    lines = [
        f"pkhbt r8, {a}, {b}, lsl #16",
        f"pkhtb {high}, {b}, {a}, asr #16",
        "sxtb16 r9, r8",
        "sxtb16 r8, r8, ror #8",
        f"sxtb16 r10, {high}",
        f"sxtb16 {high}, {high}, ror #8",
    ]
    places = enumerate(("r9", "r8", "r10", high))
    return lines + [f"str.w {r}, [r3, #{2 * planes.pitch * p + 4 * at}]" for p, r in places]
