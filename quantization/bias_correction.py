"""Bias correction: the mean error of each output channel is taken off its bias."""

import numpy as np

from tinyc.compiler.graph import Array


def corrected_bias(matrix: Array, x: Array, y: Array) -> Array:
    """The bias with which the rounded layer has the float layer's mean.

    matrix [groups, outputs, products] as stored; x [groups, rows, products] as rounded;
    y [groups, rows, outputs] of the float layer
    """
    mean = x.mean(axis=1, dtype=np.float64)[:, None]
    made = (mean @ matrix.transpose(0, 2, 1).astype(np.float64))[:, 0]
    return np.asarray(y.mean(axis=1, dtype=np.float64) - made, np.float32).reshape(-1)
