"""What a pool does with the cells of a window, apart from the order in which it reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Microkernel

UNROLL = 8  # cells that are written out


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """A value, or a word of four channels, for each cell.

    name          of the C function
    result        the buffer of the output
    state         local variables
    first         what each of them begins with
    take          a cell's value -> statements
    finish        the number of cells, the index of the (first) output -> statements
    kept          the element type that holds a variable of the state between two calls
    constants     tables, and `tables` their buffers
    microkernels  C functions that the statements call
    """

    name: str
    result: Any
    state: tuple[Any, ...]
    first: tuple[Any, ...]
    take: Callable[[Any], list[Any]]
    finish: Callable[[Any, Any], list[Any]]
    kept: str
    constants: tuple[Constant, ...] = ()
    tables: tuple[Any, ...] = ()
    microkernels: tuple[Microkernel, ...] = ()

    def begin(self) -> list[Any]:
        """Declares the state and sets it to what it begins with."""
        return [*loops.declare(*self.state), *self.restart()]

    def restart(self) -> list[Any]:
        return [loops.store(s, 0, v) for s, v in zip(self.state, self.first, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The rectangle of a window inside the image.

    pixel    number of its first pixel
    rows     of neighbouring pixels, and how many pixels lie between their beginnings
    columns  pixels of a row; an int where no window leaves the image to the side
    """

    pixel: Any
    rows: Any
    pitch: int
    columns: Any


def clipped(first: Any, size: int, extent: int, padded: bool) -> tuple[Any, Any]:
    """Begin and length of `size` places from `first` on that are inside; a number as it is."""
    if not padded:
        return first, size
    begin = loops.maximum(first, loops.const(0))
    return begin, loops.minimum(first + size, loops.const(extent)) - begin


def taken(cells: Cells, cell: Callable[[Any], list[Any]]) -> list[Any]:
    """Every cell, by its pixel, row by row."""

    def row(ky: Any) -> list[Any]:
        first = cells.pixel + ky * cells.pitch
        if not isinstance(cells.columns, int):
            return [loops.loop("kx", cells.columns, lambda kx: cell(first + kx))]
        turns, rest = divmod(cells.columns, UNROLL)
        lines = []
        if turns:
            lines.append(
                loops.loop("kx", turns, lambda kx: [
                    loops.unrolled("u", UNROLL, lambda u: cell(first + kx * UNROLL + u))
                ])
            )  # fmt: skip
        if rest:
            lines.append(loops.unrolled("u", rest, lambda u: cell(first + turns * UNROLL + u)))
        return lines

    return [loops.loop("ky", cells.rows, row)]
