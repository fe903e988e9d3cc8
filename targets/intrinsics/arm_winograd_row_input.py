"""The input's side of a Winograd convolution by rows in assembly, for cores with the DSP extension.

Each tile is transformed along the row alone. Arithmetic is in pairs of halfwords that are offset,
so that sums of positive factors stay positive: these need no SSUB16 or SADD16, and may shift.
"""

import itertools

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_winograd_input import braced
from tinyc.targets.intrinsics.winograd import Form

OFFSET = 256  # is added to inputs, so that no lower halfword of 4 d - d' is negative
POINTERS = ("r0", "r1", "r2", "r3", "r11", "r12")  # to the pixels of a tile


def row_input(form: Form, channels: int, groups: int, rows: int, tiles: int) -> Microkernel:
    """`tinyc_winograd_row<m>_input...(x, zeros, iy, height, width, at, last, u)`: 1 or 2 tiles.

    rows           from iy on; those outside 0..height are zeros
    x              `height` rows of `width` pixels of `channels` bytes
    zeros          a pixel of zero points
    groups         of 4 channels that are transformed
    at, last       columns of x where the tiles begin, perhaps the same; of one tile, the first
    u              [row][group of 4 channels][position][half][tile], words of two channels
    """
    name = f"tinyc_winograd{form.name}_input{tiles}_c{channels}x{groups}x{rows}"
    text = TEXT.format(
        name=name, n=form.points, matrix=braced(form.input), channels=channels, k=4 * groups,
        rows=rows, tiles=tiles, offset=OFFSET,
        assembly=quoted(_assembly(form, channels, groups, rows, tiles)),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* {rows} rows of {tiles} tiles of {n} columns, {k} int8 channels, transformed along the row. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *x __attribute__((unused)), const void *zeros __attribute__((unused)),
    int32_t iy __attribute__((unused)), int32_t height __attribute__((unused)),
    int32_t width __attribute__((unused)), int32_t at __attribute__((unused)),
    int32_t last __attribute__((unused)), void *u __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *x, const void *zeros, int32_t iy, int32_t height, int32_t width,
    int32_t at, int32_t last, void *u) {{
  static const int8_t matrix[{n}][{n}] = {matrix};
  int16_t *to = (int16_t *)u;
  for (int32_t row = iy; row < iy + {rows}; ++row) {{
    for (int32_t tile = 0; tile < {tiles}; ++tile) {{
      const int32_t first = tile == 0 ? at : last;
      for (int32_t k = 0; k < {k}; ++k) {{
        for (int32_t p = 0; p < {n}; ++p) {{
          int32_t sum = 0;
          for (int32_t i = 0; i < {n}; ++i) {{
            const int32_t column = first + i;
            const int8_t *const pixel
                = (row >= 0) && (row < height) && (column >= 0) && (column < width)
                ? (const int8_t *)x + (((row * width) + column) * {channels})
                : (const int8_t *)zeros;
            sum += matrix[p][i] * (pixel[k] + {offset});
          }}
          to[(((((((k / 4) * {n}) + p) * 2) + (k % 2)) * {tiles} + tile) * 2) + ((k / 2) % 2)]
              = (int16_t)sum;
        }}
      }}
    }}
    to += {k} * {n} * {tiles};
  }}
}}
#endif
"""


def _assembly(form: Form, channels: int, groups: int, rows: int, tiles: int) -> list[str]:
    """POINTERS, lr u.

    s0 end of u, s1 row of x, s2 zeros, s3 iy, s4 height, s5 width, s6 and s7 columns of tiles, s8
    row of u, s9 tiles to do, s10 width of this row, s11 bytes of a row.
    """
    n, group_bytes = form.points, form.points * 2 * tiles * 4
    lines = ["push.w {r4-r11, lr}", "vmov s2, r1", "vmov s3, r2", "vmov s4, r3"]
    lines += ["ldr.w r4, [sp, #36]", "ldr.w r5, [sp, #40]", "ldr.w r6, [sp, #44]"]
    lines += ["ldr.w lr, [sp, #48]", "vmov s5, r4", "vmov s6, r5", "vmov s7, r6"]
    lines += [f"movw r8, #{channels}", "mul r6, r4, r8", "mla r0, r2, r6, r0", "vmov s1, r0"]
    lines += ["vmov s11, r6", f"mov.w r5, #{rows * tiles}", "vmov s9, r5", ".balign 4", "1:"]
    lines += ["vmov s8, lr", f"movw r9, #{groups * group_bytes}", "add.w r9, r9, lr"]
    lines += ["vmov s0, r9", "vmov r4, s3", "vmov r5, s4", "vmov r7, s5"]
    lines += ["cmp.w r4, r5", "it hs", "movhs.w r7, #0", "vmov s10, r7", "add.w r4, r4, #1"]
    lines += ["vmov s3, r4", "vmov r4, s6", ".balign 4", "2:"]
    # a tile: r4 column, r7 width; its columns outside have their pointers at the zeros
    lines += ["vmov r5, s1", "vmov r6, s2", f"movw r8, #{channels}", "mla r0, r4, r8, r5"]
    lines += [f"add.w {to}, {one}, r8" for one, to in itertools.pairwise(POINTERS)]
    lines += [f"add.w r9, r4, #{n}", "cmp.w r4, #0", "it ge", "cmpge.w r7, r9", "bge.w 3f"]
    for pointer in POINTERS:
        lines += ["cmp.w r4, r7", "it hs", f"movhs.w {pointer}, r6", "add.w r4, r4, #1"]
    lines += [".balign 4", "3:"]
    for half in range(2):
        lines += _half(form, half, tiles)
    lines += [f"add.w lr, lr, #{group_bytes}", "vmov r4, s0", "cmp.w lr, r4", "bne.w 3b"]
    lines += ["vmov r5, s9", "subs.w r5, r5, #1", "it eq", "popeq.w {r4-r11, pc}"]
    lines += ["vmov s9, r5"]
    if tiles == 2:
        lines += ["tst.w r5, #1", "beq.w 4f"]
        lines += ["vmov lr, s8", "add.w lr, lr, #4", "add.w r4, r4, #4", "vmov s0, r4"]
        lines += ["vmov r4, s7", "vmov r7, s10", "b.w 2b", ".balign 4", "4:", "sub.w lr, lr, #4"]
    lines += ["vmov r5, s1", "vmov r6, s11", "add.w r5, r5, r6"]
    return [*lines, "vmov s1, r5", "b.w 1b"]


def _half(form: Form, half: int, tiles: int) -> list[str]:
    """Two channels of a group in all columns of a tile."""
    move, rotation = (", #4", ", ror #8") if half else ("", "")
    values = [f"r{4 + i}" for i in range(form.points)]
    lines = [f"ldr.w {r}, [{p}]{move}" for r, p in zip(values, POINTERS, strict=True)]
    lines += [f"mov.w r10, #0x{OFFSET << 16 | OFFSET:08x}"]
    lines += [f"sxtab16 {r}, r10, {r}{rotation}" for r in values]
    lines += TRANSFORM
    return lines + [
        f"str.w {r}, [lr, #{4 * tiles * (2 * p + half)}]" for p, r in enumerate(RESULTS)
    ]


TRANSFORM = [  # F4's input matrix by r4 to r9; r10 is free
    "ssub16 r10, r8, r6",  # d4 - d2
    "rsb.w r4, r6, r4, lsl #2",
    "rsb.w r6, r8, r6, lsl #2",  # 4 d2 - d4
    "ssub16 r4, r4, r6",  # 4 d0 - d2 - (4 d2 - d4)
    "ssub16 r8, r7, r5",
    "rsb.w r9, r9, r7, lsl #2",
    "rsb.w r5, r7, r5, lsl #2",  # 4 d1 - d3
    "ssub16 r9, r5, r9",  # 4 d1 - d3 - (4 d3 - d5)
    "sadd16 r8, r8, r8",  # 2 (d3 - d1)
    "add.w r7, r6, r5",
    "ssub16 r6, r6, r5",
    "sadd16 r5, r10, r8",
    "ssub16 r8, r10, r8",
]
RESULTS = ("r4", "r7", "r6", "r5", "r8", "r9")
