"""The loops of a Winograd convolution: bands of rows, passes over tiles, groups of channels.

A pass computes some rows of tiles, all or a span of their columns. Four channels after the other
its input is transformed (`arm_winograd_input.py`); then, two output channels after the other, its
tiles are multiplied and transformed back, four at a time.
"""

from typing import Any

from tinyc.compiler.graph import DType
from tinyc.compiler.kernels.winograd_sizes import Winograd
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets.intrinsics.arm_winograd_weights import GROUP_BYTES
from tinyc.targets.intrinsics.winograd import GROUP, LANES


def image(conv: Winograd, begin: Any, end: Any) -> list[Any]:
    """Bands of rows, each one or more passes side by side."""
    m, (_, _, width, channels) = conv.form.outputs, conv.call.output.shape
    band = m * conv.tile_rows
    zeros = loops.pointer(conv.scratch, conv.places.zeros)
    parts = -(-width // conv.span)

    def rows_of(b: Any) -> list[Any]:
        oy = begin + b * band
        tile_rows = loops.minimum(
            (end - oy + (m - 1)) >> (m.bit_length() - 1), loops.const(conv.tile_rows)
        )

        def part(p: Any) -> list[Any]:
            first_x = loops.minimum(p * conv.span, loops.const(width - conv.span))
            return _pass(conv, oy, first_x, tile_rows, end)

        row_bytes, height = width * channels, loops.minimum(end - oy, loops.const(band))
        lines = [loops.loop("part", parts, part)]
        if conv.residual is not None:
            lines += conv.residual.lines(conv.result, oy * row_bytes, height * row_bytes)
        return lines

    bands = loops.quotient(end - begin + (band - 1), band)
    fill = loops.run("memset", zeros, loops.const(conv.zero), loops.const(4))
    views = []
    if conv.unpacking is not None:
        views = [loops.view(conv.unpacked, conv.scratch, conv.places.w)]
    return [*views, fill, loops.loop("b", bands, rows_of)]


def _pass(conv: Winograd, oy: Any, first_x: Any, tile_rows: Any, end: Any) -> list[Any]:
    """`tile_rows` rows of tiles from (oy, first_x) on; output rows from `end` on are not wanted."""
    count = tile_rows * conv.tile_columns
    lane_groups = (count + (LANES - 1)) >> 2
    places, entry = conv.places, conv.form.outputs + 1

    def tiles_at(g: Any) -> Any:
        return loops.pointer(conv.scratch, places.tiles + g * (LANES * entry))

    def lanes(g: Any) -> Any:
        return loops.minimum(count - g * LANES, loops.const(LANES))

    def input_group(k: Any) -> list[Any]:
        def transformed(g: Any) -> list[Any]:
            u_at = places.u + g * conv.u_words + k * (conv.form.positions * 2 * LANES)
            u, t = loops.pointer(conv.scratch, u_at), loops.pointer(conv.scratch, places.t)
            return [loops.run(conv.functions.rows.name, t, tiles_at(g), lanes(g), u)]

        return [
            loops.loop("r", tile_rows, lambda r: _columns(conv, oy, first_x, r, k)),
            loops.loop("g", lane_groups, transformed),
        ]

    def unpack(n: Any) -> list[Any]:
        if conv.unpacking is None:
            return []
        return [conv.unpacking.run(conv.weights, n, loops.pointer(conv.unpacked))]

    def pair(n: Any) -> list[Any]:
        def finish(g: Any) -> list[Any]:
            return [_finish(conv, n, g, tiles_at(g), lanes(g))]

        if conv.functions.weights:
            made = [
                *unpack(n),
                *(
                    line
                    for part in range(len(conv.functions.weights))
                    for line in _made_products(conv, n, part, lane_groups)
                ),
            ]
            return [*made, loops.loop("g", lane_groups, finish)]
        first = n * (conv.groups * conv.form.weight_positions * 2 * GROUP)

        def whole(g: Any) -> list[Any]:
            return [*_multiply(conv, g, 0, conv.weights, first), *finish(g)]

        return [loops.loop("g", lane_groups, whole)]

    return [
        *_table(conv, oy, first_x, tile_rows, end),
        *_border(conv, first_x, tile_rows),
        loops.loop("k", conv.groups, input_group),
        loops.loop("n", -(-conv.call.output.shape[3] // 2), pair),
    ]


def _table(conv: Winograd, oy: Any, first_x: Any, tile_rows: Any, end: Any) -> list[Any]:
    """For each tile of the pass: its word in t, and the bytes of y where its rows begin."""
    m, n = conv.form.outputs, conv.form.points
    _, _, width, channels = conv.call.output.shape

    def entry(r: Any, c: Any) -> list[Any]:
        at = conv.places.tiles + (r * conv.tile_columns + c) * (m + 1)
        x = loops.minimum(c * m, loops.const(conv.span - m))
        lines = [loops.store(conv.scratch, at, r * conv.t_words + x * (conv.form.stride * 2 * n))]

        def start(i: Any) -> list[Any]:
            row = loops.minimum(oy + r * m + i, end - 1)
            where = (row * width + first_x + x) * channels
            return [loops.store(conv.scratch, at + 1 + i, where)]

        return [*lines, loops.loop("i", m, start)]

    return [
        loops.loop(
            "r", tile_rows, lambda r: [loops.loop("c", conv.tile_columns, lambda c: entry(r, c))]
        )
    ]


def _inside(conv: Winograd, first_x: Any) -> tuple[Any, Any]:
    """The columns of t, from and to, that lie inside the input."""
    x, a = conv.call.inputs[0], conv.call.attrs
    before = a.pads[1] - first_x * conv.form.stride
    first = loops.maximum(before, loops.const(0))
    last = loops.minimum(x.shape[2] + before, loops.const(conv.t_columns))
    return first, last


def _border(conv: Winograd, first_x: Any, tile_rows: Any) -> list[Any]:
    """The columns of t that lie outside: the transformed zero point."""
    a, (first, last) = conv.call.attrs, _inside(conv, first_x)
    zero = loops.const(0)

    def fill(r: Any, begin: Any, end: Any) -> Any:
        zeros = loops.pointer(conv.scratch, conv.places.zeros)
        t = loops.pointer(
            conv.scratch, conv.places.t + r * conv.t_words + begin * (2 * conv.form.points)
        )
        run = loops.run(conv.functions.columns.name, zeros, zero, zero, end - begin, t)
        return loops.when(begin < end, [run])

    def sides(r: Any) -> list[Any]:
        left = [fill(r, zero, first)] if a.pads[1] else []
        return left + ([fill(r, last, loops.const(conv.t_columns))] if a.pads[3] else [])

    return [loops.loop("r", tile_rows, sides)] if a.pads[1] or a.pads[3] else []


def _columns(conv: Winograd, oy: Any, first_x: Any, r: Any, k: Any) -> list[Any]:
    """The columns of tile row `r`, channels of group `k`: from the image, or from a strip of it."""
    a, (_, h, w, c), n = conv.call.attrs, conv.call.inputs[0].shape, conv.form.points
    first, last = _inside(conv, first_x)
    stride = conv.form.stride
    iy = (oy + r * conv.form.outputs) * stride - a.pads[0]
    ix = first_x * stride + first - a.pads[1]
    t = loops.pointer(conv.scratch, conv.places.t + r * conv.t_words + first * (2 * n))
    count, pitch = last - first, min(conv.t_columns, w)

    def image(i: Any) -> Any:
        return loops.pointer(conv.source, ((iy + i) * w + ix) * c + k * GROUP)

    def transform(source: Any, row_stride: int, step: int) -> Any:
        name, sizes = conv.functions.columns.name, map(loops.const, (row_stride, step))
        return loops.run(name, source, *sizes, count, t)

    def row(i: Any) -> list[Any]:
        place = loops.pointer(conv.scratch, conv.places.strip + i * pitch)
        size = loops.minimum(c - k * GROUP, loops.const(GROUP))
        copy = loops.run(conv.functions.strip.name, image(i), loops.const(c), size, count, place)
        fill = loops.run("memset", place, loops.const(conv.zero), (count * 4).astype("uint32"))
        return [loops.when(loops.every([iy + i >= 0, iy + i < h]), [copy], [fill])]

    strip_ = loops.pointer(conv.scratch, conv.places.strip)
    by_strip = [loops.loop("i", n, row), transform(strip_, 4 * pitch, 4)]
    if c % GROUP:
        return by_strip
    inside = loops.every([iy >= 0, iy <= h - n])
    return [loops.when(inside, [transform(image(loops.const(0)), w * c, c)], by_strip)]


def _made_products(conv: Winograd, n: Any, part: int, lane_groups: Any) -> list[Any]:
    """Some rows of the products of a pair of output channels: their weights, then the tiles."""
    v = loops.pointer(conv.scratch, conv.places.v)
    name = conv.functions.weights[part].name
    if conv.unpacking is None:
        w = loops.pointer(conv.weights, n * (2 * conv.groups * GROUP_BYTES))
    else:
        w = loops.pointer(conv.unpacked)

    def multiply(g: Any) -> list[Any]:
        return _multiply(conv, g, part, conv.scratch, loops.const(conv.places.v))

    return [
        loops.run(name, w, loops.const(conv.groups), v),
        loops.loop("g", lane_groups, multiply),
    ]


def _multiply(conv: Winograd, g: Any, part: int, weights: Any, first: Any) -> list[Any]:
    """A part of the products of a group of tiles, by the weights from `first` on."""
    parts = max(len(conv.functions.weights), 1)
    weight_size = 16 // DType(str(weights.dtype)).size  # of a position, in the buffer's elements

    def run(position: int, weight: int, count: int, repeat: int) -> Any:
        u = conv.places.u + g * conv.u_words + position * 2 * LANES
        sums = _sums(conv, g) + position * 2 * LANES
        return loops.run(
            conv.functions.products.name,
            loops.pointer(conv.scratch, u),
            loops.pointer(weights, first + weight * weight_size),
            loops.pointer(conv.scratch, sums),
            loops.const(count),
            loops.const(repeat),
        )

    return [run(*line) for line in conv.form.runs(part, parts)]


def _finish(conv: Winograd, n: Any, g: Any, tiles: Any, lanes: Any) -> Any:
    """The output channels of pair `n` of a group of tiles from their sums."""
    oc = conv.call.output.shape[3]
    first = loops.minimum(n * 2, loops.const(oc - 2)) if oc % 2 else n * 2
    quant = first_stage(conv.call).output.quant
    assert quant is not None, "the result is quantized"
    return loops.run(
        conv.functions.output.name,
        loops.pointer(conv.scratch, _sums(conv, g)),
        loops.pointer(conv.result, first),
        tiles,
        lanes,
        loops.pointer(conv.parameters, n * 4),
        loops.const(quant.zero_point[0]),
    )


def _sums(conv: Winograd, g: Any) -> Any:
    every = g * conv.sums_words if conv.functions.weights else 0
    return conv.places.sums + every
