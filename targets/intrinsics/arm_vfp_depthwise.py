"""3x3 depthwise convolution of floats in assembly, for Thumb cores with an FPU.

One channel after the other, its weights in registers. Three columns of the input stay in
registers as well, so that an output loads one new column (two with stride 2); two output rows
share the four values of a column. On Cortex-M4 two outputs take 53 cycles.

A row or column outside the image is read from a zero on the stack, whose pointer stands still.
Stream of a channel: nine weights, row by row, and the bias.
"""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_vfp_clamps import clamped, clamped_text, high_bound, suffix
from tinyc.targets.intrinsics.arm_vfp_window_sums import fused_window_sums, window_sums

PARAMETERS = (
    *("const float *x", "const float *stream", "float *y", "int32_t channels"),
    *("int32_t columns", "int32_t x_row", "int32_t y_row"),
    *("int32_t top", "int32_t bottom", "int32_t left", "int32_t right"),
)
ZERO = 4 * (16 + 9)  # behind s16-s31, r4-r11 and lr
ORDER = tuple(p.split()[-1].removeprefix("*") for p in PARAMETERS)  # from ZERO + 4 on
FIRST_COLUMN = 10  # register of the first column; the weights and the bias lie before
PHASES = 3  # the columns change their places after every output


@dataclass(frozen=True, slots=True)
class FloatDepthwise:
    """What the text of a block depends on.

    stride  from column to column, 1 or 2
    rows    of the output computed together: 1, or 2 where they are one input row apart
    fused   one rounding a product (VFMA), else two
    """

    stride: int
    rows: int
    clamp: Clamp
    fused: bool

    @property
    def name(self) -> str:
        fused = "fma_" if self.fused else ""
        return f"tinyc_float_depthwise_{fused}s{self.stride}r{self.rows}{suffix(self.clamp)}"

    @property
    def inputs(self) -> int:
        """Rows of the input."""
        return self.rows + 2


def packed_streams(weights: Array, bias: Array) -> Array:
    """The streams of all channels; weights [3, 3, channels]."""
    table = np.concatenate([weights.reshape(9, -1), bias[None]], axis=0)
    return read_only(table.T.reshape(-1), "float32")


def float_depthwise(shape: FloatDepthwise) -> Microkernel:
    """The function of a block; `TEXT` says what its parameters mean."""
    rows, stride = range(3), shape.stride
    kept = [("left", "middle"), ("middle", "right")] if stride == 1 else [("left", "right")]
    taps = [(f"{side}_{i}", 3 * i + j) for j, side in enumerate(SIDES) for i in rows]
    loads = {side: [f"{side}_{i} = *x_{i};" for i in rows] for side in SIDES}
    steps = ["x_0 += above ? 0 : channels;", "x_1 += channels;", "x_2 += below ? 0 : channels;"]
    middle = [f"float {line}" for line in loads["middle"]] + steps
    products = [
        f"acc = fmaf({x}, w[{k}], acc);" if shape.fused else f"acc += {x} * w[{k}];"
        for x, k in taps
    ]
    text = TEXT.format(
        name=shape.name,
        stride=stride,
        rows=shape.rows,
        naked=",\n    ".join(f"{p} __attribute__((unused))" for p in PARAMETERS),
        plain=",\n    ".join(PARAMETERS),
        assembly=quoted(_assembly(shape)),
        left=_indented([*loads["left"], *steps], 10),
        before=_indented(middle, 8) if stride == 1 else "",
        inside="" if stride == 1 else _indented(middle, 10),
        right=_indented([*loads["right"], *steps], 12),
        products=_indented(products, 10),
        value=clamped_text("acc", shape.clamp),
        moves=_indented([f"{to}_{i} = {of}_{i};" for to, of in kept for i in rows], 10),
    )
    return Microkernel(shape.name, text)


def _indented(lines: list[str], spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}\n" for line in lines)


SIDES = ("left", "middle", "right")
TEXT = """\
/* 3x3, stride {stride}, {rows} rows of the output, every channel of the image.
 *
 * x              the first row of the window inside the image
 * x_row, y_row   from row to row, in floats
 * top ... right  1 where the first or last row or column of the windows is outside, else 0 */
#if defined(__thumb2__) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    {naked}) {{
  __asm volatile(
{assembly}
  );
}}
#else
TINYC_SHARED_KERNEL void {name}(
    {plain}) {{
  const float zero = 0.0f;
  for (int32_t c = 0; c < channels; ++c) {{
    const float *const w = &stream[10 * c];
    for (int32_t row = 0; row < {rows}; ++row) {{
      const bool above = (top != 0) && (row == 0);
      const bool below = (bottom != 0) && (row == {rows} - 1);
      const float *x_1 = &x[((row + 1 - top) * x_row) + c];
      const float *x_0 = above ? &zero : x_1 - x_row;
      const float *x_2 = below ? &zero : x_1 + x_row;
      float left_0 = 0.0f;
      float left_1 = 0.0f;
      float left_2 = 0.0f;
      if (left == 0) {{
{left}      }}
{before}      for (int32_t column = 0; column < columns; ++column) {{
{inside}        float right_0 = 0.0f;
        float right_1 = 0.0f;
        float right_2 = 0.0f;
        if ((right == 0) || (column != columns - 1)) {{
{right}        }}
        float acc = w[9];
{products}        y[(row * y_row) + (column * channels) + c] = {value};
{moves}      }}
    }}
  }}
}}
#endif
"""


def _assembly(shape: FloatDepthwise) -> list[str]:
    """The naked function; r0-r3 are x, stream, y, channels, the other arguments lie on the stack.

    r0-r3 input rows, r4 bytes from column to column, r5 and r6 the same in the first and the last
    row (0 outside the image), r7 and r8 outputs, r9 outputs before the last column is outside,
    r12 the zero while that is to come, lr the upper bound.
    """
    lines = [
        "push.w {r0-r3}",
        "mov.w r12, #0",
        "str.w r12, [sp, #-4]!",
        "push.w {r4-r11, lr}",
        "vpush {s16-s31}",
        "lsl.w r4, r3, #2",
        *_zero_unless("r5", "r4", "top"),
        *_zero_unless("r6", "r4", "bottom"),
        *high_bound("lr", shape.clamp),
        ".balign 4",
        "1:",
        *_channel(shape),
        ".balign 4",
        "2:",
    ]
    for phase in range(PHASES):
        lines += [*_phase(shape, phase), "subs.w r9, r9, #1"]
        lines.append("bne.w 2b" if phase == PHASES - 1 else f"beq.w {30 + phase}f")
    for phase in reversed(range(PHASES)):
        after = (phase + 1) % PHASES
        lines += [f"{30 + phase}:", "cmp.w r12, #0", "beq.w 9f"]
        lines += _column(shape, _columns(shape, after)[1]) if shape.stride == 2 else []
        lines += [f"mov.w r{i}, r12" for i in range(shape.inputs)]
        lines += ["mov.w r12, #0", "mov.w r9, #1", f"b.w {20 + after}b"]
    lines += ["9:", f"ldr.w r10, {_argument('channels')}", "subs.w r10, r10, #1"]
    lines += [f"str.w r10, {_argument('channels')}", "bne.w 1b"]
    return [*lines, "vpop {s16-s31}", "pop.w {r4-r11, lr}", "add sp, sp, #20", "bx lr"]


def _argument(name: str) -> str:
    return f"[sp, #{ZERO + 4 + 4 * ORDER.index(name)}]"


def _zero_unless(register: str, value: str, argument: str) -> list[str]:
    """register = argument == 0 ? value : 0"""
    return [
        f"mov.w {register}, {value}", f"ldr.w r12, {_argument(argument)}", "cmp.w r12, #0",
        "it ne", f"movne.w {register}, #0",
    ]  # fmt: skip


def _channel(shape: FloatDepthwise) -> list[str]:
    """Weights, pointers and the first columns of a channel."""
    last, columns = f"r{shape.inputs - 1}", _columns(shape, 0)
    lines = [
        f"ldr.w r10, {_argument('stream')}",
        f"ldr.w r0, {_argument('x')}",
        f"ldr.w r7, {_argument('y')}",
        f"ldr.w r8, {_argument('y_row')}",
        f"ldr.w r11, {_argument('x_row')}",
        "vldmia r10!, {s0-s9}",
        f"str.w r10, {_argument('stream')}",
        "add.w r10, r0, #4",
        f"str.w r10, {_argument('x')}",
        "add.w r10, r7, #4",
        f"str.w r10, {_argument('y')}",
        "add.w r8, r7, r8, lsl #2",
        f"ldr.w r12, {_argument('top')}",
        "add.w r10, sp, #" + str(ZERO),
        "cmp.w r12, #0",
        "it ne",
        "subne.w r0, r0, r11, lsl #2",
        *(f"add.w r{i}, r{i - 1}, r11, lsl #2" for i in range(1, shape.inputs)),
        "it ne",
        "movne.w r0, r10",
        f"ldr.w r12, {_argument('bottom')}",
        "cmp.w r12, #0",
        "it ne",
        f"movne.w {last}, r10",
        f"ldr.w r9, {_argument('columns')}",
        f"ldr.w r12, {_argument('right')}",
        "sub.w r9, r9, r12",
        "cmp.w r12, #0",
        "it ne",
        "movne.w r12, r10",
        f"ldr.w r11, {_argument('left')}",
        "cmp.w r11, #0",
        "bne.w 5f",
        *_column(shape, columns[0]),
        "b.w 6f",
        "5:",
        *(f"vldr {s}, [r10]" for s in columns[0]),
        "6:",
    ]
    lines += _column(shape, columns[1]) if shape.stride == 1 else []
    return [*lines, "cmp.w r9, #0", f"beq.w {30 + PHASES - 1}f"]


def _columns(shape: FloatDepthwise, phase: int) -> list[list[str]]:
    """The registers of the left, middle and right column of the window."""
    places = [(phase * shape.stride + side) % PHASES for side in range(3)]
    firsts = [FIRST_COLUMN + place * shape.inputs for place in places]
    return [[f"s{first + i}" for i in range(shape.inputs)] for first in firsts]


def _column(shape: FloatDepthwise, registers: list[str]) -> list[str]:
    """The next column of the input."""
    steps = ["r5", *["r4"] * (shape.inputs - 2), "r6"]
    return [
        *(f"vldr {s}, [r{i}]" for i, s in enumerate(registers)),
        *(f"add.w r{i}, r{i}, {step}" for i, step in enumerate(steps)),
    ]


def _phase(shape: FloatDepthwise, phase: int) -> list[str]:
    """An output of every row."""
    columns = _columns(shape, phase)
    lines = _column(shape, columns[1]) if shape.stride == 2 else []
    lines += [f"{20 + phase}:", *_column(shape, columns[2])]
    free = [f"s{r}" for r in range(FIRST_COLUMN + 3 * shape.inputs, 32)]
    sums = fused_window_sums if shape.fused else window_sums
    accs = sums(shape.rows, columns, free)
    lines += accs[1]
    for row, acc in enumerate(accs[0]):
        y = f"r{7 + row}"
        if shape.clamp == Clamp():
            lines.append(f"vstr {acc}, [{y}]")
        else:
            lines += [*clamped([acc], ["r10"], "lr", shape.clamp), f"str.w r10, [{y}]"]
        lines.append(f"add.w {y}, {y}, r4")
    return lines
