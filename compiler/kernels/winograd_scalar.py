"""Conv2D 3x3 of stride 1 by F(2x2, 3x3), for cores that multiply one product at a time.

The tiles of a band of output rows are transformed into the scratch, some at a time; then for
every four output channels they are multiplied, transformed back and requantized. The weights lie
in flash as they are multiplied, or are transformed into the scratch for the tiles at hand; those of
4 bits are unpacked there before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import FOUR_BITS, DType, read_only
from tinyc.compiler.kernels.gather import window_row
from tinyc.compiler.kernels.lane_conv import suits_results, suits_weights
from tinyc.compiler.kernels.nibbles import UNPACK, Unpacking, packed_blocks
from tinyc.compiler.kernels.winograd_scalar_tables import (
    blocks_of,
    channel_table,
    channels_of_blocks,
    limits_of,
    rule_of_weights,
)
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics import winograd_transforms
from tinyc.targets.intrinsics.riscv_winograd import (
    BLOCK,
    CHANNEL_BYTES,
    MOST_CHANNELS,
    SUM_BYTES,
    multiply,
    taps,
    transformed,
)

TILES = (4, 8, 16)  # that are transformed together
STRIPS = 16  # values of every channel that a tile is read from
FEWEST_CHANNELS = 8  # below, the transforms cost more than the products


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """A call's sizes, choices and buffers.

    width        tiles in a row of tiles
    rows         rows of tiles in a band
    tiles        that are transformed together
    per_inputs   bytes of the scratch for four tiles; the weights, the sums, the strips follow
    multiply     name of the function
    """

    call: Call
    stage: Call
    width: int
    rows: int
    tiles: int
    stored: bool
    multiply: str
    input_tile: str
    source: Any
    result: Any
    weights: Any
    channels: Any
    bounds: Any
    scratch: Any
    residual: Addend | None
    unpacking: Unpacking | None

    @property
    def per_block(self) -> int:
        """Bytes of the inputs of four tiles, or of the weights of four output channels."""
        return int(self.call.inputs[0].shape[3]) * CHANNEL_BYTES

    @property
    def weights_at(self) -> int:
        return self.tiles // BLOCK * self.per_block

    @property
    def sums_at(self) -> int:
        return self.weights_at + (self.per_block if self.stored else 0)

    @property
    def strips_at(self) -> int:
        return self.sums_at + SUM_BYTES

    @property
    def unpacked_at(self) -> int:
        return self.strips_at + STRIPS * int(self.call.inputs[0].shape[3])


def suits(call: Call, target: Target) -> bool:
    """3x3, stride 1, int8 throughout, output channels for a block, enough channels."""
    return _suits(call) and suits_weights(first_stage(call), target)


def suits_nibbles(call: Call, target: Target) -> bool:
    """The same of weights of 4 bits with one zero point."""
    w = call.inputs[1]
    if w.dtype not in FOUR_BITS or w.quant is None or len(set(w.quant.zero_point)) > 1:
        return False
    return _suits(call) and suits_results(first_stage(call), target)


def _suits(call: Call) -> bool:
    """All but the type of the weights, and how results are requantized."""
    (x, w), a = call.inputs[:2], call.attrs
    oc, kh, kw, ic = w.shape
    shape = (kh, kw, a.groups, x.shape[0]) == (3, 3, 1, 1) and oc >= BLOCK
    if not shape or a.strides != (1, 1) or a.dilations != (1, 1):
        return False
    channels = FEWEST_CHANNELS <= ic <= MOST_CHANNELS
    return channels and call.output.dtype == DType.INT8


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Tiles that are transformed together, where the weights are, channels of a turn."""
    for weights in ("flash", "scratch"):
        for tiles in TILES:
            for unroll in (1, 2, 4):
                yield Schedule("", tiles, 0, unroll, weights)


def space_nibbles(call: Call, target: Target) -> Iterator[Schedule]:
    return (replace(s, weights="") for s in space(call, target) if s.weights == "scratch")


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    stage, x, w, y = first_stage(call), call.inputs[0], call.inputs[1], call.output
    oc, _, _, ic = w.shape
    assert w.data is not None
    values = centred(w.data, w)[channels_of_blocks(oc)]
    nibbles = w.dtype in FOUR_BITS
    where = "scratch" if nibbles else schedule.weights or rule_of_weights(oc, ic)
    stored = where == "scratch"
    table = read_only((taps(values) if stored else transformed(values)).reshape(-1))
    unpacking = None
    if nibbles:
        table, unpacking = packed_blocks(w, table.reshape(blocks_of(oc), -1))
    products = multiply(next(u for u in (schedule.unroll or 4, 2, 1) if ic % u == 0))
    width = -(-y.shape[2] // 2)
    wanted = schedule.rows or (8 if stored else 4)
    row_tiles = max(wanted // width, 1)
    count = min(wanted, -(-(width * row_tiles) // BLOCK) * BLOCK)
    row = window_row()
    input_tile = winograd_transforms.input_tile(ic)
    output_tile = winograd_transforms.output_tile()
    limits, channels = limits_of(stage), channel_table(stage)
    scratch_bytes = (count // BLOCK + (1 if stored else 0)) * ic * CHANNEL_BYTES
    scratch_bytes += SUM_BYTES + STRIPS * ic
    scratch_bytes += 0 if unpacking is None else unpacking.bytes
    t = Tiles(
        call, stage, width, row_tiles, count, stored, products.name, input_tile.name,
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("weights", table.size, str(table.dtype)),
        loops.buffer("channels", channels.size, "int32"),
        loops.buffer("bounds", limits.size, "int32"),
        loops.buffer("scratch", scratch_bytes, "int8"),
        addend(call, target),
        unpacking,
    )  # fmt: skip
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [t.source] + ([] if t.residual is None else [t.residual.buffer])
    function = loops.function(
        [*moving, t.result, t.weights, t.channels, t.bounds, t.scratch, begin, end],
        _bands(t, begin, end),
    )
    needed = (row, input_tile, products, output_tile, *([UNPACK] if nibbles else []))
    where = "4-bit weights" if nibbles else f"weights in {where}"
    return Kernel(
        name="conv2d_3x3",
        function=function,
        constants=(
            Constant("weights", table), Constant("channels", channels), Constant("bounds", limits),
        ),
        scratch_bytes=scratch_bytes,
        microkernels=(*needed, winograd_transforms.weights_block()) if stored else needed,
        rows=y.shape[1],
        band=2 * row_tiles,
        note=f"winograd 2x2, {where}" + (", add" if t.residual else ""),
    )  # fmt: skip


def _bands(t: Tiles, begin: Any, end: Any) -> list[Any]:
    """The output rows begin..end, band by band."""
    _, _, ow, oc = t.call.output.shape
    band_rows = 2 * t.rows
    oy, rows, first = loops.local("oy"), loops.local("rows"), loops.local("first")

    def chunk(i: Any) -> list[Any]:
        count = loops.minimum(
            ((loops.load(rows, 0) + 1) >> 1) * t.width - loops.load(first, 0),
            loops.const(t.tiles),
        )
        return [loops.store(first, 0, i * t.tiles), *_chunk(t, oy, rows, first, count)]

    def band(b: Any) -> list[Any]:
        chunks = loops.quotient(((loops.load(rows, 0) + 1) >> 1) * t.width + (t.tiles - 1), t.tiles)
        lines = [
            loops.store(oy, 0, begin + b * band_rows),
            loops.store(rows, 0, loops.minimum(end - loops.load(oy, 0), loops.const(band_rows))),
            loops.loop("i", chunks, chunk),
        ]
        if t.residual is None:
            return lines
        residual = t.residual

        def sum_at(i: Any) -> list[Any]:
            at = loops.load(oy, 0) * (ow * oc) + i
            total = residual.add(loops.load(t.result, at), loops.load(residual.buffer, at))
            return [loops.store(t.result, at, total)]

        return [*lines, loops.loop("i", loops.load(rows, 0) * (ow * oc), sum_at)]

    bands = loops.quotient(end - begin + (band_rows - 1), band_rows)
    return [*loops.declare(oy, rows, first), loops.loop("b", bands, band)]


def _chunk(t: Tiles, oy: Any, rows: Any, first: Any, count: Any) -> list[Any]:
    """`count` tiles of a band from `first` on: all their inputs, then all their outputs."""
    x, a, (_, _, ow, oc) = t.call.inputs[0], t.call.attrs, t.call.output.shape
    _, h, w, ic = x.shape
    zero = loops.const(x.quant.zero_point[0] if x.quant else 0)
    number = loops.local("count")
    groups = (loops.load(number, 0) + (BLOCK - 1)) >> 2

    def place(tile: Any) -> tuple[Any, Any]:
        """The first output row and column of a tile, the row within the band."""
        row = loops.quotient(tile, t.width)
        return row * 2, (tile - row * t.width) * 2

    def transform(i: Any) -> list[Any]:
        ty, tx = place(loops.load(first, 0) + i)
        at = (i >> 2) * t.per_block + (i & (BLOCK - 1)) * 2
        rows = [
            loops.call(
                "tinyc_window_row", loops.pointer(t.source), *map(loops.const, (h, w, ic)),
                loops.load(oy, 0) + ty + (r - a.pads[0]), tx - a.pads[1], loops.const(4), zero,
                loops.pointer(t.scratch, t.strips_at + r * (4 * ic)), dtype="handle",
            )
            for r in range(4)
        ]  # fmt: skip
        return [loops.run(t.input_tile, *rows, loops.pointer(t.scratch, at))]

    def output(g: Any, n: Any, i: Any) -> list[Any]:
        ty, tx = place(loops.load(first, 0) + g * BLOCK + i)
        right = loops.select(tx + 1 < ow, loops.const(oc), loops.const(0))
        channel = loops.minimum(n * BLOCK, loops.const(oc - BLOCK))
        below = loops.select(ty + 1 < loops.load(rows, 0), loops.const(ow * oc), loops.const(0))
        return [loops.run(
            "tinyc_winograd_output",
            loops.pointer(t.scratch, t.sums_at + i * (4 * BLOCK)),
            loops.pointer(t.bounds),
            loops.pointer(t.channels, n * (2 * BLOCK)),
            loops.pointer(t.result, ((loops.load(oy, 0) + ty) * ow + tx) * oc + channel),
            right, below,
        )]  # fmt: skip

    def group(g: Any, n: Any) -> list[Any]:
        block = ic * (CHANNEL_BYTES // 2)  # elements of int16
        weights = (
            loops.pointer(t.scratch, t.weights_at)
            if t.stored
            else loops.pointer(t.weights, n * block)
        )
        left = loops.minimum(loops.load(number, 0) - g * BLOCK, loops.const(BLOCK))
        return [
            loops.run(
                t.multiply, loops.pointer(t.scratch, g * t.per_block), weights,
                loops.const(ic), loops.pointer(t.scratch, t.sums_at),
            ),
            loops.loop("j", left, lambda i: output(g, n, i)),
        ]  # fmt: skip

    def channels(n: Any) -> list[Any]:
        lines, plain = [], loops.pointer(t.weights, n * (ic * 9 * BLOCK))
        if t.unpacking is not None:
            plain = loops.pointer(t.scratch, t.unpacked_at)
            lines.append(t.unpacking.run(t.weights, n, plain))
        if t.stored:
            lines.append(loops.run(
                "tinyc_winograd_weights", plain,
                loops.const(ic), loops.pointer(t.scratch, t.weights_at),
            ))  # fmt: skip
        return [*lines, loops.loop("g", groups, lambda g: group(g, n))]

    return [
        *loops.declare(number),
        loops.store(number, 0, count),
        loops.loop("t", loops.load(number, 0), transform),
        loops.loop("n", blocks_of(oc), channels),
    ]
