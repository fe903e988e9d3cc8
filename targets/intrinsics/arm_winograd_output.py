"""The output's side of a Winograd convolution in assembly: from sums to stored values.

The sums of `arm_winograd_products.py`, two output channels of up to four tiles, are transformed
downwards in place, then row by row; each row's values are requantized and stored at once.
"""

import math
from collections.abc import Sequence

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted, requantized
from tinyc.targets.intrinsics.arm_winograd_input import braced, braced_places
from tinyc.targets.intrinsics.winograd import LANES, Form

FIRST = 2  # r2 and following hold the values that are transformed
TILE_BYTES, CHANNEL_BYTES = 8, 4  # of the sums at one position


def output(form: Form, channels: int, shifted: bool, low: int, high: int) -> Microkernel:
    """`tinyc_winograd<m>_output_...(sums, y, tiles, count, parameters, zero_point)`.

    channels    bytes from pixel to pixel of y
    shifted     the multipliers are divided by 2^shift already
    tiles       m + 1 words for each tile: the last m are where its rows begin, bytes from y on.
                The rows are written upwards, so that a row that is not wanted may begin where
                the last wanted one does.
    parameters  of two channels: both biases times the form's factor, both multipliers
    """
    suffix = ("" if shifted else "_s") + bounds_suffix(low, high)
    name = f"tinyc_winograd{form.name}_output_c{channels}{suffix}"
    text = TEXT.format(
        name=name, m=form.outputs, n=form.points, channels=channels, low=low, high=high,
        matrix=braced(form.output), inverse=form.inverse,
        shift="" if shifted else f" >> {form.shift}", lanes=LANES, words=form.outputs + 1,
        places=braced_places(form.place, form.points),
        assembly=quoted(_assembly(form, channels, shifted, low, high)),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* {m}x{m} outputs of `count` tiles and two channels from their {n}x{n} sums. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    void *sums __attribute__((unused)), int8_t *y __attribute__((unused)),
    const int32_t *tiles __attribute__((unused)), int32_t count __attribute__((unused)),
    const int32_t *parameters __attribute__((unused)),
    int32_t zero_point __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(void *sums, int8_t *y, const int32_t *tiles, int32_t count,
    const int32_t *parameters, int32_t zero_point) {{
  static const int8_t matrix[{m}][{n}] = {matrix};
  static const uint8_t places[{n} * {n}] = {places};
  for (int32_t at = 0; at < 2 * count; ++at) {{
    const int32_t channel = at % 2;
    const int32_t *const row_starts = &tiles[((at / 2) * {words}) + 1];
    for (int32_t row = {m} - 1; row >= 0; --row) {{
      for (int32_t column = 0; column < {m}; ++column) {{
        uint32_t total = (uint32_t)(matrix[row][1] * matrix[column][1])
            * (uint32_t)parameters[channel];
        for (int32_t p = 0; p < {n} * {n}; ++p) {{
          total += (uint32_t)(matrix[row][p / {n}] * matrix[column][p % {n}])
              * ((const uint32_t *)sums)[(places[p] * 2 * {lanes}) + at];
        }}
        const int32_t value = tinyc_requantize((int32_t)(total * {inverse}u){shift},
            parameters[2 + channel], zero_point);
        y[row_starts[row] + (column * {channels}) + channel] =
            (int8_t)tinyc_min(tinyc_max(value, {low}), {high});
      }}
    }}
  }}
}}
#endif
"""


def _assembly(form: Form, channels: int, shifted: bool, low: int, high: int) -> list[str]:
    """r0 sums, r1 y.

    s0 bias, s1 multiplier, s2 and s3 those of the second channel; s4 zero point, s5 tile,
    s6 tiles, s7 their end, s8 sums, s9 channels to do.
    """
    tile_bytes = 4 * (form.outputs + 1)
    lines = ["push.w {r4-r11, lr}", "vmov s5, r2", "vmov s6, r2", "vmov s8, r0"]
    lines += [f"mov.w r4, #{tile_bytes}", "mla r3, r3, r4, r2", "vmov s7, r3"]
    lines += ["ldr.w r12, [sp, #36]", "ldr.w r11, [sp, #40]", "vmov s4, r11"]
    lines += [f"ldr.w r{4 + i}, [r12, #{4 * i}]" for i in range(4)]
    lines += ["vmov s0, r4", "vmov s2, r5", "vmov s1, r6", "vmov s3, r7"]
    lines += ["mov.w r5, #2", "vmov s9, r5", ".balign 4", "1:"]
    if form.outputs == 2:
        lines += _tile_of_four(form, channels, shifted, low, high)
    else:
        lines += [*_columns(form), "vmov r9, s5", "vmov r10, s1", "vmov r11, s4"]
        for row in reversed(range(form.outputs)):
            lines += _row(form, row, channels, shifted, low, high)
    lines += ["vmov r2, s5", "vmov r3, s7", f"add.w r2, r2, #{tile_bytes}", "vmov s5, r2"]
    lines += [f"add.w r0, r0, #{TILE_BYTES}", "cmp.w r2, r3", "bne.w 1b"]
    lines += ["vmov r2, s9", "subs.w r2, r2, #1", "vmov s9, r2", "it eq", "popeq.w {r4-r11, pc}"]
    lines += ["vmov r0, s8", "vmov.f32 s5, s6", "vmov.f32 s0, s2", "vmov.f32 s1, s3"]
    return [*lines, f"add.w r0, r0, #{CHANNEL_BYTES}", "add.w r1, r1, #1", "b.w 1b"]


def _tile_of_four(form: Form, channels: int, shifted: bool, low: int, high: int) -> list[str]:
    """A tile of 2x2 outputs in registers: each row of sums, then each column; r12, lr rows of y."""
    lines: list[str] = []
    sums = ("r2", "r3", "r12", "lr")
    rows = {}  # the two values of each row of sums
    for i in range(form.points):
        left, right = rows[i] = f"r{4 + 2 * i}", f"r{5 + 2 * i}"
        lines += [f"ldr.w {r}, {_place(form.place(i, j))}" for j, r in enumerate(sums)]
        lines += [f"vmov {left}, s0", f"add.w r3, r3, {left}"] if i == 1 else []
        lines += [f"add.w {left}, r3, r12", f"sub.w {right}, r3, r12"]
        lines += [f"add.w {left}, {left}, r2, lsl #1", f"sub.w {right}, {right}, lr, lsl #1"]
    lines += ["vmov r2, s5", "vmov r3, s4", "ldr.w r12, [r2, #4]", "ldr.w lr, [r2, #8]"]
    lines += ["vmov r2, s1", "add.w r12, r12, r1", "add.w lr, lr, r1"]
    for column in range(2):
        m0, m1, m2, m3 = (rows[i][column] for i in range(4))
        lines += [f"add.w {m0}, {m1}, {m0}, lsl #1", f"add.w {m0}, {m0}, {m2}"]
        lines += [f"sub.w {m1}, {m1}, {m2}", f"sub.w {m1}, {m1}, {m3}, lsl #1"]
        for r, row in ((m1, "lr"), (m0, "r12")):
            lines += [] if shifted else [f"asr.w {r}, {r}, #{form.shift}"]
            lines += requantized(r, "r2", "r3", low, high)
            lines.append(f"strb.w {r}, [{row}, #{column * channels}]")
    return lines


def _columns(form: Form) -> list[str]:
    """Every column of the sums from n to m values, in place."""
    n, lines = form.points, []
    for column in range(n):
        lines += ["vmov lr, s0"] if column == 1 else []
        places = [_place(form.place(i, column)) for i in range(n)]
        bias = [f"add.w r{FIRST + 1}, r{FIRST + 1}, lr"] if column == 1 else []
        code, results = _transformed(form, places, bias)
        lines += code
        lines += [f"str.w {r}, {place}" for r, place in zip(results, places, strict=False)]
    return lines


def _row(form: Form, row: int, channels: int, shifted: bool, low: int, high: int) -> list[str]:
    """The outputs of one row: r9 tile, r10 multiplier, r11 zero point, r12 inverse, lr row of y."""
    factors = _left_out(form)
    places = [_place(form.place(row, j)) for j in range(form.points)]
    lines, results = _transformed(form, places, [f"ldr.w lr, [r9, #{4 * (1 + row)}]"])
    lines += ["add.w lr, lr, r1"]
    if row + 1 == form.outputs or factors[row] != factors[row + 1]:
        factor = form.inverse * factors[row] % (1 << 32)
        lines += [f"movw r12, #{factor & 0xFFFF}", f"movt r12, #{factor >> 16}"]
    for column, r in enumerate(results):
        if factors[column] > 1:
            lines.append(f"lsl.w {r}, {r}, #{factors[column].bit_length() - 1}")
        lines.append(f"mul {r}, {r}, r12")
        lines += [] if shifted else [f"asr.w {r}, {r}, #{form.shift}"]
        lines += requantized(r, "r10", "r11", low, high)
        lines.append(f"strb.w {r}, [lr, #{column * channels}]")
    return lines


def _place(position: int) -> str:
    return f"[r0, #{position * TILE_BYTES * LANES}]"


def _left_out(form: Form) -> tuple[int, ...]:
    """Common factors of the output matrix's rows, which `_transform` leaves out."""
    return tuple(math.gcd(*row) for row in form.output)


def _transformed(
    form: Form, places: Sequence[str], then: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The output matrix by n sums at `places`; lines, among them `then`, and results' registers."""
    values = [f"r{FIRST + i}" for i in range(form.points - form.odd)]
    lines = [f"ldr.w {r}, {place}" for r, place in zip(values, places, strict=False)]
    lines += then
    if form.odd:
        return [*lines, *_strided(places[-form.odd :])], ["r2", "r4", "r7", "r3"]
    lines += ["add.w r8, r3, r4", "sub.w r3, r3, r4"]  # s = m1 + m2, d = m1 - m2
    lines += ["add.w r4, r5, r6", "sub.w r5, r5, r6"]  # t = m3 + m4, e = m3 - m4
    lines += ["add.w r7, r7, r7, lsl #1"]  # 3 m5
    if form.output[0][0] == 1:
        lines += [
            "add.w r2, r2, r8",
            "add.w r2, r2, r4",  # m0 + s + t
            "add.w r6, r3, r5, lsl #1",  # d + 2 e
            "add.w r8, r8, r4, lsl #2",  # s + 4 t
            "add.w r5, r5, r7",
            "add.w r5, r3, r5, lsl #3",  # d + 8 (e + 3 m5)
        ]
        return lines, ["r2", "r6", "r8", "r5"]
    lines += [
        "add.w r2, r2, r2, lsl #1",
        "add.w r2, r2, r8, lsl #1",
        "add.w r2, r4, r2, lsl #1",  # 6 m0 + 4 s + t
        "add.w r6, r5, r3, lsl #1",  # (4 d + 2 e) / 2
        "add.w r8, r8, r4",  # (4 s + 4 t) / 4
        "add.w r5, r5, r7",
        "add.w r5, r3, r5, lsl #1",  # (4 d + 8 e + 24 m5) / 4
    ]
    return lines, ["r2", "r6", "r8", "r5"]


def _strided(odd_places: Sequence[str]) -> list[str]:
    """F4_STRIDED's output matrix: results r2, r4, r7, r3 from r2 to r6 and the sums of odd points.

    s = 3 m1 + m2, d = 3 m1 - m2
    """
    lines = ["add.w r2, r2, r2, lsl #1", "add.w r3, r3, r3, lsl #1"]
    lines += ["add.w r7, r3, r4", "sub.w r3, r3, r4"]
    lines += ["add.w r2, r2, r7", "add.w r2, r2, r5"]  # 3 m0 + s + m3
    lines += ["add.w r4, r3, r5, lsl #1"]  # d + 2 m3
    lines += ["add.w r7, r7, r5, lsl #2", "add.w r3, r3, r5, lsl #3"]  # s + 4 m3, d + 8 m3
    for first, results in ((0, ("r2", "r4")), (2, ("r7", "r3"))):
        lines += [f"ldr.w r5, {odd_places[first]}", f"ldr.w r8, {odd_places[first + 1]}"]
        lines += ["add.w r8, r8, r6"] if first else []  # m4 goes where the last odd one goes
        lines += ["add.w r5, r5, r5, lsl #1", "add.w r8, r8, r8, lsl #1"]
        lines += [
            f"add.w {r}, {r}, {o}, lsl #1" for r, o in zip(results, ("r5", "r8"), strict=True)
        ]
    return lines
