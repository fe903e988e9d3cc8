"""How weights and activations lie for the blocks of a matrix product in assembly.

Products are taken in groups of 4: activations x0..x3, weights w0..w3 of one channel. A group of
activations becomes two words of signed halfwords, a group of weights words that SMLAD multiplies
them by. There are two forms.

wide     activations (x0, x2) and (x1, x3), weights the same as int16: two SMLAD, two loads. Takes
         twice the flash.

paired   weights are one word of int8, w0 + 128, w1, w2 + 128, w3: read as halfwords it is
         h = 256 * w1 + (w0 + 128), and SXTB16 rotated by 8 takes w1 and w3 out of it. With the
         activations a = (x0, x2) and v = (x1 - 128 - 256 * x0, x3 - 128 - 256 * x2),

             a * h + v * w1 = x0 * w0 + x1 * w1 + 128 * x0 - 128 * w1

         The sum of 128 * w1 is known beforehand and lies in the bias; 128 * x0 + 128 * x2 is the
         same for all channels, and is summed while the activations are expanded. v takes two
         instructions: REV16 of the bytes, then an exclusive or with 0xff80ff80.

Sums wrap modulo 2^32 on the way; the result fits again. A stream holds for every block of channels

    biases (int32);  for every group the words of all channels (wide: those of x0, x2 first);
    multipliers (int32, the narrow form of ops/fixed_point.py), unless all are the same
"""

from collections.abc import Sequence

import numpy as np

from tinyc.compiler.graph import Array, read_only

GROUP = 4  # products that are expanded together
PAIRED_OFFSET = 128


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
        bias = bias + PAIRED_OFFSET * weights[:, 1::2].astype(np.int64).sum(axis=1)
    parts = []
    for block in blocks:
        channels = list(block)
        groups = weights[channels].astype(np.int8).reshape(len(channels), -1, GROUP)
        parts.append(bias[channels].astype("<i4").tobytes())
        parts.append(_wide(groups) if wide else _paired(groups))
        if multipliers is not None:
            own = np.broadcast_to(multipliers, weights.shape[:1])[channels]
            parts.append(own.astype("<i4").tobytes())
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def _wide(groups: Array) -> bytes:
    """[channels, groups, 4] as halfwords: of a group, (w0, w2) of every channel, then (w1, w3)."""
    halves = groups[:, :, [0, 2, 1, 3]].reshape(*groups.shape[:2], 2, 2)
    return halves.transpose(1, 2, 0, 3).astype("<i2").tobytes()


def _paired(groups: Array) -> bytes:
    """[channels, groups, 4] as bytes, the even ones raised by 128."""
    raised = groups.view(np.uint8) ^ np.array([0x80, 0, 0x80, 0], np.uint8)
    return raised.transpose(1, 0, 2).tobytes()
