"""Windows of a few channels as the words that the blocks of `arm_gemm.py` read, in assembly.

A row of a window is neighbouring bytes: its whole words are expanded as they are, and what is left
of all rows is joined to words, which come last.
"""

from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_expand import (
    expanded,
    expansion,
    expansion_name,
    expansions,
)
from tinyc.targets.intrinsics.arm_stream import GROUP

LOADED = ("r4", "r5", "r6", "lr")  # what is loaded together
JOINED = "r7"


def gathered_order(rows: int, row_bytes: int) -> list[int]:
    """Which byte of the window each product takes, -1 for padding."""
    whole = row_bytes - row_bytes % GROUP
    order = [i * row_bytes + k for i in range(rows) for k in range(whole)]
    order += [i * row_bytes + k for i in range(rows) for k in range(whole, row_bytes)]
    return order + [-1] * (-len(order) % GROUP)


def gather(pixels: int, rows: int, row_bytes: int, wide: bool, x_dtype: str) -> Microkernel:
    """`tinyc_gather_...(x, pitch, stride, block)`: the windows of neighbouring pixels.

    x, pitch  the first window's first byte, and bytes from row to row
    stride    bytes from window to window
    block     where the words go
    """
    order = gathered_order(rows, row_bytes)
    name = f"tinyc_gather_{rows}x{row_bytes}_{expansion_name(pixels, wide, x_dtype)}"
    text = TEXT.format(
        name=name,
        pixels=pixels,
        rows=rows,
        row_bytes=row_bytes,
        whole=row_bytes - row_bytes % GROUP,
        left=row_bytes % GROUP,
        products=len(order),
        assembly=quoted(_assembly(pixels, rows, row_bytes, wide, x_dtype)),
        x_dtype=x_dtype,
        unused=" __attribute__((unused))",
        words=expansion(pixels, wide, x_dtype),
    )
    return Microkernel(name, text, dsp("load_word", *expansions(wide, x_dtype)))


TEXT = """\
/* The windows of {pixels} pixels, {rows} rows of {row_bytes} bytes, as words for tinyc_gemm. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    const {x_dtype}_t *x{unused}, int32_t pitch{unused},
    int32_t stride{unused}, void *block{unused}) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const {x_dtype}_t *x, int32_t pitch, int32_t stride, void *block) {{
  for (int32_t c = 0; c < {pixels}; ++c) {{
    {x_dtype}_t window[{products}] = {{0}};
    for (int32_t i = 0; i < {rows}; ++i) {{
      const {x_dtype}_t *row = &x[(c * stride) + (i * pitch)];
      memcpy(&window[i * {whole}], row, {whole}u);
      memcpy(&window[({rows} * {whole}) + (i * {left})], &row[{whole}], {left}u);
    }}
    uint32_t *pairs = (uint32_t *)block + c;
    for (int32_t g = 0; g < {products} / 4; ++g) {{
      const uint32_t word = tinyc_load_word(&window[4 * g]);
{words}\
      pairs += 2 * {pixels};
    }}
  }}
}}
#endif
"""


def _assembly(pixels: int, rows: int, row_bytes: int, wide: bool, x_dtype: str) -> list[str]:
    """The naked function: r0 x, r1 pitch, r2 stride, r3 block.

    Loaded words r4 to r6 and lr, joined bytes r7, even halves r8, pixels left r12.
    """
    whole, left = divmod(row_bytes, GROUP)
    group_bytes = 8 * pixels
    lines = [
        "push.w {r4-r8, lr}",
        f"mov.w r12, #{pixels}",
        f"mov.w r4, #{rows - 1}",
        "mls r2, r1, r4, r2",
        ".balign 4",
        "1:",
    ]
    joined = 0
    for i in range(rows):
        loads = [GROUP * k for k in range(whole)] + [GROUP * whole + k for k in range(left)]
        for begin in range(0, len(loads), len(LOADED)):
            batch = loads[begin : begin + len(LOADED)]
            steps: list[str] = []
            for register, at in zip(LOADED, batch, strict=False):
                if at < GROUP * whole:
                    lines.append(f"ldr.w {register}, [r0, #{at}]")
                    offset = group_bytes * (i * whole + at // GROUP)
                    steps += expanded(register, offset, pixels, wide, x_dtype)
                    continue
                position = joined % GROUP
                lines.append(f"ldrb.w {register}, [r0, #{at}]")
                if position:
                    steps.append(f"orr.w {JOINED}, {JOINED}, {register}, lsl #{8 * position}")
                else:
                    steps.append(f"mov.w {JOINED}, {register}")
                joined += 1
                if joined % GROUP == 0 or joined == rows * left:
                    offset = group_bytes * (rows * whole + (joined - 1) // GROUP)
                    steps += expanded(JOINED, offset, pixels, wide, x_dtype)
            if begin + len(LOADED) >= len(loads):
                lines.append(f"add.w r0, r0, {'r1' if i + 1 < rows else 'r2'}")
            lines += steps
    return [*lines, "add.w r3, r3, #4", "subs.w r12, r12, #1", "bne.w 1b", "pop.w {r4-r8, pc}"]
