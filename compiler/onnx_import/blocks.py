"""Weights that are stored with a scale for each block of a row, as BlockDense keeps them."""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.ops.block_dense import MULTIPLE


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Stored weights of 0 and more, and the scales and zero points of blocks of each row.

    weights        uint8 [n, k]
    scales, zeros  float32 and uint8, [n, blocks]
    axis           along which the blocks lie in the model's tensor
    bits           of a weight, 4 or 8
    """

    weights: Array
    scales: Array
    zeros: Array
    block: int
    axis: int
    bits: int


def blocks_of(
    stored: Array,
    scales: Array,
    zeros: Array | None,
    block: int,
    axis: int,
    limits: tuple[int, int],
) -> Blocks | None:
    """The matrix `stored`, of values within `limits`; None where no kernel reads such blocks.

    zeros  None: 0 everywhere
    """
    low, high = limits
    if stored.ndim != 2 or block % MULTIPLE or high - low > 255:
        return None
    points = np.zeros(scales.shape) if zeros is None else zeros.astype(np.float64)
    shifted = points - low
    if (shifted != np.clip(np.rint(shifted), 0, 255)).any():
        return None
    matrices = (stored.astype(np.int16) - low, scales, shifted)
    w, s, z = matrices if axis == 1 else (m.T for m in matrices)
    bits = 4 if high - low < 16 else 8
    return Blocks(w.astype(np.uint8), s.astype(np.float32), z.astype(np.uint8), block, axis, bits)
