"""The assembly of a block of a float matrix product (`arm_vfp.py`): a step multiplies one value of
each pixel with the weights of all channels:

    pixels loads (VLDR, the pixels where they lie), one VLDM of `channels` weights,
    then VMUL and VADD in batches as large as free registers, so that none waits for the one
    before; or VFMA, where that issues every cycle.

On Cortex-M4 a 4x4 step is 42 cycles and 37 instructions; with VFMA 58 cycles and 21 instructions.
"""

from dataclasses import dataclass

from tinyc.compiler.ops.clamp import Clamp
from tinyc.targets.intrinsics import arm_vfp_stored
from tinyc.targets.intrinsics.arm_vfp_clamps import clamped, high_bound, suffix
from tinyc.targets.intrinsics.arm_vfp_stored import FLOAT32, is_whole

REGISTERS = 32  # of single precision
MOST_PIXELS = 6  # address registers
FIRST_ARGUMENTS = 100  # where r0-r3 are saved


@dataclass(frozen=True, slots=True)
class FloatBlock:
    """What the text of a block depends on.

    unroll    steps of a turn of the loop, a power of two
    fused     one rounding a product (VFMA), else two
    residual  a tensor of the output's shape is added to the biases
    stored    the type of the weights in flash
    """

    pixels: int
    channels: int
    unroll: int
    clamp: Clamp
    fused: bool
    residual: bool = False
    stored: str = FLOAT32

    @property
    def name(self) -> str:
        shape = f"{self.pixels}x{self.channels}_u{self.unroll}"
        fused = "fma_" if self.fused else ""
        stored = "" if self.stored == FLOAT32 else f"_{self.stored}"
        added = "_add" if self.residual else ""
        return f"tinyc_float_{fused}{shape}{stored}{added}{suffix(self.clamp)}"

    @property
    def step_bytes(self) -> int:
        """Of the weights for one value of the window."""
        return arm_vfp_stored.step_bytes(self.stored, self.channels)


def fits(pixels: int, channels: int) -> bool:
    """Whether a block leaves two registers for products."""
    return pixels <= MOST_PIXELS and pixels * channels + pixels + channels + 2 <= REGISTERS


def assembly(shape: FloatBlock) -> list[str]:
    """The naked function; r0-r3 are x, stream, y, blocks, the other arguments lie on the stack.

    r0-r5 pixels (of their window's row), r6 stream, r7 rows to go, r8 turns to go, r9 bytes from
    the end of a row to the next, r10 turns of a row, r11 y, r12 x of the group, lr the first step.

    A row whose values are no whole turns enters the loop in its middle: the pointers begin as
    many values early as steps are skipped.
    """
    shift = shape.unroll.bit_length() - 1
    steps = [line for u in range(shape.unroll) for line in _step(shape, u)]
    step_bytes = 4 * (len(steps) // shape.unroll)  # all instructions are 32 bits wide
    pixels, row_bytes = range(shape.pixels), 4 * shape.unroll
    lines = [
        "push.w {r0-r3}",
        "push.w {r4-r11, lr}",
        "vpush {s16-s31}",
        "mov.w r11, r2",
        f"ldr.w r4, {_argument('values')}",
        f"addw r10, r4, #{shape.unroll - 1}",
        f"lsr.w r10, r10, #{shift}",
        f"rsb.w r4, r4, r10, lsl #{shift}",
        f"ldr.w r9, {_argument('x_row')}",
        f"sub.w r9, r9, r10, lsl #{shift}",
        "lsl.w r9, r9, #2",
        "sub.w r12, r0, r4, lsl #2",
        f"movw r5, #{step_bytes}",
        "mul r4, r4, r5",
        "adr.w lr, 4f",
        "add.w lr, lr, r4",
        "orr.w lr, lr, #1",
    ]
    if shape.residual:
        lines += [f"ldr.w r4, {_argument('residual')}", "sub.w r4, r4, r2"]
        lines += [f"str.w r4, {_argument('residual')}"]
    lines += [".balign 4", "1:", f"ldr.w r6, {_argument('stream')}", ".balign 4", "2:"]
    lines += [*_starts(shape), f"ldr.w r7, {_argument('x_pixel')}", "mov.w r0, r12"]
    lines += [f"add.w r{p}, r{p - 1}, r7, lsl #2" for p in pixels[1:]]
    lines += [f"ldr.w r7, {_argument('rows')}", ".balign 4", "3:", "mov.w r8, r10", "bx lr"]
    lines += [".balign 4", "4:", *steps, *(f"add.w r{p}, r{p}, #{row_bytes}" for p in pixels)]
    lines += ["subs.w r8, r8, #1", "bne.w 4b", *(f"add.w r{p}, r{p}, r9" for p in pixels)]
    lines += ["subs.w r7, r7, #1", "bne.w 3b", *_ends(shape), *_finish(shape)]
    lines += [
        f"ldr.w r0, {_argument('x_group')}",
        f"ldr.w r1, {_argument('end')}",
        f"add.w r11, r11, #{4 * shape.channels}",
        "add.w r12, r12, r0, lsl #2",
        "cmp.w r6, r1",
        "bne.w 2b",
        f"ldr.w r0, {_argument('blocks')}",
        f"ldr.w r1, {_argument('x_pixel')}",
        f"ldr.w r2, {_argument('y_pixel')}",
        f"ldr.w r11, {_argument('y')}",
        f"mov.w r3, #{4 * shape.pixels}",
        "mla r12, r1, r3, r12",
        "mla r11, r2, r3, r11",
        f"str.w r11, {_argument('y')}",
        "subs.w r0, r0, #1",
        f"str.w r0, {_argument('blocks')}",
        "bne.w 1b",
        "vpop {s16-s31}",
        "pop.w {r4-r11, lr}",
        "add sp, sp, #16",
        "bx lr",
    ]
    return lines


ORDER = (
    *("x", "stream", "y", "blocks"),
    *("end", "x_pixel", "x_row", "rows", "values", "y_pixel", "x_group", "residual"),
)


def _argument(name: str) -> str:
    return f"[sp, #{FIRST_ARGUMENTS + 4 * ORDER.index(name)}]"


def _accumulators(shape: FloatBlock, pixel: int) -> list[str]:
    return [f"s{pixel * shape.channels + c}" for c in range(shape.channels)]


def _list(registers: list[str]) -> str:
    return "{" + ", ".join(registers) + "}"


def _starts(shape: FloatBlock) -> list[str]:
    """The biases in every row of accumulators, and the residual added."""
    biases = _accumulators(shape, 0)
    lines = [f"vldmia r6!, {_list(biases)}"]
    if is_whole(shape.stored):
        lines = ["mov.w r4, #0", *(f"vmov {acc}, r4" for acc in biases)]
    for p in range(1, shape.pixels):
        lines += [
            f"vmov.f32 {acc}, {bias}"
            for acc, bias in zip(_accumulators(shape, p), biases, strict=True)
        ]
    return lines + ([] if is_whole(shape.stored) else _residual(shape))


def _ends(shape: FloatBlock) -> list[str]:
    """Behind the products: r6 on a whole word; scales, biases and residual of sums of integers."""
    lines = ["add.w r6, r6, #2", "bic.w r6, r6, #3"] if shape.step_bytes % 4 else []
    if not is_whole(shape.stored):
        return lines
    accumulators = [_accumulators(shape, p) for p in range(shape.pixels)]
    free = [f"s{r}" for r in range(REGISTERS - shape.channels, REGISTERS)]
    scaled = arm_vfp_stored.scaled(accumulators, free)
    return [*lines, *scaled, *_residual(shape)]


def _residual(shape: FloatBlock) -> list[str]:
    """The residual added, where there is one; r0 and r1 are free."""
    if not shape.residual:
        return []
    lines = []
    free = [f"s{REGISTERS - shape.channels + c}" for c in range(shape.channels)]
    lines += [f"ldr.w r0, {_argument('residual')}", f"ldr.w r1, {_argument('y_pixel')}"]
    lines.append("add.w r0, r0, r11")
    for p in range(shape.pixels):
        lines.append(f"vldmia r0, {_list(free)}")
        lines.append("add.w r0, r0, r1, lsl #2")
        lines += [
            f"vadd.f32 {acc}, {acc}, {r}"
            for acc, r in zip(_accumulators(shape, p), free, strict=True)
        ]
    return lines


def _step(shape: FloatBlock, step: int) -> list[str]:
    """One value of each pixel times the weights of each channel."""
    first = shape.pixels * shape.channels
    xs = [f"s{first + p}" for p in range(shape.pixels)]
    ws = [f"s{first + shape.pixels + c}" for c in range(shape.channels)]
    free = [f"s{r}" for r in range(first + shape.pixels + shape.channels, REGISTERS)]
    lines = [f"vldr {x}, [r{p}, #{4 * step}]" for p, x in enumerate(xs)]
    if shape.stored == FLOAT32:
        lines.append(f"vldmia r6!, {_list(ws)}")
    else:
        lines += arm_vfp_stored.loaded(shape.stored, ws, "r4", "r5")
    products = [
        (acc, x, w)
        for p, x in enumerate(xs)
        for acc, w in zip(_accumulators(shape, p), ws, strict=True)
    ]
    if shape.fused:
        return lines + [f"vfma.f32 {acc}, {x}, {w}" for acc, x, w in products]
    for begin in range(0, len(products), len(free)):
        batch = list(zip(products[begin : begin + len(free)], free, strict=False))
        lines += [f"vmul.f32 {product}, {x}, {w}" for (_, x, w), product in batch]
        lines += [f"vadd.f32 {acc}, {acc}, {product}" for (acc, _, _), product in batch]
    return lines


def _finish(shape: FloatBlock) -> list[str]:
    """Clamp the accumulators and store them, pixel by pixel; r0-r5 and r7 are free."""
    lines = [f"ldr.w r8, {_argument('y_pixel')}", "mov.w r7, r11"]
    lines += high_bound("r5", shape.clamp)
    for p in range(shape.pixels):
        accs = _accumulators(shape, p)
        if shape.clamp == Clamp():
            lines.append(f"vstmia r7, {_list(accs)}")
        else:
            for begin in range(0, len(accs), 4):
                some = accs[begin : begin + 4]
                registers = [f"r{i}" for i in range(len(some))]
                lines += clamped(some, registers, "r5", shape.clamp)
                lines += [f"str.w {r}, [r7, #{4 * (begin + i)}]" for i, r in enumerate(registers)]
        lines.append("add.w r7, r7, r8, lsl #2")
    return lines
