"""Winograd's convolutions of 3x3 kernels as integer matrices: F(2x2,3x3) and F(4x4,3x3).

    y = output . ((weights . g . weights^T) * (input . d . input^T)) . output^T

for a tile d of n x n inputs, the 3x3 kernel g and m x m outputs, n = m + 2, '*' by elements. All
entries are whole, so y is unit^2 times the convolution, exactly, in int32 modulo 2^32: unit is 2
for m = 2 and 24 for m = 4. 576 = 9 * 64, and 9 has an inverse modulo 2^32: times INVERSE, y is
64 times the convolution, as long as that fits int32.

F(4x4) uses the points 0, 1, -1, 2, -2 and infinity. With stored int8 values |d| <= 128 its
transformed inputs stay below 100 * 128, its transformed weights below 144 * 128.
"""

from dataclasses import dataclass, replace

import numpy as np

from tinyc.compiler.graph import Array

LANES = 4  # tiles that are multiplied together
GROUP = 4  # channels that are transformed together: a word of int8

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Form:
    """The matrices of one way to compute m x m outputs.

    name     in C names
    outputs  m
    parts    that transformed weights are made in: equal numbers of rows that share sums
    inverse  that `output`'s result is multiplied by, modulo 2^32
    shift    2^shift times the convolution is left then
    """

    name: str
    outputs: int
    input: Matrix
    weights: Matrix
    output: Matrix
    parts: int
    inverse: int
    shift: int

    @property
    def points(self) -> int:
        """n."""
        return self.outputs + 2

    @property
    def positions(self) -> int:
        """Elements of a transformed tile."""
        return self.points * self.points

    @property
    def bias_factor(self) -> int:
        """What a bias is multiplied by before it is added to element (1, 1).

        Row 1 belongs to the point 1, so that column 1 of `output` is constant.
        """
        scale = self.output[0][1]
        return pow(self.inverse, -1, 1 << 32) * (1 << self.shift) // (scale * scale)


F2 = Form(
    name="2",
    outputs=2,
    input=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    weights=((1, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 1)),
    output=((2, 1, 1, 0), (0, 1, -1, -2)),
    parts=1,
    inverse=1,
    shift=2,
)
F4 = Form(
    name="4",
    outputs=4,
    input=(
        (4, 0, -5, 0, 1, 0),
        (0, 4, 4, -1, -1, 0),
        (0, -4, 4, 1, -1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    weights=((6, 0, 0), (4, 4, 4), (4, -4, 4), (1, 2, 4), (1, -2, 4), (0, 0, 1)),
    output=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 24)),
    parts=2,
    inverse=0x38E38E39,
    shift=6,
)

# F4 with weights that are made from bytes at run time: the factors are left to the output.
F4_PLAIN = replace(
    F4,
    name="4p",
    weights=((1, 0, 0), (1, 1, 1), (1, -1, 1), (1, 2, 4), (1, -2, 4), (0, 0, 1)),
    output=((6, 4, 4, 1, 1, 0), (0, 4, -4, 2, -2, 0), (0, 4, 4, 4, 4, 0), (0, 4, -4, 8, -8, 24)),
)


def transformed_weights(form: Form, weights: Array) -> Array:
    """[channels, n, n, inputs] whole numbers of [channels, 3, 3, inputs]."""
    matrix = np.array(form.weights, np.int64)
    values = np.einsum("ai,bj,oijc->oabc", matrix, matrix, weights.astype(np.int64))
    return np.asarray(values)
