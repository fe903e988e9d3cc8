"""Loop nests over strided tensors: what moving, broadcasting and reducing share."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tinyc.compiler.graph import Shape
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.row_range import RowRange

INDEX_NAMES = "ijklmnpq"


def dense_strides(shape: Shape) -> list[int]:
    """Elements between neighbours along each axis of a row-major tensor."""
    strides = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return strides


def broadcast_strides(shape: Shape, to: Shape) -> list[int]:
    """The strides of a tensor of `shape` read as one of shape `to`; 0 where it is repeated."""
    lead = len(to) - len(shape)
    own = dense_strides(shape)
    return [
        0 if axis < lead or shape[axis - lead] == 1 else own[axis - lead] for axis in range(len(to))
    ]


def strided_nest(
    shape: Shape,
    strides: Sequence[Sequence[int]],
    starts: Sequence[Any],
    body: Callable[..., Iterable[Any]],
    names: str = INDEX_NAMES,
    rows: RowRange | None = None,
) -> list[Any]:
    """Loops over `shape`, or some rows of it; `body` gets one flat index for each of `strides`.

    Axes of one element vanish, and neighbouring axes that are one run everywhere are one loop.
    """
    extents: list[Any] = list(shape)
    if rows is not None and rows.parameters:
        begin, end = rows.parameters
        extents[1] = end - begin
        starts = [start + begin * s[1] for start, s in zip(starts, strides, strict=True)]
    merged: list[tuple[Any, tuple[int, ...]]] = []
    for extent, steps in zip(extents, zip(*strides, strict=True), strict=True):
        if isinstance(extent, int) and extent == 1:
            continue
        if (
            merged
            and isinstance(extent, int)
            and all(a == s * extent for a, s in zip(merged[-1][1], steps, strict=True))
        ):
            merged[-1] = (merged[-1][0] * extent, steps)
        else:
            merged.append((extent, steps))

    def nest(depth: int, indices: tuple[Any, ...]) -> list[Any]:
        if depth == len(merged):
            return list(body(*indices))
        extent, steps = merged[depth]
        return [
            loops.loop(
                names[depth],
                extent,
                lambda i: nest(
                    depth + 1, tuple(at + i * s for at, s in zip(indices, steps, strict=True))
                ),
            )
        ]

    return nest(0, tuple(loops.const(s) if isinstance(s, int) else s for s in starts))


def copy_nest(
    source: Any,
    result: Any,
    shape: Shape,
    read: Sequence[int],
    write: Sequence[int],
    read_start: int = 0,
    write_start: int = 0,
    rows: RowRange | None = None,
) -> list[Any]:
    """result[write_start + i . write] = source[read_start + i . read] for every i in `shape`."""

    def move(at: Any, to: Any) -> list[Any]:
        return [loops.store(result, to, loops.load(source, at))]

    return strided_nest(shape, (read, write), (read_start, write_start), move, rows=rows)
