"""Operators that move elements: Reshape and its relatives, Transpose, Slice, Pad, Concat, ..."""

import math

import numpy as np

from tinyc.compiler.graph import QParams, Shape, Tensor, elements
from tinyc.compiler.onnx_import.arguments import (
    axes_of,
    constant_integers,
    constant_real,
    constant_values,
)
from tinyc.compiler.onnx_import.building import Builder, positive_axes, positive_axis
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs

MOST_PIECES = 64  # of a Gather with scattered indices: it becomes that many slices


def read_identity(build: Builder, node: ModelNode) -> Tensor:
    return build.operand(node, 0)


def read_dropout(build: Builder, node: ModelNode) -> Tensor:
    if any(node.outputs[1:]):
        node.refuse("the output mask is not supported")
    return build.operand(node, 0)


def _reshape(build: Builder, node: ModelNode, x: Tensor, shape: Shape) -> Tensor:
    if elements(shape) != x.elements or min(shape, default=1) < 0:
        node.malformed(f"{list(x.shape)} cannot become {list(shape)}")
    return build.add(node, "Reshape", (x,), ReshapeAttrs(shape))


def read_reshape(build: Builder, node: ModelNode) -> Tensor:
    x, wanted = build.operand(node, 0), constant_integers(build, node, 1)
    if wanted is None:
        node.malformed("the shape is missing")
    if not node.integer("allowzero", 0):
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(wanted)):
            node.malformed(f"{list(x.shape)} cannot become {list(wanted)}")
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    if wanted.count(-1) == 1:
        known = math.prod(n for n in wanted if n != -1)
        rest = x.elements // known if known > 0 else 0
        wanted = tuple(rest if n == -1 else n for n in wanted)
    return _reshape(build, node, x, wanted)


def read_flatten(build: Builder, node: ModelNode) -> Tensor:
    x, axis = build.operand(node, 0), node.integer("axis", 1)
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        node.malformed(f"the axis {axis} is out of range for {rank} dimensions")
    axis = axis + rank if axis < 0 else axis
    return _reshape(build, node, x, (elements(x.shape[:axis]), elements(x.shape[axis:])))


def read_squeeze(build: Builder, node: ModelNode) -> Tensor:
    x, axes = build.operand(node, 0), axes_of(build, node)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    gone = ones if axes is None else positive_axes(node, axes, len(x.shape))
    return _reshape(build, node, x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


def read_unsqueeze(build: Builder, node: ModelNode) -> Tensor:
    x, axes = build.operand(node, 0), axes_of(build, node)
    if axes is None:
        node.malformed("the axes are missing")
    rank = len(x.shape) + len(axes)
    new, old = positive_axes(node, axes, rank), iter(x.shape)
    return _reshape(build, node, x, tuple(1 if i in new else next(old) for i in range(rank)))


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
    if len(parts) == 1:
        return parts[0]
    return build.add(node, "Concat", parts, ConcatAttrs(axis), quant=quant)


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
    return _slice(build, node, x, ranges)


def _slice(build: Builder, node: ModelNode, x: Tensor, ranges: list[range]) -> Tensor:
    if not all(ranges):
        node.refuse("the slice is empty")
    attrs = SliceAttrs(
        tuple(r.start for r in ranges), tuple(r.step for r in ranges), tuple(map(len, ranges))
    )
    return build.add(node, "Slice", (x,), attrs)


def read_split(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    x, count = build.operand(node, 0), len(node.outputs)
    axis = positive_axis(node, node.integer("axis", 0), len(x.shape))
    sizes = node.integers("split") or constant_integers(build, node, 1)
    if not x.shape:
        node.malformed("the input has no axes")
    if sizes is None:
        each = -(-x.shape[axis] // max(count, 1))
        sizes = tuple(min(each, x.shape[axis] - i * each) for i in range(count))
    if len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes, default=0) < 1:
        node.malformed(f"the parts {list(sizes)} do not make up axis {axis} of {list(x.shape)}")
    parts, start = [], 0
    for size in sizes:
        ranges = [range(n) for n in x.shape]
        ranges[axis] = range(start, start + size)
        parts.append(_slice(build, node, x, ranges))
        start += size
    return tuple(parts)


def read_gather(build: Builder, node: ModelNode) -> Tensor:
    """Constant indices: slices of runs, behind each other."""
    x, indices = build.operand(node, 0), constant_values(build, node, 1)
    axis = positive_axis(node, node.integer("axis", 0), len(x.shape))
    if indices is None or indices.dtype.kind not in "iu" or not x.shape or not indices.size:
        node.malformed("the indices do not fit the input")
    size = x.shape[axis]
    if indices.size > MOST_PIECES * size or (abs(indices.astype(np.int64) + 0.5) > size).any():
        node.malformed(f"an index is out of range for axis {axis} of {list(x.shape)}")
    chosen = [int(i) % size for i in indices.reshape(-1)]
    starts = [i for i in range(len(chosen)) if i == 0 or chosen[i] != chosen[i - 1] + 1]
    if len(starts) > MOST_PIECES:
        node.refuse(f"more than {MOST_PIECES} scattered indices are not supported")
    pieces = []
    for first, end in zip(starts, [*starts[1:], len(chosen)], strict=True):
        ranges = [range(n) for n in x.shape]
        ranges[axis] = range(chosen[first], chosen[first] + end - first)
        pieces.append(_slice(build, node, x, ranges))
    y = pieces[0]
    if len(pieces) > 1:
        y = build.add(node, "Concat", tuple(pieces), ConcatAttrs(axis), quant=x.quant)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return y if shape == y.shape else build.add(node, "Reshape", (y,), ReshapeAttrs(shape))


def read_pad(build: Builder, node: ModelNode) -> Tensor:
    x, mode = build.operand(node, 0), node.text("mode", "constant")
    pads = node.integers("pads") or constant_integers(build, node, 1)
    value = constant_real(build, node, 2, node.real("value", 0.0))
    if x.quant is not None and mode == "constant":
        value = (value - x.quant.zero_point[0]) * x.quant.scale[0]
    if pads is None:
        node.malformed("the pads are missing")
    rank = len(x.shape)
    axes = positive_axes(node, constant_integers(build, node, 3) or tuple(range(rank)), rank)
    if len(pads) != 2 * len(axes) or mode not in ("constant", "edge", "reflect"):
        node.refuse(f"{len(pads)} pads of mode '{mode}' are not supported")
    every = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        every[axis] = (pads[i], pads[i + len(axes)])
    if mode == "reflect" and any(max(p) >= n for p, n in zip(every, x.shape, strict=True)):
        node.malformed(f"the pads reach beyond the reflected input {list(x.shape)}")
    if min(pads, default=0) < 0:
        if mode != "constant":
            node.refuse("negative pads are supported for mode 'constant' only")
        kept = [range(max(-b, 0), n - max(-e, 0)) for (b, e), n in zip(every, x.shape, strict=True)]
        x = _slice(build, node, x, kept)
        every = [(max(b, 0), max(e, 0)) for b, e in every]
    if not rank or not any(map(any, every)):
        return x
    return build.add(node, "Pad", (x,), PadAttrs(tuple(every), mode, value))


def read_expand(build: Builder, node: ModelNode) -> Tensor:
    """Repetition along axes of size 1, as a Concat."""
    x, wanted = build.operand(node, 0), constant_integers(build, node, 1)
    if wanted is None or min(wanted, default=1) < 1:
        node.malformed("the shape is missing or not positive")
    try:
        shape = np.broadcast_shapes(x.shape, wanted)
    except ValueError:
        node.malformed(f"{list(x.shape)} cannot become {list(wanted)}")
    y = build.reshaped(node, x, (*(1,) * (len(shape) - len(x.shape)), *x.shape))
    return _tiled(build, node, y, [m // n for m, n in zip(shape, y.shape, strict=True)])


def read_tile(build: Builder, node: ModelNode) -> Tensor:
    x, repeats = build.operand(node, 0), constant_integers(build, node, 1)
    if repeats is None or len(repeats) != len(x.shape) or min(repeats, default=1) < 1:
        node.malformed("the repeats do not fit the input")
    return _tiled(build, node, x, list(repeats))


def _tiled(build: Builder, node: ModelNode, x: Tensor, repeats: list[int]) -> Tensor:
    for axis, count in enumerate(repeats):
        if count > MOST_PIECES:
            node.refuse(f"more than {MOST_PIECES} repetitions are not supported")
        if count > 1:
            x = build.add(node, "Concat", (x,) * count, ConcatAttrs(axis), quant=x.quant)
    return x


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
    return _reshape(build, node, y, (n, c // (b * b), h * b, w * b))


def read_space_to_depth(build: Builder, node: ModelNode) -> Tensor:
    x, b = build.operand(node, 0), node.integer("blocksize", 0)
    if len(x.shape) != 4 or b < 1 or x.shape[2] % b or x.shape[3] % b:
        node.malformed(f"a block size of {b} does not fit {list(x.shape)}")
    n, c, h, w = x.shape
    y = build.reshaped(node, x, (n, c, h // b, b, w // b, b))
    y = build.layout(node, "Transpose", y, TransposeAttrs((0, 3, 5, 1, 2, 4)))
    return _reshape(build, node, y, (n, c * b * b, h // b, w // b))
