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

nibbles  the paired form of weights of 4 bits, u = w + z in 0..15: a word has a group of two
         channels, u1, u0, u3, u2 of the first in the low halves of its bytes, of the second in the
         others. Two masks give words of h = 256 * u0 + u1, UXTB16 takes u1 and u3 out; every pixel
         takes 256 * z times the sum of its activations off its accumulators

Sums wrap modulo 2^32 on the way; the result fits again. Both forms requantize by the definition of
ops/fixed_point.py, the paired one with nested floors:

    floor((acc * m + 2^31) / 2^32) = floor((floor(256 * acc * m / 2^32) + 2^7) / 2^8)

A stream holds for every block of channels

    biases (int32);  for every group the words of all channels (wide: those of x0, x2 first);
    multipliers (int32, the narrow form of ops/fixed_point.py), unless all are the same
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only

GROUP = 4  # products that are expanded together
LIMIT = 1 << 23  # of accumulators of the paired form


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Channels of a layer: weights int8 [channels, K], K % 4 == 0; a bias and a multiplier each.

    They compute floor(((x @ weights.T + bias) * multiplier + 2^31) / 2^32).
    """

    weights: Array
    bias: Array
    multipliers: Array


def for_pairs(products: Products) -> Products | None:
    """The same function of int8 activations within the limits of the paired form; None: beyond.

    A channel whose result never changes gets weights of zero: exporters write such channels with a
    huge bias and a tiny scale.
    """
    p = products
    least, most = _extremes(p)
    results = [(end * p.multipliers.astype(np.int64) + (1 << 31)) >> 32 for end in (least, most)]
    settled = results[0] == results[1]
    if settled.any():
        p = Products(
            np.where(settled[:, None], 0, p.weights).astype(np.int8),
            np.where(settled, 4 * np.clip(results[0], -1024, 1023), p.bias),
            np.where(settled, 1 << 30, p.multipliers),  # (4 * result * 2^30 + 2^31) / 2^32
        )
        least, most = _extremes(p)
    fits = most.max() < LIMIT and least.min() >= -LIMIT
    return p if fits and _halves(p.weights).min(initial=0) >= -(1 << 15) else None


def _extremes(products: Products) -> tuple[Array, Array]:
    """The least and the most that each channel's accumulator can become."""
    whole, bias = products.weights.astype(np.int64), products.bias.astype(np.int64)
    low, high = -128 * whole, 127 * whole
    return (
        np.asarray(bias + np.minimum(low, high).sum(axis=1)),
        np.asarray(bias + np.maximum(low, high).sum(axis=1)),
    )


def packed_stream(
    products: Products, blocks: Sequence[Sequence[int]], wide: bool, with_multipliers: bool = True
) -> Array:
    """The stream of the module's text, as bytes; `blocks` are the channels of each block."""
    weights, bias = products.weights, products.bias.astype(np.int64)
    if not wide:
        bias = 256 * bias - 127 * weights[:, 1::2].astype(np.int64).sum(axis=1)
    parts = []
    for block in blocks:
        channels = list(block)
        parts.append(bias[channels].astype("<i4").tobytes())
        parts.append((_wide if wide else _paired)(weights[channels]))
        if with_multipliers:
            parts.append(products.multipliers[channels].astype("<i4").tobytes())
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def packed_nibbles(products: Products, blocks: Sequence[Sequence[int]], zero: int) -> Array:
    """The same of weights -zero..15 - zero, in the form of nibbles; blocks of even length."""
    whole = products.weights.astype(np.int64) + zero
    assert whole.min() >= 0 and whole.max() < 16, "weights of 4 bits"
    bias = 256 * products.bias.astype(np.int64) - 127 * whole[:, 1::2].sum(axis=1)
    parts = []
    for block in blocks:
        channels = list(block)
        ordered = whole[channels].reshape(len(channels) // 2, 2, -1, 2)[..., ::-1]
        halves = ordered.reshape(len(channels) // 2, 2, -1, GROUP)
        both = (halves[:, 0] | halves[:, 1] << 4).transpose(1, 0, 2).astype(np.uint8)
        words = bias[channels].astype(np.uint32).astype("<u4")
        parts += [words.tobytes(), both.tobytes()]
        parts.append(products.multipliers[channels].astype("<i4").tobytes())
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
