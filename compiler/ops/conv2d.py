"""Conv2D: y[oy, ox, oc] = sum x[oy*sh + i*dh - top, ox*sw + j*dw - left, ic] * w[oc, i, j, ic] + b.

x NHWC, w [oc, kh, kw, ic / groups] constant, b [oc] constant or absent.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.kernels import (
    float_gemm,
    float_winograd,
    gemm_blocks,
    gemm_conv,
    gemm_pairs,
    halfword_blocks,
    halfword_products,
    lane_conv,
    packed_weights,
    winograd,
    winograd_row,
    winograd_scalar,
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
    ROW,
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
from tinyc.compiler.ops.residual import Residual, added, first_stage


@dataclass(frozen=True, slots=True)
class Conv2DAttrs:
    """strides, dilations: (height, width); pads: top, left, bottom, right.

    residual  the last input is added to the result
    """

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    clamp: Clamp = NO_CLAMP
    residual: Residual | None = None


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (n, h, w, _), (oc, kh, kw, _) = inputs[0].shape, inputs[1].shape
    oh, ow = plane_outputs((h, w), (kh, kw), attrs)
    return (((n, oh, ow, oc), result_type(inputs[0], "Conv")),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a = call.attrs
    x, w = factors(call, arrays)
    _, h, width, _ = x.shape
    oc, kh, kw, ic = w.shape
    acc = np.zeros(call.output.shape, np.float64)
    _, oh, ow, _ = acc.shape
    per_group = oc // a.groups
    for i in range(kh):
        rows, xrows = window_slices(i * a.dilations[0] - a.pads[0], a.strides[0], h, oh)
        for j in range(kw):
            cols, xcols = window_slices(j * a.dilations[1] - a.pads[1], a.strides[1], width, ow)
            seen = x[:, xrows, xcols]
            for g in range(a.groups):
                mine = slice(g * per_group, (g + 1) * per_group)
                acc[:, rows, cols, mine] += seen[..., g * ic : (g + 1) * ic] @ w[mine, i, j].T
    if a.residual is not None:
        return (added(call, output_of(first_stage(call), acc, arrays[2]), arrays[3]),)
    return (output_of(call, acc, arrays[2] if len(arrays) > 2 else None),)


def windows(call: Call) -> RowWindows | None:
    a, kh = call.attrs, call.inputs[1].shape[1]
    if call.inputs[0].shape[0] != 1:
        return None
    window = Window((kh - 1) * a.dilations[0] + 1, a.strides[0], a.pads[0])
    if a.residual is not None:
        return (window, None, None, ROW)
    return (window, *(None for _ in call.inputs[1:]))


def macs(call: Call) -> int:
    _, kh, kw, ic = call.inputs[1].shape
    return call.output.elements * kh * kw * ic


ALGORITHMS: Algorithms = {
    "nibble-winograd-4": Algorithm(
        winograd.suits_nibble_weights,
        winograd.kernel_nibbles,
        winograd.space_nibbles,
        winograd.band_4,
    ),
    "nibble-winograd-scalar": Algorithm(
        winograd_scalar.suits_nibbles, winograd_scalar.kernel, winograd_scalar.space_nibbles
    ),
    "nibble-blocks": Algorithm(
        gemm_blocks.suits_nibbles, gemm_blocks.kernel, gemm_blocks.space_nibbles
    ),
    "float-winograd": Algorithm(float_winograd.suits, float_winograd.kernel, float_winograd.space),
    "float-blocks": Algorithm(
        float_gemm.suits, float_gemm.kernel, float_gemm.space, float_gemm.band
    ),
    "packed": Algorithm(packed_weights.suits, packed_weights.kernel),
    "gemm-pairs": Algorithm(gemm_pairs.suits, gemm_pairs.kernel, gemm_pairs.space),
    "gemm-blocks": Algorithm(gemm_blocks.suits, gemm_blocks.kernel, gemm_blocks.space, row_by_row),
    "row-blocks": Algorithm(
        gemm_blocks.suits_rows, gemm_blocks.kernel_rows, gemm_blocks.space, row_by_row
    ),
    "winograd-4": Algorithm(winograd.suits_4, winograd.kernel_4, winograd.space_4, winograd.band_4),
    "winograd-2": Algorithm(winograd.suits_2, winograd.kernel_2, winograd.space_2, winograd.band_2),
    "winograd-row": Algorithm(
        winograd_row.suits, winograd_row.kernel, winograd_row.space, row_by_row
    ),
    "winograd-scalar": Algorithm(
        winograd_scalar.suits, winograd_scalar.kernel, winograd_scalar.space
    ),
    "lanes": Algorithm(lane_conv.suits, lane_conv.kernel, lane_conv.space),
    "halfword-blocks": Algorithm(
        halfword_blocks.suits, halfword_blocks.kernel, halfword_blocks.space
    ),
    "gemm-smlad16": Algorithm(halfword_products.suits_conv, halfword_products.kernel_conv),
    "gemm-smlad": Algorithm(gemm_conv.suits_smlad, gemm_conv.kernel_smlad),
    "gemm": Algorithm(gemm_conv.suits, gemm_conv.kernel, gemm_conv.space),
}


CONV2D = Op(
    "Conv2D", infer, reference, kernel_by(ALGORITHMS), windows, macs, can_quantize,
    algorithms=ALGORITHMS,
)  # fmt: skip
