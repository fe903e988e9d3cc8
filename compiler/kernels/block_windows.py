"""How the windows of neighbouring pixels get into the scratch, for the assembly blocks.

shared    4 channels at a time of the columns that the windows cover, each column once
rows      rows of whole groups, a window behind the other
gathered  rows of a few bytes, from a copy of the image's rows with the padding around them
cells     anything else: windows as bytes, expanded from there
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets.intrinsics.arm_expand import expand
from tinyc.targets.intrinsics.arm_gather import gather, gathered_order
from tinyc.targets.intrinsics.arm_gemm import Block
from tinyc.targets.intrinsics.arm_stream import GROUP

MOST_TAPS = 5  # of a window whose columns are shared
ALIGNMENT = 4
MOST_GATHERED = 256  # values of a window whose gathering is written out


Lines = list[Any]  # statements


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """The buffers of a call, and how its blocks lie in the scratch.

    pixels    of the widest block
    extra_at  the byte of the scratch behind the widest block
    """

    call: Call
    wide: bool
    pixels: int
    taps: int
    step: int
    chunks: int
    extra_at: int
    source: Any
    scratch: Any

    @property
    def x_dtype(self) -> str:
        return self.call.inputs[0].dtype

    def block(self, pixels: int) -> Block:
        return Block(pixels, self.taps, self.step, self.wide, self.chunks)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A way to fill blocks.

    order        the value of a window that each product takes, -1 for padding
    microkernel  that fills blocks of so many pixels
    prepare      statements once for a call of the kernel
    enter_row    oy -> statements before the blocks of an output row
    fill         pixels, oy, ox -> statements that fill a block
    """

    place: Place
    order: Sequence[int]
    microkernel: Callable[[int], Microkernel]
    fill: Callable[[int, Any, Any], Lines]
    prepare: Callable[[], Lines] = lambda: []
    enter_row: Callable[[Any], Lines] = lambda oy: []


def windows_of(call: Call, wide: bool, pixels: int) -> Windows:
    """The way that suits the call; blocks of at most `pixels` pixels."""
    a, (_, kh, kw, ic) = call.attrs, call.inputs[1].shape
    if a.dilations[1] != 1:
        return _cells(call, wide, pixels)
    if ic % GROUP == 0:
        shared = a.strides[1] < kw <= MOST_TAPS
        return (_shared if shared else _rows)(call, wide, pixels)
    gathered = kh * kw * ic <= MOST_GATHERED
    return (_gathered if gathered else _cells)(call, wide, pixels)


def _place(
    call: Call, wide: bool, pixels: int, chunks: int, extra: int, taps: int = 1, step: int = 1
) -> Place:
    x, block_bytes = call.inputs[0], Block(pixels, taps, step, wide, chunks).bytes
    source = loops.buffer("x", x.elements, x.dtype)
    scratch = loops.buffer("scratch", block_bytes + extra, x.dtype)
    return Place(call, wide, pixels, taps, step, chunks, block_bytes, source, scratch)


def _strip_bytes(call: Call, pixels: int) -> int:
    """Of a row of the image that the windows of `pixels` pixels cover; 0 without padding."""
    a, (_, _, kw, ic) = call.attrs, call.inputs[1].shape
    return ((pixels - 1) * a.strides[1] + kw) * ic if any(a.pads) else 0


def _shared(call: Call, wide: bool, pixels: int) -> Windows:
    _, kh, kw, ic = call.inputs[1].shape
    window = np.arange(kh * kw * ic).reshape(kh, kw, ic // GROUP, GROUP).transpose(0, 2, 1, 3)
    extra, step = _strip_bytes(call, pixels), call.attrs.strides[1]
    place = _place(call, wide, pixels, kh * ic // GROUP, extra, kw, step)

    def fill(p: int, oy: Any, ox: Any) -> Lines:
        return _expanded_rows(place, p, oy, ox, place.block(p).span, ic, ic // GROUP)

    return Windows(
        place,
        window.reshape(-1).tolist(),
        lambda p: expand(place.block(p).span, wide, place.x_dtype, ic // GROUP),
        fill,
    )


def _rows(call: Call, wide: bool, pixels: int) -> Windows:
    _, kh, kw, ic = call.inputs[1].shape
    groups, step = kw * ic // GROUP, call.attrs.strides[1] * ic
    place = _place(call, wide, pixels, kh * groups, _strip_bytes(call, pixels))
    return Windows(
        place,
        range(kh * kw * ic),
        lambda p: expand(p, wide, place.x_dtype, groups),
        lambda p, oy, ox: _expanded_rows(place, p, oy, ox, p, step, groups),
    )


def _expanded_rows(
    place: Place, pixels: int, oy: Any, ox: Any, columns: int, stride: int, groups: int
) -> Lines:
    """Every row of the windows by tinyc_expand, from the image or a padded strip of it."""
    call = place.call
    a, (_, h, w, c), (_, kh, kw, _) = call.attrs, call.inputs[0].shape, call.inputs[1].shape
    name = expand(columns, place.wide, place.x_dtype, groups).name
    first_x = ox * a.strides[1] - a.pads[1]
    span = (pixels - 1) * a.strides[1] + kw

    def expand_row(i: Any, source: Any) -> Any:
        at = loops.pointer(place.scratch, i * (groups * 8 * columns))
        return loops.run(name, source, loops.const(stride), loops.const(groups), at)

    def row(i: Any) -> Lines:
        iy = oy * a.strides[0] + i * a.dilations[0] - a.pads[0]
        straight = [expand_row(i, loops.pointer(place.source, (iy * w + first_x) * c))]
        rows = [iy >= 0] if a.pads[0] else []
        rows += [iy < h] if a.pads[2] else []
        inside = [first_x >= 0] if a.pads[1] else []
        inside += [first_x <= w - span] if a.pads[3] else []
        if not rows and not inside:
            return straight
        padded = [
            *_padded_strip(place, iy, first_x, span, rows),
            expand_row(i, loops.pointer(place.scratch, place.extra_at)),
        ]
        return [loops.when(loops.every([*rows, *inside]), straight, padded)]

    return [loops.loop("i", kh, row)]


def _filled(place: Place, at: Any, size: int) -> Any:
    """`size` bytes of the scratch become the stored zero."""
    quant = place.call.inputs[0].quant
    zero = quant.zero_point[0] & 0xFF if quant else 0
    to = loops.pointer(place.scratch, at)
    return loops.run("memset", to, loops.const(zero), loops.const(size, "uint32"))


def _padded_strip(place: Place, iy: Any, first_x: Any, span: int, rows: Lines) -> Lines:
    """`span` pixels of an image row from `first_x` on; the zero where it ends."""
    _, _, w, c = place.call.inputs[0].shape
    begin = loops.maximum(first_x, loops.const(0))
    end = loops.minimum(first_x + span, loops.const(w))
    copy = loops.run(
        "memcpy",
        loops.pointer(place.scratch, (begin - first_x) * c + place.extra_at),
        loops.pointer(place.source, (iy * w + begin) * c),
        ((end - begin) * c).astype("uint32"),
    )
    return [
        _filled(place, place.extra_at, span * c),
        loops.when(loops.every([*rows, begin < end]), [copy]),
    ]


def _gathered(call: Call, wide: bool, pixels: int) -> Windows:
    a, (_, h, w, c), (_, kh, kw, _) = call.attrs, call.inputs[0].shape, call.inputs[1].shape
    order, padded = gathered_order(kh, kw * c), any(a.pads)
    covered = max(a.pads[1] + w, (call.output.shape[2] - 1) * a.strides[1] + kw) * c
    lead = -(a.pads[1] * c) % ALIGNMENT  # rows are copied to aligned addresses: that is quicker
    pitch = -(-covered // ALIGNMENT) * ALIGNMENT if padded else a.dilations[0] * w * c
    extra = lead + kh * pitch if padded else 0
    place = _place(call, wide, pixels, len(order) // GROUP, extra)
    strips = place.extra_at + lead

    def enter_row(oy: Any) -> Lines:
        def row(i: Any) -> Lines:
            iy = oy * a.strides[0] + i * a.dilations[0] - a.pads[0]
            to = i * pitch + (strips + a.pads[1] * c)
            copy = loops.run(
                "memcpy",
                loops.pointer(place.scratch, to),
                loops.pointer(place.source, iy * (w * c)),
                loops.const(w * c, "uint32"),
            )
            if not (a.pads[0] or a.pads[2]):
                return [copy]
            inside = loops.every([iy >= 0, iy < h])
            return [loops.when(inside, [copy], [_filled(place, to, w * c)])]

        return [loops.loop("i", kh, row)]

    def fill(p: int, oy: Any, ox: Any) -> Lines:
        x = ox * (a.strides[1] * c)
        image = loops.pointer(place.source, oy * (a.strides[0] * w * c) + x)
        return [
            loops.run(
                gather(p, kh, kw * c, wide, place.x_dtype).name,
                loops.pointer(place.scratch, x + strips) if padded else image,
                loops.const(pitch),
                loops.const(a.strides[1] * c),
                loops.pointer(place.scratch),
            )
        ]

    return Windows(
        place,
        order,
        lambda p: gather(p, kh, kw * c, wide, place.x_dtype),
        fill,
        lambda: [_filled(place, strips, kh * pitch)] if padded else [],
        enter_row if padded else lambda oy: [],
    )


def _cells(call: Call, wide: bool, pixels: int) -> Windows:
    products = call.inputs[1].elements // call.inputs[1].shape[0]
    groups = -(-products // GROUP)
    pitch = groups * GROUP
    place = _place(call, wide, pixels, groups, pixels * pitch)

    def fill(p: int, oy: Any, ox: Any) -> Lines:
        lines: Lines = []
        for i in range(p):
            at = loops.const(place.extra_at + i * pitch)
            zero = loops.const(0)
            lines += gather_window(call, place.source, place.scratch, 0, oy, ox + i, zero, at)
        name = expand(p, wide, place.x_dtype, groups).name
        source = loops.pointer(place.scratch, place.extra_at)
        sizes = loops.const(pitch), loops.const(groups)
        return [*lines, loops.run(name, source, *sizes, loops.pointer(place.scratch))]

    return Windows(
        place,
        [*range(products), *[-1] * (pitch - products)],
        lambda p: expand(p, wide, place.x_dtype, groups),
        fill,
    )
