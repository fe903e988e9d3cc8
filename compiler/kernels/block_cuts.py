"""How pixels and channels are cut into the assembly blocks of `targets/intrinsics/arm_gemm.py`."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from tinyc.compiler.ops import loops
from tinyc.targets.intrinsics.arm_gemm import COLUMNS, MOST_PIXELS

CYCLES = {4: 1.0, 3: 1.0, 2: 1.125, 1: 1.5}  # of a product, by the pixels of a block


def first_channels(channels: int) -> list[int]:
    """The first channel of each pair; of an odd number, one of the last pair is computed again."""
    odd = channels % COLUMNS
    return [*range(0, channels - odd, COLUMNS), *([channels - COLUMNS] if odd else [])]


def widest(width: int, flat: bool) -> int:
    """The pixels of a block for which a row of `width` takes least; 4 where rows run on."""
    if flat:
        return MOST_PIXELS

    def cycles(pixels: int) -> float:
        return sum(CYCLES[p] * p * n for p, n in _cut(width, pixels))

    return min((p for p in CYCLES if p <= width), key=cycles)


def _cut(width: int, pixels: int) -> list[tuple[int, int]]:
    """Blocks of a row: of so many pixels, how many."""
    whole, rest = divmod(width, pixels)
    return [(p, n) for p, n in ((pixels, whole), (rest, 1)) if p and n]


def block_pixels(width: int, pixels: int, flat: bool) -> list[int]:
    """Pixels of the blocks that cut a row, or with `flat` any number of whole rows."""
    if not flat:
        return [p for p, _ in _cut(width, pixels)]
    return list(dict.fromkeys((pixels, math.gcd(width, pixels))))


def in_turn(
    widths: Iterable[int], first: Any, count: Any, block: Callable[[Any, int], list[Any]]
) -> list[Any]:
    """`count` neighbouring pixels from `first` on, as many of each width as fit, in turn.

    block  the statements of a block, by its first pixel and its width
    """
    lines, done = [], loops.const(0)
    for pixels in widths:
        turns = loops.quotient(count - done, pixels)
        at = first + done

        def one(p: Any, pixels: int = pixels, at: Any = at) -> list[Any]:
            return block(at + p * pixels, pixels)

        lines.append(loops.loop("p", turns, one))
        done = done + turns * pixels
    return lines
