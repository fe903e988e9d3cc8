"""The weights' side of a Winograd convolution in assembly: int8 weights, transformed at run time.

Flash holds 9 bytes for a kernel instead of 2 n^2; the transformed weights of two output channels
are made in the scratch, some rows of the transformed tile at a time: rows that share sums.
"""

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_winograd_input import braced, braced_places
from tinyc.targets.intrinsics.winograd import Form

GROUP_BYTES = 9 * 4  # of one output channel
POSITION_BYTES = 2 * 2 * 4  # of a group's transformed weights


def packed_kernels(weights: Array) -> Array:
    """[output channel][group of 4 channels][3][3][4], int8, of whole numbers [oc, 3, 3, 4 groups].

    SXTB16 of a word gives the channels (k0, k2), and rotated by 8 (k1, k3).
    """
    channels, _, _, products = weights.shape
    split = weights.reshape(channels, 9, products // 4, 4)
    return read_only(split.transpose(0, 2, 1, 3).reshape(-1), "int8")


def weights_rows(form: Form, part: int) -> Microkernel:
    """`tinyc_winograd<m>_weights<part>(w, groups, v)`: rows of a part, of two output channels.

    v  [group][position of the part][half][output channel], words of two channels
    """
    name = f"tinyc_winograd{form.kind}_weights{part}"
    n = len(form.weights)
    rows = n // form.parts
    text = TEXT.format(
        name=name, n=n, matrix=braced(form.weights), rows=rows, first=part * rows,
        last=(part + 1) * rows - 1,
        places=braced_places(form.weight_place, n),
        bytes=GROUP_BYTES, assembly=quoted(_assembly(form, part)),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* Rows {first} to {last} of the transformed kernels of two output channels. */
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
  static const uint8_t places[{n} * {n}] = {places};
  for (int32_t at = 0; at < 2 * groups; ++at) {{
    int16_t *const to = (int16_t *)v + ((at % groups) * {rows} * {n} * 8) + ((at / groups) * 2);
    for (int32_t position = 0; position < {rows} * {n}; ++position) {{
      const int8_t *const row = matrix[{first} + (position / {n})];
      for (int32_t k = 0; k < 4; ++k) {{
        int32_t sum = 0;
        for (int32_t tap = 0; tap < 9; ++tap) {{
          sum += row[tap / 3] * matrix[position % {n}][tap % 3] * w[(tap * 4) + k];
        }}
        to[(((places[position] * 2) + (k % 2)) * 4) + (k / 2)] = (int16_t)sum;
      }}
    }}
    w += {bytes};
  }}
}}
#endif
"""


def _assembly(form: Form, part: int) -> list[str]:
    """r0 w, r1 groups to do, r2 v; s0 v of the channel, s1 groups, s2 v of the second channel.

    Three rows of three values from r4, r7 and r10 on; r3 and r10 to lr for what comes of them.
    """
    part_bytes = form.weight_positions // form.parts * POSITION_BYTES
    lines = ["push.w {r4-r11, lr}", "vmov s0, r2", "vmov s1, r1", "add.w r3, r2, #4"]
    lines += ["vmov s2, r3", ".balign 4", "1:"]
    for half in range(2):
        rotation = ", ror #8" if half else ""
        if form.outputs == 2:
            lines += _half_2(form, half, rotation)
        elif form.odd:
            lines += _half_strided(form, half, rotation)
        else:
            lines += _half_4(form, part, half, rotation)
    lines += [f"add.w r0, r0, #{GROUP_BYTES}", f"add.w r2, r2, #{part_bytes}"]
    lines += ["subs.w r1, r1, #1", "bne.w 1b"]
    # the second channel, unless this was it
    lines += ["vmov r3, s0", "vmov r2, s2", "cmp.w r3, r2", "it eq", "popeq.w {r4-r11, pc}"]
    return [*lines, "vmov s0, r2", "vmov r1, s1", "b.w 1b"]


def _half_2(form: Form, half: int, rotation: str) -> list[str]:
    """All rows: those of g0 and g2, then g0 + g2 +- g1."""
    lines = [*_load(0, 4), *_load(2, 7)]
    lines += [f"sxtb16 r{4 + j}, r{4 + j}{rotation}" for j in range(6)]
    lines += [*_along(form, 4, 0, half), *_along(form, 7, 3, half), *_load(1, 10)]
    for j in range(3):
        lines += [f"sadd16 r{4 + j}, r{4 + j}, r{7 + j}", *_plus_minus(j, rotation)]
    return [*lines, *_along(form, 7, 1, half), *_along(form, 4, 2, half)]


def _half_4(form: Form, part: int, half: int, rotation: str) -> list[str]:
    """Part 0: the rows of g0 and of g0 + g2 +- g1. Part 1: of g0 + 4 g2 +- 2 g1 and of g2."""
    alone, plus, minus = ((0, 1, 2), (2, 0, 1))[part]
    lines = _load(2 * part, 4)
    lines += [f"sxtb16 r{4 + j}, r{4 + j}{rotation}" for j in range(3)]
    lines += [*_along(form, 4, alone, half), *_load(2 - 2 * part, 7), *_load(1, 10)]
    for j in range(3):
        lines += [f"sadd16 r{4 + j}, r{4 + j}, r{4 + j}"] * (2 * part)
        lines += [f"sxtab16 r{4 + j}, r{4 + j}, r{7 + j}{rotation}"]
        lines += _plus_minus(j, rotation, twice=part == 1)
    return [*lines, *_along(form, 7, plus, half), *_along(form, 4, minus, half)]


def _half_strided(form: Form, half: int, rotation: str) -> list[str]:
    """The rows of g0, g0 + g2, g0 - g2, g0 + 2 g2, g2 and g1."""

    def add(operation: str) -> list[str]:
        return [f"{operation} r{4 + j}, r{4 + j}, r{7 + j}" for j in range(3)]

    lines = [*_load(0, 4), *_load(2, 7)]
    lines += [f"sxtb16 r{4 + j}, r{4 + j}{rotation}" for j in range(6)]
    lines += [*_along(form, 4, 0, half), *_along(form, 7, 4, half)]
    lines += [*add("ssub16"), *_along(form, 4, 2, half)]
    lines += [*add("sadd16"), *add("sadd16"), *_along(form, 4, 1, half)]
    lines += [*add("sadd16"), *_along(form, 4, 3, half), *_load(1, 4)]
    lines += [f"sxtb16 r{4 + j}, r{4 + j}{rotation}" for j in range(3)]
    return [*lines, *_along(form, 4, 5, half)]


def _load(row: int, first: int) -> list[str]:
    """A row of the kernel in three registers."""
    return [f"ldr.w r{first + j}, [r0, #{4 * (3 * row + j)}]" for j in range(3)]


def _plus_minus(j: int, rotation: str, twice: bool = False) -> list[str]:
    """r7 + j: r4 + j plus g1 (or 2 g1), the bytes in r10 + j; r4 + j: minus that."""
    even, sum_, odd = f"r{4 + j}", f"r{7 + j}", f"r{10 + j}"
    lines = [f"sxtb16 {odd}, {odd}{rotation}"]
    lines += [f"sadd16 {odd}, {odd}, {odd}"] if twice else []
    return [*lines, f"sadd16 {sum_}, {even}, {odd}", f"ssub16 {even}, {even}, {odd}"]


def _along(form: Form, first: int, row: int, half: int) -> list[str]:
    """Row `row` of v: the product of the weights' matrix and three registers, which stay."""
    g0, g1, g2 = (f"r{first + i}" for i in range(3))
    if form.odd:
        lines = [f"sadd16 r10, {g0}, {g2}", f"ssub16 r11, {g0}, {g2}", f"sadd16 r12, r10, {g2}"]
        results = [g0, "r10", "r11", "r12", g2, g1]
    else:
        lines = [f"sadd16 r10, {g0}, {g2}", f"ssub16 r11, r10, {g1}", f"sadd16 r10, r10, {g1}"]
        results = [g0, "r10", "r11", g2]
    if form.outputs == 4 and not form.odd:
        lines += [f"sadd16 r12, {g2}, {g2}", f"sadd16 lr, {g1}, {g1}", "sadd16 r12, r12, r12"]
        lines += [f"sadd16 r12, r12, {g0}", "sadd16 r3, r12, lr", "ssub16 r12, r12, lr"]
        results = [g0, "r10", "r11", "r3", "r12", g2]
    for j, r in enumerate(results):
        at = form.weight_place(row, j) * POSITION_BYTES + half * 8
        lines.append(f"str.w {r}, [r2, #{at}]")
    return lines
