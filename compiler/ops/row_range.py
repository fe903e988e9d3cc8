"""Rows of a [1, H, W, C] output, for kernels that compute or move element by element."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.graph import Shape, elements
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.op import ROW, Call, RowWindows


@dataclass(frozen=True, slots=True, eq=False)
class RowRange:
    """What a call of the kernel writes.

    shape       of the output
    parameters  row_begin and row_end; none: all of the output
    """

    shape: Shape
    parameters: tuple[Any, ...]

    @property
    def count(self) -> int:
        """As in `Kernel.rows`."""
        return self.shape[1] if self.parameters else 0

    def span(self, axes: int) -> tuple[Any, Any]:
        """The first index and how many, counted over the first `axes` axes together."""
        if not self.parameters:
            return loops.const(0), loops.const(elements(self.shape[:axes]))
        begin, end = self.parameters
        inner = elements(self.shape[2:axes])
        return begin * inner, (end - begin) * inner


def row_range(call: Call, possible: bool = True) -> RowRange:
    """The rows of an image of more than one; of other outputs, and where they cannot, all."""
    shape = call.output.shape
    if not possible or not is_image(shape) or shape[1] == 1:
        return RowRange(shape, ())
    return RowRange(shape, (loops.variable("row_begin"), loops.variable("row_end")))


def is_image(shape: Shape) -> bool:
    return len(shape) == 4 and shape[0] == 1


def same_rows(call: Call) -> RowWindows | None:
    """A row of the output reads that row of every input as high, and all of other inputs."""
    shape = call.output.shape
    if not is_image(shape):
        return None
    return tuple(ROW if is_image(t.shape) and t.shape[1] == shape[1] else None for t in call.inputs)
