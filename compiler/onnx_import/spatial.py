"""Convolutions: channels first -> channels last between two Transposes."""

from collections.abc import Callable

from tinyc.compiler.graph import Array, DType, QParams, Shape, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.window import Window, shared_out, steps_of, window_of
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.conv_nd import ConvNDAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs


def read_conv(build: Builder, node: ModelNode) -> Tensor:
    x, w, bias = build.operand(node, 0), build.operand(node, 1), build.optional(node, 2)
    return convolution(build, node, x, w, bias)


def convolution(
    build: Builder, node: ModelNode, x: Tensor, w: Tensor, bias: Tensor | None
) -> Tensor:
    """x [N, C, spatial...], w [O, I, kernel...], both of one spatial axis or more."""
    group = node.integer("group", 1)
    _check(node, x, w, group, bias, w.shape[0] if w.shape else 0)
    if w.shape[1] * group != x.shape[1] or w.shape[0] % group:
        node.malformed(f"weights {list(w.shape)} in {group} groups for {x.shape[1]} channels")
    window = window_of(node, x.shape[2:], w.shape[2:], ceil=False)
    given = () if bias is None or not _is_fixed(build, bias) else (bias,)
    if len(x.shape) > 4 or not _is_fixed(build, w):
        wide = window.wider(max(len(x.shape) - 2, 2))
        weights = _general_weights(build, node, w)
        images = channels_last(build, node, x)
        outputs = wide.outputs(images.shape[1:-1])
        attrs = ConvNDAttrs(wide.strides, wide.before, outputs, wide.dilations, group)
        y = build.add(node, "ConvND", (images, weights, *given), attrs)
    else:
        y = _planar(build, node, x, w, given, window.wider(2), group)
    y = channels_first(build, node, y, len(x.shape))
    return y if bias is None or given else _with_bias(build, node, y, bias)


def _planar(
    build: Builder, node: ModelNode, x: Tensor, w: Tensor, bias: tuple[Tensor, ...],
    window: Window, group: int,
) -> Tensor:  # fmt: skip
    """Conv2D or DepthwiseConv2D."""
    depthwise = group == x.shape[1] > 1
    weights = _weights(build, node, w, depthwise)
    operands = (channels_last(build, node, x), weights, *bias)
    strides, dilations = (window.strides[0], window.strides[1]), window.dilations
    pads = (window.before[0], window.before[1], window.after[0], window.after[1])
    pair = (dilations[0], dilations[1])
    if depthwise:
        separate = DepthwiseConv2DAttrs(strides, pads, pair)
        return build.add(node, "DepthwiseConv2D", operands, separate)
    return build.add(node, "Conv2D", operands, Conv2DAttrs(strides, pads, pair, group))


def _check(
    node: ModelNode, x: Tensor, w: Tensor, group: int, bias: Tensor | None, channels: int
) -> None:
    if len(x.shape) < 3:
        node.malformed(f"the input {list(x.shape)} has no spatial axis")
    if len(w.shape) != len(x.shape) or min(w.shape) < 1:
        node.malformed(f"weights {list(w.shape)} for an input {list(x.shape)}")
    if group < 1:
        node.malformed(f"there are {group} groups")
    if (node.integers("kernel_shape") or w.shape[2:]) != w.shape[2:]:
        node.malformed(f"kernel_shape is not that of the weights {list(w.shape)}")
    if bias is not None and bias.shape != (channels,):
        node.malformed(f"a bias {list(bias.shape)} for {channels} output channels")


def _is_fixed(build: Builder, tensor: Tensor) -> bool:
    """Whether it is a constant, or dequantized from one."""
    return tensor.data is not None or build.dequantized_constant(tensor) is not None


def _with_bias(build: Builder, node: ModelNode, y: Tensor, bias: Tensor) -> Tensor:
    """`y` and a bias that is computed at run time."""
    column = build.reshaped(node, bias, (*bias.shape, *(1,) * (len(y.shape) - 2)))
    return build.binary(node, "Add", y, column)


def _weights(build: Builder, node: ModelNode, w: Tensor, depthwise: bool) -> Tensor:
    """OIHW or OIL, constant or dequantized constant -> [oc, kh, kw, ic] or [kh, kw, oc]."""

    def arranged(data: Array) -> Array:
        data = data.reshape(*data.shape, *(1,) * (4 - data.ndim))
        return data[:, 0].transpose(1, 2, 0) if depthwise else data.transpose(0, 2, 3, 1)

    def meaning(quant: QParams) -> QParams | None:
        if quant.axis is None:
            return quant
        moved = QParams(quant.scale, quant.zero_point, 2 if depthwise else 0)
        return moved if quant.axis == 0 else None

    return _fixed(build, node, w, arranged, meaning)


def _general_weights(build: Builder, node: ModelNode, w: Tensor) -> Tensor:
    """[O, I, kernel...] -> [O, kernel..., I], with two spatial axes or more."""
    perm = (0, *range(2, max(len(w.shape), 4)), 1)
    if not _is_fixed(build, w):
        wide = build.reshaped(node, w, _wide(w.shape))
        return build.layout(node, "Transpose", wide, TransposeAttrs(perm))

    def arranged(data: Array) -> Array:
        return data.reshape(_wide(data.shape)).transpose(perm)

    return _fixed(build, node, w, arranged, lambda q: q if q.axis in (None, 0) else None)


def _fixed(
    build: Builder,
    node: ModelNode,
    w: Tensor,
    arranged: Callable[[Array], Array],
    meaning: Callable[[QParams], QParams | None],
) -> Tensor:
    """Constant weights in another order, in stored form where `meaning` knows their QParams."""
    source = build.dequantized_constant(w) or w
    quant, data = source.quant, source.data
    if quant is not None and (quant := meaning(quant)) is None:
        source, data = w, build.real_constant(w)
    assert data is not None, f"'{w.name}' is a constant"
    moved = arranged(data)
    constant = build.constant(f"{source.name}/weights", moved, DType(moved.dtype.name), quant)
    return constant if source is w else build.add(node, "Dequantize", (constant,))


def read_conv_transpose(build: Builder, node: ModelNode) -> Tensor:
    x, w, bias = build.operand(node, 0), build.operand(node, 1), build.optional(node, 2)
    group = node.integer("group", 1)
    _check(node, x, w, group, bias, w.shape[1] * group if len(w.shape) > 1 else 0)
    if w.shape[0] != x.shape[1] or w.shape[0] % group:
        node.malformed(f"weights {list(w.shape)} in {group} groups for {x.shape[1]} channels")
    attrs = _transposed(node, x.shape[2:], w.shape[2:], group)
    given = () if bias is None or not _is_fixed(build, bias) else (bias,)
    operands = (channels_last(build, node, x), _turned_weights(build, node, w, group), *given)
    y = build.add(node, "ConvTranspose", operands, attrs)
    y = channels_first(build, node, y, len(x.shape))
    return y if bias is None or given else _with_bias(build, node, y, bias)


def _transposed(node: ModelNode, sizes: Shape, kernel: Shape, group: int) -> ConvNDAttrs:
    rank, mode = len(sizes), node.text("auto_pad", "NOTSET")
    strides, dilations, pads = steps_of(node, kernel, rank)
    extra = node.integers("output_padding") or (0,) * rank
    wanted = node.integers("output_shape")
    if wanted is not None and len(wanted) == rank + 2:  # some exporters count all axes
        wanted = wanted[2:]
    if len(extra) != rank or (wanted is not None and len(wanted) != rank):
        node.malformed("output_padding or output_shape does not fit the input")
    if min(extra) < 0 or (wanted is not None and min(wanted) < 1):
        node.malformed("output_padding or output_shape is negative")
    full = [  # without padding
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(sizes, strides, kernel, dilations, extra, strict=True)
    ]
    before = [0] * rank if mode == "VALID" else list(pads[:rank])
    after = [0] * rank if mode == "VALID" else list(pads[rank:])
    outputs = [f - b - a for f, b, a in zip(full, before, after, strict=True)]
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = tuple(n * s for n, s in zip(sizes, strides, strict=True))
    if wanted is not None:
        outputs = list(wanted)
        before = [shared_out(max(f - o, 0), _larger_side(mode))[0]
                  for f, o in zip(full, outputs, strict=True)]  # fmt: skip
    if min(outputs) < 1:
        node.malformed(f"its output has the spatial sizes {outputs}")
    wide = (1,) * (2 - rank)
    return ConvNDAttrs(
        (*strides, *wide), (*before, *(0 for _ in wide)), (*outputs, *wide), (*dilations, *wide),
        group,
    )  # fmt: skip


def _larger_side(mode: str) -> str:
    """Where ONNX puts the larger half of the padding that output_shape asks for."""
    return "SAME_UPPER" if mode == "SAME_UPPER" else "SAME_LOWER"


def _turned_weights(build: Builder, node: ModelNode, w: Tensor, group: int) -> Tensor:
    """[I, O / groups, kernel...] -> [O, kernel..., I / groups]."""
    ic, per_group, *kernel = _wide(w.shape)
    split = (group, ic // group, per_group, *kernel)
    perm = (0, 2, *range(3, len(split)), 1)
    joined = (group * per_group, *kernel, ic // group)
    if not _is_fixed(build, w):
        y = build.reshaped(node, w, split)
        y = build.layout(node, "Transpose", y, TransposeAttrs(perm))
        return build.reshaped(node, y, joined)

    def meaning(quant: QParams) -> QParams | None:
        if quant.axis == 1:  # the same channels of every group share a scale
            return QParams(quant.scale * group, quant.zero_point * group, 0)
        return quant if quant.axis is None else None

    def arranged(data: Array) -> Array:
        return data.reshape(split).transpose(perm).reshape(joined)

    return _fixed(build, node, w, arranged, meaning)


def _wide(shape: Shape) -> Shape:
    """With a spatial axis of size 1 behind a single one."""
    return (*shape, *(1,) * (4 - len(shape)))


def channels_last(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    """[N, C, spatial...] -> [N, spatial..., C]; NCL -> NHWC with W = 1."""
    x = build.reshaped(node, x, _wide(x.shape))
    perm = (0, *range(2, len(x.shape)), 1)
    return build.layout(node, "Transpose", x, TransposeAttrs(perm))


def channels_first(build: Builder, node: ModelNode, y: Tensor, rank: int) -> Tensor:
    perm = (0, len(y.shape) - 1, *range(1, len(y.shape) - 1))
    y = build.layout(node, "Transpose", y, TransposeAttrs(perm))
    return build.reshaped(node, y, y.shape[:rank])


def first_channels(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    """[N, spatial..., C] -> [N, C, spatial...]."""
    rank = len(x.shape)
    return build.layout(node, "Transpose", x, TransposeAttrs((0, rank - 1, *range(1, rank - 1))))


def last_channels(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    """[N, C, spatial...] -> [N, spatial..., C]."""
    return build.layout(node, "Transpose", x, TransposeAttrs((0, *range(2, len(x.shape)), 1)))
