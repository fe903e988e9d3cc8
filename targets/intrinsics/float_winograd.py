"""Winograd's F(2x2, 3x3) in C: 2x2 outputs of a 3x3 convolution by 16 products instead of 36.

    V = B' d B    a tile of 4x4 inputs           B' = | 1  0 -1  0 |
    U = G g G'    the 3x3 weights                     | 0  1  1  0 |
    Y = A' (U . V) A                                  | 0 -1  1  0 |
                                                      | 0  1  0 -1 |

    G = | 1    0   0  |    A' = | 1 1  1  0 |
        | 1/2  1/2 1/2|         | 0 1 -1 -1 |
        | 1/2 -1/2 1/2|
        | 0    0   1  |

The 16 products are numbered row by row. Number 5 reaches all four outputs with factor 1: the bias
is added there.
"""

import math

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_vfp_clamps import suffix

PRODUCTS = 16
BIASED = 5
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def transformed_weights(weights: Array) -> Array:
    """[channels, 3, 3, inputs] as float32 [16, channels, inputs]."""
    tiles = np.einsum("ip,opqc,jq->ijoc", G, weights.astype(np.float64), G)
    return np.asarray(tiles.reshape(PRODUCTS, *tiles.shape[2:]), np.float32)


def tile_transform() -> Microkernel:
    """`tinyc_float_winograd_tile(x, x_row, channels, v)`."""
    columns = [
        line
        for j in range(4)
        for line in (
            f"const float d_0{j} = x[({j} * channels) + c];",
            f"const float d_1{j} = x[x_row + ({j} * channels) + c];",
            f"const float d_2{j} = x[(2 * x_row) + ({j} * channels) + c];",
            f"const float d_3{j} = x[(3 * x_row) + ({j} * channels) + c];",
        )
    ]
    rows = [
        line
        for j in range(4)
        for line in (
            f"const float b_0{j} = d_0{j} - d_2{j};",
            f"const float b_1{j} = d_1{j} + d_2{j};",
            f"const float b_2{j} = d_2{j} - d_1{j};",
            f"const float b_3{j} = d_1{j} - d_3{j};",
        )
    ]
    stores = [
        line
        for i in range(4)
        for line in (
            f"v[({4 * i} * channels) + c] = b_{i}0 - b_{i}2;",
            f"v[({4 * i + 1} * channels) + c] = b_{i}1 + b_{i}2;",
            f"v[({4 * i + 2} * channels) + c] = b_{i}2 - b_{i}1;",
            f"v[({4 * i + 3} * channels) + c] = b_{i}1 - b_{i}3;",
        )
    ]
    text = TILE.format(lines="\n    ".join([*columns, *rows, *stores]))
    return Microkernel("tinyc_float_winograd_tile", text)


TILE = """\
/* The 16 values of every channel of a tile of 4x4 pixels; `v` may be the tile itself.
 * x_row: from row to row of the tile, in floats. */
static void tinyc_float_winograd_tile(const float *x, int32_t x_row,
    int32_t channels, float *v) {{
  for (int32_t c = 0; c < channels; ++c) {{
    {lines}
  }}
}}
"""


def tile_outputs(channels: int, clamp: Clamp, residual: bool) -> Microkernel:
    """`tinyc_float_winograd_outputs_...(m, y, y_row, y_pixel, rows, columns[, residual])`."""
    name = f"tinyc_float_winograd_outputs_{channels}{'_add' if residual else ''}{suffix(clamp)}"
    sums = [
        line
        for j in range(4)
        for line in (
            f"const float a_0{j} = m[{channels * j}] + m[{channels * (4 + j)}]"
            f" + m[{channels * (8 + j)}];",
            f"const float a_1{j} = m[{channels * (4 + j)}] - m[{channels * (8 + j)}]"
            f" - m[{channels * (12 + j)}];",
        )
    ]
    outputs = [_output(i, j, clamp, residual) for i in range(2) for j in range(2)]
    text = OUTPUTS.format(
        name=name,
        channels=channels,
        sums="\n      ".join(sums),
        outputs="\n".join(outputs),
        residual=", const float *residual" if residual else "",
        others=(PRODUCTS - 1) * channels,
        move="\n    residual += 2 * y_pixel;" if residual else "",
    )
    return Microkernel(name, text)


OUTPUTS = """\
/* The outputs of neighbouring tiles, {channels} channels: rows x columns of them, two at most of
 * each in a tile. */
TINYC_SHARED_KERNEL void {name}(const float *m, float *y, int32_t y_row, int32_t y_pixel,
    int32_t rows, int32_t columns{residual}) {{
  for (; columns > 0; columns -= 2) {{
    for (int32_t c = 0; c < {channels}; ++c, ++m) {{
      {sums}
{outputs}
    }}
    m += {others};
    y += 2 * y_pixel;{move}
  }}
}}
"""


def _output(i: int, j: int, clamp: Clamp, residual: bool) -> str:
    place = f"{'y_row + ' if i else ''}{'y_pixel + ' if j else ''}c"
    first, second, third = (f"a_{i}{k}" for k in range(j, j + 3))
    value = f"{first} - {second} - {third}" if j else f"{first} + {second} + {third}"
    value += f" + residual[{place}]" if residual else ""
    lines = [f"const float value = {value};", f"y[{place}] = {_limited('value', clamp)};"]
    conditions = [c for c, needed in (("(rows > 1)", i), ("(columns > 1)", j)) if needed]
    head = f"if ({' && '.join(conditions)}) {{" if conditions else "{"
    return "\n".join([f"      {head}", *(f"        {line}" for line in lines), "      }"])


def _limited(value: str, clamp: Clamp) -> str:
    """A simple clamp by comparisons, which cost less than fmaxf on a core without VMAXNM."""
    if clamp == Clamp():
        return value
    low = f"({value} > 0.0f) ? {value} : 0.0f"
    if clamp.high == math.inf:
        return low
    high = f"{float(np.float32(clamp.high))!r}f"
    return f"({value} > {high}) ? {high} : ({low})"
