"""Convolutions, pools and resizing: NHWC between two Transposes, which cancel in the passes."""

from typing import Any

from tinyc.compiler.graph import QParams
from tinyc.compiler.tflite_import.building import OnnxGraph, Reader
from tinyc.compiler.tflite_import.lite_model import LiteOperator, LiteTensor

SAME, VALID = 0, 1  # as in Padding of the schema


def read_conv(graph: OnnxGraph, op: LiteOperator) -> str:
    """Weights [out, height, width, in / groups]."""
    x, w = _ranked(op, 0, 4), _ranked(op, 1, 4)
    if not w.shape[3] or x.shape[3] % w.shape[3]:
        op.malformed(f"weights {list(w.shape)} for an input {list(x.shape)}")
    weights = graph.moved(w, (0, 3, 1, 2))
    return _convolution(graph, op, weights, x.shape[3] // w.shape[3])


def read_depthwise_conv(graph: OnnxGraph, op: LiteOperator) -> str:
    """Weights [1, height, width, out]; the outputs of one input channel lie side by side."""
    x, w = _ranked(op, 0, 4), _ranked(op, 1, 4)
    if w.shape[0] != 1 or not x.shape[3] or w.shape[3] % x.shape[3]:
        op.malformed(f"weights {list(w.shape)} for an input {list(x.shape)}")
    return _convolution(graph, op, graph.moved(w, (3, 0, 1, 2)), x.shape[3])


def _convolution(graph: OnnxGraph, op: LiteOperator, weights: str, groups: int) -> str:
    x = graph.channels_first(graph.real(op.input(0)))
    strides, dilations = _pair(op, "stride"), _pair(op, "dilation", "_factor")
    y = graph.add(
        "Conv", x, weights, *bias_of(graph, op, 2), strides=strides, dilations=dilations,
        group=groups, **_dilated_padding(op, strides, dilations),
    )  # fmt: skip
    return graph.activated(op, graph.channels_last(y))


def read_conv_3d(graph: OnnxGraph, op: LiteOperator) -> str:
    """Weights [depth, height, width, in / groups, out]."""
    x, w = _ranked(op, 0, 5), _ranked(op, 1, 5)
    if not w.shape[3] or x.shape[4] % w.shape[3]:
        op.malformed(f"weights {list(w.shape)} for an input {list(x.shape)}")
    y = graph.add(
        "Conv", graph.channels_first(graph.real(x), 5), graph.moved(w, (4, 3, 0, 1, 2)),
        *bias_of(graph, op, 2), group=x.shape[4] // w.shape[3], auto_pad=_auto_pad(op),
        strides=[op.integer(f"stride_{a}") for a in "dhw"],
        dilations=[op.integer(f"dilation_{a}_factor") for a in "dhw"],
    )  # fmt: skip
    return graph.activated(op, graph.channels_last(y, 5))


def read_transpose_conv(graph: OnnxGraph, op: LiteOperator) -> str:
    """Inputs: the output's shape, weights [out, height, width, in], x, perhaps a bias."""
    w, x = _ranked(op, 1, 4), _ranked(op, 2, 4)
    wanted, strides = op.constant_integers(0), _pair(op, "stride")
    if len(wanted) != 4:
        op.malformed(f"the output's shape is {list(wanted)}")
    before, after, more = [], [], []
    for axis, stride in enumerate(strides, 1):
        whole = (x.shape[axis] - 1) * stride + w.shape[axis]
        total = whole - wanted[axis]
        before.append(max(total, 0) // 2 if op.integer("padding") == SAME else 0)
        after.append(max(total, 0) - before[-1])
        more.append(max(-total, 0))
    y = graph.add(
        "ConvTranspose", graph.channels_first(graph.real(x)), graph.moved(w, (3, 0, 1, 2)),
        *bias_of(graph, op, 3, x, w), strides=strides, pads=[*before, *after],
        output_padding=more,
    )  # fmt: skip
    return graph.activated(op, graph.channels_last(y))


def bias_of(
    graph: OnnxGraph,
    op: LiteOperator,
    index: int,
    x: LiteTensor | None = None,
    w: LiteTensor | None = None,
) -> tuple[str, ...]:
    """The bias, if there is one: without scales of its own at those of the products.

    x, w  the factors of the products; inputs 0 and 1 when left out
    """
    bias = op.optional(index)
    if bias is None:
        return ()
    x, w = x or op.input(0), w or op.input(1)
    if bias.dtype != "int32" or bias.quant is not None or x.quant is None or w.quant is None:
        return (graph.real(bias),)
    scales = tuple(s * x.quant.scale[0] for s in w.quant.scale)
    quant = QParams(scales, (0,) * len(scales), None if len(scales) == 1 else 0)
    return (graph.dequantized(graph.value(bias), bias.dtype, quant),)


def pool(kind: str) -> Reader:
    """The reader of AVERAGE_POOL_2D or MAX_POOL_2D."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        y = _pooled(graph, op, kind, graph.real(_ranked(op, 0, 4)))
        return graph.activated(op, y)

    return read


def read_l2_pool(graph: OnnxGraph, op: LiteOperator) -> str:
    x = graph.real(_ranked(op, 0, 4))
    mean = _pooled(graph, op, "AveragePool", graph.add("Mul", x, x))
    return graph.activated(op, graph.add("Sqrt", mean))


def _pooled(graph: OnnxGraph, op: LiteOperator, kind: str, x: str) -> str:
    kernel = [op.integer("filter_height"), op.integer("filter_width")]
    y = graph.add(
        kind, graph.channels_first(x), kernel_shape=kernel, strides=_pair(op, "stride"),
        auto_pad=_auto_pad(op),
    )  # fmt: skip
    return graph.channels_last(y)


def resize(mode: str) -> Reader:
    """The reader of RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        x = graph.channels_first(graph.real(_ranked(op, 0, 4)))
        corners, centers = (op.integer(n, 0) for n in ("align_corners", "half_pixel_centers"))
        if corners:
            transformation = "align_corners"
        else:
            transformation = "half_pixel" if centers else "asymmetric"
        rounding = "round_prefer_ceil" if corners or centers else "floor"
        y = graph.add(
            "Resize", x, "", "", graph.constant(op.constant_integers(1)), mode=mode, axes=[2, 3],
            coordinate_transformation_mode=transformation, nearest_mode=rounding,
        )  # fmt: skip
        return graph.channels_last(y)

    return read


def read_local_response_normalization(graph: OnnxGraph, op: LiteOperator) -> str:
    x, size = graph.channels_first(graph.real(_ranked(op, 0, 4))), 2 * op.integer("radius") + 1
    y = graph.add(
        "LRN", x, size=size, alpha=op.real("alpha") * size, beta=op.real("beta"),
        bias=op.real("bias"),
    )  # fmt: skip
    return graph.channels_last(y)


def _ranked(op: LiteOperator, index: int, rank: int) -> LiteTensor:
    tensor = op.input(index)
    if len(tensor.shape) != rank:
        op.malformed(f"input {index} {list(tensor.shape)} has no {rank} dimensions")
    return tensor


def _pair(op: LiteOperator, name: str, suffix: str = "") -> list[int]:
    """Along height and width."""
    return [op.integer(f"{name}_{axis}{suffix}") for axis in "hw"]


def _dilated_padding(op: LiteOperator, strides: list[int], dilations: list[int]) -> dict[str, Any]:
    """Pads as numbers where a dilated window is padded to the same size.

    onnxruntime, which `tinyc verify` compares with, has no auto_pad for it.
    """
    if max(dilations) == 1 or op.integer("padding") != SAME:
        return {"auto_pad": _auto_pad(op)}
    before, after = [], []
    for axis, (stride, dilation) in enumerate(zip(strides, dilations, strict=True), 1):
        size, reach = op.input(0).shape[axis], (op.input(1).shape[axis] - 1) * dilation + 1
        if stride < 1:
            op.malformed(f"the strides are {strides}")
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return {"pads": [*before, *after]}


def _auto_pad(op: LiteOperator) -> str:
    padding = op.integer("padding")
    if padding not in (SAME, VALID):
        op.refuse(f"the padding {padding} is unknown")
    return "SAME_UPPER" if padding == SAME else "VALID"
