"""The products of a Winograd convolution in assembly, for cores with the DSP extension.

At each position the transformed inputs of four tiles times the transformed weights of two output
channels, as the 4x2 block of `arm_gemm.py`, 16 cycles for 16 products:

    u       [group of 4 channels][position][half][lane], words of two channels
    v       [group][position of the weights][half][output channel], words of two channels
    sums    [position][lane][output channel], int32 modulo 2^32
"""

import itertools

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.winograd import LANES, Form

MOST_OFFSET = 4095  # of a load or store
V_BYTES = 2 * 2 * 4  # of a group's weights at one position


def products(form: Form, groups: int, turn: int, positions: int) -> Microkernel:
    """`tinyc_winograd<m>_...(u, v, sums, count, repeat)`: all products at `count` positions.

    groups     of 4 channels
    turn       groups that are written out; a divisor of `groups`
    positions  of the weights in v
    repeat     positions that the same weights are for; 1 unless the form has odd points
    """
    suffix = "" if turn == groups else f"t{turn}"
    name = f"tinyc_winograd{form.kind}_k{4 * groups}x{positions}{suffix}"
    text = TEXT.format(
        name=name, k=4 * groups, positions=positions, groups=groups, lanes=LANES,
        all_positions=form.positions, assembly=quoted(_assembly(form, groups, turn, positions)),
    )  # fmt: skip
    return Microkernel(name, text)


TEXT = """\
/* Products of 4 tiles of {k} channels and 2 output channels at `count` positions. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const void *u __attribute__((unused)), const void *v __attribute__((unused)),
    void *sums __attribute__((unused)), int32_t count __attribute__((unused)),
    int32_t repeat __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *u, const void *v, void *sums, int32_t count, int32_t repeat) {{
  uint32_t *to = (uint32_t *)sums;
  for (int32_t p = 0; p < count; ++p) {{
    for (int32_t at = 0; at < 2 * {lanes}; ++at) {{
      uint32_t sum = 0u;
      for (int32_t k = 0; k < 4 * {groups}; ++k) {{
        const int32_t g = k / 4;
        const int32_t half = (k / 2) % 2;
        const int16_t x = ((const int16_t *)u)[
            (((((((g * {all_positions}) + p) * 2) + half) * {lanes}) + (at / 2)) * 2) + (k % 2)];
        const int16_t w = ((const int16_t *)v)[
            (((((((g * {positions}) + (p / repeat)) * 2) + half) * 2) + (at % 2)) * 2) + (k % 2)];
        sum += (uint32_t)(x * w);
      }}
      *to = sum;
      ++to;
    }}
  }}
}}
#endif
"""


def _assembly(form: Form, groups: int, turn: int, positions: int) -> list[str]:
    """r0 u, r1 v, accumulators r4 to r11, weights r2 and r3, values r12 and lr.

    s0 sums, s1 their end, s2 end of the turns; s3 repeat, s4 positions to do with these weights.
    """
    lines = ["push.w {r4-r11, lr}", "vmov s0, r2", "add.w r12, r2, r3, lsl #5", "vmov s1, r12"]
    if form.odd:
        lines += ["ldr.w r12, [sp, #36]", "vmov s3, r12", "vmov s4, r12"]
    return [*lines, *all_positions(form, groups, turn, positions), "pop.w {r4-r11, pc}"]


def all_positions(form: Form, groups: int, turn: int, positions: int) -> list[str]:
    """The loop over positions, registers as above; r0 and r1 go to the one behind the last."""
    u_bytes, v_bytes = form.positions * 2 * LANES * 4, positions * V_BYTES
    v_step = 0 if form.odd else V_BYTES
    lines = [".balign 4", "1:"]
    looped = turn < groups
    if looped:
        lines += [f"mov.w r{r}, #0" for r in range(4, 12)]
        lines += [*_add("r12", "r0", groups * u_bytes), "vmov s2, r12", ".balign 4", "2:"]
    u, v = 0, 0  # where r0 and r1 are, in bytes from the position's first operands
    for group in range(turn):
        for half in range(2):
            fresh = not looped and group + half == 0
            u_at = group * u_bytes + half * LANES * 4 - u
            v_at = group * v_bytes + half * 8 - v
            moves = []
            if half:
                last = group + 1 == turn
                u_next, v_next = (group + 1) * u_bytes, (group + 1) * v_bytes
                if last and not looped:
                    u_next, v_next = 8 * LANES, v_step  # the next position
                if last or u_next + 8 * LANES - u > MOST_OFFSET:
                    moves, u = _add("r0", "r0", u_next - u), u_next
                if last or v_next + V_BYTES - v > MOST_OFFSET:
                    moves, v = [*moves, *_add("r1", "r1", v_next - v)], v_next
            lines += _step(u_at, v_at, fresh, moves)
    if looped:
        lines += ["vmov r12, s2", "cmp.w r0, r12", "bne.w 2b"]
        lines += [*_add("r0", "r0", 8 * LANES - groups * u_bytes)]
        lines += [*_add("r1", "r1", v_step - groups * v_bytes)]
    lines += ["vmov r12, s0", "stm.w r12!, {r4-r11}", "vmov s0, r12"]
    if form.odd:
        lines += ["vmov r2, s4", "vmov r3, s3", "subs.w r2, r2, #1", "itt eq"]
        lines += [f"addeq.w r1, r1, #{V_BYTES}", "moveq.w r2, r3", "vmov s4, r2"]
    lines += ["vmov lr, s1"]
    return [*lines, "cmp.w r12, lr", "bne.w 1b"]


def positions_of_a_tile(positions: int, groups: int, turn: int) -> list[str]:
    """The same for one tile of u and eight output channels, 20 cycles for 16 products.

    v  [position][group][half][output channel], words of two channels
    """
    u_bytes, v_bytes = positions * 2 * 4, 2 * 8 * 4  # of a group
    looped = turn < groups
    lines = [".balign 4", "1:"]
    if looped:
        lines += [f"mov.w r{r}, #0" for r in range(4, 12)]
        lines += [*_add("r12", "r0", groups * v_bytes), "vmov s2, r12", ".balign 4", "2:"]
    for group, half in itertools.product(range(turn), range(2)):
        lines += [f"ldr.w r2, [r1, #{group * u_bytes + half * 4}]"]
        operation, last = ("smuad", "") if not looped and group + half == 0 else ("smlad", ", r{}")
        for channels in ((1, 2, 3), (4, 5, 6), (7, 0)):
            weights = list(zip(channels, ("r3", "r12", "lr"), strict=False))
            places = (f"[r0, #{4 * n}]" if n else f"[r0], #{v_bytes // 2}" for n in channels)
            lines += [f"ldr.w {w}, {at}" for (_, w), at in zip(weights, places, strict=True)]
            lines += [f"{operation} r{4 + n}, r2, {w}{last.format(4 + n)}" for n, w in weights]
    if looped:
        lines += [*_add("r1", "r1", turn * u_bytes), "vmov r12, s2", "cmp.w r0, r12", "bne.w 2b"]
    lines += _add("r1", "r1", 2 * 4 - (groups * u_bytes if looped else 0))
    lines += ["vmov r12, s0", "stm.w r12!, {r4-r11}", "vmov s0, r12", "vmov lr, s1"]
    return [*lines, "cmp.w r12, lr", "bne.w 1b"]


def _step(u_at: int, v_at: int, fresh: bool, moves: list[str]) -> list[str]:
    """Two channels of every tile and output channel; `moves` stand where they delay no load."""
    lines = [f"ldr.w r12, [r0, #{u_at}]", f"ldr.w lr, [r0, #{u_at + 4}]"]
    lines += [f"ldr.w r2, [r1, #{v_at}]", f"ldr.w r3, [r1, #{v_at + 4}]"]
    for first in range(0, LANES, 2):
        if first:
            lines += [f"ldr.w r12, [r0, #{u_at + 8}]", f"ldr.w lr, [r0, #{u_at + 12}]"]
        for i, x in enumerate(("r12", "lr")):
            for n, w in enumerate(("r2", "r3")):
                acc = f"r{4 + 2 * (first + i) + n}"
                lines.append(f"smuad {acc}, {x}, {w}" if fresh else f"smlad {acc}, {x}, {w}, {acc}")
    return [*lines[:-2], *moves, *lines[-2:]]  # r12 is free by then


def _add(to: str, register: str, value: int) -> list[str]:
    """to = register + value; r12 is overwritten where the value fits no instruction."""
    operation, size = ("sub", -value) if value < 0 else ("add", value)
    if to == register and not value:
        return []
    if size <= MOST_OFFSET:
        return [f"{operation}w {to}, {register}, #{size}"]
    if size >> (size.bit_length() - 8) << (size.bit_length() - 8) == size:
        return [f"{operation}.w {to}, {register}, #{size}"]
    high = [f"movt r12, #{size >> 16}"] if size >> 16 else []
    return [f"movw r12, #{size & 0xFFFF}", *high, f"{operation}.w {to}, {register}, r12"]
