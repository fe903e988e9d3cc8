"""Dense of int16 values by assembly: a row by `arm_halfword_dense.py`, several by the blocks of
`arm_halfwords.py`, for which a row is a pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.kernels import halfword_streams
from tinyc.compiler.kernels.halfword_streams import results_of, run_channels, stream_of
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_halfword_dense import MOST_COLUMNS, HalfwordRow, halfword_dense
from tinyc.targets.intrinsics.arm_halfwords import (
    COLUMNS,
    STEP,
    HalfwordBlock,
    halfword_gemm,
)

TURN, SHORT_TURN = 8, 2  # steps, 23 cycles each; the end of a turn takes 5
MOST_TURN = 16
FEW_PRODUCTS = 1024  # of a layer with short turns
PIXELS = 4  # rows of a block


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that one function computes: `count` times `rows` from `first` on.

    columns, rest  of the function's channels, and its last arguments
    """

    microkernel: Microkernel
    first: int
    rows: int
    count: int
    columns: int
    rest: tuple[int, ...]


def suits(call: Call, target: Target) -> bool:
    """As `halfword_streams.suits` says, two channels at least; rows of whole pairs, or one."""
    n, k = call.inputs[1].shape
    whole = k % STEP == 0 or call.output.elements == n
    return n >= COLUMNS and whole and halfword_streams.suits(call, target)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Both forms of weights, blocks of all widths that differ, turns from short to quick."""
    n, several = call.inputs[1].shape[0], _has_blocks(call)
    widths = (0,) if several else sorted({_columns(n, most) for most in (4, 6, MOST_COLUMNS)})
    for form in ("int8", "int16"):
        for columns in widths:
            for turn in (1, 2, 4, 8, 16):
                yield Schedule(columns=columns, unroll=turn, weights=form)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    n, k = w.shape
    wide = schedule.weights == "int16"
    parts = (_blocks if _has_blocks(call) else _single)(call, schedule, wide)
    packed = stream_of(call, parts[0].columns, wide)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    stream = loops.buffer("stream", packed.size, "int8")
    padded = k % STEP != 0  # a row's last pair would end behind it
    scratch = loops.buffer("scratch", k + 1, x.dtype)
    values = scratch if padded else source

    def run(part: Part) -> Any:
        def some(r: Any) -> list[Any]:
            row, name = part.first + r * part.rows, part.microkernel.name
            place = loops.pointer(values, row * k)
            return run_channels(name, part.columns, place, stream, result, row * n, n, part.rest)

        return loops.loop("r", part.count, some)

    size = loops.const(k * x.dtype.size, "uint32")
    copied = loops.run("memcpy", loops.pointer(scratch), loops.pointer(source), size)
    body = [*([copied] if padded else []), *map(run, parts)]
    return Kernel(
        name="dense",
        function=loops.function([source, result, stream, *([scratch] if padded else [])], body),
        constants=(Constant("stream", packed),),
        scratch_bytes=(k + 1) * x.dtype.size if padded else 0,
        microkernels=tuple(part.microkernel for part in parts),
        note=f"gemm {parts[0].rows}x{parts[0].columns}, assembly, 16 bits, "
        f"{'int16' if wide else 'int8'} weights",
    )


def _single(call: Call, schedule: Schedule, wide: bool) -> list[Part]:
    """Row by row."""
    n, k = call.inputs[1].shape
    columns, turn = _columns(n, schedule.columns or MOST_COLUMNS), _turn(call, schedule)
    function = halfword_dense(HalfwordRow(columns, turn, wide, results_of(call)))
    rest = (-(-k // STEP), _zero_point(call))
    return [Part(function, 0, 1, call.inputs[0].elements // k, columns, rest)]


def _blocks(call: Call, schedule: Schedule, wide: bool) -> list[Part]:
    """Rows in blocks of four, and what is left of them."""
    n, k = call.inputs[1].shape
    rows, turn, results = call.inputs[0].elements // k, _turn(call, schedule), results_of(call)
    whole, left = divmod(rows, PIXELS)
    rest = (n, 0, 1, k // STEP, _zero_point(call))
    sizes = [(0, PIXELS, whole), (rows - left, left, 1)]
    return [
        Part(halfword_gemm(HalfwordBlock(size, 2 * k, turn, wide, results)),
             first, size, count, COLUMNS, rest)
        for first, size, count in sizes if size and count
    ]  # fmt: skip


def _has_blocks(call: Call) -> bool:
    """Whether there are rows enough for blocks, and within reach of offsets."""
    _, k = call.inputs[1].shape
    block = HalfwordBlock(PIXELS, 2 * k, MOST_TURN, False, results_of(call))
    return call.inputs[0].elements // k >= PIXELS and block.fits


def _turn(call: Call, schedule: Schedule) -> int:
    return schedule.unroll or (TURN if call.inputs[1].elements >= FEW_PRODUCTS else SHORT_TURN)


def _columns(n: int, most: int) -> int:
    """Channels of a block, an even number, such that blocks of up to `most` are about equal."""
    blocks = -(-n // most)
    columns = -(-n // blocks)
    return min(columns + columns % 2, n - n % 2)


def _zero_point(call: Call) -> int:
    quant = call.output.quant
    assert quant is not None, "suits() has asked"
    return quant.zero_point[0]
