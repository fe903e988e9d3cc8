"""One row times a matrix in assembly, for cores with the DSP extension.

A block is up to eight channels of one row in the paired form of `arm_stream.py`; the activations
are expanded on the way, so that no scratch is needed: 39 cycles for the 32 products of a group.
One copy serves every row length: the groups are a loop that is entered in the middle.
"""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import (
    bounds_suffix,
    entered,
    quoted,
    requantized,
    scaled_zero_point,
)
from tinyc.targets.intrinsics.arm_dsp import dsp

MOST_COLUMNS = 8  # channels of a block: as many as there are registers for


def dense(columns: int, turn: int, uniform: bool, low: int, high: int) -> Microkernel:
    """`tinyc_dense_...(x, stream, y, groups, end, zero_point[, multiplier])`: a row, all channels.

    turn     groups written out in the loop, a power of 2
    uniform  one multiplier is for all channels, and a parameter
    """
    name = f"tinyc_dense_{columns}{'m' if uniform else ''}_u{turn}{bounds_suffix(low, high)}"
    unused = " __attribute__((unused))"
    text = TEXT.format(
        name=name,
        columns=columns,
        assembly=quoted(_assembly(columns, turn, uniform, low, high)),
        unused=unused,
        unused_multiplier=f", int32_t multiplier{unused}" if uniform else "",
        multiplier=", int32_t multiplier" if uniform else "",
        declared="" if uniform else LOADED.format(columns=columns),
        stream_end=f"&weights[4 * {columns} * groups]" + ("" if uniform else f" + (4 * {columns})"),
        low=low,
        high=high,
    )
    return Microkernel(name, text, dsp("load_word"))


LOADED = """\
      const int8_t *multipliers = &weights[4 * {columns} * groups];
      const int32_t multiplier = (int32_t)tinyc_load_word(&multipliers[4 * n]);
"""
TEXT = """\
/* A row of groups of four values times all channels of the stream, {columns} a turn. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const int8_t *x{unused}, const int8_t *stream{unused},
    int8_t *y{unused}, int32_t groups{unused},
    const int8_t *end{unused}, int32_t zero_point{unused}{unused_multiplier}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const int8_t *x, const int8_t *stream, int8_t *y, int32_t groups,
    const int8_t *end, int32_t zero_point{multiplier}) {{
  while (stream != end) {{
    const int8_t *weights = &stream[4 * {columns}];
    for (int32_t n = 0; n < {columns}; ++n) {{
      uint32_t acc = tinyc_load_word(&stream[4 * n]);
      for (int32_t g = 0; g < groups; ++g) {{
        const int8_t *w = &weights[4 * (({columns} * g) + n)];
        for (int32_t k = 0; k < 4; k += 2) {{
          const int32_t even = x[(4 * g) + k] * ((256 * w[k + 1]) + (uint8_t)w[k]);
          const int32_t odd = (256 * x[(4 * g) + k + 1]) + 127 - x[(4 * g) + k];
          acc += (uint32_t)(even + (odd * w[k]));
        }}
      }}
{declared}\
      const int32_t value = tinyc_requantize((int32_t)acc >> 8, multiplier, zero_point);
      y[n] = (int8_t)tinyc_min(tinyc_max(value, {low}), {high});
    }}
    stream = {stream_end};
    y += {columns};
  }}
}}
#endif
"""


def _assembly(columns: int, turn: int, uniform: bool, low: int, high: int) -> list[str]:
    """The naked function: r0 x, r1 stream, r2 y, r3 groups; stack: end, zero point, multiplier.

    s0 y, s1 end of the stream, s2 x, s3 end of x, s4 zero point, s6 where the loop is entered, s7
    the multiplier. Accumulators from r4 on, weights r2 and r3, activations r12 and lr.
    """
    accumulators = [f"r{4 + n}" for n in range(columns)]
    group = _group(accumulators)
    return [
        "push.w {r4-r11, lr}",
        "vmov s0, r2",
        "ldr.w r4, [sp, #36]",
        "ldr.w r5, [sp, #40]",
        *(["ldr.w r6, [sp, #44]", "vmov s7, r6"] if uniform else []),
        "vmov s1, r4",
        *scaled_zero_point("r5"),
        "vmov s4, r5",
        *entered("r3", turn, 4 * len(group), ("r2", "r12", "lr")),
        "vmov s2, r0",
        "add.w r3, r0, r3, lsl #2",
        "vmov s3, r3",
        "vmov s6, r2",
        ".balign 4",
        "1:",
        f"ldm.w r1!, {{{', '.join(accumulators)}}}" if columns > 1 else "ldr.w r4, [r1], #4",
        "vmov r0, s2",
        "vmov r12, s6",
        "bx r12",
        ".balign 4",
        "2:",
        *(group * turn),
        "vmov r12, s3",
        "cmp.w r0, r12",
        "bne.w 2b",
        "vmov r12, s4",
        "vmov lr, s0",
        *_stored(accumulators, uniform, low, high),
        f"add.w lr, lr, #{columns}",
        "vmov s0, lr",
        "vmov r12, s1",
        "cmp.w r1, r12",
        "bne.w 1b",
        "pop.w {r4-r11, pc}",
    ]


def _stored(accumulators: list[str], uniform: bool, low: int, high: int) -> list[str]:
    """The results of a block; the multipliers come from the stream, three at a time."""
    lines = ["vmov r2, s7"] if uniform else []
    for n, acc in enumerate(accumulators):
        own = "r2"
        if not uniform:
            own = ("r0", "r2", "r3")[n % 3]
            left = min(3, len(accumulators) - n)
            if n % 3 == 0:
                several = f"ldm.w r1!, {{{', '.join(('r0', 'r2', 'r3')[:left])}}}"
                lines.append(several if left > 1 else "ldr.w r0, [r1], #4")
        lines += requantized(acc, own, "r12", low, high, scaled=True)
        lines.append(f"strb.w {acc}, [lr, #{n}]")
    return lines


def _group(accumulators: list[str]) -> list[str]:
    """Four products of every channel; 32-bit instructions only, the loop is entered by counting."""
    expand = ["eor.w lr, r12, #0x007f007f", "sxtb16 r12, r12"]
    lines = ["ldr.w r12, [r0], #4"]
    for n in range(0, len(accumulators), 2):
        pair = accumulators[n : n + 2]
        words = ["r2", "r3"][: len(pair)]
        lines += ["ldr.w r3, [r1, #4]", "ldr.w r2, [r1], #8"][2 - len(pair) :]
        if len(pair) == 1:
            lines[-1] = "ldr.w r2, [r1], #4"
        if n == 0:
            lines += expand
        lines += [f"smlad {acc}, r12, {w}, {acc}" for acc, w in zip(pair, words, strict=True)]
        lines += [f"sxtb16 {w}, {w}" for w in words]
        lines += [f"smlad {acc}, lr, {w}, {acc}" for acc, w in zip(pair, words, strict=True)]
    return lines
