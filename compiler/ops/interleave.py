"""Interleave: the image of which each input holds the pixels of some phases.

y[o, p, c] = x[u / sh, v / sw, u % sh, v % sw, c] with u = o + top, v = p + left

This is what a transposed convolution of stride (sh, sw) becomes. One input [N, H, W, sh * sw * C]
holds all phases of an axis, or one holds each: [N, H, W, C], in the order of the phases. y is the
image [N, oh, ow, C]; where sh divides oh, sh of its rows are one: [N, oh / sh, sh * ow, C], the
same bytes, which streams row by row.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor, elements
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, RowWindows, Type, Window
from tinyc.compiler.ops.reshape import moves_stored_values
from tinyc.compiler.ops.row_range import is_image, row_range
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class InterleaveAttrs:
    """All pairs are (down, across).

    phases  of the image
    inputs  beside each other along an axis: 1, or one a phase
    first   pixel of y in the whole image: (top, left); left is 0 with several inputs across
    size    of y: (oh, ow)
    """

    phases: tuple[int, int]
    inputs: tuple[int, int]
    first: tuple[int, int]
    size: tuple[int, int]

    @property
    def band(self) -> int:
        """Rows of the image in a row of y."""
        return self.phases[0] if self.size[0] % self.phases[0] == 0 else 1

    def source(self, down: int, across: int) -> tuple[int, int]:
        """The input that holds a phase, and which one of those that it holds."""
        (rows, columns), (_, width) = self.inputs, self.phases
        i, row = (0, down) if rows == 1 else (down, 0)
        j, column = (0, across) if columns == 1 else (across, 0)
        return i * columns + j, row * (width // columns) + column


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    n, (oh, ow), band = inputs[0].shape[0], attrs.size, attrs.band
    return (((n, oh // band, band * ow, _channels(inputs[0], attrs)), inputs[0].dtype),)


def _channels(x: Tensor, a: InterleaveAttrs) -> int:
    return x.shape[-1] * elements(a.inputs) // elements(a.phases)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, y = call.attrs, call.output
    (sh, sw), (top, left), (oh, ow) = a.phases, a.first, a.size
    channels = y.shape[-1]
    image = np.zeros((y.shape[0], oh, ow, channels), y.dtype.value)
    for o in range(oh):
        for p in range(ow):
            (q, r), (m, s) = divmod(o + top, sh), divmod(p + left, sw)
            number, place = a.source(r, s)
            image[:, o, p] = arrays[number][:, q, m, place * channels :][:, :channels]
    return (image.reshape(y.shape),)


def windows(call: Call) -> RowWindows | None:
    """A band begins within one row of phases, and ends in the next one unless `top` is 0."""
    if not is_image(call.output.shape) or call.attrs.band != call.attrs.phases[0]:
        return None
    return tuple(Window(2 if call.attrs.first[0] else 1) for _ in call.inputs)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Runs of values lie together: the channels of a pixel, or of all phases across it."""
    y, a = call.output, call.attrs
    sh, top, oh = a.phases[0], a.first[0], a.size[0]
    sources = [loops.buffer(f"x{i}", t.elements, t.dtype) for i, t in enumerate(call.inputs)]
    result = loops.buffer("y", y.elements, y.dtype)
    rows = row_range(call, windows(call) is not None)
    written = elements(y.shape[1:]) // oh

    def phase(n: Any, p: int, q: Any) -> list[Any]:
        down, which = divmod(top + p, sh)
        to = (n * oh + q * sh + p) * written
        return _row(call, sources, result, (n, q + down), which, to)

    def band(n: Any, q: Any) -> list[Any]:
        return [line for p in range(sh) for line in phase(n, p, q)]

    def image(n: Any) -> list[Any]:
        if a.band == sh:
            begin, end = rows.parameters or (loops.const(0), loops.const(oh // sh))
            return [loops.loop("q", end - begin, lambda q: band(n, q), begin)]
        return [  # the phases have different numbers of rows
            loops.loop("q", -(-(oh - p) // sh), partial(phase, n, p)) for p in range(min(sh, oh))
        ]

    body = [loops.loop("n", y.shape[0], image)]
    function = loops.function([*sources, result, *rows.parameters], body)
    return Kernel("interleave", function, rows=rows.count)


def _row(
    call: Call, sources: list[Any], result: Any, at: tuple[Any, Any], which: int, to: Any
) -> list[Any]:
    """A row of the image, of phase `which` down; `at` is its image and row in the inputs."""
    a, channels, (n, q) = call.attrs, call.output.shape[-1], at
    width, (_, ow), size = a.phases[1], a.size, call.output.dtype.size

    def begin(number: int) -> Any:
        _, h, w, pixel = call.inputs[number].shape
        return (n * h + q) * (w * pixel)

    def copy(number: int, value: Any, place: Any, values: int) -> list[Any]:
        pointers = loops.pointer(result, to + place), loops.pointer(sources[number], value)
        return [loops.run("memcpy", *pointers, loops.const(values * size))] if values else []

    if a.inputs[1] > 1:

        def pixels(j: Any, count: int) -> list[Any]:
            lines: list[Any] = []
            for s in range(count):
                number, place = a.source(which, s)
                value = begin(number) + j * call.inputs[number].shape[-1] + place * channels
                lines += copy(number, value, (j * width + s) * channels, channels)
            return lines

        whole, rest = divmod(ow, width)
        runs = [loops.loop("j", whole, lambda j: pixels(j, width))] if whole else []
        return [*runs, *pixels(loops.const(whole), rest)]

    number, place = a.source(which, 0)
    pixel, run, left = call.inputs[number].shape[-1], width * channels, a.first[1] * channels
    head = min((run - left) % run, ow * channels)
    whole, tail = divmod(ow * channels - head, run)
    start = begin(number) + place * channels
    after = start + (pixel if head else 0)
    runs = [
        loops.loop("j", whole, lambda j: copy(number, after + j * pixel, head + j * run, run))
    ] if whole else []  # fmt: skip
    return [
        *copy(number, start + left, 0, head),
        *runs,
        *copy(number, after + whole * pixel, head + whole * run, tail),
    ]


INTERLEAVE = Op("Interleave", infer, reference, kernel, windows, quantize=moves_stored_values)
