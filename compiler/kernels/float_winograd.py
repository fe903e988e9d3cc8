"""Conv2D 3x3 of floats by Winograd's F(2x2, 3x3) (`targets/intrinsics/float_winograd.py`).

For up to four tiles of 2x2 outputs: their transformed inputs go to the scratch, and for a few
channels at a time, the blocks of `targets/intrinsics/arm_vfp.py` multiply them, a tile for a
pixel. The weights take 16/9 of their flash.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.kernels import float_block, float_gemm
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics import arm_vfp
from tinyc.targets.intrinsics.arm_vfp import packed_stream
from tinyc.targets.intrinsics.arm_vfp_assembly import FloatBlock
from tinyc.targets.intrinsics.float_winograd import (
    BIASED,
    PRODUCTS,
    tile_outputs,
    tile_transform,
    transformed_weights,
)

TILES, CHANNELS = (4, 5, 3), 4  # of a block; the first is the rule
LEAST_CHANNELS = (
    8  # channels in and out: the transforms of fewer cost more than the products they save
)


@dataclass(frozen=True, slots=True)
class Part:
    """`turns` times `width` neighbouring output channels.

    first    of the channels
    begin    of their stream, and from one turn to the next, in floats
    blocks   by tiles
    outputs  what makes outputs of products
    """

    first: int
    width: int
    turns: int
    begin: int
    pitch: int
    blocks: Mapping[int, Microkernel]
    outputs: Microkernel


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """A convolution's buffers and blocks; the scratch holds `tiles` tiles, then their products."""

    call: Call
    tiles: int
    parts: tuple[Part, ...]
    source: Any
    result: Any
    stream: Any
    scratch: Any
    residual: Any


def suits(call: Call, target: Target) -> bool:
    """As for the blocks: 3x3, stride 1, channels and pixels enough that it pays."""
    (oc, *window, ic), (_, oh, ow, _), a = call.inputs[1].shape, call.output.shape, call.attrs
    shape = (*window, *a.strides, *a.dilations) == (3, 3, 1, 1, 1, 1)
    pays = min(oc, ic) >= LEAST_CHANNELS and min(oh, ow) > 1
    floats = call.inputs[1].dtype == DType.FLOAT32
    return shape and pays and floats and float_gemm.suits(call, target)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """How many tiles a block has, and how far its loop is written out."""
    return float_block.shapes([(tiles, CHANNELS) for tiles in TILES])


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, a = call.inputs[0], call.output, call.attrs
    _, oh, ow, _ = y.shape
    ic = x.shape[3]
    across = -(-ow // 2)
    tiles = min(schedule.rows or TILES[0], across)
    values, parts = _parts(call, target, schedule, [tiles, across % tiles])
    floats = tiles * PRODUCTS * (ic + parts[0].width)
    residual = None if a.residual is None else loops.buffer("residual", y.elements, y.dtype)
    job = Tiles(
        call,
        tiles,
        parts,
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("stream", values.size, "float32"),
        loops.buffer("scratch", floats, "float32"),
        residual,
    )
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [b for b in (job.source, residual) if b is not None]

    def pair(p: Any) -> list[Any]:
        return _rows(job, begin + p * 2, loops.minimum(end - (begin + p * 2), loops.const(2)))

    return Kernel(
        name="conv2d_3x3",
        function=loops.function(
            [*moving, job.result, job.stream, job.scratch, begin, end],
            [loops.loop("p", (end - begin + 1) >> 1, pair)],
        ),
        constants=(Constant("stream", values),),
        scratch_bytes=4 * floats,
        microkernels=(
            tile_transform(),
            *(m for part in parts for m in (*part.blocks.values(), part.outputs)),
        ),
        rows=oh,
        band=2,
        float_code=True,
        note=f"winograd 2x2, float {tiles}x{CHANNELS}, assembly"
        + ("" if residual is None else ", add"),
    )


def _parts(
    call: Call, target: Target, schedule: Schedule, tiles: Sequence[int]
) -> tuple[Array, tuple[Part, ...]]:
    """The stream of all channels, 16 streams of a block for every few, and its parts."""
    a, w = call.attrs, call.inputs[1]
    assert w.data is not None, "the weights are constant"
    outputs, _, _, inputs = w.shape
    weights = transformed_weights(w.data)
    biases = np.zeros((PRODUCTS, outputs), np.float32)
    biases[BIASED] = float_block.bias_of(first_stage(call).inputs, outputs)
    clamp = a.clamp if a.residual is None else a.residual.clamp
    unroll = schedule.unroll or float_block.UNROLLS[0]
    channels = min(schedule.columns or CHANNELS, outputs)
    streams: list[Array] = []
    parts: list[Part] = []
    first = begin = 0
    for width in (channels, outputs % channels):
        if not width:
            continue
        turns, pitch = (outputs - first) // width, PRODUCTS * (inputs + 1) * width
        for n in range(first, first + turns * width, width):
            for matrix, bias in zip(weights, biases, strict=True):
                streams.append(packed_stream(matrix[n : n + width], bias[n : n + width], width))
        blocks = {
            p: arm_vfp.float_block(
                FloatBlock(p, width, unroll, NO_CLAMP, float_block.fused(target))
            )
            for p in dict.fromkeys(tiles)
            if p
        }
        made = tile_outputs(width, clamp, a.residual is not None)
        parts.append(Part(first, width, turns, begin, pitch, blocks, made))
        first, begin = first + turns * width, begin + turns * pitch
    return read_only(np.concatenate(streams)), tuple(parts)


def _rows(job: Tiles, oy: Any, rows: Any) -> list[Any]:
    """One or two rows of outputs."""
    ow = job.call.output.shape[2]
    whole, rest = divmod(-(-ow // 2), job.tiles)
    lines = [
        loops.loop("b", whole, lambda b: _block(job, oy, rows, b * (2 * job.tiles), job.tiles))
    ]
    if rest:
        lines += _block(job, oy, rows, loops.const(whole * 2 * job.tiles), rest)
    return lines


def _block(job: Tiles, oy: Any, rows: Any, ox: Any, tiles: int) -> list[Any]:
    """`tiles` neighbouring tiles from output (oy, ox) on, all channels."""
    (_, _, ow, oc), ic = job.call.output.shape, job.call.inputs[0].shape[3]
    products = job.tiles * PRODUCTS * ic  # where they begin in the scratch

    def some_channels(part: Part, q: Any) -> list[Any]:
        at = part.first + q * part.width
        multiply = loops.run(
            part.blocks[tiles].name,
            loops.pointer(job.scratch),
            loops.pointer(job.stream, part.begin + q * part.pitch),
            loops.pointer(job.scratch, products),
            loops.const(1),
            loops.pointer(job.stream, part.begin + (q + 1) * part.pitch),
            *(loops.const(v) for v in (PRODUCTS * ic, 0, 1, ic, PRODUCTS * part.width, ic)),
        )

        place = (oy * ow + ox) * oc + at
        added = [] if job.residual is None else [loops.pointer(job.residual, place)]
        store = loops.run(
            part.outputs.name,
            loops.pointer(job.scratch, products),
            loops.pointer(job.result, place),
            *(loops.const(v) for v in (ow * oc, oc)),
            rows,
            loops.minimum(loops.const(ow) - ox, loops.const(2 * tiles)),
            *added,
        )
        return [multiply, store]

    def channels(part: Part) -> Any:
        return loops.loop("q", part.turns, lambda q: some_channels(part, q))

    lines = [loops.loop("t", tiles, lambda t: _tile(job, oy, ox + t * 2, t))]
    return [*lines, *map(channels, job.parts)]


def _tile(job: Tiles, oy: Any, ox: Any, t: Any) -> list[Any]:
    """The inputs of the tile of output (oy, ox), transformed to place `t` of the scratch."""
    a, (_, h, w, c) = job.call.attrs, job.call.inputs[0].shape
    first_y, first_x = oy - a.pads[0], ox - a.pads[1]
    place = t * (PRODUCTS * c)

    def transform(source: Any, row: int) -> Any:
        to = loops.pointer(job.scratch, place)
        return loops.run("tinyc_float_winograd_tile", source, loops.const(row), loops.const(c), to)

    straight = transform(loops.pointer(job.source, (first_y * w + first_x) * c), w * c)

    def pixel(i: Any, j: Any) -> list[Any]:
        iy, ix, size = first_y + i, first_x + j, loops.const(4 * c)
        to = loops.pointer(job.scratch, place + (i * 4 + j) * c)
        seen = loops.pointer(job.source, (iy * w + ix) * c)
        inside = loops.every([iy >= 0, iy < h, ix >= 0, ix < w])
        copy, clear = (
            loops.run("memcpy", to, seen, size),
            loops.run("memset", to, loops.const(0), size),
        )
        return [loops.when(inside, [copy], [clear])]

    gathered = [
        loops.loop("i", 4, lambda i: [loops.loop("j", 4, lambda j: pixel(i, j))]),
        transform(loops.pointer(job.scratch, place), 4 * c),
    ]
    whole = [first_y >= 0, first_y <= h - 4, first_x >= 0, first_x <= w - 4]
    return [loops.when(loops.every(whole), [straight], gathered)]
