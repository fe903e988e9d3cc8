"""Where an axis of Resize reads, and with which weights: known at compile time.

An output o lies at a coordinate of the input; it is a weighted sum of neighbours there, and what
lies outside the input is the nearest element of its border. Axes are independent of each other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from tinyc.compiler.graph import Array

Mode = Literal["nearest", "linear", "cubic"]
Coordinates = Literal[
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize",
]  # fmt: skip
Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple"]


@dataclass(frozen=True, slots=True)
class AxisScale:
    """How one axis is resized: `scale` times as many elements, `size` of them.

    region  of the input that tf_crop_and_resize takes, 0 to 1
    """

    size: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How all axes are sampled, as ONNX names it; "simple" is the rounding of operator set 10."""

    mode: Mode
    coordinates: Coordinates = "half_pixel"
    rounding: Rounding = "round_prefer_floor"
    cubic_a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Output o is the sum of weights[o, t] * input[first[o] + t]; all of them are inside.

    first    int32; -1: the coordinate is outside, the output is the extrapolation value
    weights  float64 [outputs, taps]
    """

    first: Array
    weights: Array

    @property
    def count(self) -> int:
        return int(self.weights.shape[1])

    @property
    def is_choice(self) -> bool:
        """Whether every output is one input, or outside."""
        return self.count == 1 and bool((self.weights == 1).all())


@cache
def taps_of(inputs: int, axis: AxisScale, how: Sampling) -> Taps:
    """The taps of an axis of `inputs` elements."""
    at = _coordinates(inputs, axis, how.coordinates)
    outside = np.zeros(axis.size, np.bool_)
    if how.coordinates == "tf_crop_and_resize":
        outside = (at < 0) | (at > inputs - 1)
    rows = [_row(inputs, float(x), axis.scale, how) for x in at]
    rows = [{0: 1.0} if out else row for row, out in zip(rows, outside, strict=True)]
    count = max(max(row) - min(row) + 1 for row in rows)
    first = np.array([min(min(row), inputs - count) for row in rows], np.int32)
    weights = np.zeros((axis.size, count))
    for o, row in enumerate(rows):
        for i, weight in row.items():
            weights[o, i - first[o]] = weight
    first[outside] = -1
    return Taps(first, weights)


def _coordinates(inputs: int, axis: AxisScale, kind: Coordinates) -> Array:
    """Where each output lies, in elements of the input; float64."""
    o, outputs = np.arange(axis.size, dtype=np.float64), axis.scale * inputs
    if kind == "align_corners":
        return o * (inputs - 1) / (outputs - 1) if outputs != 1 else o * 0
    if kind == "asymmetric":
        return o / axis.scale
    if kind == "tf_half_pixel_for_nn":
        return (o + 0.5) / axis.scale
    if kind == "tf_crop_and_resize":
        start, end = axis.region
        if outputs == 1:
            return np.full(axis.size, (start + end) * (inputs - 1) / 2)
        return start * (inputs - 1) + o * (end - start) * (inputs - 1) / (outputs - 1)
    if kind == "pytorch_half_pixel" and outputs == 1:
        return np.full(axis.size, -0.5)
    middle = (o + 0.5) / axis.scale - 0.5
    if kind == "half_pixel_symmetric":
        middle = middle + inputs / 2 * (1 - axis.size / outputs)
    return middle


def _row(inputs: int, at: float, scale: float, how: Sampling) -> dict[int, float]:
    """The weight of every input that the output at coordinate `at` is made of."""
    if how.mode == "nearest":
        return {min(max(_rounded(at, scale, how.rounding), 0), inputs - 1): 1.0}
    shrunk = min(scale, 1.0) if how.antialias else 1.0
    curve, reach = (_tent, 1.0) if how.mode == "linear" else (_cubic(how.cubic_a), 2.0)
    low, high = math.floor(at - reach / shrunk) + 1, math.ceil(at + reach / shrunk) - 1
    row: dict[int, float] = {}
    for i in range(low, high + 1):
        if how.exclude_outside and not 0 <= i < inputs:
            continue
        place = min(max(i, 0), inputs - 1)
        row[place] = row.get(place, 0.0) + curve((i - at) * shrunk)
    total = sum(row.values())
    if (how.antialias or how.exclude_outside) and total:
        row = {i: weight / total for i, weight in row.items()}
    used = {i: weight for i, weight in row.items() if weight}
    return used or {min(max(round(at), 0), inputs - 1): 1.0}


def _rounded(at: float, scale: float, rounding: Rounding) -> int:
    if rounding == "simple":
        return math.ceil(at) if scale < 1 else math.floor(at)
    if rounding == "floor":
        return math.floor(at)
    if rounding == "ceil":
        return math.ceil(at)
    return math.ceil(at - 0.5) if rounding == "round_prefer_floor" else math.floor(at + 0.5)


def _tent(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _cubic(a: float) -> Callable[[float], float]:
    """The convolution kernel of R. Keys, Cubic convolution interpolation, 1981."""

    def curve(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((x - 5) * x + 8) * x * a - 4 * a if x < 2 else 0.0

    return curve


def whole_weights(weights: Array, bits: int) -> Array:
    """`weights` times 2^bits as int16; each row's sum is exactly the rounded sum of its reals."""
    scaled = weights * (1 << bits)
    whole = np.rint(scaled).astype(np.int64)
    missing = np.rint(scaled.sum(axis=1)).astype(np.int64) - whole.sum(axis=1)
    largest = np.abs(weights).argmax(axis=1)
    whole[np.arange(whole.shape[0]), largest] += missing
    return np.asarray(whole, np.int16)
