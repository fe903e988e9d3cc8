"""Convolutions and pools: NCHW with one or two spatial axes -> NHWC between two Transposes."""

from tinyc.compiler.graph import DType, QParams, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.window import window_of
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs


def read_conv(build: Builder, node: ModelNode) -> Tensor:
    x, w, bias = build.operand(node, 0), build.operand(node, 1), build.optional(node, 2)
    return convolution(build, node, x, w, bias)


def convolution(
    build: Builder, node: ModelNode, x: Tensor, w: Tensor, bias: Tensor | None
) -> Tensor:
    """x NCHW or NCL, w OIHW or OIL."""
    _check_rank(node, x)
    if w.data is None and build.dequantized_constant(w) is None:
        node.refuse("the weights are computed at run time, they must be constant")
    if len(w.shape) != len(x.shape) or min(w.shape) < 1:
        node.malformed(f"weights {list(w.shape)} for an input {list(x.shape)}")
    channels, kernel, group = x.shape[1], w.shape[2:], node.integer("group", 1)
    if group < 1 or w.shape[1] * group != channels or w.shape[0] % group:
        node.malformed(f"weights {list(w.shape)} in {group} groups for {channels} channels")
    if (node.integers("kernel_shape") or kernel) != kernel:
        node.malformed(f"kernel_shape is not that of the weights {list(w.shape)}")
    if bias is not None and bias.shape != w.shape[:1]:
        node.malformed(f"a bias {list(bias.shape)} for {w.shape[0]} output channels")
    window = window_of(node, x.shape[2:], kernel, ceil=False)
    depthwise = group == channels > 1
    weights = _weights(build, node, w, depthwise)
    operands = (_channels_last(build, node, x), weights, *(() if bias is None else (bias,)))
    if depthwise:
        separate = DepthwiseConv2DAttrs(window.strides, window.pads, window.dilations)
        y = build.add(node, "DepthwiseConv2D", operands, separate)
    else:
        attrs = Conv2DAttrs(window.strides, window.pads, window.dilations, group)
        y = build.add(node, "Conv2D", operands, attrs)
    return _channels_first(build, node, y, len(x.shape))


def _weights(build: Builder, node: ModelNode, w: Tensor, depthwise: bool) -> Tensor:
    """OIHW or OIL, constant or dequantized constant -> [oc, kh, kw, ic] or [kh, kw, oc]."""
    source = build.dequantized_constant(w) or w
    quant, data = source.quant, source.data
    if quant is not None and quant.axis not in (None, 0):
        source, data, quant = w, build.real_constant(w), None
    assert data is not None, f"'{w.name}' is a constant"
    data = data.reshape(*data.shape, *(1,) * (4 - data.ndim))
    if depthwise:
        data = data[:, 0].transpose(1, 2, 0)
        if quant is not None and quant.axis == 0:
            quant = QParams(quant.scale, quant.zero_point, 2)
    else:
        data = data.transpose(0, 2, 3, 1)
    constant = build.constant(f"{source.name}/weights", data, DType(data.dtype.name), quant)
    return constant if source is w else build.add(node, "Dequantize", (constant,))


def _check_rank(node: ModelNode, x: Tensor) -> None:
    if len(x.shape) not in (3, 4):
        node.refuse(f"{len(x.shape) - 2} spatial axes are not supported, only one or two")


def _channels_last(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    """NCHW -> NHWC; NCL -> NHWC with W = 1."""
    x = build.reshaped(node, x, (*x.shape, *(1,) * (4 - len(x.shape))))
    return build.layout(node, "Transpose", x, TransposeAttrs((0, 2, 3, 1)))


def _channels_first(build: Builder, node: ModelNode, y: Tensor, rank: int) -> Tensor:
    y = build.layout(node, "Transpose", y, TransposeAttrs((0, 3, 1, 2)))
    return build.reshaped(node, y, y.shape[:rank])


def read_max_pool(build: Builder, node: ModelNode) -> Tensor:
    if any(node.outputs[1:]):
        node.refuse("the output Indices is not supported")
    return _pool(build, node, "MaxPool2D", include_pad=False)


def read_average_pool(build: Builder, node: ModelNode) -> Tensor:
    return _pool(build, node, "AveragePool2D", bool(node.integer("count_include_pad", 0)))


def _pool(build: Builder, node: ModelNode, op: str, include_pad: bool) -> Tensor:
    x, kernel = build.operand(node, 0), node.integers("kernel_shape")
    _check_rank(node, x)
    if kernel is None or len(kernel) != len(x.shape) - 2:
        node.malformed("kernel_shape is missing or does not fit the input")
    window = window_of(node, x.shape[2:], kernel, bool(node.integer("ceil_mode", 0)))
    if include_pad and any(window.excess):
        node.refuse("ceil_mode together with count_include_pad is not supported")
    top, left, bottom, right = window.pads
    pads = (top, left, bottom + window.excess[0], right + window.excess[1])
    size = (kernel[0], kernel[1] if len(kernel) > 1 else 1)
    attrs = Pool2DAttrs(size, window.strides, pads, window.dilations, include_pad and any(pads))
    y = build.add(node, op, (_channels_last(build, node, x),), attrs)
    return _channels_first(build, node, y, len(x.shape))


def read_global_average_pool(build: Builder, node: ModelNode) -> Tensor:
    return global_average_pool(build, node, build.operand(node, 0))


def global_average_pool(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    return _global_pool(build, node, x, "AveragePool2D", "mean")


def read_global_max_pool(build: Builder, node: ModelNode) -> Tensor:
    return _global_pool(build, node, build.operand(node, 0), "MaxPool2D", "max")


def _global_pool(build: Builder, node: ModelNode, x: Tensor, op: str, kind: str) -> Tensor:
    if len(x.shape) < 3:
        node.malformed(f"the input {list(x.shape)} has no spatial axis")
    if len(x.shape) > 4:
        return build.add(node, "Reduce", (x,), ReduceAttrs(kind, tuple(range(2, len(x.shape)))))
    y = _channels_last(build, node, x)
    y = build.add(node, op, (y,), Pool2DAttrs((y.shape[1], y.shape[2])))
    return _channels_first(build, node, y, len(x.shape))
