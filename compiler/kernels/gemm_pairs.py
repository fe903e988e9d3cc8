"""Conv2D by the assembly of `targets/intrinsics/thumb_gemm.py`: one pixel, two channels a turn.

The windows of a few neighbouring pixels are packed into the scratch, straight from the image
where a window's row is whole words, else by way of gathered bytes; the padding as the stored zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.thumb_gemm import (
    GROUP,
    UNROLLS,
    fits,
    gemm,
    pack,
    pack_window,
    packed_stream,
)

BLOCK_BYTES = 512  # of packed windows, when the schedule does not say how many pixels
FORM = "int16"
MOST_PIXELS = 16
MOST_WRITTEN_OUT = 48  # values of a window that are packed one by one
PIXELS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """The weights of a layer as a stream, and the function that multiplies with it.

    groups  of 4 products of one output, padded
    odd     where the stream's last two channels begin, which an odd number of channels shares
            with the two before; 0 with an even number
    """

    groups: int
    table: Array
    odd: int
    stream: Any
    function: Microkernel
    zero_point: int


def suits(call: Call, target: Target) -> bool:
    """Thumb-1, one group, one image, and what `suits_product` says."""
    plain = call.attrs.groups == 1 and call.inputs[0].shape[0] == 1
    return plain and suits_product(first_stage(call), target)


def suits_product(call: Call, target: Target) -> bool:
    """int8 results of exact pairs of symmetric int8 weights, two channels at the least."""
    (x, w), y = call.inputs[:2], call.output
    if "thumb1" not in target.features or x.dtype != DType.INT8 or y.dtype != DType.INT8:
        return False
    if w.quant is None or any(w.quant.zero_point) or w.dtype != DType.INT8 or y.quant is None:
        return False
    exact = w.shape[0] > 1 and fits(_padded(call))
    return exact and not output_requantization(call).is_wide


def _padded(call: Call) -> Array:
    """The weights [channels, K], centred, K padded to whole groups."""
    w = call.inputs[1]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1)
    return np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % GROUP)))


def product(stage: Call, schedule: Schedule) -> Product:
    """What multiplies a row of packed values by all channels of `stage`."""
    assert stage.output.quant is not None
    matrix = _padded(stage)
    channels = list(range(matrix.shape[0]))
    if len(channels) % 2:
        channels = channels[:-1] + channels[-2:]
    multipliers = np.broadcast_to(output_requantization(stage).packed16, (matrix.shape[0],))
    form = schedule.weights or FORM
    table = packed_stream(
        form, matrix[channels], folded_bias(stage, matrix)[channels], multipliers[channels]
    )
    bounds = stored_bounds(stage.output, stage.attrs.clamp)
    pair_words = table.size // (len(channels) // 2)
    return Product(
        matrix.shape[1] // GROUP,
        table,
        table.size - pair_words if matrix.shape[0] % 2 else 0,
        loops.buffer("stream", table.size, "int32"),
        gemm(form, schedule.unroll or UNROLLS[form][0], *bounds),
        stage.output.quant.zero_point[0],
    )


def multiply(
    by: Product, rows: Any, scratch: Any, result: Any, at: Any, channels: int
) -> list[Any]:
    """`rows` rows of packed values in the scratch become outputs from result[at] on."""

    def part(begin: int, end: int, channel: int, skip: int) -> Any:
        return loops.run(
            by.function.name,
            loops.pointer(scratch),
            loops.pointer(by.stream, begin),
            loops.pointer(result, at + channel),
            loops.pointer(by.stream, end),
            loops.const(by.groups),
            rows,
            loops.const(skip),
            loops.const(by.zero_point),
        )

    if not by.odd:
        return [part(0, by.table.size, 0, 0)]
    pair = part(by.odd, by.table.size, channels - 2, channels - 2)
    return [*([part(0, by.odd, 0, 1)] if by.odd else []), pair]


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Pixels of a block, the form of the weights, groups of a turn."""
    for rows in PIXELS:
        yield from (replace(schedule, rows=rows) for schedule in product_space())


def product_space() -> Iterator[Schedule]:
    """The form of the weights, groups of a turn."""
    for form, unrolls in UNROLLS.items():
        for unroll in unrolls:
            yield Schedule(unroll=unroll, weights=form)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A call's sizes and buffers.

    row_groups  of one row of the window, 0 when its rows are not whole words of the image
    inside      what packs a window that lies inside the image at once; None: row by row
    flat        whether neighbouring pixels lie behind each other over all rows
    pixels      of a block
    column      where the scratch holds gathered bytes, or one padded row of a window
    """

    call: Call
    by: Product
    row_groups: int
    inside: Microkernel | None
    flat: bool
    pixels: int
    column: int
    source: Any
    result: Any
    scratch: Any
    residual: Addend | None


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    stage, x, y, a = first_stage(call), call.inputs[0], call.output, call.attrs
    _, kh, kw, ic = call.inputs[1].shape
    by = product(stage, schedule)
    moves = (ic * kw, ic * x.shape[2], ic * a.strides[1], ic * a.pads[1])
    whole_rows = a.dilations[1] == 1 and all(move % GROUP == 0 for move in moves)
    flat = whole_rows and (kh, kw) == (1, 1) and not any(a.pads) and a.strides == (1, 1)
    written_out = not whole_rows and a.dilations[1] == 1 and kh * kw * ic <= MOST_WRITTEN_OUT
    at_once = pack_window(kh, kw * ic) if written_out else None
    row_bytes = 2 * GROUP * by.groups
    rule = min(max(BLOCK_BYTES // row_bytes, 1), MOST_PIXELS)
    pixels = min(schedule.rows or rule, y.shape[2] * (y.shape[1] if flat else 1))
    column = pixels * row_bytes
    column_bytes = kw * ic if any(a.pads) else 0
    scratch_bytes = column + (column_bytes if whole_rows else by.groups * GROUP)
    windows = Windows(
        call,
        by,
        kw * ic // GROUP if whole_rows else 0,
        at_once,
        flat,
        pixels,
        column,
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("scratch", scratch_bytes, x.dtype),
        addend(call, target),
    )
    packing = [] if at_once is None else [at_once]
    packing += [pack()] if at_once is None or any(a.pads) else []
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [windows.source]
    moving += [] if windows.residual is None else [windows.residual.buffer]
    function = loops.function(
        [*moving, windows.result, by.stream, windows.scratch, begin, end],
        _image(windows, begin, end),
    )
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=function,
        constants=(Constant("stream", by.table),),
        scratch_bytes=scratch_bytes,
        microkernels=(*packing, by.function),
        rows=y.shape[1],
        note=f"gemm {pixels}x2, packed pairs" + (", add" if windows.residual else ""),
    )


def _image(windows: Windows, begin: Any, end: Any) -> list[Any]:
    width = windows.call.output.shape[2]
    if windows.flat:
        return _run(windows, loops.const(0), begin * width, (end - begin) * width)
    return [
        loops.loop(
            "oy",
            end - begin,
            lambda oy: _run(windows, oy, loops.const(0), loops.const(width)),
            begin,
        )
    ]


def _run(windows: Windows, oy: Any, first: Any, count: Any) -> list[Any]:
    """`count` neighbouring pixels, block by block, the last one shorter."""
    pixels = windows.pixels
    blocks = loops.quotient(count + (pixels - 1), pixels) if pixels > 1 else count

    def block(b: Any) -> list[Any]:
        rows = loops.minimum(count - b * pixels, loops.const(pixels)) if pixels > 1 else 1
        return _block(windows, oy, first + b * pixels, rows)

    return [loops.loop("b", blocks, block)]


def _block(windows: Windows, oy: Any, ox: Any, rows: Any) -> list[Any]:
    """Pack the windows of `rows` pixels, multiply, and add the residual."""
    _, _, ow, oc = windows.call.output.shape
    at, residual = (oy * ow + ox) * oc, windows.residual
    if windows.flat:
        lines = [_pack(windows, ox * (windows.by.groups * GROUP), rows * windows.by.groups, 0)]
    else:
        lines = [loops.loop("p", rows, lambda p: _window(windows, oy, ox + p, p))]
    lines += multiply(windows.by, rows, windows.scratch, windows.result, at, oc)
    if residual is None:
        return lines

    def sum_at(i: Any) -> list[Any]:
        value, other = loops.load(windows.result, at + i), loops.load(residual.buffer, at + i)
        return [loops.store(windows.result, at + i, residual.add(value, other))]

    return [*lines, loops.loop("i", rows * oc, sum_at)]


def _pack(windows: Windows, at: Any, groups: Any, to: Any) -> Any:
    """Bytes of the image from x[at] on, as packed values at scratch[to...]."""
    source, place = loops.pointer(windows.source, at), loops.pointer(windows.scratch, to)
    return loops.run("tinyc_pack_pairs", source, groups, place)


def _window(windows: Windows, oy: Any, ox: Any, p: Any) -> list[Any]:
    """The window of pixel (oy, ox) as row `p` of the block."""
    call, a, (_, h, w, c) = windows.call, windows.call.attrs, windows.call.inputs[0].shape
    _, kh, kw, _ = call.inputs[1].shape
    first_y, first_x = oy * a.strides[0] - a.pads[0], ox * a.strides[1] - a.pads[1]
    to = p * (2 * GROUP * windows.by.groups)
    columns = [first_x >= 0] if a.pads[1] else []
    columns += [first_x <= w - kw] if a.pads[3] else []
    if windows.row_groups:
        return [
            loops.loop("i", kh, lambda i: [_window_row(
                windows, first_y + i * a.dilations[0], first_x, columns,
                to + i * (2 * GROUP * windows.row_groups),
            )])
        ]  # fmt: skip
    gathered = gather_window(
        call, windows.source, windows.scratch, 0, oy, ox, loops.const(0),
        loops.const(windows.column),
    )  # fmt: skip
    gathered.append(_pack_column(windows, windows.by.groups, to))
    if windows.inside is None:
        return gathered
    inside = loops.run(
        windows.inside.name,
        loops.pointer(windows.source, (first_y * w + first_x) * c),
        *([loops.const(a.dilations[0] * w * c)] if kh > 1 else []),
        loops.pointer(windows.scratch, to),
    )
    reach = (kh - 1) * a.dilations[0]
    checks = [first_y >= 0] if a.pads[0] else []
    checks += [first_y < h - reach] if a.pads[2] else []
    if not checks and not columns:
        return [inside]
    return [loops.when(loops.every([*checks, *columns]), [inside], gathered)]


def _window_row(windows: Windows, iy: Any, first_x: Any, columns: list[Any], to: Any) -> Any:
    """A row of a window from pixel (iy, first_x) on; `columns` says that it lies inside."""
    a, (_, h, w, c) = windows.call.attrs, windows.call.inputs[0].shape
    straight = [_pack(windows, (iy * w + first_x) * c, loops.const(windows.row_groups), to)]
    rows = [iy >= 0] if a.pads[0] else []
    rows += [iy < h] if a.pads[2] else []
    if not rows and not columns:
        return straight[0]
    padded = _padded_row(windows, iy, first_x, rows)
    padded.append(_pack_column(windows, windows.row_groups, to))
    return loops.when(loops.every([*rows, *columns]), straight, padded)


def _pack_column(windows: Windows, groups: int, to: Any) -> Any:
    """The bytes behind the block as packed values."""
    column, place = (loops.pointer(windows.scratch, at) for at in (windows.column, to))
    return loops.run("tinyc_pack_pairs", column, loops.const(groups), place)


def _padded_row(windows: Windows, iy: Any, first_x: Any, rows: list[Any]) -> list[Any]:
    """A row of a window that leaves the image, as bytes behind the block."""
    x, (_, _, w, c) = windows.call.inputs[0], windows.call.inputs[0].shape
    kw = windows.call.inputs[1].shape[2]
    zero = (x.quant.zero_point[0] if x.quant else 0) & 0xFF
    place = loops.pointer(windows.scratch, windows.column)
    fill = loops.run("memset", place, loops.const(zero), loops.const(kw * c))
    begin = loops.maximum(first_x, loops.const(0))
    end = loops.minimum(first_x + kw, loops.const(w))
    copy = loops.run(
        "memcpy",
        loops.pointer(windows.scratch, (begin - first_x) * c + windows.column),
        loops.pointer(windows.source, (iy * w + begin) * c),
        ((end - begin) * c).astype("uint32"),
    )
    return [fill, loops.when(loops.every([*rows, begin < end]), [copy])]
