"""The weights' side of a Winograd convolution in assembly: int8 weights, transformed at run time.

Flash holds 9 bytes for a kernel instead of 2 n^2; the transformed weights of two output channels
are made in the scratch, two rows of the transformed tile at a time: pairs of rows share sums.
"""

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_winograd_input import braced
from tinyc.targets.intrinsics.winograd import Form

GROUP_BYTES = 9 * 4  # of one output channel


def packed_kernels(weights: Array) -> Array:
    """[output channel][group of 4 channels][3][3][4], int8, of whole numbers [oc, 3, 3, 4 groups].

    SXTB16 of a word gives the channels (k0, k2), and rotated by 8 (k1, k3).
    """
    channels, _, _, products = weights.shape
    split = weights.reshape(channels, 9, products // 4, 4)
    return read_only(split.transpose(0, 2, 1, 3).reshape(-1), "int8")


def weights_rows(form: Form, part: int) -> Microkernel:
    """`tinyc_winograd<m>_weights<part>(w, groups, v)`: rows 2 part, 2 part + 1 of two channels.

    v  [group][position of the 2n][half][output channel], words of two channels
    """
    name = f"tinyc_winograd{form.outputs}_weights{part}"
    first, second = form.order[2 * part : 2 * part + 2]
    text = TEXT.format(
        name=name, n=form.points, matrix=braced(form.weights), first=first, second=second,
        bytes=GROUP_BYTES, assembly=quoted(_assembly(form, part)),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* Rows {first} and {second} of the transformed kernels of two output channels. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int8_t *w __attribute__((unused)), int32_t groups __attribute__((unused)),
    void *v __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int8_t *w, int32_t groups, void *v) {{
  static const int8_t matrix[{n}][3] = {matrix};
  for (int32_t at = 0; at < 2 * groups; ++at) {{
    int16_t *const to = (int16_t *)v + ((at % groups) * {n} * 16) + ((at / groups) * 2);
    for (int32_t position = 0; position < 2 * {n}; ++position) {{
      const int8_t *const row = matrix[position < {n} ? {first} : {second}];
      for (int32_t k = 0; k < 4; ++k) {{
        int32_t sum = 0;
        for (int32_t tap = 0; tap < 9; ++tap) {{
          sum += row[tap / 3] * matrix[position % {n}][tap % 3] * w[(tap * 4) + k];
        }}
        to[(((position * 2) + (k % 2)) * 4) + (k / 2)] = (int16_t)sum;
      }}
    }}
    w += {bytes};
  }}
}}
#endif
"""


def _assembly(form: Form, part: int) -> list[str]:
    """r0 w, r1 groups to do, r2 v; s0 v of the channel, s1 groups, s2 end of the second channel.

    Rows downwards in r4 to r6 and r7 to r9, other values in r3 and r10 to lr.
    """
    position_bytes = 2 * 2 * 4
    lines = ["push.w {r4-r11, lr}", "vmov s0, r2", "vmov s1, r1", "add.w r3, r2, #4"]
    lines += ["vmov s2, r3", ".balign 4", "1:"]
    for half in range(2):
        lines += _downwards(form, part, ", ror #8" if half else "")
        for row, first in enumerate((4, 7)):
            code, results = _along(form, first)
            lines += code
            for j, r in enumerate(results):
                at = (row * form.points + j) * position_bytes + half * 8
                lines.append(f"str.w {r}, [r2, #{at}]")
    lines += [f"add.w r0, r0, #{GROUP_BYTES}", f"add.w r2, r2, #{2 * form.points * position_bytes}"]
    lines += ["subs.w r1, r1, #1", "bne.w 1b"]
    # the second channel, unless this was it
    lines += ["vmov r3, s0", "vmov r2, s2", "cmp.w r3, r2", "it eq", "popeq.w {r4-r11, pc}"]
    return [*lines, "vmov s0, r2", "vmov r1, s1", "b.w 1b"]


def _downwards(form: Form, part: int, rotation: str) -> list[str]:
    """Two of the products of the weights' matrix and each column of three: r4, r5, r6 and r7..."""
    lines: list[str] = []
    if part == 0:  # the first and the last row of the kernel
        registers = [(i, j, f"r{4 + 3 * (i // 2) + j}") for i in (0, 2) for j in range(3)]
        lines += [f"ldr.w {r}, [r0, #{4 * (3 * i + j)}]" for i, j, r in registers]
        return [*lines, *(f"sxtb16 {r}, {r}{rotation}" for _, _, r in registers)]
    for j in range(3):
        plus, minus = f"r{4 + j}", f"r{7 + j}"
        lines += [f"ldr.w r{10 + i}, [r0, #{4 * (3 * i + j)}]" for i in range(3)]
        if part == 1:  # g0 + g2 +- g1
            lines += [f"sxtb16 r3, r10{rotation}", f"sxtab16 r3, r3, r12{rotation}"]
            lines += [f"sxtb16 r11, r11{rotation}"]
        else:  # g0 + 4 g2 +- 2 g1
            lines += [f"sxtb16 r3, r12{rotation}", f"sxtb16 r11, r11{rotation}"]
            lines += ["sadd16 r3, r3, r3", "sadd16 r11, r11, r11", "sadd16 r3, r3, r3"]
            lines += [f"sxtab16 r3, r3, r10{rotation}"]
        lines += [f"sadd16 {plus}, r3, r11", f"ssub16 {minus}, r3, r11"]
    return lines


def _along(form: Form, first: int) -> tuple[list[str], list[str]]:
    """The product of the weights' matrix and three registers from `first` on; its registers."""
    g0, g1, g2 = (f"r{first + i}" for i in range(3))
    lines = [f"sadd16 r10, {g0}, {g2}"]
    lines += [f"ssub16 r11, r10, {g1}", f"sadd16 r10, r10, {g1}"]
    if form.outputs == 2:
        return lines, [g0, "r10", "r11", g2]
    lines += [f"sadd16 r12, {g2}, {g2}", f"sadd16 {g1}, {g1}, {g1}", "sadd16 r12, r12, r12"]
    lines += [f"sadd16 r12, r12, {g0}"]
    lines += [f"sadd16 r3, r12, {g1}", f"ssub16 r12, r12, {g1}"]
    return lines, [g0, "r10", "r11", "r3", "r12", g2]
