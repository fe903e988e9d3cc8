"""Operators that move elements: Transpose, Slice, Split, Concat, Pad, Expand, DepthToSpace, ..."""

import itertools
import math

import numpy as np

from tinyc.compiler.graph import DType, QParams, Tensor
from tinyc.compiler.onnx_import.arguments import constant_integers, constant_real, constant_shape
from tinyc.compiler.onnx_import.axes import positive_axes, positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.shapes import reshape
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.expand import ExpandAttrs
from tinyc.compiler.ops.indexing import IndexMap
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs

MOST_PIECES = 4  # of what is taken from an axis, as slices


def read_transpose(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    perm = node.integers("perm") or tuple(reversed(range(len(x.shape))))
    if sorted(perm) != list(range(len(x.shape))):
        node.malformed(f"perm {list(perm)} does not fit {len(x.shape)} dimensions")
    return build.add(node, "Transpose", (x,), TransposeAttrs(perm)) if perm else x


def read_concat(build: Builder, node: ModelNode) -> Tensor:
    parts = tuple(build.operand(node, i) for i in range(len(node.inputs)))
    if len({p.dtype for p in parts}) != 1:
        node.malformed("the inputs have different element types")
    quants = {p.quant for p in parts}
    return concatenation(build, node, parts, quants.pop() if len(quants) == 1 else None)


def concatenation(
    build: Builder, node: ModelNode, parts: tuple[Tensor, ...], quant: QParams | None = None
) -> Tensor:
    """`parts` behind each other on the node's axis; a single one is itself."""
    rank = len(parts[0].shape)
    axis = positive_axis(node, node.integer("axis", 0), rank)
    others = {(*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts}
    if not rank or len(others) != 1 or len({len(p.shape) for p in parts}) != 1:
        node.malformed(f"the inputs {[list(p.shape) for p in parts]} do not fit together")
    return joined(build, node, parts, axis, quant)


def joined(
    build: Builder, node: ModelNode, parts: tuple[Tensor, ...], axis: int, quant: QParams | None
) -> Tensor:
    """`parts` that fit together, behind each other; those without elements are left out."""
    full = tuple(p for p in parts if p.elements) or parts[:1]
    if len(full) == 1:
        return full[0]
    return build.add(node, "Concat", full, ConcatAttrs(axis), quant=quant)


def read_slice(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    starts = node.integers("starts") or constant_integers(build, node, 1)
    ends = node.integers("ends") or constant_integers(build, node, 2)
    axes = node.integers("axes") or constant_integers(build, node, 3)
    steps = constant_integers(build, node, 4)
    if starts is None or ends is None:
        node.malformed("starts or ends are missing")
    axes = positive_axes(node, axes or tuple(range(len(starts))), len(x.shape))
    steps = steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        node.malformed("starts, ends, axes and steps do not fit together")
    ranges = [range(n) for n in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        ranges[axis] = range(x.shape[axis])[start:end:step]
    return sliced(build, node, x, ranges)


def sliced(build: Builder, node: ModelNode, x: Tensor, ranges: list[range]) -> Tensor:
    """The elements of `x` at these places along each axis."""
    attrs = SliceAttrs(
        tuple(r.start for r in ranges), tuple(r.step for r in ranges), tuple(map(len, ranges))
    )
    return build.add(node, "Slice", (x,), attrs)


def sliced_along(build: Builder, node: ModelNode, x: Tensor, axis: int, places: range) -> Tensor:
    """The elements of `x` at `places` of one axis."""
    ranges = [range(n) for n in x.shape]
    ranges[axis] = places
    return sliced(build, node, x, ranges)


def read_split(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    x, count = build.operand(node, 0), len(node.outputs)
    axis = positive_axis(node, node.integer("axis", 0), len(x.shape))
    sizes = node.integers("split") or constant_integers(build, node, 1)
    if not x.shape:
        node.malformed("the input has no axes")
    if sizes is None:
        each = -(-x.shape[axis] // max(count, 1))
        sizes = tuple(min(each, x.shape[axis] - i * each) for i in range(count))
    if len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes, default=0) < 0:
        node.malformed(f"the parts {list(sizes)} do not make up axis {axis} of {list(x.shape)}")
    ends = np.cumsum(sizes).tolist()
    return tuple(
        sliced_along(build, node, x, axis, range(end - size, end))
        for size, end in zip(sizes, ends, strict=True)
    )


def read_pad(build: Builder, node: ModelNode) -> Tensor:
    """What negative pads take away is taken first."""
    x, mode = build.operand(node, 0), node.text("mode", "constant")
    pads = node.integers("pads") or constant_integers(build, node, 1)
    if pads is None:
        node.malformed("the pads are missing")
    rank = len(x.shape)
    axes = constant_integers(build, node, 3)
    axes = tuple(range(rank)) if axes is None else positive_axes(node, axes, rank)
    if len(pads) != 2 * len(axes) or mode not in ("constant", "edge", "reflect", "wrap"):
        node.refuse(f"{len(pads)} pads of mode '{mode}' are not supported")
    every = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        every[axis] = (pads[i], pads[i + len(axes)])
    kept = [range(max(-b, 0), n - max(-e, 0)) for (b, e), n in zip(every, x.shape, strict=True)]
    if any(b < 0 or e < 0 for b, e in every):
        x = sliced(build, node, x, kept)
        every = [(max(b, 0), max(e, 0)) for b, e in every]
    if not any(map(any, every)):
        return x
    if mode == "constant":
        return _pad_with_value(build, node, x, every)
    if any(any(p) and not n for p, n in zip(every, x.shape, strict=True)):
        node.malformed(f"there is nothing to pad {list(x.shape)} with")
    far = any(max(p) >= n for p, n in zip(every, x.shape, strict=True))
    if mode == "wrap" or (mode == "reflect" and far):
        for axis, pad in enumerate(every):
            places = np.pad(np.arange(x.shape[axis]), pad, "wrap" if mode == "wrap" else "reflect")
            x = taken(build, node, x, axis, places.tolist()) if any(pad) else x
        return x
    return build.add(node, "Pad", (x,), PadAttrs(tuple(every), mode))


def _pad_with_value(
    build: Builder, node: ModelNode, x: Tensor, pads: list[tuple[int, int]]
) -> Tensor:
    border = build.optional(node, 2)
    if border is not None and build.real_constant(border) is None:
        return _pad_with_activation(build, node, x, pads, border)
    value = constant_real(build, node, 2, node.real("value", 0.0))
    if x.quant is not None:
        value = (value - x.quant.zero_point[0]) * x.quant.scale[0]
    return build.add(node, "Pad", (x,), PadAttrs(tuple(pads), "constant", value))


def _pad_with_activation(
    build: Builder, node: ModelNode, x: Tensor, pads: list[tuple[int, int]], border: Tensor
) -> Tensor:
    """A border whose value is known at run time: a Concat along each axis."""
    if border.elements != 1 or border.dtype != x.dtype:
        node.malformed(f"a border of {border.dtype}{list(border.shape)} for {x.dtype}")
    one = build.reshaped(node, border, (1,) * len(x.shape))
    for axis, sizes in enumerate(pads):
        shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes]
        before, after = (expanded(build, node, one, shape) for shape in shapes)
        x = joined(build, node, (before, x, after), axis, x.quant)
    return x


def taken(build: Builder, node: ModelNode, x: Tensor, axis: int, places: list[int]) -> Tensor:
    """The elements of `x` at `places` of one axis; of several runs, these behind each other."""
    steps = {b - a for a, b in itertools.pairwise(places)}
    if len(steps) <= 1 and steps != {0}:
        step = steps.pop() if steps else 1
        run = range(places[0], places[-1] + step, step) if places else range(0)
        return sliced_along(build, node, x, axis, run)
    starts = [i for i in range(len(places)) if i == 0 or places[i] != places[i - 1] + 1]
    if len(starts) > MOST_PIECES:
        indices = build.constant(f"{node.name}/indices", places, DType.INT64)
        walks = tuple(None if i == axis else i for i in range(len(x.shape)))
        picks = tuple(0 if i == axis else None for i in range(len(x.shape)))
        shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
        return build.add(node, "Gather", (x, indices), IndexMap(shape, walks, picks, (axis,)))
    pieces = tuple(
        sliced_along(build, node, x, axis, range(places[first], places[first] + end - first))
        for first, end in zip(starts, [*starts[1:], len(places)], strict=True)
    )
    return joined(build, node, pieces, axis, x.quant)


def read_expand(build: Builder, node: ModelNode) -> Tensor:
    x, wanted = build.operand(node, 0), constant_shape(build, node, 1)
    if wanted is None or min(wanted, default=1) < 0:
        node.malformed("the shape is missing or negative")
    try:
        shape = np.broadcast_shapes(x.shape, wanted)
    except ValueError:
        node.malformed(f"{list(x.shape)} cannot become {list(wanted)}")
    return expanded(build, node, x, shape)


def expanded(build: Builder, node: ModelNode, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    if x.elements == math.prod(shape):
        return build.reshaped(node, x, shape)
    return build.add(node, "Expand", (x,), ExpandAttrs(shape))


def read_tile(build: Builder, node: ModelNode) -> Tensor:
    """[n, m] by [a, b]: [1, n, 1, m] is expanded to [a, n, b, m]."""
    x, repeats = build.operand(node, 0), constant_integers(build, node, 1)
    if repeats is None or len(repeats) != len(x.shape) or min(repeats, default=0) < 0:
        node.malformed("the repeats do not fit the input")
    shape = tuple(n * m for n, m in zip(x.shape, repeats, strict=True))
    if shape == x.shape:
        return x
    pairs = list(zip(repeats, x.shape, strict=True))
    apart = build.reshaped(node, x, tuple(n for _, size in pairs for n in (1, size)))
    every = expanded(build, node, apart, tuple(n for pair in pairs for n in pair))
    return reshape(build, node, every, shape)


def read_depth_to_space(build: Builder, node: ModelNode) -> Tensor:
    x, b = build.operand(node, 0), node.integer("blocksize", 0)
    if len(x.shape) != 4 or b < 1 or x.shape[1] % (b * b):
        node.malformed(f"a block size of {b} does not fit {list(x.shape)}")
    n, c, h, w = x.shape
    rows_first = node.text("mode", "DCR") == "DCR"
    split = (n, b, b, c // (b * b), h, w) if rows_first else (n, c // (b * b), b, b, h, w)
    perm = (0, 3, 4, 1, 5, 2) if rows_first else (0, 1, 4, 2, 5, 3)
    y = build.reshaped(node, x, split)
    y = build.layout(node, "Transpose", y, TransposeAttrs(perm))
    return reshape(build, node, y, (n, c // (b * b), h * b, w * b))


def read_space_to_depth(build: Builder, node: ModelNode) -> Tensor:
    x, b = build.operand(node, 0), node.integer("blocksize", 0)
    if len(x.shape) != 4 or b < 1 or x.shape[2] % b or x.shape[3] % b:
        node.malformed(f"a block size of {b} does not fit {list(x.shape)}")
    n, c, h, w = x.shape
    perm = (0, 3, 5, 1, 2, 4) if node.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    y = build.reshaped(node, x, (n, c, h // b, b, w // b, b))
    y = build.layout(node, "Transpose", y, TransposeAttrs(perm))
    return reshape(build, node, y, (n, c * b * b, h // b, w // b))
