"""Indices that are values: how Gather and Scatter find the elements that an index names."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, DType, Shape, Tensor, constant
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import dense_strides
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.op import Call

OUTSIDE = -1  # in the place of an index that names no element
LOCALS = "rstuvw"  # loops inside of those over the indices


@dataclass(frozen=True, slots=True)
class IndexMap:
    """A loop over `shape`, that of a Gather's output or of a Scatter's updates.

    walks  for each axis of the loop, the axis of the tensor that it runs along; None: none
    picks  for each axis of the loop, the axis of the indices that it runs along; None: none
    axes   the axes of the tensor that indices are for; the last axis of the indices holds one for
           each of them, unless all axes of the indices are picked
    wraps  an index beyond the end counts from the beginning again
    """

    shape: Shape
    walks: tuple[int | None, ...]
    picks: tuple[int | None, ...]
    axes: tuple[int, ...]
    wraps: bool = False


def along(tensor: Tensor, axes: tuple[int | None, ...]) -> list[int]:
    """The strides of `tensor` for loops that run along its `axes`."""
    strides = dense_strides(tensor.shape)
    return [0 if axis is None else strides[axis] for axis in axes]


def outer_axes(index_map: IndexMap) -> int:
    """How many axes of the loop come before those that no index depends on."""
    picked = [i for i, axis in enumerate(index_map.picks) if axis is not None]
    return max(picked, default=-1) + 1


def check_indices(tensor: Tensor) -> None:
    """Raises CompileError unless `tensor` can hold indices."""
    check_type("indices", tensor, (DType.INT32, DType.INT64))


def coordinates(index_map: IndexMap, tensor: Tensor, places: Array) -> tuple[Array, ...]:
    """For each axis of `tensor` where the loop is.

    places  the indices, counted from the front
    """
    grid = np.indices(index_map.shape, sparse=True)
    picked = {axis: grid[i] for i, axis in enumerate(index_map.picks) if axis is not None}
    walked = {axis: grid[i] for i, axis in enumerate(index_map.walks) if axis is not None}
    at = tuple(picked[axis] for axis in sorted(picked))
    if places.ndim == len(at):
        places = places[..., np.newaxis]
    found = {axis: places[(*at, number)] for number, axis in enumerate(index_map.axes)}
    return tuple({**walked, **found}[axis] for axis in range(len(tensor.shape)))


def places_of(index_map: IndexMap, tensor: Tensor, indices: Array, outside: bool) -> Array:
    """Indices counted from the front; one out of range is the nearest, or OUTSIDE."""
    sizes = np.array([tensor.shape[axis] for axis in index_map.axes], np.int64)
    sizes = sizes if len(sizes) > 1 else sizes.reshape(())
    wide = indices.astype(np.int64)
    if index_map.wraps:
        return np.asarray(wide % sizes)
    front = np.where(wide < 0, wide + sizes, wide)
    if outside:
        return np.where((front < 0) | (front >= sizes), OUTSIDE, front)
    return np.clip(front, 0, sizes - 1)


def stored_indices(index_map: IndexMap, call: Call, outside: bool) -> Tensor:
    """The indices; constants as the kernel keeps them: counted from the front, in few bytes."""
    x, indices = call.inputs[0], call.inputs[1]
    if indices.data is None:
        return indices
    places = places_of(index_map, x, indices.data, outside)
    low, high = places.min(initial=0), places.max(initial=0)
    kinds = (DType.UINT8, DType.UINT16, DType.INT32)
    fitting = (k for k in kinds if k.limits[0] <= low and high <= k.limits[1])
    return constant(indices.name, places, next(fitting))


CLAMPED = Microkernel(
    "tinyc_clamped_index",
    """\
/* An index counted from the front, where a negative one counts from the end; the nearest inside. */
static inline int32_t tinyc_clamped_index(int64_t index, int32_t size) {
  const int64_t front = (index < 0) ? index + size : index;
  return (front < 0) ? 0 : (front < size) ? (int32_t)front : size - 1;
}
""",
)

CHECKED = Microkernel(
    "tinyc_checked_index",
    """\
/* An index counted from the front, where a negative one counts from the end; -1 when outside. */
static inline int32_t tinyc_checked_index(int64_t index, int32_t size) {
  const int64_t front = (index < 0) ? index + size : index;
  return (front >= 0 && front < size) ? (int32_t)front : -1;
}
""",
)

WRAPPED = Microkernel(
    "tinyc_wrapped_index",
    """\
/* An index of a ring of `size` elements. */
static inline int32_t tinyc_wrapped_index(int64_t index, int32_t size) {
  const int32_t rest = (int32_t)(index % size);
  return (rest < 0) ? rest + size : rest;
}
""",
)


def place(function: Microkernel, index: Any, size: int) -> Any:
    """The place of the runtime value `index` on an axis of `size`."""
    return loops.call(function.name, index.astype("int64"), loops.const(size))
