"""Conv2D by the assembly blocks of `targets/intrinsics/arm_gemm.py`: 4 pixels x 2 channels.

The windows of four neighbouring pixels are expanded into the scratch. Where the windows lie
inside the image, and their rows are whole groups, they are expanded straight from it; else they
are gathered as bytes first, the padding as the stored zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.kernels.gemm_conv import suits_assembly
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_gemm import BLOCKS, GROUP, expand, gemm, packed_stream

PAIR = 2  # channels that a block computes together
MOST_PRODUCTS = 4096  # keeps the block's offsets and the scratch in reach


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A call's buffers, sizes and functions.

    stage      the convolution alone, without the residual
    groups     of 4 products of one output, padded
    row_groups of one row of the window, 0 when its rows are not whole groups
    columns    bytes of the scratch before the gathered columns, or a padded strip of the image
    flat       whether neighbouring pixels lie behind each other over all rows
    functions  that expand and that multiply a block, by its pixels: the widest first
    """

    call: Call
    stage: Call
    groups: int
    row_groups: int
    columns: int
    flat: bool
    functions: Mapping[int, tuple[Microkernel, Microkernel]]
    source: Any
    result: Any
    stream: Any
    scratch: Any
    residual: Addend | None


def suits(call: Call, target: Target) -> bool:
    """int8 results of symmetric int8 weights, two channels at least, one group, one image."""
    w = call.inputs[1]
    plain = call.attrs.groups == 1 and call.inputs[0].shape[0] == 1 and w.shape[0] >= PAIR
    if not plain or w.elements // w.shape[0] > MOST_PRODUCTS or call.output.dtype != DType.INT8:
        return False
    return suits_assembly(first_stage(call), target)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    stage, x, y, a = first_stage(call), call.inputs[0], call.output, call.attrs
    _, kh, kw, ic = call.inputs[1].shape
    groups = -(-kh * kw * ic // GROUP)
    whole_rows = kw * ic % GROUP == 0 and a.dilations[1] == 1
    flat = whole_rows and (kh, kw) == (1, 1) and not any(a.pads) and a.strides == (1, 1)
    block_bytes = 2 * BLOCKS[0] * groups * GROUP
    if whole_rows:
        span = (BLOCKS[0] - 1) * a.strides[1] + kw
        column_bytes = span * x.shape[3] if any(a.pads) else 0
    else:
        column_bytes = BLOCKS[0] * groups * GROUP
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    stream = _stream(stage, groups)
    blocks = Blocks(
        call,
        stage,
        groups,
        (kw * ic) // GROUP if whole_rows else 0,
        block_bytes,
        flat,
        {p: (expand(p, x.dtype), gemm(p, groups, low, high)) for p in _sizes(y.shape[2], flat)},
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("stream", stream.size, "int8"),
        loops.buffer("scratch", block_bytes + column_bytes, x.dtype),
        addend(call, target),
    )
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [blocks.source] + ([] if blocks.residual is None else [blocks.residual.buffer])
    function = loops.function(
        [*moving, blocks.result, blocks.stream, blocks.scratch, begin, end],
        _image(blocks, begin, end),
    )
    expansions, multiplications = zip(*blocks.functions.values(), strict=True)
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=function,
        constants=(Constant("stream", stream),),
        scratch_bytes=block_bytes + column_bytes,
        microkernels=(*expansions, *multiplications),
        rows=y.shape[1],
        note="gemm 4x2, assembly" + (", add" if blocks.residual else ""),
    )


def _stream(stage: Call, groups: int) -> Array:
    """The weights, padded to whole groups, the biases and the multipliers.

    Of an odd number of channels the last two are a pair: one is computed again.
    """
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1)
    padded = np.zeros((w.shape[0], groups * GROUP), np.int8)
    padded[:, : matrix.shape[1]] = matrix
    multipliers = np.broadcast_to(output_requantization(stage).multipliers, w.shape[:1])
    order = [n for first in _pairs(w.shape[0]) for n in (first, first + 1)]
    return packed_stream(padded[order], folded_bias(stage, matrix)[order], multipliers[order])


def _pairs(channels: int) -> list[int]:
    """The first channel of each pair, in the order of the stream."""
    return [*range(0, channels - 1, PAIR), *([channels - PAIR] if channels % PAIR else [])]


def _sizes(width: int, flat: bool) -> list[int]:
    """The blocks that a row of `width` pixels, or a run of whole rows, is cut into."""
    if flat:
        return [b for b in BLOCKS if b == BLOCKS[0] or width % BLOCKS[0]]
    return [b for b in BLOCKS if (width // b if b == BLOCKS[0] else width % (2 * b) // b)]


def _image(blocks: Blocks, begin: Any, end: Any) -> list[Any]:
    width = blocks.call.output.shape[2]
    if blocks.flat:
        return _run(blocks, loops.const(0), begin * width, (end - begin) * width)
    return [
        loops.loop(
            "oy",
            end - begin,
            lambda oy: _run(blocks, oy, loops.const(0), loops.const(width)),
            begin,
        )
    ]


def _run(blocks: Blocks, oy: Any, first: Any, count: Any) -> list[Any]:
    """`count` neighbouring pixels, the widest blocks first."""
    lines, done = [], loops.const(0)
    for pixels in blocks.functions:
        shift = pixels.bit_length() - 1
        turns = (count - done) >> shift
        at = first + done

        def one(p: Any, pixels: int = pixels, at: Any = at) -> list[Any]:
            return _block(blocks, oy, at + p * pixels, pixels)

        lines.append(loops.loop("p", turns, one))
        done = done + turns * pixels
    return lines


def _block(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """Expand the windows of `pixels` pixels, multiply, and add the residual."""
    quant, residual = blocks.stage.output.quant, blocks.residual
    _, _, ow, oc = blocks.call.output.shape
    at = (oy * ow + ox) * oc
    assert quant is not None
    pair_bytes = int(blocks.stream.shape[0]) // len(_pairs(oc))

    def multiply(first: int, stop: int, channel: int) -> Any:
        """The pairs `first` to `stop` of the stream, to channels from `channel` on."""
        whole = stop == len(_pairs(oc))
        end = loops.end_pointer(blocks.stream)
        return loops.run(
            blocks.functions[pixels][1].name,
            loops.pointer(blocks.scratch),
            loops.pointer(blocks.stream, first * pair_bytes),
            loops.pointer(blocks.result, at + channel),
            loops.const(oc),
            end if whole else loops.pointer(blocks.stream, stop * pair_bytes),
            loops.const(quant.zero_point[0]),
        )

    half = oc // PAIR
    lines = [*_expanded(blocks, oy, ox, pixels), multiply(0, half, 0)]
    lines += [multiply(half, half + 1, oc - PAIR)] if oc % PAIR else []
    if residual is None:
        return lines

    def sum_at(i: Any) -> list[Any]:
        total = residual.add(loops.load(blocks.result, at + i), loops.load(residual.buffer, at + i))
        return [loops.store(blocks.result, at + i, total)]

    return [*lines, loops.loop("i", pixels * oc, sum_at)]


def _expand(blocks: Blocks, pixels: int, x: Any, stride: int, groups: int, block: Any) -> Any:
    name = blocks.functions[pixels][0].name
    strides = [loops.const(stride)] if pixels > 1 else []
    return loops.run(name, x, *strides, loops.const(groups), block)


def _expanded(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """The windows of the pixels in the scratch, as expanded values."""
    if not blocks.row_groups:
        return _gathered(blocks, oy, ox, pixels)
    a, (_, h, w, c) = blocks.call.attrs, blocks.call.inputs[0].shape
    _, kh, kw, _ = blocks.call.inputs[1].shape
    first_x, step = ox * a.strides[1] - a.pads[1], a.strides[1] * c
    span = (pixels - 1) * a.strides[1] + kw  # pixels of the image that a row of windows covers

    def expand_row(i: Any, source: Any) -> Any:
        place = loops.pointer(blocks.scratch, i * (blocks.row_groups * 8 * pixels))
        return _expand(blocks, pixels, source, step, blocks.row_groups, place)

    def row(i: Any) -> list[Any]:
        iy = oy * a.strides[0] + i * a.dilations[0] - a.pads[0]
        straight = [expand_row(i, loops.pointer(blocks.source, (iy * w + first_x) * c))]
        rows = [iy >= 0] if a.pads[0] else []
        rows += [iy < h] if a.pads[2] else []
        columns = [first_x >= 0] if a.pads[1] else []
        columns += [first_x <= w - span] if a.pads[3] else []
        if not rows and not columns:
            return straight
        padded = [
            *_padded_strip(blocks, iy, first_x, span, rows),
            expand_row(i, loops.pointer(blocks.scratch, blocks.columns)),
        ]
        return [loops.when(loops.every([*rows, *columns]), straight, padded)]

    return [loops.loop("i", kh, row)]


def _padded_strip(blocks: Blocks, iy: Any, first_x: Any, span: int, rows: list[Any]) -> list[Any]:
    """`span` pixels of an image row from `first_x` on, behind the block; the zero where it ends."""
    x, (_, _, w, c) = blocks.call.inputs[0], blocks.call.inputs[0].shape
    zero = (x.quant.zero_point[0] if x.quant else 0) & 0xFF
    strip = blocks.columns
    fill = loops.run(
        "memset", loops.pointer(blocks.scratch, strip), loops.const(zero), loops.const(span * c)
    )
    begin, end = (
        loops.maximum(first_x, loops.const(0)),
        loops.minimum(first_x + span, loops.const(w)),
    )
    copy = loops.run(
        "memcpy",
        loops.pointer(blocks.scratch, (begin - first_x) * c + strip),
        loops.pointer(blocks.source, (iy * w + begin) * c),
        ((end - begin) * c).astype("uint32"),
    )
    return [fill, loops.when(loops.every([*rows, begin < end]), [copy])]


def _gathered(blocks: Blocks, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """The same by way of byte columns behind the block in the scratch."""
    pitch = blocks.groups * GROUP
    lines: list[Any] = []
    for p in range(pixels):
        at = loops.const(blocks.columns + p * pitch)
        lines += gather_window(
            blocks.call, blocks.source, blocks.scratch, 0, oy, ox + p, loops.const(0), at
        )
    columns = loops.pointer(blocks.scratch, blocks.columns)
    block = loops.pointer(blocks.scratch)
    return [*lines, _expand(blocks, pixels, columns, pitch, blocks.groups, block)]
