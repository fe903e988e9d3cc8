"""Conv2D by the assembly blocks of `targets/intrinsics/arm_gemm.py`: 4 pixels x 2 channels.

The windows of four neighbouring pixels are expanded into the scratch. Where the windows lie
inside the image, and their rows are whole groups, they are expanded straight from it; else they
are gathered as bytes first, the padding as the stored zero.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType, read_only
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.kernels.gemm_conv import suits_smlad
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import adder, first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_gemm import BLOCKS, GROUP, expand, gemm, packed_stream

MOST_PRODUCTS = 4096  # keeps the block's offsets and the scratch in reach


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A call's buffers and sizes.

    groups     of 4 products of one output, padded
    row_groups of one row of the window, 0 when its rows are not whole groups
    columns    bytes of the scratch before the gathered columns, or a padded strip of the image
    """

    call: Call
    groups: int
    row_groups: int
    columns: int
    source: Any
    result: Any
    stream: Any
    scratch: Any
    residual: Any
    target: Target


def suits(call: Call, target: Target) -> bool:
    """int8 results of symmetric int8 weights, an even number of channels, one group, one image."""
    stage = first_stage(call)
    w, y = call.inputs[1], stage.output
    products = w.elements // w.shape[0]
    if not suits_smlad(call, target) or "fpu" not in target.features or y.quant is None:
        return False
    plain = call.attrs.groups == 1 and call.inputs[0].shape[0] == 1 and w.shape[0] % 2 == 0
    same_type = y.dtype == call.output.dtype == DType.INT8
    narrow = same_type and not output_requantization(stage).is_wide
    return plain and narrow and products <= MOST_PRODUCTS


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    stage = first_stage(call)
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    oc, kh, kw, ic = w.shape
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(oc, -1)
    products = matrix.shape[1]
    groups = -(-products // GROUP)
    padded = np.zeros((oc, groups * GROUP), np.int8)
    padded[:, :products] = matrix
    to = output_requantization(stage)
    stream = packed_stream(padded, folded_bias(stage, matrix), to.multipliers)
    whole_rows = kw * ic % GROUP == 0 and a.dilations[1] == 1
    columns = BLOCKS[0] * groups * GROUP
    if whole_rows:
        span = (BLOCKS[0] - 1) * a.strides[1] + kw
        columns = span * x.shape[3] if any(a.pads) else 0
    block_bytes = 2 * BLOCKS[0] * groups * GROUP
    blocks = Blocks(
        call,
        groups,
        (kw * ic) // GROUP if whole_rows else 0,
        block_bytes,
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("stream", stream.size, "int8"),
        loops.buffer("scratch", block_bytes + columns, x.dtype),
        None if a.residual is None else loops.buffer("residual", y.elements, y.dtype),
        target,
    )
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [blocks.source] + ([] if a.residual is None else [blocks.residual])
    function = loops.function(
        [*moving, blocks.result, blocks.stream, blocks.scratch, begin, end],
        _image(blocks, begin, end),
    )
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=function,
        constants=(Constant("stream", read_only(stream)),),
        scratch_bytes=block_bytes + columns,
        microkernels=_microkernels(blocks),
        rows=y.shape[1],
        note="gemm 4x2, assembly" + (", add" if a.residual else ""),
    )


def _microkernels(blocks: Blocks) -> tuple[Microkernel, ...]:
    stage = first_stage(blocks.call)
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    sizes = _sizes(blocks)
    expansions = [expand(p, blocks.call.inputs[0].dtype) for p in sizes]
    return (*expansions, *(gemm(p, blocks.groups, low, high) for p in sizes))


def _flat(blocks: Blocks) -> bool:
    """Whether neighbouring pixels lie behind each other over all rows."""
    a, w = blocks.call.attrs, blocks.call.inputs[1]
    plain = w.shape[1:3] == (1, 1) and not any(a.pads) and a.strides == (1, 1)
    return plain and blocks.row_groups > 0


def _sizes(blocks: Blocks) -> list[int]:
    """The blocks that a row, or a run of whole rows, is cut into."""
    width = blocks.call.output.shape[2]
    if _flat(blocks):
        return [b for b in BLOCKS if b == BLOCKS[0] or width % BLOCKS[0]]
    return [b for b in BLOCKS if (width // b if b == BLOCKS[0] else width % (2 * b) // b)]


def _image(blocks: Blocks, begin: Any, end: Any) -> list[Any]:
    width = blocks.call.output.shape[2]
    if _flat(blocks):
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
    for pixels in _sizes(blocks):
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
    stage = first_stage(blocks.call)
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    _, _, ow, oc = blocks.call.output.shape
    at = (oy * ow + ox) * oc
    assert stage.output.quant is not None
    multiply = loops.run(
        gemm(pixels, blocks.groups, low, high).name,
        loops.pointer(blocks.scratch),
        loops.pointer(blocks.stream),
        loops.pointer(blocks.result, at),
        loops.const(oc),
        loops.end_pointer(blocks.stream),
        loops.const(stage.output.quant.zero_point[0]),
    )
    lines = [*_expanded(blocks, oy, ox, pixels), multiply]
    if blocks.residual is not None:
        add = adder(blocks.call, blocks.target)

        def sum_at(i: Any) -> list[Any]:
            total = add(loops.load(blocks.result, at + i), loops.load(blocks.residual, at + i))
            return [loops.store(blocks.result, at + i, total)]

        lines.append(loops.loop("i", pixels * oc, sum_at))
    return lines


def _expand(blocks: Blocks, pixels: int, x: Any, stride: int, groups: int, block: Any) -> Any:
    name = expand(pixels, blocks.call.inputs[0].dtype).name
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
