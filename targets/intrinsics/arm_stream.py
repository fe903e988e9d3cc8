"""How weights and activations lie for the blocks of a matrix product in assembly.

Products are taken in groups of 4: activations x0..x3, weights w0..w3 of one channel. A group of
activations becomes two words of signed halfwords, a group of weights words that SMLAD multiplies
them by. There are two forms.

wide     activations (x0, x2) and (x1, x3), weights the same as int16: takes twice the flash

paired   weights are one word, of h0 = 256 * w0 + w1 and h2 = 256 * w2 + w3; SXTB16 takes w1 and w3
         out of it. With the activations (x0, x2) and v = (256 * x1 + 127 - x0, ...), which is an
         exclusive or of the bytes with 0x007f007f,

             x0 * h0 + v * w1 = 256 * (x0 * w0 + x1 * w1) + 127 * w1

         The last term is known beforehand and lies in the bias. Accumulators are 256 times what
         they are in the wide form, so they must fit 24 bits; and w0 = -128 needs w1 >= 0.

Sums wrap modulo 2^32 on the way; the result fits again. Both forms requantize by the definition of
ops/fixed_point.py, the paired one with nested floors:

    floor((acc * m + 2^31) / 2^32) = floor((floor(256 * acc * m / 2^32) + 2^7) / 2^8)

A stream holds for every block of channels

    biases (int32);  for every group the words of all channels (wide: those of x0, x2 first);
    multipliers (int32, the narrow form of ops/fixed_point.py), unless all are the same
"""

from collections.abc import Sequence

import numpy as np

from tinyc.compiler.graph import Array, read_only

GROUP = 4  # products that are expanded together
LIMIT = 1 << 23  # of accumulators of the paired form


def fits_paired(weights: Array, bias: Array) -> bool:
    """Whether the paired form computes these int8 weights [channels, K], K even, exactly."""
    whole = weights.astype(np.int64)
    most = bias + np.maximum(-128 * whole, 127 * whole).sum(axis=1)
    least = bias + np.minimum(-128 * whole, 127 * whole).sum(axis=1)
    halves = _halves(weights)
    return bool(most.max() < LIMIT and least.min() >= -LIMIT and halves.min() >= -(1 << 15))


def packed_stream(
    weights: Array,
    bias: Array,
    multipliers: Array | None,
    blocks: Sequence[Sequence[int]],
    wide: bool,
) -> Array:
    """The stream of the module's text, as bytes.

    weights      int8 [channels, K], K % 4 == 0
    multipliers  one for each channel, or one; None: not in the stream
    blocks       the channels of each block, in order
    """
    if not wide:
        bias = 256 * bias.astype(np.int64) - 127 * weights[:, 1::2].astype(np.int64).sum(axis=1)
    parts = []
    for block in blocks:
        channels = list(block)
        parts.append(bias[channels].astype("<i4").tobytes())
        parts.append((_wide if wide else _paired)(weights[channels]))
        if multipliers is not None:
            own = np.broadcast_to(multipliers, weights.shape[:1])[channels]
            parts.append(own.astype("<i4").tobytes())
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def _wide(weights: Array) -> bytes:
    """Of a group, (w0, w2) of every channel, then (w1, w3)."""
    groups = weights.reshape(weights.shape[0], -1, 2, 2)  # channel, group, word, half
    return groups.transpose(1, 3, 0, 2).astype("<i2").tobytes()


def _paired(weights: Array) -> bytes:
    """Of a group, the word of every channel."""
    halves = _halves(weights).reshape(weights.shape[0], -1, 2)  # channel, group, half
    return halves.transpose(1, 0, 2).astype("<i2").tobytes()


def _halves(weights: Array) -> Array:
    whole = weights.astype(np.int64)
    return np.asarray(256 * whole[:, 0::2] + whole[:, 1::2])
