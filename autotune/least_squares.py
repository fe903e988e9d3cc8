"""Least squares with coefficients that are not negative (Lawson and Hanson 1974, chapter 23)."""

import numpy as np

from tinyc.compiler.graph import Array

RIDGE = 1e-9  # of columns with length 1: those that are alike share
ENOUGH = 1e-7  # of the largest slope at the start
MOST_STEPS = 200


def nonnegative(rows: Array, goal: Array) -> Array:
    """The x >= 0 for which rows @ x is nearest to goal: float64 [columns]."""
    lengths = np.linalg.norm(rows, axis=0)
    scales = np.where(lengths > 0, lengths, 1)
    rows = rows / scales
    squares, slopes = rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ goal
    x, free = np.zeros(len(slopes)), np.zeros(len(slopes), np.bool_)
    for _ in range(MOST_STEPS):
        gains = np.where(free, -1, slopes - squares @ x)
        best = int(np.argmax(gains))
        if gains[best] <= ENOUGH * np.abs(slopes).max():
            break
        free[best] = True
        x = _inside(squares, slopes, x, free)
    return np.asarray(x / scales)


def _inside(squares: Array, slopes: Array, x: Array, free: Array) -> Array:
    """The best of the free ones; one that would be negative becomes 0 (and `free` says so)."""
    while True:
        found = np.zeros(len(x))
        found[free] = np.linalg.solve(squares[np.ix_(free, free)], slopes[free])
        below = free & (found <= 0)
        if not below.any():
            return found
        step = np.min(x[below] / (x[below] - found[below]))
        x = x + step * (found - x)
        free &= x > 1e-14
        x = np.where(free, x, 0)
