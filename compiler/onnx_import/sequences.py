"""Sequences of tensors: lists that are known at compile time, without code of their own."""

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.arguments import constant_integers, constant_values
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.movement import joined, sliced_along
from tinyc.compiler.onnx_import.shapes import reshape
from tinyc.compiler.onnx_import.values import TensorList
from tinyc.compiler.ops.indexing import IndexMap


def read_empty(build: Builder, node: ModelNode) -> TensorList:
    return TensorList(())


def read_construct(build: Builder, node: ModelNode) -> TensorList:
    return TensorList(tuple(build.operand(node, i) for i in range(len(node.inputs))))


def read_insert(build: Builder, node: ModelNode) -> TensorList:
    items = build.sequence(node, 0)
    at = _position(build, node, 2, len(items), len(items))
    return TensorList((*items[:at], build.operand(node, 1), *items[at:]))


def read_erase(build: Builder, node: ModelNode) -> TensorList:
    items = build.sequence(node, 0)
    at = _position(build, node, 1, len(items), len(items) - 1)
    return TensorList((*items[:at], *items[at + 1 :]))


def _position(build: Builder, node: ModelNode, index: int, count: int, last: int) -> int:
    """Input `index` as a position of `count` items, up to `last`; that where it is left out."""
    given = constant_integers(build, node, index)
    at = last if given is None else given[0] if given else count + 1
    at = at + count if at < 0 else at
    if not 0 <= at <= last:
        node.malformed(f"position {at} is out of range of {count} items")
    return at


def read_at(build: Builder, node: ModelNode) -> Tensor:
    """At a position of the run: of items of one shape, by a Gather from all of them."""
    items, position = build.sequence(node, 0), build.operand(node, 1)
    if position.data is not None:
        at = int(position.data.reshape(-1)[0]) if position.elements == 1 else len(items)
        if not -len(items) <= at < len(items):
            node.malformed(f"position {at} is out of range of {len(items)} items")
        return items[at]
    if len({(t.shape, t.dtype) for t in items}) != 1 or position.elements != 1:
        node.refuse(
            "a position that is known at run time only needs items of one shape",
            "export the model with a constant position",
        )
    every = joined(build, node, tuple(_lifted(build, node, t) for t in items), 0, items[0].quant)
    shape, rank = items[0].shape, len(items[0].shape)
    picks = (None,) * rank
    attrs = IndexMap(shape, tuple(range(1, rank + 1)), picks, (0,))
    return build.add(node, "Gather", (every, build.reshaped(node, position, (1,))), attrs)


def _lifted(build: Builder, node: ModelNode, x: Tensor, axis: int = 0) -> Tensor:
    """`x` with a new axis of one."""
    return build.reshaped(node, x, (*x.shape[:axis], 1, *x.shape[axis:]))


def read_length(build: Builder, node: ModelNode) -> Tensor:
    known = node.inputs and node.inputs[0] in build.beside.sequences
    length = None if known else build.beside.lengths.get("".join(node.inputs[:1]))
    if length is None:
        length = len(build.sequence(node, 0))
    return build.constant(f"{node.name}/length", length, DType.INT64)


def read_concat_from(build: Builder, node: ModelNode) -> Tensor:
    items, lifts = build.sequence(node, 0), bool(node.integer("new_axis", 0))
    if not items:
        node.malformed("there is nothing to concatenate")
    rank = len(items[0].shape) + lifts
    axis = positive_axis(node, node.integer("axis", 0), rank)
    parts = tuple(_lifted(build, node, t, axis) for t in items) if lifts else items
    others = {(*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts}
    if not rank or len(others) != 1 or len({(len(p.shape), p.dtype) for p in parts}) != 1:
        node.malformed(f"the items {[list(p.shape) for p in items]} do not fit together")
    quants = {p.quant for p in parts}
    return joined(build, node, parts, axis, quants.pop() if len(quants) == 1 else None)


def read_split_to(build: Builder, node: ModelNode) -> TensorList | tuple[()]:
    """Of sizes that the run decides only their number is known, which SequenceLength asks for."""
    x, sizes_of_run = build.operand(node, 0), build.optional(node, 1)
    if sizes_of_run is not None and len(sizes_of_run.shape) == 1 and sizes_of_run.data is None:
        build.beside.lengths[node.outputs[0]] = sizes_of_run.elements
        return ()
    split = constant_values(build, node, 1)
    axis = positive_axis(node, node.integer("axis", 0), len(x.shape))
    if not x.shape:
        node.malformed("the input has no axes")
    size = x.shape[axis]
    if split is None:
        sizes = [1] * size
    elif split.ndim == 0:
        each = max(int(split), 1)
        sizes = [min(each, size - first) for first in range(0, size, each)]
    else:
        sizes = [int(n) for n in split]
    if sum(sizes) != size or min(sizes, default=0) < 0:
        node.malformed(f"the parts {sizes} do not make up axis {axis} of {list(x.shape)}")
    ends = np.cumsum(sizes).tolist()
    parts = [
        sliced_along(build, node, x, axis, range(end - n, end))
        for n, end in zip(sizes, ends, strict=True)
    ]
    if split is None and not node.integer("keepdims", 1):
        flat = (*x.shape[:axis], *x.shape[axis + 1 :])
        parts = [reshape(build, node, part, flat) for part in parts]
    return TensorList(tuple(parts))
