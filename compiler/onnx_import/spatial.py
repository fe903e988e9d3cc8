"""Convolutions and pools: NCHW of one or two spatial axes, as NHWC operators.

One spatial axis becomes the height, with a width of 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tinyc.compiler.graph import DType
from tinyc.compiler.onnx_import.building import Building, Source, Unsupported
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs


@dataclass(frozen=True, slots=True)
class Geometry:
    """A window's movement over height and width."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right


def _geometry(s: Source, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> Geometry:
    """The attributes of a window over `sizes`, one or two axes, as two."""
    axes = len(sizes)
    strides, dilations = s.ints("strides", [1] * axes), s.ints("dilations", [1] * axes)
    pads = s.ints("pads", [0] * (2 * axes))
    if not len(strides) == len(dilations) == len(kernel) == axes or len(pads) != 2 * axes:
        raise Unsupported(f"its attributes do not fit {axes} spatial axes")
    if min((*strides, *dilations, *kernel), default=1) < 1 or min(pads) < 0:
        raise Unsupported("strides, dilations and kernels are 1 or more, pads not negative")
    if max((*strides, *dilations, *kernel, *pads)) > 1 << 16:
        raise Unsupported("its window is larger than 65536")
    auto = s.attributes.get("auto_pad", "NOTSET")
    before, after = list(pads[:axes]), list(pads[axes:])
    for i in range(axes):
        reach = (kernel[i] - 1) * dilations[i] + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            outputs = -(-sizes[i] // strides[i])
            total = max((outputs - 1) * strides[i] + reach - sizes[i], 0)
            small = total // 2
            before[i], after[i] = (
                (small, total - small) if auto == "SAME_UPPER" else (total - small, small)
            )
        elif auto == "VALID":
            before[i] = after[i] = 0
        elif s.attributes.get("ceil_mode", 0):
            after[i] += _ceil_padding(sizes[i], reach, strides[i], before[i], after[i])
        if sizes[i] + before[i] + after[i] < reach:
            raise Unsupported(f"its window of {reach} is larger than the padded input")
    filler = ((1,), (0,)) if axes == 1 else ((), ())
    k, t, d = ((*v, *filler[0]) for v in (kernel, strides, dilations))
    first, last = ((*v, *filler[1]) for v in (before, after))
    return Geometry(
        (k[0], k[1]), (t[0], t[1]), (d[0], d[1]), (first[0], first[1], last[0], last[1])
    )


def _ceil_padding(size: int, reach: int, stride: int, before: int, after: int) -> int:
    """Padding behind, so that the last partial window counts; none that starts in the padding."""
    space = size + before + after - reach
    outputs = math.ceil(space / stride) + 1
    if (outputs - 1) * stride >= size + before:
        outputs -= 1
    return max((outputs - 1) * stride - space, 0)


def _to_nhwc(b: Building, s: Source, name: str) -> str:
    """`name`, [n, c, h, w] or [n, c, length], as [n, h, w, c]."""
    shape = b.tensor(name).shape
    if len(shape) == 4:
        return b.transposed(s, name, (0, 2, 3, 1))
    flat = b.emit(s, "Reshape", [name], ReshapeAttrs((*shape, 1)))
    return b.transposed(s, flat, (0, 2, 3, 1))


def _to_nchw(b: Building, s: Source, name: str, rank: int, output: str) -> None:
    """The way back."""
    if rank == 4:
        b.emit(s, "Transpose", [name], TransposeAttrs((0, 3, 1, 2)), output)
        return
    n, h, _, c = b.tensor(name).shape
    moved = b.emit(s, "Transpose", [name], TransposeAttrs((0, 3, 1, 2)))
    b.emit(s, "Reshape", [moved], ReshapeAttrs((n, c, h)), output)


def _rank(b: Building, name: str) -> int:
    rank = len(b.tensor(name).shape)
    if rank not in (3, 4):
        raise Unsupported(f"it has {rank - 2} spatial axes; 1 and 2 are supported")
    return rank


def _conv(b: Building, s: Source) -> None:
    bias = s.input(2)
    convolution(b, s, s.inputs[0], s.inputs[1], bias, s.outputs[0])


def convolution(
    b: Building, s: Source, x: str, w: str, bias: str, output: str, dtype: DType | None = None
) -> None:
    """A Conv whose operands are `x`, `w` and `bias` ("" for none)."""
    rank = _rank(b, x)
    shape, weights = b.tensor(x).shape, b.tensor(w).shape
    groups = int(s.attributes.get("group", 1))
    if len(weights) != rank or groups < 1 or shape[1] != weights[1] * groups or weights[0] % groups:
        raise Unsupported(f"weights {list(weights)} do not fit the input {list(shape)}")
    declared = s.ints("kernel_shape", weights[2:])
    if declared != weights[2:]:
        raise Unsupported(f"kernel_shape {list(declared)} is not that of the weights")
    g = _geometry(s, shape[2:], weights[2:])
    if bias and b.tensor(bias).shape != (weights[0],):
        raise Unsupported(f"its bias has the shape {list(b.tensor(bias).shape)}")
    if not _is_fixed(b, w):
        raise Unsupported("its weights must be constant")
    depthwise = groups == shape[1] and weights[1] == 1 and groups > 1
    if rank == 3:
        moved = b.transposed(s, w, (2, 0, 1) if depthwise else (0, 2, 1))
        oc, ic, k = weights
        moved = _reshaped_weights(b, s, moved, (k, 1, oc) if depthwise else (oc, k, 1, ic))
    elif depthwise:
        moved = b.transposed(s, w, (2, 3, 0, 1))
        moved = _reshaped_weights(b, s, moved, (*weights[2:], weights[0]))
    else:
        moved = b.transposed(s, w, (0, 2, 3, 1))
    operands = [_to_nhwc(b, s, x), moved, *([bias] if bias else [])]
    if depthwise:
        attrs: object = DepthwiseConv2DAttrs(g.strides, g.pads, g.dilations)
        value = b.emit(s, "DepthwiseConv2D", operands, attrs, dtype=dtype)
    else:
        attrs = Conv2DAttrs(g.strides, g.pads, g.dilations, groups)
        value = b.emit(s, "Conv2D", operands, attrs, dtype=dtype)
    _to_nchw(b, s, value, rank, output)


def _is_fixed(b: Building, name: str) -> bool:
    producer = b.producers.get(name)
    if producer is not None and producer.op == "Dequantize":
        name = producer.inputs[0]
    return b.constant(name) is not None


def _reshaped_weights(b: Building, s: Source, name: str, shape: tuple[int, ...]) -> str:
    """Constant weights under another shape; the axis of their scales moves along."""
    producer = b.producers.get(name)
    stored = b.tensor(producer.inputs[0] if producer else name)
    assert stored.data is not None, "_is_fixed was asked before"
    quant = stored.quant
    if quant is not None and quant.axis is not None:
        axis = next(i for i, n in enumerate(shape) if n == stored.shape[quant.axis] and n > 1)
        quant = replace(quant, axis=axis)
    constant = b.add_constant(stored.name, stored.data.reshape(shape), stored.dtype, quant)
    return b.emit(s, "Dequantize", [constant]) if producer else constant


def _pool(op: str) -> Callable[[Building, Source], None]:
    def read(b: Building, s: Source) -> None:
        if len(s.outputs) > 1 and s.outputs[1]:
            raise Unsupported("the indices of the maxima are not supported")
        rank = _rank(b, s.inputs[0])
        sizes = b.tensor(s.inputs[0]).shape[2:]
        g = _geometry(s, sizes, s.ints("kernel_shape", ()))
        include = bool(s.attributes.get("count_include_pad", 0)) and any(g.pads)
        if include and s.attributes.get("ceil_mode", 0):
            raise Unsupported("count_include_pad together with ceil_mode")
        attrs = Pool2DAttrs(g.kernel, g.strides, g.pads, g.dilations, include)
        value = b.emit(s, op, [_to_nhwc(b, s, s.inputs[0])], attrs)
        _to_nchw(b, s, value, rank, s.outputs[0])

    return read


def _global_pool(op: str, kind: str) -> Callable[[Building, Source], None]:
    def read(b: Building, s: Source) -> None:
        shape = b.tensor(s.inputs[0]).shape
        if len(shape) not in (3, 4):
            axes = tuple(range(2, len(shape)))
            b.emit(s, "Reduce", [s.inputs[0]], ReduceAttrs(kind, axes), s.outputs[0])
            return
        kernel = (shape[2], shape[3] if len(shape) == 4 else 1)
        value = b.emit(s, op, [_to_nhwc(b, s, s.inputs[0])], Pool2DAttrs(kernel, (1, 1)))
        _to_nchw(b, s, value, len(shape), s.outputs[0])

    return read


SPATIAL_IMPORTERS: dict[str, Callable[[Building, Source], None]] = {
    "AveragePool": _pool("AveragePool2D"),
    "Conv": _conv,
    "GlobalAveragePool": _global_pool("AveragePool2D", "mean"),
    "GlobalMaxPool": _global_pool("MaxPool2D", "max"),
    "MaxPool": _pool("MaxPool2D"),
}
