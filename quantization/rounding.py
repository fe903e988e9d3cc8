"""Adaptive rounding: the integers whose layer is nearest to the float layer, by least squares.

A weight is rounded after the other; what its rounding changes in the layer's results, the
weights that are not rounded yet make good.

Source: Frantar et al., GPTQ, ICLR 2023 (the order of columns and the Cholesky factor).
"""

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.grids import LIMITS

DAMPING = 0.01  # of the mean of the diagonal
RIDGE = 20.0  # of the mean of the diagonal, where weights may leave the float ones: less overfits


def compensated(matrix: Array, x: Array, y: Array) -> Array:
    """Weights that give `y` from the rounded inputs `x`, as far as few samples tell.

    matrix [groups, outputs, products]; x [groups, rows, products]; y [groups, rows, outputs]
    """
    inputs, results = _centred(x), _centred(y)
    rest = results - inputs @ matrix.transpose(0, 2, 1)
    gram = _damped(inputs, RIDGE)
    step = np.linalg.solve(gram, inputs.transpose(0, 2, 1) @ rest / inputs.shape[1])
    return np.asarray(matrix + step.transpose(0, 2, 1))


def adapted(matrix: Array, x: Array, scale: Array, dtype: str = "int8") -> Array:
    """Integers for `matrix` [groups, outputs, products], with scale [groups, outputs]."""
    gram = _damped(_centred(x), DAMPING)
    order = np.argsort(-np.diagonal(gram, axis1=1, axis2=2), axis=1, kind="stable")
    gram = np.take_along_axis(np.take_along_axis(gram, order[:, :, None], 1), order[:, None], 2)
    upper = np.linalg.cholesky(np.linalg.inv(gram)).transpose(0, 2, 1)
    rest = np.take_along_axis(matrix / scale[:, :, None], order[:, None], 2).astype(np.float64)
    most = LIMITS[dtype][1]
    stored = np.empty_like(rest)
    for column in range(rest.shape[2]):
        stored[:, :, column] = np.clip(np.rint(rest[:, :, column]), -most, most)
        error = rest[:, :, column] - stored[:, :, column]
        error /= upper[:, column, column][:, None]
        rest[:, :, column + 1 :] -= error[:, :, None] * upper[:, None, column, column + 1 :]
    back = np.argsort(order, axis=1, kind="stable")
    return np.asarray(np.take_along_axis(stored, back[:, None], 2), np.int8)


def _centred(x: Array) -> Array:
    """Without the mean, which the bias makes good."""
    exact = x.astype(np.float64)
    return np.asarray(exact - exact.mean(axis=1, keepdims=True))


def _damped(x: Array, damping: float) -> Array:
    """x.T @ x of each group, with a larger diagonal."""
    gram = x.transpose(0, 2, 1) @ x / x.shape[1]
    mean = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
    added = np.maximum(mean * damping, 1e-12)
    return np.asarray(gram + added[:, None, None] * np.eye(gram.shape[1]))
