"""Weights of 4 bits, eight a word in flash: a few channels at a time are unpacked into the scratch.

The low halves of a word's bytes are four neighbouring weights, the high halves the next four; a
channel begins with a word of its own. From there on the products are those of 8-bit weights. A
Dense is a convolution of pixels that lie side by side.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, FOUR_BITS, Array, Shape, read_only
from tinyc.compiler.kernels.block import Product, block, plain_product, smlad_product
from tinyc.compiler.kernels.epilogue import Epilogue, epilogue
from tinyc.compiler.kernels.gather import gather_window
from tinyc.compiler.kernels.nibbles import GROUP, UNPACK, packed
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import weight_values
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target

PIXELS, COLUMNS, UNROLL = 2, 2, 1  # of a block
CHANNELS = 8  # unpacked at a time


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A call's sizes and buffers.

    image     (rows, columns, channels) of the output
    direct    pixels are read where they lie
    unpacked  a view of the scratch: the weights of the channels of a block
    """

    call: Call
    product: Product
    finished: Epilogue
    image: Shape
    groups: int
    direct: bool
    source: Any
    result: Any
    packed: Any
    offsets: Any
    scratch: Any
    unpacked: Any
    residual: Addend | None


def suits(call: Call, target: Target) -> bool:
    """Constant weights of 4 bits."""
    return call.inputs[1].dtype in FOUR_BITS


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    values = weight_values(call).reshape(w.shape[0], -1)
    channels, products = values.shape
    assert w.quant is not None, "4 bits are never all of a value"
    zeros = np.broadcast_to(np.array(w.quant.zero_point), (channels,))
    added = w.dtype.limits[0] - zeros  # to the stored 0..15
    pitch = -(-products // GROUP) * GROUP
    table = packed((values - added[:, None]).astype(np.uint8), -added)
    offsets = read_only((128 + added) * 0x01010101, "uint32")
    layer, constants = _layer(call, target, table, offsets, values, pitch)
    rows = y.shape[1] if call.node.op == "Conv2D" and x.shape[0] == 1 else 0
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    images = x.shape[0] if call.node.op == "Conv2D" else 1
    body = [loops.loop("n", images, lambda n: _image(layer, n, begin if rows else 0,
                                                     end if rows else layer.image[0]))]  # fmt: skip
    moving = [layer.source] if layer.residual is None else [layer.source, layer.residual.buffer]
    parameters = [*moving, layer.result, layer.packed, layer.offsets, *layer.finished.buffers]
    function = loops.function(
        [*parameters, layer.scratch, *([begin, end] if rows else [])],
        [*_views(layer), *_cleared(layer), *body],
    )
    name = "dense" if call.node.op == "Dense" else f"conv2d_{w.shape[1]}x{w.shape[2]}"
    return Kernel(
        name=f"{name}_packed",
        function=function,
        constants=(*constants, *layer.finished.constants),
        scratch_bytes=int(layer.scratch.shape[0]) * x.dtype.size,
        microkernels=(UNPACK, *layer.product.microkernels),
        rows=rows,
        float_code=x.dtype.is_float,
        note=f"gemm {PIXELS}x{COLUMNS}, 4-bit weights, {layer.product.note}",
    )


def _layer(
    call: Call, target: Target, table: Array, offsets: Array, values: Array, pitch: int
) -> tuple[Layer, tuple[Constant, ...]]:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    words = "dsp" in target.features and x.dtype in EIGHT_BITS
    product = (smlad_product if words else plain_product)(np.zeros((1, pitch)), x.dtype)
    conv = call.node.op == "Conv2D"
    image = y.shape[1:] if conv else (1, y.elements // y.shape[-1], y.shape[-1])
    lies = not conv or (w.shape[1:3] == (1, 1) and a.groups == 1 and not any(a.pads))
    direct = lies and pitch == values.shape[1]
    stage = first_stage(call) if conv else call
    constants = (Constant("weights", table), Constant("offsets", offsets))
    gathered = 0 if direct else PIXELS * pitch
    unpacked = min(CHANNELS, image[2]) * pitch
    return Layer(
        call=call,
        product=product,
        finished=epilogue(stage, values, target),
        image=image,
        groups=a.groups if conv else 1,
        direct=direct,
        source=loops.buffer("x", x.elements, x.dtype),
        result=loops.buffer("y", y.elements, y.dtype),
        packed=loops.buffer("weights", table.size, "uint32"),
        offsets=loops.buffer("offsets", offsets.size, "uint32"),
        scratch=loops.buffer("scratch", gathered + -(-unpacked // x.dtype.size), x.dtype),
        unpacked=loops.buffer("unpacked", unpacked, "int8"),
        residual=addend(call, target) if conv else None,
    ), constants


def _views(layer: Layer) -> list[Any]:
    gathered = 0 if layer.direct else PIXELS * layer.product.pitch
    return [loops.view(layer.unpacked, layer.scratch, gathered)]


def _cleared(layer: Layer) -> list[Any]:
    """What fills up the last word of a pixel meets weights of zero, and has to be a number."""
    x, pitch = layer.call.inputs[0], layer.product.pitch
    if layer.direct or not x.dtype.is_float:
        return []
    size = loops.const(PIXELS * pitch * x.dtype.size)
    return [loops.run("memset", loops.pointer(layer.scratch), loops.const(0), size)]


def _image(layer: Layer, n: Any, begin: Any, end: Any) -> list[Any]:
    """Row after row: the channels of a block are unpacked once a row."""
    return [
        loops.loop("oy", end - begin, lambda oy: [
            loops.loop("g", layer.groups, lambda g: _group(layer, n, oy, g))
        ], begin)
    ]  # fmt: skip


def _group(layer: Layer, n: Any, oy: Any, g: Any) -> list[Any]:
    """The channels of a group, for a row of pixels."""
    channels = layer.image[2] // layer.groups
    whole, rest = divmod(channels, CHANNELS)
    lines = [
        loops.loop("c", whole, lambda c: _columns(
            layer, n, oy, g, g * channels + c * CHANNELS, CHANNELS))
    ] if whole else []  # fmt: skip
    return lines + (
        _columns(layer, n, oy, g, g * channels + whole * CHANNELS, rest, "t") if rest else []
    )


def _columns(
    layer: Layer, n: Any, oy: Any, g: Any, first: Any, count: int, tag: str = ""
) -> list[Any]:
    """`count` channels from `first` on, for a row of pixels."""
    pitch, words = layer.product.pitch, layer.product.pitch // GROUP

    def unpack(c: Any) -> list[Any]:
        place = loops.pointer(layer.unpacked, c * pitch)
        packed_row = loops.pointer(layer.packed, (first + c) * words)
        offset = loops.load(layer.offsets, first + c)
        return [loops.run(UNPACK.name, packed_row, place, loops.const(words), offset)]

    def pixels(ox: Any, number: int, name: str) -> list[Any]:
        return _block(layer, n, oy, ox, g, first, count, number, f"{tag}{name}")

    whole, rest = divmod(layer.image[1], PIXELS)
    lines = [loops.loop("u", count, unpack)]
    if whole:
        lines.append(loops.loop("ox", whole, lambda ox: pixels(ox * PIXELS, PIXELS, "")))
    if rest:
        lines += pixels(loops.const(whole * PIXELS), rest, "r")
    return lines


def _block(
    layer: Layer, n: Any, oy: Any, ox: Any, g: Any, first: Any, count: int, pixels: int, tag: str
) -> list[Any]:
    """`pixels` neighbours by `count` channels, whose weights are unpacked."""
    pitch = layer.product.pitch
    if layer.direct:
        starts, lines, buffer = _starts(layer, n, oy, ox, pixels), [], layer.source
    else:
        starts, buffer = [loops.const(r * pitch) for r in range(pixels)], layer.scratch
        lines = [line for r in range(pixels) for line in _gather(layer, n, oy, ox + r, g, r)]
    whole, rest = divmod(count, COLUMNS)
    if whole:
        lines.append(
            loops.loop("d", whole, lambda d: _products(
                layer, n, oy, ox, buffer, starts, first, d * COLUMNS, COLUMNS, tag))
        )  # fmt: skip
    if rest:
        at = loops.const(whole * COLUMNS)
        lines += _products(layer, n, oy, ox, buffer, starts, first, at, rest, f"{tag}d")
    return lines


def _products(
    layer: Layer, n: Any, oy: Any, ox: Any, buffer: Any, starts: list[Any], first: Any, at: Any,
    count: int, tag: str,
) -> list[Any]:  # fmt: skip
    """`count` of the unpacked channels, from `at` on; the first unpacked one is `first`."""
    (rows, columns, channels), finished = layer.image, layer.finished
    shifted = replace(
        finished,
        start=lambda c: finished.start(first + c),
        finish=lambda acc, c: finished.finish(acc, first + c),
    )

    def store(row: int, channel: Any, value: Any) -> Any:
        place = ((n * rows + oy) * columns + ox + row) * channels + first + channel
        if layer.residual is not None:
            value = layer.residual.add(value, loops.load(layer.residual.buffer, place))
        return loops.store(layer.result, place, value)

    return block(
        buffer, starts, layer.unpacked, at, count, layer.product, UNROLL, shifted, store, tag
    )


def _starts(layer: Layer, n: Any, oy: Any, ox: Any, pixels: int) -> list[Any]:
    """Where the pixels of a 1x1 window lie in the input."""
    if layer.call.node.op == "Dense":
        return [(ox + r) * layer.product.pitch for r in range(pixels)]
    _, h, w, c = layer.call.inputs[0].shape
    down, right = layer.call.attrs.strides
    return [((n * h + oy * down) * w + (ox + r) * right) * c for r in range(pixels)]


def _gather(layer: Layer, n: Any, oy: Any, ox: Any, g: Any, row: int) -> list[Any]:
    """The values of a pixel in the scratch."""
    at = loops.const(row * layer.product.pitch)
    if layer.call.node.op == "Conv2D":
        return gather_window(layer.call, layer.source, layer.scratch, n, oy, ox, g, at)
    products = layer.call.inputs[1].shape[1]
    size = loops.const(products * layer.call.inputs[0].dtype.size)
    values = loops.pointer(layer.source, ox * products)
    return [loops.run("memcpy", loops.pointer(layer.scratch, at), values, size)]
