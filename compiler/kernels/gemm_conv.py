"""Conv2D as matrix products: pixels times output channels, over the window's values.

A 1x1 convolution without padding reads its pixels where they lie. Any other one gathers the
windows of a few pixels into the scratch (im2col of one block), the padding as the stored zero.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, FOUR_BITS, Array, DType
from tinyc.compiler.kernels.block import Product, block, plain_product, plain_space, smlad_product
from tinyc.compiler.kernels.epilogue import Epilogue, epilogue
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import output_requantization, weight_values
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target

ROWS, COLUMNS = (1, 2, 3, 4), (1, 2, 3, 4)  # of blocks that some core keeps in its registers


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A call's sizes and choices, named as in the formula of `ops/conv2d.py`.

    direct  pixels are read where they lie
    flat    neighbouring pixels lie behind each other over all rows
    """

    call: Call
    product: Product
    finished: Epilogue
    rows: int
    columns: int
    unroll: int
    direct: bool
    flat: bool
    source: Any
    result: Any
    weights: Any
    scratch: Any
    residual: Addend | None


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Multiply-accumulate by multiply-accumulate, for every core and for floats."""
    # a rule of thumb that was not compared with other blocks on these kernels
    rows, columns = (2, 2) if "long-multiply" in target.features else (1, 4)
    return kernel_of(call, target, schedule, plain_product, rows, columns, 1)


def suits(call: Call, target: Target) -> bool:
    """Everything but weights that are stored packed."""
    return call.inputs[1].dtype not in FOUR_BITS


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Blocks of up to four pixels and four channels."""
    yield from plain_space(ROWS, COLUMNS)


def kernel_smlad(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Two multiply-accumulates an instruction, for cores with the DSP extension."""
    return kernel_of(call, target, schedule, smlad_product, 2, 2, 2)


def suits_smlad(call: Call, target: Target) -> bool:
    """8-bit activations and symmetric int8 weights on a core with the DSP extension."""
    x, w = call.inputs[:2]
    symmetric = w.quant is not None and not any(w.quant.zero_point) and w.dtype == DType.INT8
    return "dsp" in target.features and x.dtype in EIGHT_BITS and symmetric


def suits_assembly(call: Call, target: Target) -> bool:
    """As for SMLAD, and int8 results of narrow multipliers; the blocks keep values in the FPU."""
    y = call.output
    if not suits_smlad(call, target) or "fpu" not in target.features or y.quant is None:
        return False
    return y.dtype == DType.INT8 and not output_requantization(call).is_wide


def suits_nibbles(call: Call, target: Target) -> bool:
    """As for assembly, but weights of 4 bits with one zero point for all."""
    (x, w), y, features = call.inputs[:2], call.output, target.features
    if w.dtype not in FOUR_BITS or x.dtype not in EIGHT_BITS or not {"dsp", "fpu"} <= features:
        return False
    if w.quant is None or len(set(w.quant.zero_point)) > 1 or y.quant is None:
        return False
    return y.dtype == DType.INT8 and not output_requantization(call).is_wide


def kernel_of(
    call: Call,
    target: Target,
    schedule: Schedule,
    product_of: Callable[[Array, str], Product],
    rows: int,
    columns: int,
    unroll: int,
) -> Kernel:
    """By one kind of product; what the schedule leaves open is as given."""
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    oc, kh, kw, _ = w.shape
    matrix = np.asarray(weight_values(call).reshape(oc, -1))
    product, finished = product_of(matrix, x.dtype), epilogue(first_stage(call), matrix, target)
    direct = (kh, kw, a.groups) == (1, 1, 1) and not any(a.pads)
    direct = direct and product.pitch == matrix.shape[1]
    rows = min(schedule.rows or rows, y.shape[2] * (y.shape[1] if direct else 1))
    source = loops.buffer("x", x.elements, x.dtype)
    result = loops.buffer("y", y.elements, y.dtype)
    weights = loops.buffer("weights", product.weights.size, str(product.weights.dtype))
    scratch = None if direct else loops.buffer("scratch", rows * product.pitch, x.dtype)
    residual = addend(call, target)
    conv = Convolution(
        call, product, finished, rows, min(schedule.columns or columns, oc // a.groups),
        schedule.unroll or unroll, direct, direct and a.strides == (1, 1),
        source, result, weights, scratch, residual,
    )  # fmt: skip
    moving = [source] if residual is None else [source, residual.buffer]
    parameters = [*moving, result, weights, *finished.buffers]
    parameters += [] if scratch is None else [scratch]
    batch = x.shape[0]
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    if batch == 1:
        function = loops.function([*parameters, begin, end], _image(conv, 0, begin, end))
    else:
        oh = loops.const(y.shape[1])
        body = [loops.loop("n", batch, lambda n: _image(conv, n, loops.const(0), oh))]
        function = loops.function(parameters, body)
    return Kernel(
        name=f"conv2d_{kh}x{kw}",
        function=function,
        constants=(Constant("weights", product.weights), *finished.constants),
        scratch_bytes=0 if scratch is None else rows * product.pitch * x.dtype.size,
        microkernels=product.microkernels,
        rows=y.shape[1] if batch == 1 else 0,
        band=_band(conv),
        float_code=x.dtype.is_float,
        note=f"gemm {conv.rows}x{conv.columns}, {product.note}{', add' if residual else ''}",
    )


def _band(conv: Convolution) -> int:
    """Rows after which blocks and rows end together: a block reads its pixels once a column block,
    so that one that runs into the next row writes there before it has read the last time.
    """
    width = conv.call.output.shape[2]
    return math.lcm(width, conv.rows) // width if conv.flat else 1


def _image(conv: Convolution, n: Any, begin: Any, end: Any) -> list[Any]:
    """All output pixels of rows begin..end of image `n`."""
    ow = conv.call.output.shape[2]
    if conv.flat:
        first, count = begin * ow, (end - begin) * ow
        return _pixels(conv, n, loops.const(0), first, count, ow % conv.rows != 0)
    return [
        loops.loop(
            "oy",
            end - begin,
            lambda oy: _pixels(conv, n, oy, loops.const(0), loops.const(ow), ow % conv.rows != 0),
            begin,
        )
    ]


def _pixels(
    conv: Convolution, n: Any, oy: Any, first: Any, count: Any, has_rest: bool
) -> list[Any]:
    """`count` neighbouring pixels in blocks, the rest one by one."""
    shift = conv.rows.bit_length() - 1
    blocks = count >> shift if conv.rows == 1 << shift else loops.quotient(count, conv.rows)
    lines = [
        loops.loop("p", blocks, lambda p: _pixel_block(
            conv, n, oy, first + p * conv.rows, conv.rows, ""))
    ]  # fmt: skip
    if has_rest:
        done = blocks * conv.rows
        lines.append(
            loops.loop("p", count - done, lambda p: _pixel_block(
                conv, n, oy, first + done + p, 1, "r"))
        )  # fmt: skip
    return lines


def _pixel_block(conv: Convolution, n: Any, oy: Any, ox: Any, rows: int, tag: str) -> list[Any]:
    """All output channels of `rows` neighbouring pixels, group by group."""
    a = conv.call.attrs
    _, h, w, c = conv.call.inputs[0].shape
    if conv.direct:
        starts = [
            ((n * h + oy * a.strides[0]) * w + (ox + r) * a.strides[1]) * c for r in range(rows)
        ]
        return _channels(conv, n, oy, ox, loops.const(0), conv.source, starts, tag)
    starts = [loops.const(r * conv.product.pitch) for r in range(rows)]

    def group(g: Any) -> list[Any]:
        gathered = [line for r in range(rows) for line in _gather(conv, n, oy, ox + r, g, r)]
        return [*gathered, *_channels(conv, n, oy, ox, g, conv.scratch, starts, tag)]

    return [loops.loop("g", a.groups, group)]


def _channels(
    conv: Convolution, n: Any, oy: Any, ox: Any, g: Any, x: Any, starts: list[Any], tag: str
) -> list[Any]:
    """The output channels of group `g` for a block of pixels, in blocks of columns."""
    _, oh, ow, oc = conv.call.output.shape
    per_group = oc // conv.call.attrs.groups

    def store(row: int, channel: Any, value: Any) -> Any:
        at = ((n * oh + oy) * ow + ox + row) * oc + channel
        if conv.residual is not None:
            value = conv.residual.add(value, loops.load(conv.residual.buffer, at))
        return loops.store(conv.result, at, value)

    def columns(first: Any, count: int, name: str) -> list[Any]:
        return block(
            x, starts, conv.weights, g * per_group + first, count,
            conv.product, conv.unroll, conv.finished, store, name,
        )  # fmt: skip

    whole, rest = divmod(per_group, conv.columns)
    lines = [loops.loop("c", whole, lambda c: columns(c * conv.columns, conv.columns, tag))]
    if rest:
        lines.append(
            loops.loop("c", rest, lambda c: columns(whole * conv.columns + c, 1, f"{tag}t"))
        )
    return lines


def _gather(conv: Convolution, n: Any, oy: Any, ox: Any, g: Any, row: int) -> list[Any]:
    """The window of pixel (oy, ox) as a column of the scratch."""
    at = loops.const(row * conv.product.pitch)
    return gather_window(conv.call, conv.source, conv.scratch, n, oy, ox, g, at)
