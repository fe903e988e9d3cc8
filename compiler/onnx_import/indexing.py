"""Operators with indices: the Gather and Scatter families, OneHot, Trilu, ReverseSequence, ..."""

from collections.abc import Callable
from typing import NoReturn

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.arguments import constant_values
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.movement import taken
from tinyc.compiler.onnx_import.shapes import reshape
from tinyc.compiler.ops.indexing import IndexMap
from tinyc.compiler.ops.one_hot import OneHotAttrs
from tinyc.compiler.ops.scatter import REDUCTIONS, ScatterAttrs
from tinyc.compiler.ops.triangle import TriangleAttrs


def _checked(node: ModelNode, x: Tensor, indices: Tensor, axes: tuple[int, ...]) -> None:
    """Refuse constant indices that are out of range, and what can be no index."""
    if indices.dtype not in (DType.INT32, DType.INT64):
        node.malformed(f"the indices are {indices.dtype}")
    if indices.data is None:
        return
    sizes = np.array([x.shape[axis] for axis in axes], np.int64)
    values = np.atleast_1d(indices.data.astype(np.int64))
    wrong = values[(values < -sizes) | (values >= sizes)]
    if wrong.size:
        node.malformed(f"the index {wrong[0]} is out of range for {list(x.shape)}")


def read_gather(build: Builder, node: ModelNode) -> Tensor:
    x, indices = build.operand(node, 0), build.operand(node, 1)
    if not x.shape:
        node.malformed("the input has no axes")
    axis = positive_axis(node, node.integer("axis", 0), len(x.shape))
    return gathered(build, node, x, indices, axis)


def gathered(build: Builder, node: ModelNode, x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Parts of `x` along `axis`, as many as there are indices."""
    _checked(node, x, indices, (axis,))
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if indices.data is not None:
        size = x.shape[axis]
        y = taken(build, node, x, axis, [int(i) % size for i in indices.data.reshape(-1)])
        return y if shape == y.shape else reshape(build, node, y, shape)
    before, after = range(axis), range(axis + 1, len(x.shape))
    walks = (*before, *(None for _ in indices.shape), *after)
    picks = (*(None for _ in before), *range(len(indices.shape)), *(None for _ in after))
    return build.add(node, "Gather", (x, indices), IndexMap(shape, walks, picks, (axis,)))


def _elements_map(node: ModelNode, x: Tensor, indices: Tensor) -> IndexMap:
    """Where GatherElements and ScatterElements go: each index replaces one coordinate."""
    rank = len(x.shape)
    axis = positive_axis(node, node.integer("axis", 0), rank)
    fits = len(indices.shape) == rank and all(
        i == axis or n <= m for i, (n, m) in enumerate(zip(indices.shape, x.shape, strict=True))
    )
    if not rank or not fits:
        node.malformed(f"indices {list(indices.shape)} do not fit {list(x.shape)}")
    _checked(node, x, indices, (axis,))
    walks = tuple(None if i == axis else i for i in range(rank))
    return IndexMap(indices.shape, walks, tuple(range(rank)), (axis,))


def read_gather_elements(build: Builder, node: ModelNode) -> Tensor:
    x, indices = build.operand(node, 0), build.operand(node, 1)
    return build.add(node, "Gather", (x, indices), _elements_map(node, x, indices))


def _slices_map(node: ModelNode, x: Tensor, indices: Tensor, batch: int) -> IndexMap:
    """Where GatherND and ScatterND go: the last axis of the indices holds coordinates."""
    rank, lead = len(x.shape), len(indices.shape) - 1
    count = indices.shape[-1] if indices.shape else 0
    fits = 0 <= batch <= lead and 1 <= count <= rank - batch
    if not fits or indices.shape[:batch] != x.shape[:batch]:
        node.malformed(f"indices {list(indices.shape)} do not fit {list(x.shape)}")
    axes = tuple(range(batch, batch + count))
    _checked(node, x, indices, axes)
    rest = range(batch + count, rank)
    return IndexMap(
        (*indices.shape[:-1], *x.shape[batch + count :]),
        (*range(batch), *(None for _ in range(lead - batch)), *rest),
        (*range(lead), *(None for _ in rest)),
        axes,
    )


def read_gather_nd(build: Builder, node: ModelNode) -> Tensor:
    x, indices = build.operand(node, 0), build.operand(node, 1)
    index_map = _slices_map(node, x, indices, node.integer("batch_dims", 0))
    return build.add(node, "Gather", (x, indices), index_map)


def scatter(
    index_map: Callable[[ModelNode, Tensor, Tensor], IndexMap],
) -> Callable[[Builder, ModelNode], Tensor]:
    """The reader of ScatterElements or ScatterND."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x, indices, updates = (build.operand(node, i) for i in range(3))
        reduction, where = node.text("reduction", "none"), index_map(node, x, indices)
        if reduction not in REDUCTIONS or updates.shape != where.shape:
            node.malformed(f"updates {list(updates.shape)} by '{reduction}' at {list(where.shape)}")
        if not updates.elements:
            return x
        return build.add(
            node, "Scatter", (x, indices, updates), ScatterAttrs(where, reduction), quant=x.quant
        )

    return read


read_scatter_elements = scatter(_elements_map)
read_scatter_nd = scatter(lambda node, x, indices: _slices_map(node, x, indices, 0))


def read_tensor_scatter(build: Builder, node: ModelNode) -> Tensor:
    """A cache [batch, ..., length, ...] with new entries from index write_indices[batch] on."""
    cache, update, begins = build.operand(node, 0), build.operand(node, 1), build.optional(node, 2)
    axis = positive_axis(node, node.integer("axis", -2), len(cache.shape))
    inner = (*cache.shape[:axis], *cache.shape[axis + 1 :])
    fits = axis > 0 and (*update.shape[:axis], *update.shape[axis + 1 :]) == inner
    if not fits or update.shape[axis] > cache.shape[axis]:
        node.malformed(f"an update {list(update.shape)} does not fit {list(cache.shape)}")
    batch, count = update.shape[0], update.shape[axis]
    if begins is None:
        begins = build.constant(f"{node.name}/begin", np.zeros(batch), DType.INT64)
    steps = build.constant(f"{node.name}/steps", np.arange(count), DType.INT64)
    places = build.binary(node, "Add", build.reshaped(node, begins, (batch, 1)), steps)
    rank = len(cache.shape)
    walks = tuple(None if i == axis else i for i in range(rank))
    picks = tuple({0: 0, axis: 1}.get(i) for i in range(rank))
    wraps = node.text("mode", "linear") == "circular"
    attrs = ScatterAttrs(IndexMap(update.shape, walks, picks, (axis,), wraps))
    return build.add(node, "Scatter", (cache, places, update), attrs, quant=cache.quant)


def read_one_hot(build: Builder, node: ModelNode) -> Tensor:
    indices, values = build.operand(node, 0), build.operand(node, 2)
    depth = constant_values(build, node, 1)
    if depth is None or depth.size != 1 or values.shape != (2,):
        node.malformed("the depth is no number, or the values are not two")
    rank = len(indices.shape) + 1
    axis = positive_axis(node, node.integer("axis", -1), rank)
    attrs = OneHotAttrs(int(depth.reshape(-1)[0]), axis)
    if attrs.depth < 0:
        node.malformed(f"the depth is {attrs.depth}")
    return build.add(node, "OneHot", (indices, values), attrs)


def read_trilu(build: Builder, node: ModelNode) -> Tensor:
    x, diagonal = build.operand(node, 0), build.optional(node, 1)
    if len(x.shape) < 2:
        node.malformed(f"{list(x.shape)} has no matrices")
    if diagonal is None:
        diagonal = build.constant(f"{node.name}/diagonal", 0, DType.INT64)
    attrs = TriangleAttrs(bool(node.integer("upper", 1)))
    return build.add(node, "Triangle", (x, diagonal), attrs)


def read_reverse_sequence(build: Builder, node: ModelNode) -> Tensor:
    """Step t of a sequence of n is its step n - 1 - t; what is behind its end stays."""
    x, lengths = build.operand(node, 0), build.operand(node, 1)
    time, batch = node.integer("time_axis", 0), node.integer("batch_axis", 1)
    if {time, batch} != {0, 1} or len(x.shape) < 2 or lengths.shape != (x.shape[batch],):
        node.malformed(f"axes {time} and {batch}, lengths {list(lengths.shape)}")
    steps = build.constant(f"{node.name}/steps", np.arange(x.shape[time]) + 1, DType.INT64)
    back = build.binary(node, "Sub", build.reshaped(node, lengths, (x.shape[batch], 1)), steps)
    zero = build.constant(f"{node.name}/zero", 0, DType.INT64)
    stay = build.constant(f"{node.name}/stay", np.arange(x.shape[time]), DType.INT64)
    inside = build.binary(node, "GreaterOrEqual", back, zero)
    places = build.add(node, "Where", (inside, back, stay))
    walks = tuple(None if i == time else i for i in range(len(x.shape)))
    picks: tuple[int | None, ...] = (1, 0) if time == 0 else (0, 1)
    picks += (None,) * (len(x.shape) - 2)
    return build.add(node, "Gather", (x, places), IndexMap(x.shape, walks, picks, (time,)))


def read_compress(build: Builder, node: ModelNode) -> Tensor:
    x, chosen = build.operand(node, 0), build.operand(node, 1)
    if chosen.data is None:
        open_ended(build, node)
    flat = "axis" not in node.attributes
    if flat:
        x = build.reshaped(node, x, (x.elements,))
    axis = 0 if flat else positive_axis(node, node.integer("axis", 0), len(x.shape))
    places = [int(i) for i in np.flatnonzero(chosen.data)]
    if max(places, default=-1) >= (x.shape or (0,))[axis]:
        node.malformed(f"the condition is longer than axis {axis} of {list(x.shape)}")
    return taken(build, node, x, axis, places)


def open_ended(build: Builder, node: ModelNode) -> NoReturn:
    """The reader of operators whose output has a shape that depends on values."""
    node.refuse(
        "the shape of its output depends on values that are known at run time only",
        "end the model before it, and do this step in the firmware",
    )
