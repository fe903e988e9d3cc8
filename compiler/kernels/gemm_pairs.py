"""Conv2D by the assembly of `targets/intrinsics/thumb_gemm.py`: one pixel, two channels a turn.

The windows of a few neighbouring pixels are packed into the scratch, straight from the image
where a window's row is whole words, else by way of gathered bytes; the padding as the stored zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.kernels import pair_product
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.kernels.pair_product import Product, multiply, product
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.thumb_gemm import GROUP, pack, pack_window

BLOCK_BYTES = 512  # of packed windows, when the schedule does not say how many pixels
MOST_PIXELS = 16
MOST_WRITTEN_OUT = 48  # values of a window that are packed one by one
PIXELS = (1, 2, 4, 8, 16)


def suits(call: Call, target: Target) -> bool:
    """One group, one image, and what suits the product."""
    plain = call.attrs.groups == 1 and call.inputs[0].shape[0] == 1
    return plain and pair_product.suits(first_stage(call), target)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Pixels of a block, and the product's choices."""
    for rows in PIXELS:
        yield from (replace(schedule, rows=rows) for schedule in pair_product.space())


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
        microkernels=(*packing, *by.functions),
        rows=y.shape[1],
        # a block's results may lie rows further on, where the residual is read after them
        band=-(-pixels // y.shape[2]) if windows.residual else 1,
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
    lines += multiply(windows.by, rows, windows.scratch, windows.result, at)
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
