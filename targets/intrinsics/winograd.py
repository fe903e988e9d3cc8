"""Winograd's convolutions of 3x3 kernels as integer matrices.

    y = output . ((weights . g . weights^T) * (input . d . input^T)) . output^T

for a tile d of n x n inputs, the 3x3 kernel g and m x m outputs; '*' is by elements. All entries
are whole, so that y is a whole multiple of the convolution, exactly, in int32 modulo 2^32:

    F2          F(2x2,3x3), points 0, 1, -1, infinity            n = 4      4 times
    F4          F(4x4,3x3), points 0, 1, -1, 2, -2, infinity     n = 6    576 times = 9 * 64
    F4_STRIDED  4 x 4 with stride 2                              n = 9     36 times = 9 * 4
    F4_ROW      F(4,3) along the width, summed over the rows     n = 6     24 times = 3 * 8

9 has an inverse modulo 2^32: times that, y is a power of two times the convolution, as long as
this fits int32; so with 3, but `arm_winograd_row.py` divides by 24. For stored int8 values the
transformed inputs stay below 100 * 128 and the transformed weights below 144 * 128 (the sums of
magnitudes in a row of F4's matrices, squared).
"""

from dataclasses import dataclass, replace

import numpy as np

from tinyc.compiler.graph import Array

LANES = 4  # tiles that are multiplied together
GROUP = 4  # channels that are transformed together: a word of int8

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Form:
    """The matrices of one way to compute m x m outputs, or m outputs of a row.

    name     in C names
    outputs  m
    odd      points that are inputs themselves: those of odd rows or columns when the stride is 2
    parts    that transformed weights are made in: equal numbers of rows that share sums
    inverse  that `output`'s result is multiplied by, modulo 2^32
    shift    2^shift times the convolution is left then
    axes     that are transformed: 2, or 1 for the width alone
    """

    name: str
    outputs: int
    odd: int
    input: Matrix
    weights: Matrix
    output: Matrix
    parts: int
    inverse: int
    shift: int
    axes: int = 2

    @property
    def points(self) -> int:
        """n."""
        return len(self.input)

    @property
    def stride(self) -> int:
        return 2 if self.odd else 1

    @property
    def kind(self) -> str:
        """What the name says of the input's side."""
        return f"{self.outputs}{'s' if self.odd else ''}"

    @property
    def positions(self) -> int:
        """Elements of a transformed tile."""
        return int(self.points**self.axes)

    @property
    def weight_positions(self) -> int:
        """Elements of a transformed kernel: odd points share theirs."""
        return int(len(self.weights) ** self.axes)

    def place(self, row: int, column: int) -> int:
        """The position of an element: those that share weights lie behind each other."""
        return _place(self.points - self.odd, self.odd, row, column)

    def weight_place(self, row: int, column: int) -> int:
        """The position of an element of a transformed kernel."""
        odd = 1 if self.odd else 0
        return _place(len(self.weights) - odd, odd, row, column)

    def runs(self, part: int, parts: int) -> tuple[tuple[int, int, int, int], ...]:
        """Neighbouring positions of a part: first one, first of the weights, count, repetitions.

        Each of the weights serves as many positions as there are repetitions.
        """
        if not self.odd:
            count = self.positions // parts
            return ((part * count, 0, count, 1),)
        even, odd = self.points - self.odd, self.odd
        mixed, square = 2 * even * odd, even * even
        return (
            (0, 0, square, 1),
            (square, square, mixed, odd),
            (square + mixed, square + 2 * even, odd * odd, odd * odd),
        )

    @property
    def bias_factor(self) -> int:
        """What a bias is multiplied by before it is added to element (1, 1).

        Row 1 belongs to the point 1, so that column 1 of `output` is constant.
        """
        scale = int(self.output[0][1] ** self.axes)
        return pow(self.inverse, -1, 1 << 32) * (1 << self.shift) // scale


def _place(even: int, odd: int, row: int, column: int) -> int:
    """Even points of both axes, then odd ones of even rows, of even columns, then of both."""
    if row < even:
        if column < even:
            return row * even + column
        return even * even + row * odd + column - even
    if column < even:
        return even * even + even * odd + column * odd + row - even
    return even * even + 2 * even * odd + (row - even) * odd + column - even


F2 = Form(
    name="2",
    outputs=2,
    odd=0,
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
    odd=0,
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

# Four outputs of a row; the products of the three rows of the kernel are added before `output`.
F4_ROW = replace(
    F4,
    name="_row4",
    weights=((6, 0, 0), (4, 4, 4), (4, -4, 4), (1, 2, 4), (1, -2, 4), (0, 0, 3)),
    output=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 8)),
    parts=1,
    inverse=0xAAAAAAAB,
    shift=3,
    axes=1,
)

# F4 with weights that are made from bytes at run time: the factors are left to the output.
F4_PLAIN = replace(
    F4,
    name="4p",
    weights=((1, 0, 0), (1, 1, 1), (1, -1, 1), (1, 2, 4), (1, -2, 4), (0, 0, 1)),
    output=((6, 4, 4, 1, 1, 0), (0, 4, -4, 2, -2, 0), (0, 4, 4, 4, 4, 0), (0, 4, -4, 8, -8, 24)),
)

# Stride 2: the outer taps meet the even inputs, F(4,2) with the points 0, 1, -1, 2 and infinity,
# and the one in the middle the odd inputs, as they are.
F4_STRIDED = Form(
    name="4s",
    outputs=4,
    odd=4,
    input=(
        (2, 0, -1, 0, -2, 0, 1, 0, 0),
        (0, 0, 2, 0, 1, 0, -1, 0, 0),
        (0, 0, -2, 0, 3, 0, -1, 0, 0),
        (0, 0, -1, 0, 0, 0, 1, 0, 0),
        (0, 0, 2, 0, -1, 0, -2, 0, 1),
        (0, 1, 0, 0, 0, 0, 0, 0, 0),
        (0, 0, 0, 1, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 1, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, 0, 1, 0),
    ),
    weights=((1, 0, 0), (1, 0, 1), (1, 0, -1), (1, 0, 2), (0, 0, 1), (0, 1, 0)),
    output=(
        (3, 3, 1, 1, 0, 6, 0, 0, 0),
        (0, 3, -1, 2, 0, 0, 6, 0, 0),
        (0, 3, 1, 4, 0, 0, 0, 6, 0),
        (0, 3, -1, 8, 6, 0, 0, 0, 6),
    ),
    parts=1,
    inverse=0x38E38E39,
    shift=2,
)


def transformed_weights(form: Form, weights: Array) -> Array:
    """[channels, positions, inputs] whole numbers of [channels, 3, 3, inputs]."""
    matrix = np.array(form.weights, np.int64)
    values = np.einsum("ai,bj,oijc->oabc", matrix, matrix, weights.astype(np.int64))
    count = len(form.weights)
    places = [form.weight_place(*divmod(at, count)) for at in range(count * count)]
    return np.asarray(values.reshape(len(values), count * count, -1)[:, np.argsort(places)])


def transformed_rows(form: Form, weights: Array) -> Array:
    """[channels, positions, 3 * inputs] whole numbers of [channels, 3, 3, inputs]; rows outer."""
    matrix = np.array(form.weights, np.int64)
    values = np.einsum("bj,oijc->obic", matrix, weights.astype(np.int64))
    return np.asarray(values.reshape(*values.shape[:2], -1))
