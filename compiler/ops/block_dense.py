"""BlockDense: Dense of floats by weights of a few bits that have a scale for each block of a row.

y = clamp(x @ w'.T + b), w'[i, j] = (w[i, j] - zeros[i, j / block]) * scales[i, j / block]

x [..., k] real; constants: w [n, k] uint4 or uint8, scales [n, blocks] float32, zeros [n, blocks]
uint8, and b [n] float32 or absent.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.kernels import block_scales
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.op import Call, Op, Type

BEFORE_BIAS = 4  # inputs
MULTIPLE = block_scales.GROUP  # of which blocks are


@dataclass(frozen=True, slots=True)
class BlockDenseAttrs:
    """block: weights of a row that share a scale; clamp: real bounds of the result."""

    block: int
    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, w = inputs[:2]
    check_type("BlockDense", x, (DType.FLOAT32,))
    return (((*x.shape[:-1], w.shape[0]), x.dtype),)


def real_weights(w: Array, scales: Array, zeros: Array, block: int) -> Array:
    """float64 [n, k]."""
    whole = w.astype(np.float64)
    spread = [np.repeat(v, block, axis=1)[:, : w.shape[1]] for v in (zeros, scales)]
    return np.asarray((whole - spread[0]) * spread[1])


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, w, scales, zeros, *bias = arrays
    clamp = call.attrs.clamp
    y = x.astype(np.float64) @ real_weights(w, scales, zeros, call.attrs.block).T
    y = y + bias[0] if bias else y
    return (np.clip(y, clamp.low, clamp.high).astype(np.float32),)


def macs(call: Call) -> int:
    return call.output.elements * call.inputs[1].shape[1]


BLOCK_DENSE = Op("BlockDense", infer, reference, block_scales.kernel, macs=macs)
