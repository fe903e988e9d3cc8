"""Scales of weights, and weights rounded to the nearest."""

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.grids import LIMITS, TINY, Grid, StoredWeights, along_axis

MOST_BIAS = 2.0**30  # steps of an int32 bias, which leaves as many for the sums


def weight_scales(
    weights: Array, axis: int | None, dtype: str = "int8", bias: Array | None = None,
    grid: Grid | None = None,
) -> Array:  # fmt: skip
    """One scale for each index of `axis`, so that its largest weight is the largest integer.

    bias, grid  of the layer and its input: a bias far above its weights makes the scale larger
    """
    if axis is None:
        largest = np.abs(weights).max(keepdims=True).reshape(1)
    else:
        others = tuple(i for i in range(weights.ndim) if i != axis)
        largest = np.abs(weights).max(axis=others)
    scale = np.maximum(largest / LIMITS[dtype][1], TINY)
    if bias is not None and grid is not None:
        least = np.abs(bias.reshape(-1)) / (MOST_BIAS * grid.scale)
        least = least.reshape(-1, len(scale)).max(axis=0) if axis is not None else least.max()
        scale = np.maximum(scale, least)
    return np.asarray(scale, np.float32)


def nearest(weights: Array, scale: Array, axis: int | None, dtype: str = "int8") -> StoredWeights:
    """Each weight as the nearest integer."""
    most = LIMITS[dtype][1]
    steps = weights / along_axis(scale, axis, weights.ndim)
    return StoredWeights(np.clip(np.rint(steps), -most, most).astype(np.int8), scale, axis, dtype)
