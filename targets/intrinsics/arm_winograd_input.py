"""The input's side of a Winograd convolution in assembly, for cores with the DSP extension.

Two steps, four channels at a time. `columns` transforms strips of n rows downwards, every column
once, though neighbouring tiles share two of them:

    t       for each column: n words of the channels (k0, k2), then n words of (k1, k3)

`rows` transforms these along the rows, one tile after the other, into the products' operands:

    u       [position][half][lane], words of two channels; half 0 is (k0, k2)

A position is an element of the transformed tile. Arithmetic is in pairs of int16.
"""

import itertools
from collections.abc import Callable, Sequence

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.winograd import LANES, Form, Matrix

FIRST = 4  # r4 and following hold the values that are transformed


def strip() -> Microkernel:
    """`tinyc_winograd_strip(x, step, bytes, count, strip)`: four channels of a row of pixels."""
    return Microkernel("tinyc_winograd_strip", STRIP)


STRIP = """\
/* A word for each of `count` pixels that lie `step` bytes apart: `bytes` of them, then zeros. */
static void tinyc_winograd_strip(const int8_t *x, int32_t step, int32_t bytes, int32_t count,
    void *strip) {
  uint32_t *words = (uint32_t *)strip;
  for (int32_t i = 0; i < count; ++i) {
    if (bytes == 4) {
      words[i] = tinyc_load_word(x);
    } else {
      words[i] = (uint32_t)(uint8_t)x[0] | (bytes > 1 ? (uint32_t)(uint8_t)x[1] << 8 : 0u)
          | (bytes > 2 ? (uint32_t)(uint8_t)x[2] << 16 : 0u);
    }
    x += step;
  }
}
"""


def columns(form: Form) -> Microkernel:
    """`tinyc_winograd<m>_columns(x, row_stride, step, count, t)`: `count` columns of n rows.

    row_stride, step  bytes from row to row and from column to column of x
    """
    name = f"tinyc_winograd{form.kind}_columns"
    text = COLUMNS.format(
        name=name, n=form.points, matrix=braced(form.input), assembly=quoted(_columns(form))
    )
    return Microkernel(name, text)


def rows(form: Form) -> Microkernel:
    """`tinyc_winograd<m>_rows(t, tiles, count, u)`: `count` tiles, one lane of u each.

    tiles  m + 1 words for each tile, the first one its first word in t
    """
    name = f"tinyc_winograd{form.kind}_rows"
    text = ROWS.format(
        name=name, n=form.points, matrix=braced(form.input), assembly=quoted(_rows(form)),
        words=form.outputs + 1, lanes=LANES, places=braced_places(form.place, form.points),
    )  # fmt: skip
    return Microkernel(name, text)


def braced(matrix: Matrix) -> str:
    """The matrix as a C initializer."""
    return "{" + ", ".join("{" + ", ".join(map(str, row)) + "}" for row in matrix) + "}"


def braced_places(place: Callable[[int, int], int], size: int) -> str:
    """The positions of all elements, row by row, as a C initializer."""
    places = (str(place(row, column)) for row in range(size) for column in range(size))
    return "{" + ", ".join(places) + "}"


COLUMNS = """\
/* Columns of {n} rows of four int8 channels, transformed downwards, as pairs of halfwords. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *x __attribute__((unused)), int32_t row_stride __attribute__((unused)),
    int32_t step __attribute__((unused)), int32_t count __attribute__((unused)),
    void *t __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *x, int32_t row_stride, int32_t step, int32_t count, void *t) {{
  static const int8_t matrix[{n}][{n}] = {matrix};
  const int8_t *values = (const int8_t *)x;
  int16_t *pairs = (int16_t *)t;
  for (int32_t column = 0; column < count; ++column) {{
    for (int32_t half = 0; half < 2; ++half) {{
      for (int32_t i = 0; i < {n}; ++i) {{
        for (int32_t part = 0; part < 2; ++part) {{
          int32_t sum = 0;
          for (int32_t k = 0; k < {n}; ++k) {{
            sum += matrix[i][k] * values[(k * row_stride) + half + (2 * part)];
          }}
          pairs[(((half * {n}) + i) * 2) + part] = (int16_t)sum;
        }}
      }}
    }}
    values += step;
    pairs += 4 * {n};
  }}
}}
#endif
"""

ROWS = """\
/* Tiles of {n} columns of t, transformed along the rows, each into its lane of u. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *t __attribute__((unused)), const int32_t *tiles __attribute__((unused)),
    int32_t count __attribute__((unused)), void *u __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *t, const int32_t *tiles, int32_t count, void *u) {{
  static const int8_t matrix[{n}][{n}] = {matrix};
  static const uint8_t places[{n} * {n}] = {places};
  for (int32_t lane = 0; lane < count; ++lane) {{
    const int16_t *const pairs = (const int16_t *)t + (2 * tiles[lane * {words}]);
    int16_t *const to = (int16_t *)u + (2 * lane);
    for (int32_t at = 0; at < {n} * {n} * 4; ++at) {{
      const int32_t element = at / 4;
      const int32_t half = (at / 2) % 2;
      const int32_t part = at % 2;
      int32_t sum = 0;
      for (int32_t k = 0; k < {n}; ++k) {{
        sum += matrix[element % {n}][k]
            * pairs[(((((k * 2) + half) * {n}) + (element / {n})) * 2) + part];
      }}
      to[(((places[element] * 2) + half) * {lanes} * 2) + part] = (int16_t)sum;
    }}
  }}
}}
#endif
"""


def _columns(form: Form) -> list[str]:
    """r0 row 0, r1 row stride, r2 step, r3 count, r12 row 3, r11 row 6 when there is one, lr t.

    Register offsets reach three rows from each pointer.
    """
    n, offsets = form.points, ("", ", r1", ", r1, lsl #1")
    pointers = ("r0", "r12", "r11")[: -(-n // 3)]
    places = [f"[{pointers[i // 3]}{offsets[i % 3]}]" for i in range(n)]
    lines = ["push.w {r4-r11, lr}", "ldr.w lr, [sp, #36]"]
    for before, pointer in itertools.pairwise(pointers):
        lines += [f"add.w {pointer}, {before}, r1, lsl #1", f"add.w {pointer}, {pointer}, r1"]
    lines += [".balign 4", "1:"]
    for half in range(2):
        stores = [f"[lr, #{4 * (half * n + i)}]" for i in range(n)]
        lines += _transformed(form, places, stores, f"sxtb16{{}}{', ror #8' if half else ''}")
    lines += [f"add.w {pointer}, {pointer}, r2" for pointer in pointers]
    lines += [f"add.w lr, lr, #{8 * n}"]
    return [*lines, "subs.w r3, r3, #1", "bne.w 1b", "pop.w {r4-r11, pc}"]


def _rows(form: Form) -> list[str]:
    """r0 t, r1 tiles, r2 count, r3 u, r12 the tile's columns, lr halves to do."""
    n, half_bytes = form.points, 4 * LANES
    lines = ["push.w {r4-r11, lr}", ".balign 4", "1:"]
    lines += [f"ldr.w r12, [r1], #{4 * (form.outputs + 1)}", "mov.w lr, #2"]
    lines += ["add.w r12, r0, r12, lsl #2", ".balign 4", "2:"]
    for i in range(n):
        places = [f"[r12, #{4 * (j * 2 * n + i)}]" for j in range(n)]
        stores = [f"[r3, #{form.place(i, j) * 2 * half_bytes}]" for j in range(n)]
        lines += _transformed(form, places, stores)
    lines += ["subs.w lr, lr, #1", f"add.w r12, r12, #{4 * n}", f"add.w r3, r3, #{half_bytes}"]
    lines += ["bne.w 2b", f"sub.w r3, r3, #{2 * half_bytes - 4}"]
    return [*lines, "subs.w r2, r2, #1", "bne.w 1b", "pop.w {r4-r11, pc}"]


def _transformed(
    form: Form, places: Sequence[str], stores: Sequence[str], widened: str = ""
) -> list[str]:
    """n words from `places`, transformed, to `stores`; `widened` takes two bytes of each."""

    def loaded(chosen: Sequence[str]) -> list[str]:
        registers = [f"r{FIRST + i}" for i in range(len(chosen))]
        lines = [f"ldr.w {r}, {place}" for r, place in zip(registers, chosen, strict=True)]
        return lines + ([widened.format(f" {r}, {r}") for r in registers] if widened else [])

    code, results = input_transform(form)
    lines = [*loaded(places[:: form.stride]), *code]
    lines += [f"str.w {r}, {to}" for r, to in zip(results, stores, strict=False)]
    if form.odd:
        lines += loaded(places[1::2])
        lines += [f"str.w r{FIRST + i}, {to}" for i, to in enumerate(stores[-form.odd :])]
    return lines


def input_transform(form: Form) -> tuple[list[str], list[str]]:
    """What the input matrix makes of registers, from FIRST on; the registers of results.

    Of the n values, or of the even ones when the odd ones stay.
    """
    if form.outputs == 2:
        lines = [
            "ssub16 r4, r4, r6",
            "sadd16 r10, r5, r6",
            "ssub16 r6, r6, r5",
            "ssub16 r7, r5, r7",
        ]
        return lines, ["r4", "r10", "r6", "r7"]
    if form.odd:
        lines = [
            "ssub16 r9, r7, r5",  # d3 - d1
            "ssub16 r4, r4, r6",
            "ssub16 r8, r8, r6",
            "sadd16 r4, r4, r4",
            "ssub16 r8, r8, r9",
            "sadd16 r4, r4, r9",  # 2 (d0 - d2) + d3 - d1
            "ssub16 r8, r8, r9",  # d4 - d2 - 2 (d3 - d1)
            "ssub16 r10, r6, r5",
            "sadd16 r5, r5, r6",
            "ssub16 r6, r6, r7",
            "sadd16 r10, r10, r10",
            "ssub16 r5, r5, r9",  # d1 + d2 - (d3 - d1)
            "sadd16 r6, r6, r10",  # d2 - d3 + 2 (d2 - d1)
        ]
        return lines, ["r4", "r5", "r6", "r9", "r8"]
    lines = [
        "ssub16 r10, r8, r6",  # d4 - d2
        "ssub16 r11, r7, r5",  # d3 - d1
        "ssub16 r9, r9, r7",
        "sadd16 r11, r11, r11",
        "ssub16 r4, r4, r6",
        "ssub16 r9, r9, r11",
        "sadd16 r4, r4, r4",
        "ssub16 r9, r9, r11",  # d5 - d3 - 4 (d3 - d1)
        "sadd16 r4, r4, r4",
        "sadd16 r6, r6, r6",
        "sadd16 r4, r4, r10",  # 4 (d0 - d2) + d4 - d2
        "sadd16 r5, r5, r5",
        "sadd16 r6, r6, r6",
        "sadd16 r5, r5, r5",
        "ssub16 r6, r6, r8",  # 4 d2 - d4
        "ssub16 r5, r5, r7",  # 4 d1 - d3
        "sadd16 r7, r6, r5",
        "ssub16 r8, r6, r5",
        "sadd16 r5, r10, r11",
        "ssub16 r6, r10, r11",
    ]
    return lines, ["r4", "r7", "r8", "r5", "r6", "r9"]
