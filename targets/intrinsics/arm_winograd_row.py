"""A Winograd convolution of single output rows in assembly, for cores with the DSP extension.

The 4x2 block of `arm_winograd_products.py` with its sides swapped: four output channels times two
tiles, whose channels are those of three rows of inputs. Or eight channels times one tile, for half
the scratch. Each block's sums are transformed back, requantized and stored at once.
"""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, quoted, requantized
from tinyc.targets.intrinsics.arm_winograd_input import braced
from tinyc.targets.intrinsics.arm_winograd_products import all_positions, positions_of_a_tile
from tinyc.targets.intrinsics.winograd import Form

BLOCK = 8  # tiles times output channels


def row_blocks(
    form: Form, tiles: int, groups: int, turn: int, channels: int, low: int, high: int
) -> Microkernel:
    """`tinyc_winograd_row<m>_...(v, u, sums, y, last, parameters, zero_point)`: all channels.

    groups      of 4 channels, all rows of inputs together
    turn        groups that are written out; a divisor of `groups`
    channels    of the output, those of a block or more
    v           weights: [block of channels][group][position][half][channel], words of two inputs,
                or [block][position][group][half][channel] for one tile; the last block moves back
                over channels computed before
    u           transformed inputs, [group][position][half][tile]
    sums        room for [position][channel][tile], int32 modulo 2^32
    last        bytes from the first tile in y to the second, perhaps 0; unused with one tile
    parameters  of each block: biases times the form's factor, then multipliers
    """
    suffix = ("" if turn == groups else f"t{turn}") + bounds_suffix(low, high)
    name = f"tinyc_winograd{form.name}x{tiles}_k{4 * groups}_c{channels}{suffix}"
    lanes = BLOCK // tiles
    text = TEXT.format(
        name=name, m=form.outputs, n=form.points, matrix=braced(form.output), k=4 * groups,
        channels=channels, factor=form.bias_factor, low=low, high=high, tiles=tiles,
        lanes=lanes, last=channels - lanes, v_group=(form.points if tiles == 2 else 1),
        v_position=(1 if tiles == 2 else groups),
        assembly=quoted(_assembly(form, tiles, groups, turn, channels, low, high)),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* {m} outputs of {tiles} tile(s) of a row, {channels} channels, from {k} transformed inputs. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *v __attribute__((unused)), const void *u __attribute__((unused)),
    void *sums __attribute__((unused)), int8_t *y __attribute__((unused)),
    int32_t last __attribute__((unused)), const int32_t *parameters __attribute__((unused)),
    int32_t zero_point __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *v, const void *u, void *sums, int8_t *y, int32_t last,
    const int32_t *parameters, int32_t zero_point) {{
  static const int8_t matrix[{m}][{n}] = {matrix};
  const int16_t *weights = (const int16_t *)v;
  uint32_t *const products = (uint32_t *)sums;
  for (int32_t first = 0; first < {channels}; first += {lanes}) {{
    for (int32_t at = {lanes} * {tiles} - 1; at >= 0; --at) {{
      const int32_t channel = at / {tiles};
      const int32_t tile = at % {tiles};
      for (int32_t p = 0; p < {n}; ++p) {{
        products[p] = 0u;
        for (int32_t k = 0; k < {k}; ++k) {{
          const int32_t half = (k / 2) % 2;
          const int32_t at_u = ((((k / 4) * {n}) + p) * 2) + half;
          const int32_t at_v = ((((k / 4) * {v_group}) + (p * {v_position})) * 2) + half;
          const int16_t x = ((const int16_t *)u)[(((at_u * {tiles}) + tile) * 2) + (k % 2)];
          const int16_t w = weights[(((at_v * {lanes}) + channel) * 2) + (k % 2)];
          products[p] += (uint32_t)(w * x);
        }}
      }}
      for (int32_t i = 0; i < {m}; ++i) {{
        uint32_t total = (uint32_t)matrix[i][1] * (uint32_t)parameters[channel];
        for (int32_t p = 0; p < {n}; ++p) {{
          total += (uint32_t)matrix[i][p] * products[p];
        }}
        const int32_t value = tinyc_requantize((int32_t)total / {factor},
            parameters[{lanes} + channel], zero_point);
        y[(tile * last) + ((i * {channels}) + tinyc_min(first, {last}) + channel)] =
            (int8_t)tinyc_min(tinyc_max(value, {low}), {high});
      }}
    }}
    weights += {k} * {n} * {lanes};
    parameters += 2 * {lanes};
  }}
}}
#endif
"""


def _assembly(
    form: Form, tiles: int, groups: int, turn: int, channels: int, low: int, high: int
) -> list[str]:
    """Products in s0 to s2 as `all_positions`; r0 v, r1 u.

    s3 v, s4 u, s5 sums, s6 y, s7 last, s8 parameters, s9 zero point, s10 blocks to do, s11 end of
    biases, s12 y of the last block.
    """
    lanes = BLOCK // tiles
    lines = ["push.w {r4-r11, lr}", "vmov s3, r0", "vmov s4, r1", "vmov s5, r2", "vmov s6, r3"]
    lines += [f"ldr.w r{4 + i}, [sp, #{36 + 4 * i}]" for i in range(3)]
    lines += [f"vmov s{7 + i}, r{4 + i}" for i in range(3)]
    lines += [f"add.w r2, r2, #{form.positions * 4 * BLOCK}", "vmov s1, r2"]
    lines += [f"movw r4, #{-(-channels // lanes)}", "vmov s10, r4"]
    if channels % lanes:
        lines += [f"movw r4, #{channels - lanes}", "add.w r4, r4, r3", "vmov s12, r4"]
    lines += [".balign 4", "4:", "vmov.f32 s0, s5", "vmov r0, s3", "vmov r1, s4"]
    if tiles == 1:
        lines += positions_of_a_tile(form.positions, groups, turn)
    else:
        lines += all_positions(form, groups, turn, form.positions)
        rest = (groups - 1) * form.positions * 2 * lanes * 4
        lines += [f"movw r4, #{rest & 0xFFFF}", f"movt r4, #{rest >> 16}", "add.w r0, r0, r4"]
    lines += ["vmov s3, r0", *_outputs(form, tiles, channels, low, high)]
    lines += ["vmov r2, s10", "subs.w r2, r2, #1", "it eq", "popeq.w {r4-r11, pc}"]
    lines += ["vmov s10, r2", f"add.w r12, r12, #{4 * lanes}", "vmov s8, r12"]
    if channels % lanes:
        lines += ["vmov r2, s12", "cmp.w lr, r2", "it hi", "movhi.w lr, r2"]
    return [*lines, "vmov s6, lr", "b.w 4b"]


def _outputs(form: Form, tiles: int, channels: int, low: int, high: int) -> list[str]:
    """A block's outputs; afterwards lr is y, and r12 its parameters, behind the block's biases.

    r0 sums, r1 y of the second tile, r9 reciprocal, r10 multiplier, r11 zero point. The second tile
    is stored before the first: where they are the same, only the first one is wanted.

    SMMULR by round(2^32 / 24), which is off by 1/3, divides multiples of 24 in int32 exactly.
    """
    lanes, reciprocal = BLOCK // tiles, round((1 << 32) / form.bias_factor)
    lines = ["vmov r0, s5", "vmov lr, s6", "vmov r1, s7", "vmov r12, s8", "vmov r11, s9"]
    lines += ["add.w r1, r1, lr", f"add.w r2, r12, #{4 * lanes}", "vmov s11, r2"]
    lines += [f"movw r9, #{reciprocal & 0xFFFF}", f"movt r9, #{reciprocal >> 16}"]
    lines += [".balign 4", "5:", f"ldr.w r10, [r12, #{4 * lanes}]"]
    for tile, to in ((1, "r1"), (0, "lr"))[-tiles:]:
        load = f"ldr.w r2, [r0{', #4]' if tile else f'], #{4 * tiles}'}"
        lines += [f"ldr.w r{2 + p}, [r0, #{4 * (BLOCK * p + tile)}]" for p in (1, 2, 3, 4, 5)]
        lines += [load, f"ldr.w r8, [r12]{'' if tile else ', #4'}", "add.w r3, r3, r8"]
        lines += OUTPUT_TRANSFORM
        for column, r in reversed(list(enumerate(RESULTS))):
            lines += [f"smmulr {r}, {r}, r9", *requantized(r, "r10", "r11", low, high)]
            lines.append(f"strb.w {r}, [{to}{f', #{column * channels}]' if column else '], #1'}")
    return [*lines, "vmov r2, s11", "cmp.w r12, r2", "bne.w 5b"]


OUTPUT_TRANSFORM = [  # F4_ROW's output matrix by r2 to r7
    "add.w r8, r3, r4",
    "sub.w r3, r3, r4",  # d = m1 - m2
    "add.w r4, r5, r6",
    "sub.w r5, r5, r6",  # e = m3 - m4
    "add.w r2, r2, r8",
    "add.w r2, r2, r4",
    "add.w r6, r3, r5, lsl #1",  # d + 2 e
    "add.w r8, r8, r4, lsl #2",
    "add.w r5, r5, r7",
    "add.w r5, r3, r5, lsl #3",  # d + 8 (e + m5)
]
RESULTS = ("r2", "r6", "r8", "r5")
