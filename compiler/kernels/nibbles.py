"""Weights of 4 bits as words of eight in flash, and what makes bytes of them.

The low halves of a word's bytes are four neighbouring weights, the high halves the next four.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Microkernel

GROUP = 8  # weights of a word

UNPACK = Microkernel(
    "tinyc_unpack_nibbles",
    """\
/* Eight values of 4 bits from each word, as bytes: the low halves first. `offset` has 128 plus what
 * is added to a value in each of its bytes; nothing carries from one byte to the next. */
static void tinyc_unpack_nibbles(const uint32_t *from, int8_t *to, int32_t words,
    uint32_t offset) {
  for (int32_t i = 0; i < words; ++i) {
    const uint32_t both = from[i];
    const uint32_t low = ((both & 0x0f0f0f0fu) + offset) ^ 0x80808080u;
    const uint32_t high = (((both >> 4) & 0x0f0f0f0fu) + offset) ^ 0x80808080u;
    memcpy(&to[8 * i], &low, sizeof low);
    memcpy(&to[(8 * i) + 4], &high, sizeof high);
  }
}
""",
)


def packed(stored: Array, padding: Array) -> Array:
    """[channels, products] of 0..15 as words; `padding` fills up the last word of a channel."""
    channels, products = stored.shape
    whole = np.repeat(padding.astype(np.uint8)[:, None], -(-products // GROUP) * GROUP, axis=1)
    whole[:, :products] = stored
    halves = whole.reshape(channels, -1, 2, GROUP // 2)
    both = np.ascontiguousarray(halves[:, :, 0] | halves[:, :, 1] << 4)
    return read_only(both.view("<u4").reshape(-1), "uint32")


@dataclass(frozen=True, slots=True)
class Unpacking:
    """Weights in blocks, of which one at a time becomes bytes.

    words  of a block
    added  to the weights, to store them from 0 on
    """

    words: int
    added: int

    @property
    def bytes(self) -> int:
        """Of a block once it is unpacked."""
        return GROUP * self.words

    def run(self, table: Any, block: Any, to: Any) -> Any:
        """Block number `block` of the table becomes the bytes at `to`."""
        offset = loops.const((128 - self.added) * 0x01010101, "uint32")
        begin = loops.pointer(table, block * self.words)
        return loops.run(UNPACK.name, begin, to, loops.const(self.words), offset)


def packed_blocks(w: Tensor, plain: Array) -> tuple[Array, Unpacking]:
    """The table of weights with one zero point for all, whole numbers [blocks, weights]."""
    assert w.quant is not None, "4 bits are never all of a value"
    added = w.quant.zero_point[0] - w.dtype.limits[0]
    table = packed(plain + added, np.zeros(len(plain)))
    return table, Unpacking(table.size // len(plain), added)
