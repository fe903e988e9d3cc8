"""Conv2D 3x3 by Winograd's transforms: F(2x2,3x3) and F(4x4,3x3), exact in integers.

A pass computes some rows of tiles, all or a span of their columns. Four channels after the other
its input is transformed (`arm_winograd_input.py`); then, for two output channels after the other,
groups of four tiles are multiplied and transformed back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.kernels.gemm_conv import suits_assembly
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_winograd_input import columns, rows, strip
from tinyc.targets.intrinsics.arm_winograd_output import output
from tinyc.targets.intrinsics.arm_winograd_products import MOST_OFFSET, products
from tinyc.targets.intrinsics.winograd import F2, F4, GROUP, LANES, Form, transformed_weights

UNROLLED = 16  # groups of channels that are written out when the schedule leaves it open


@dataclass(frozen=True, slots=True, eq=False)
class Winograd:
    """A call's sizes, functions and buffers; sizes and places in the scratch are in words.

    tile_rows, tile_columns  of a pass
    groups                   of 4 input channels
    u_words                  of a group of tiles
    t_words                  of a row of tiles
    """

    call: Call
    form: Form
    tile_rows: int
    tile_columns: int
    groups: int
    u_words: int
    t_words: int
    places: "Places"
    functions: "Functions"
    source: Any
    result: Any
    weights: Any
    parameters: Any
    scratch: Any
    residual: Addend | None

    @property
    def span(self) -> int:
        """Columns of the output that a pass computes."""
        return min(self.tile_columns * self.form.outputs, int(self.call.output.shape[2]))


@dataclass(frozen=True, slots=True)
class Places:
    """Where things begin in the scratch, in words; the sums take the place of the input's strips.

    zeros  a word of the input's zero point
    tiles  the table of a pass: m + 1 words for each tile
    """

    u: int
    zeros: int
    tiles: int
    t: int
    strip: int
    sums: int
    end: int


@dataclass(frozen=True, slots=True)
class Functions:
    strip: Microkernel
    columns: Microkernel
    rows: Microkernel
    products: Microkernel
    output: Microkernel


def suits_2(call: Call, target: Target) -> bool:
    return _suits(F2, call, target)


def suits_4(call: Call, target: Target) -> bool:
    return _suits(F4, call, target)


def kernel_2(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return _kernel(F2, call, target, schedule)


def kernel_4(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return _kernel(F4, call, target, schedule)


def _suits(form: Form, call: Call, target: Target) -> bool:
    """3x3, stride 1, one group, int8 throughout, an even number of channels, a whole tile."""
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    plain = (a.strides, a.dilations, a.groups) == ((1, 1), (1, 1), 1) and x.shape[0] == 1
    if not plain or w.shape[1:3] != (3, 3) or max(a.pads) > 2 or x.dtype != DType.INT8:
        return False
    oc, (_, oh, ow, _) = w.shape[0], y.shape
    if oc % 2 or oc * form.outputs > MOST_OFFSET or min(oh, ow) < form.outputs:
        return False
    stage = first_stage(call)
    if y.dtype != DType.INT8 or not suits_assembly(stage, target):
        return False
    return _largest_sum(stage) < 1 << (31 - form.shift)


def _largest_sum(stage: Call) -> int:
    """A bound of the magnitude of accumulators, bias included."""
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1)
    bias = folded_bias(stage, matrix).astype(np.int64)
    return int((np.abs(bias) + 128 * np.abs(matrix).sum(axis=1)).max())


def _kernel(form: Form, call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, stage = call.inputs[0], call.output, first_stage(call)
    groups = -(-x.shape[3] // GROUP)
    tile_rows, tile_columns = _pass_of(form, call, schedule)
    to = output_requantization(stage)
    shifted = not (to.multipliers & ((1 << form.shift) - 1)).any()
    functions = _functions(form, stage, groups, schedule, shifted)
    weights, parameters = _weights(form, stage, groups), _parameters(form, stage, shifted)
    u_words, t_words = groups * form.positions * 2 * LANES, 0
    t_words = (min(tile_columns * form.outputs, y.shape[2]) + 2) * 2 * form.points
    places = _places(form, x.shape[2], tile_rows, tile_columns, u_words, t_words)
    conv = Winograd(
        call, form, tile_rows, tile_columns, groups, u_words, t_words, places, functions,
        loops.buffer("x", x.elements, "int8"),
        loops.buffer("y", y.elements, "int8"),
        loops.buffer("weights", weights.size, "int16"),
        loops.buffer("parameters", parameters.size, "int32"),
        loops.buffer("scratch", places.end, "int32"),
        addend(call, target),
    )  # fmt: skip
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [conv.source] + ([] if conv.residual is None else [conv.residual.buffer])
    function = loops.function(
        [*moving, conv.result, conv.weights, conv.parameters, conv.scratch, begin, end],
        _image(conv, begin, end),
    )
    return Kernel(
        name="conv2d_3x3",
        function=function,
        constants=(Constant("weights", weights), Constant("parameters", parameters)),
        scratch_bytes=4 * places.end,
        microkernels=(
            *dsp("load_word"), functions.strip, functions.columns, functions.rows,
            functions.products, functions.output,
        ),
        rows=y.shape[1],
        band=form.outputs * tile_rows,
        note=f"winograd {form.outputs}x{form.outputs}, assembly"
        + (", add" if conv.residual else ""),
    )  # fmt: skip


def _pass_of(form: Form, call: Call, schedule: Schedule) -> tuple[int, int]:
    """Rows and columns of tiles that are computed together: about `schedule.rows` tiles."""
    _, oh, ow, _ = call.output.shape
    across, down = -(-ow // form.outputs), -(-oh // form.outputs)
    tiles = schedule.rows or LANES
    return (1, tiles) if tiles < across else (min(max(tiles // across, 1), down), across)


def _places(
    form: Form, width: int, tile_rows: int, tile_columns: int, u_words: int, t_words: int
) -> Places:
    count = tile_rows * tile_columns
    zeros = -(-count // LANES) * u_words
    tiles = zeros + 1
    t = tiles + count * (form.outputs + 1)
    strip = t + tile_rows * t_words
    strip_end = strip + form.points * min(t_words // (2 * form.points), width)
    return Places(0, zeros, tiles, t, strip, t, max(strip_end, t + form.positions * 2 * LANES))


def _functions(
    form: Form, stage: Call, groups: int, schedule: Schedule, shifted: bool
) -> Functions:
    wanted = schedule.unroll or UNROLLED
    turn = next(n for n in range(min(wanted, groups), 0, -1) if groups % n == 0)
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    return Functions(
        strip(), columns(form), rows(form),
        products(form, groups, turn, form.positions),
        output(form, stage.output.shape[3], shifted, low, high),
    )  # fmt: skip


def _weights(form: Form, stage: Call, groups: int) -> Array:
    """[pair of output channels][group][position][half][channel of the pair][2], int16."""
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    oc, _, _, ic = w.shape
    values = np.zeros((oc, form.positions, groups * GROUP), np.int64)
    values[:, :, :ic] = transformed_weights(form, centred(w.data, w)).reshape(oc, -1, ic)
    split = values.reshape(oc // 2, 2, form.positions, groups, 2, 2)  # ..., part, half
    return read_only(split.transpose(0, 3, 2, 5, 1, 4).reshape(-1), "int16")


def _parameters(form: Form, stage: Call, shifted: bool) -> Array:
    """For each pair of channels: both biases times the form's factor, and both multipliers."""
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    bias = folded_bias(stage, centred(w.data, w).reshape(w.shape[0], -1)).astype(np.int64)
    multipliers = output_requantization(stage).multipliers >> (form.shift if shifted else 0)
    pairs = np.stack([bias * form.bias_factor, np.broadcast_to(multipliers, bias.shape)])
    words = (pairs & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return read_only(words.reshape(2, -1, 2).transpose(1, 0, 2).reshape(-1), "int32")


def _image(conv: Winograd, begin: Any, end: Any) -> list[Any]:
    """Bands of rows, each one or more passes side by side."""
    x, y, m = conv.call.inputs[0], conv.call.output, conv.form.outputs
    band = m * conv.tile_rows
    _, _, width, channels = y.shape
    zero = (x.quant.zero_point[0] if x.quant else 0) & 0xFF
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

        lines = [loops.loop("part", parts, part)]
        return [*lines, *_added(conv, oy * (width * channels), _row_count(oy) * (width * channels))]

    def _row_count(oy: Any) -> Any:
        return loops.minimum(end - oy, loops.const(band))

    bands = loops.quotient(end - begin + (band - 1), band)
    fill = loops.run("memset", zeros, loops.const(zero), loops.const(4))
    return [fill, loops.loop("b", bands, rows_of)]


def _added(conv: Winograd, first: Any, count: Any) -> list[Any]:
    """The residual added to `count` results."""
    residual = conv.residual
    if residual is None:
        return []

    def sum_at(i: Any) -> list[Any]:
        at = first + i
        total = residual.add(loops.load(conv.result, at), loops.load(residual.buffer, at))
        return [loops.store(conv.result, at, total)]

    return [loops.loop("i", count, sum_at)]


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
            u = loops.pointer(
                conv.scratch,
                places.u + g * conv.u_words + k * (conv.form.positions * 2 * LANES),
            )
            t = loops.pointer(conv.scratch, places.t)
            return [loops.run(conv.functions.rows.name, t, tiles_at(g), lanes(g), u)]

        return [
            loops.loop("r", tile_rows, lambda r: _columns(conv, oy, first_x, r, k)),
            loops.loop("g", lane_groups, transformed),
        ]

    def pair(n: Any) -> list[Any]:
        return [loops.loop("g", lane_groups, lambda g: _outputs(conv, n, g, tiles_at(g), lanes(g)))]

    return [
        *_table(conv, oy, first_x, tile_rows, end),
        *_border(conv, first_x, tile_rows),
        loops.loop("k", conv.groups, input_group),
        loops.loop("n", conv.call.output.shape[3] // 2, pair),
    ]


def _table(conv: Winograd, oy: Any, first_x: Any, tile_rows: Any, end: Any) -> list[Any]:
    """For each tile of the pass: its word in t, and the bytes of y where its rows begin."""
    m, n = conv.form.outputs, conv.form.points
    _, _, width, channels = conv.call.output.shape

    def entry(r: Any, c: Any) -> list[Any]:
        at = conv.places.tiles + (r * conv.tile_columns + c) * (m + 1)
        x = loops.minimum(c * m, loops.const(conv.span - m))
        lines = [loops.store(conv.scratch, at, r * conv.t_words + x * (2 * n))]

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
    first = loops.maximum(a.pads[1] - first_x, loops.const(0))
    last = loops.minimum(x.shape[2] + a.pads[1] - first_x, loops.const(conv.span + 2))
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
        return left + ([fill(r, last, loops.const(conv.span + 2))] if a.pads[3] else [])

    return [loops.loop("r", tile_rows, sides)] if a.pads[1] or a.pads[3] else []


def _columns(conv: Winograd, oy: Any, first_x: Any, r: Any, k: Any) -> list[Any]:
    """The columns of tile row `r`, channels of group `k`: from the image, or from a strip of it."""
    a, (_, h, w, c), n = conv.call.attrs, conv.call.inputs[0].shape, conv.form.points
    first, last = _inside(conv, first_x)
    iy, ix = oy + r * conv.form.outputs - a.pads[0], first_x + first - a.pads[1]
    t = loops.pointer(conv.scratch, conv.places.t + r * conv.t_words + first * (2 * n))
    count, pitch = last - first, min(conv.span + 2, w)

    def image(i: Any) -> Any:
        return loops.pointer(conv.source, ((iy + i) * w + ix) * c + k * GROUP)

    def transform(source: Any, row_stride: int, step: int) -> Any:
        name, sizes = conv.functions.columns.name, map(loops.const, (row_stride, step))
        return loops.run(name, source, *sizes, count, t)

    def row(i: Any) -> list[Any]:
        place = loops.pointer(conv.scratch, conv.places.strip + i * pitch)
        size = loops.minimum(c - k * GROUP, loops.const(GROUP))
        copy = loops.run(conv.functions.strip.name, image(i), loops.const(c), size, count, place)
        zero_point = conv.call.inputs[0].quant
        zero = (zero_point.zero_point[0] if zero_point else 0) & 0xFF
        fill = loops.run("memset", place, loops.const(zero), (count * 4).astype("uint32"))
        return [loops.when(loops.every([iy + i >= 0, iy + i < h]), [copy], [fill])]

    strip_ = loops.pointer(conv.scratch, conv.places.strip)
    by_strip = [loops.loop("i", n, row), transform(strip_, 4 * pitch, 4)]
    if c % GROUP:
        return by_strip
    inside = loops.every([iy >= 0, iy <= h - n])
    return [loops.when(inside, [transform(image(loops.const(0)), w * c, c)], by_strip)]


def _outputs(conv: Winograd, n: Any, g: Any, tiles: Any, lanes: Any) -> list[Any]:
    """Output channels 2n and 2n + 1 of a group of tiles."""
    y = conv.call.output
    pair_values = conv.groups * conv.form.positions * 2 * GROUP
    sums = loops.pointer(conv.scratch, conv.places.sums)
    assert conv.call.output.quant is not None
    stage_quant = first_stage(conv.call).output.quant
    assert stage_quant is not None and y.quant is not None
    return [
        loops.run(
            conv.functions.products.name,
            loops.pointer(conv.scratch, conv.places.u + g * conv.u_words),
            loops.pointer(conv.weights, n * pair_values),
            sums,
        ),
        loops.run(
            conv.functions.output.name,
            sums,
            loops.pointer(conv.result, n * 2),
            tiles,
            lanes,
            loops.pointer(conv.parameters, n * 4),
            loops.const(stage_quant.zero_point[0]),
        ),
    ]


def space(call: Call, target: Target) -> Iterator[Schedule]:
    yield Schedule()
