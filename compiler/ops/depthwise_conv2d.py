"""DepthwiseConv2D: every input channel c has its own kernels, m of them.

y[oy, ox, o] = sum x[oy*sh + i*dh - top, ox*sw + k*dw - left, c] * w[i, k, o] + b[o], o = c*m + j
x NHWC, w [kh, kw, c*m] constant, b [c*m] constant or absent.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.kernels import (
    depthwise,
    depthwise_halfwords,
    depthwise_pairs,
    depthwise_planes,
    depthwise_row_words,
    depthwise_rows,
    float_depthwise,
)
from tinyc.compiler.ops.accumulate import (
    can_quantize,
    factors,
    output_of,
    plane_outputs,
    result_type,
    window_slices,
)
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.op import (
    Algorithm,
    Algorithms,
    Call,
    Op,
    RowWindows,
    Type,
    Window,
    kernel_by,
    row_by_row,
)


@dataclass(frozen=True, slots=True)
class DepthwiseConv2DAttrs:
    """strides, dilations: (height, width); pads: top, left, bottom, right."""

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (n, h, w, _), (kh, kw, channels) = inputs[0].shape, inputs[1].shape
    oh, ow = plane_outputs((h, w), (kh, kw), attrs)
    return (((n, oh, ow, channels), result_type(inputs[0], "Conv")),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a = call.attrs
    x, w = factors(call, arrays)
    kh, kw, channels = w.shape
    x = np.repeat(x, channels // x.shape[3], axis=3)
    acc = np.zeros(call.output.shape, np.float64)
    _, oh, ow, _ = acc.shape
    for i in range(kh):
        rows, xrows = window_slices(i * a.dilations[0] - a.pads[0], a.strides[0], x.shape[1], oh)
        for j in range(kw):
            cols, xcols = window_slices(
                j * a.dilations[1] - a.pads[1], a.strides[1], x.shape[2], ow
            )
            acc[:, rows, cols] += x[:, xrows, xcols] * w[i, j]
    return (output_of(call, acc, arrays[2] if len(arrays) > 2 else None),)


def windows(call: Call) -> RowWindows | None:
    a, kh = call.attrs, call.inputs[1].shape[0]
    if call.inputs[0].shape[0] != 1:
        return None
    window = Window((kh - 1) * a.dilations[0] + 1, a.strides[0], a.pads[0])
    return (window, *(None for _ in call.inputs[1:]))


def macs(call: Call) -> int:
    kh, kw, _ = call.inputs[1].shape
    return call.output.elements * kh * kw


ALGORITHMS: Algorithms = {
    "float-rows": Algorithm(float_depthwise.suits, float_depthwise.kernel, float_depthwise.space),
    "pairs": Algorithm(depthwise_pairs.suits, depthwise_pairs.kernel, depthwise_pairs.space),
    "planes": Algorithm(
        depthwise_planes.suits,
        depthwise_planes.kernel,
        depthwise_planes.space,
        depthwise_planes.band,
    ),
    "row-words": Algorithm(
        depthwise_row_words.suits,
        depthwise_row_words.kernel,
        depthwise_row_words.space,
        row_by_row,
    ),
    "rows": Algorithm(depthwise_rows.suits, depthwise_rows.kernel),
    "halfword-pairs": Algorithm(
        depthwise_halfwords.suits, depthwise_halfwords.kernel, depthwise_halfwords.space
    ),
    "direct-smlad": Algorithm(depthwise.suits_smlad, depthwise.kernel_smlad),
    "direct": Algorithm(depthwise.suits, depthwise.kernel),
}


DEPTHWISE_CONV2D = Op(
    "DepthwiseConv2D", infer, reference, kernel_by(ALGORITHMS), windows, macs, can_quantize,
    algorithms=ALGORITHMS,
)  # fmt: skip
