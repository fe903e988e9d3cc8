"""Operators that move elements: RESHAPE and its relatives, slices, PAD, CONCATENATION, ..."""

import math

from tinyc.compiler.tflite_import.building import OnnxGraph, Reader
from tinyc.compiler.tflite_import.lite_model import LiteOperator

END = (1 << 31) - 1  # of a slice that reaches to the end
REFLECT = 0  # as in MirrorPadMode of the schema


def read_reshape(graph: OnnxGraph, op: LiteOperator) -> str:
    """The new shape is an input, which may be computed from shapes, or an option."""
    x, shape = graph.real(op.input(0)), op.optional(1)
    if shape is not None and len(shape.shape) == 1:
        return graph.add("Reshape", x, graph.cast(graph.value(shape), "int64"))
    wanted = op.integers("new_shape")
    return graph.reshaped(x, op.output().shape if wanted is None else wanted)


def read_squeeze(graph: OnnxGraph, op: LiteOperator) -> str:
    axes = op.integers("squeeze_dims")
    x = graph.real(op.input(0))
    return graph.add("Squeeze", x, graph.constant(axes)) if axes else graph.add("Squeeze", x)


def read_expand_dims(graph: OnnxGraph, op: LiteOperator) -> str:
    axes = graph.constant(op.constant_integers(1))
    return graph.add("Unsqueeze", graph.real(op.input(0)), axes)


def read_transpose(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.add("Transpose", graph.real(op.input(0)), perm=op.constant_integers(1))


def read_concatenation(graph: OnnxGraph, op: LiteOperator) -> str:
    parts = [graph.real(op.input(i)) for i in range(len(op.inputs))]
    return graph.activated(op, graph.add("Concat", *parts, axis=op.integer("axis")))


def read_pack(graph: OnnxGraph, op: LiteOperator) -> str:
    axis = op.axis(op.integer("axis", 0), len(op.input(0).shape) + 1)
    at = graph.constant([axis])
    parts = [graph.add("Unsqueeze", graph.real(op.input(i)), at) for i in range(len(op.inputs))]
    return graph.add("Concat", *parts, axis=axis)


def read_unpack(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    x = op.input(0)
    axis = op.axis(op.integer("axis", 0), len(x.shape))
    parts = _split(graph, op, graph.real(x), (1,) * len(op.outputs), axis)
    return tuple(graph.add("Squeeze", part, graph.constant([axis])) for part in parts)


def read_split(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    """Inputs: the axis, x; as many equal parts as outputs."""
    x, (axis, *_) = op.input(1), op.constant_integers(0) or (0,)
    axis, count = op.axis(axis, len(x.shape)), len(op.outputs)
    if x.shape[axis] % count:
        op.malformed(f"{count} parts of axis {axis} of {list(x.shape)}")
    return _split(graph, op, graph.real(x), (x.shape[axis] // count,) * count, axis)


def read_split_v(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    """Inputs: x, the sizes (one may be -1: the rest), the axis."""
    x, sizes = op.input(0), op.constant_integers(1)
    (axis, *_) = op.constant_integers(2) or (0,)
    axis = op.axis(axis, len(x.shape))
    rest = x.shape[axis] - sum(n for n in sizes if n >= 0)
    return _split(
        graph, op, graph.real(x), tuple(rest if n < 0 else n for n in sizes), axis
    )  # fmt: skip


def _split(
    graph: OnnxGraph, op: LiteOperator, x: str, sizes: tuple[int, ...], axis: int
) -> tuple[str, ...]:
    if len(sizes) != len(op.outputs):
        op.malformed(f"{len(sizes)} parts for {len(op.outputs)} outputs")
    return graph.add_several("Split", len(sizes), x, graph.constant(sizes), axis=axis)


def read_slice(graph: OnnxGraph, op: LiteOperator) -> str:
    """Inputs: x, begin, size; a size of -1 reaches to the end."""
    begin, size = op.constant_integers(1), op.constant_integers(2)
    ends = [END if n < 0 else b + n for b, n in zip(begin, size, strict=False)]
    return graph.add("Slice", graph.real(op.input(0)), graph.constant(begin), graph.constant(ends))


def read_strided_slice(graph: OnnxGraph, op: LiteOperator) -> str:
    """NumPy's x[begin:end:stride], with new axes, and axes that a single index takes away.

    The bits of the masks belong to the entries of begin, end and strides.
    """
    x, rank = graph.real(op.input(0)), len(op.input(0).shape)
    begin, end, strides = (op.constant_integers(i) for i in (1, 2, 3))
    if not len(begin) == len(end) == len(strides):
        op.malformed("begin, end and strides do not fit together")
    entries = range(len(begin))
    new, ellipsis, shrunk = (_mask(op, n) for n in ("new_axis", "ellipsis", "shrink_axis"))
    if op.integer("offset", 0):
        op.refuse("ends that are offsets are not supported")
    hidden = rank - sum(1 for i in entries if i not in new and i not in ellipsis)
    starts, ends, steps, axes = [], [], [], []
    gone, added = [], []  # axes of x, axes of the result
    axis = place = 0
    for i in entries:
        if i in ellipsis:
            axis, place = axis + hidden, place + hidden
        elif i in new:
            added.append(place)
            place += 1
        else:
            step = 1 if i in shrunk else strides[i]
            first, last = (0, END) if step > 0 else (END, -END)
            starts.append(first if i in _mask(op, "begin") and i not in shrunk else begin[i])
            if i in shrunk:
                ends.append(begin[i] + 1 or END)
                gone.append(axis)
            else:
                ends.append(last if i in _mask(op, "end") else end[i])
                place += 1
            steps.append(step)
            axes.append(axis)
            axis += 1
    if axes:
        x = graph.add("Slice", x, *map(graph.constant, (starts, ends, axes, steps)))
    x = graph.add("Squeeze", x, graph.constant(gone)) if gone else x
    return graph.add("Unsqueeze", x, graph.constant(added)) if added else x


def _mask(op: LiteOperator, name: str) -> tuple[int, ...]:
    bits = op.integer(f"{name}_mask", 0)
    return tuple(i for i in range(32) if bits >> i & 1)


def read_gather(graph: OnnxGraph, op: LiteOperator) -> str:
    if op.integer("batch_dims", 0):
        op.refuse("a gather in batches is not supported")
    axis = op.integer("axis", 0)
    return graph.add("Gather", graph.real(op.input(0)), graph.value(op.input(1)), axis=axis)


def read_embedding_lookup(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.add("Gather", graph.real(op.input(1)), graph.value(op.input(0)), axis=0)


def read_gather_nd(graph: OnnxGraph, op: LiteOperator) -> str:
    indices = graph.cast(graph.value(op.input(1)), "int64")
    return graph.add("GatherND", graph.real(op.input(0)), indices)


def read_pad(graph: OnnxGraph, op: LiteOperator) -> str:
    """PAD and PADV2: pads [rank, 2], and perhaps the value as a tensor."""
    x, value = op.input(0), op.optional(2)
    filling = () if value is None else (graph.real(value),)
    return graph.add("Pad", graph.real(x), graph.constant(_pads(op)), *filling)


def read_mirror_pad(graph: OnnxGraph, op: LiteOperator) -> str:
    if op.integer("mode", REFLECT) != REFLECT:
        op.refuse("symmetric padding is not supported", "use reflecting padding")
    x = graph.real(op.input(0))
    return graph.add("Pad", x, graph.constant(_pads(op)), mode="reflect")


def _pads(op: LiteOperator) -> list[int]:
    pads, rank = op.constant(1), len(op.input(0).shape)
    if pads.shape != (rank, 2) or pads.dtype.kind not in "iu":
        op.malformed(f"pads {list(pads.shape)} for {rank} dimensions")
    return [int(n) for n in pads.T.reshape(-1)]


def read_tile(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.add("Tile", graph.real(op.input(0)), graph.constant(op.constant_integers(1)))


def read_broadcast_to(graph: OnnxGraph, op: LiteOperator) -> str:
    shape = graph.cast(graph.value(op.input(1)), "int64")
    return graph.add("Expand", graph.real(op.input(0)), shape)


def read_fill(graph: OnnxGraph, op: LiteOperator) -> str:
    """Inputs: the shape, the value."""
    shape = graph.cast(graph.value(op.input(0)), "int64")
    return graph.add("Expand", graph.real(op.input(1)), shape)


def read_zeros_like(graph: OnnxGraph, op: LiteOperator) -> str:
    x = op.input(0)
    kind = x.dtype if x.quant is None else "float32"
    shape = graph.add("Shape", graph.value(x))
    return graph.add("Expand", graph.constant(0, kind), shape)


def read_shape(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.cast(graph.add("Shape", graph.value(op.input(0))), op.output().dtype)


def read_rank(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.constant(len(op.input(0).shape), op.output().dtype)


def read_range(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.add("Range", *(graph.value(op.input(i)) for i in range(3)))


def read_reverse(graph: OnnxGraph, op: LiteOperator) -> str:
    axes = op.constant_integers(1)
    ends = ([END] * len(axes), [-END - 1] * len(axes), axes, [-1] * len(axes))
    return graph.add("Slice", graph.real(op.input(0)), *map(graph.constant, ends))


def read_one_hot(graph: OnnxGraph, op: LiteOperator) -> str:
    """Inputs: indices, depth, the value that is on, the value that is off."""
    depth, on, off = (graph.value(op.input(i)) for i in (1, 2, 3))
    values = graph.add("Concat", graph.reshaped(off, (1,)), graph.reshaped(on, (1,)), axis=0)
    axis = op.integer("axis", -1)
    return graph.add("OneHot", graph.value(op.input(0)), depth, values, axis=axis)


def read_top_k(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    count = graph.constant([math.prod(op.constant_integers(1))])
    values, indices = graph.add_several("TopK", 2, graph.real(op.input(0)), count, axis=-1)
    return values, graph.cast(indices, "int32")


def space_depth(to_depth: bool) -> Reader:
    """The reader of SPACE_TO_DEPTH or DEPTH_TO_SPACE on NHWC."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        x, b = op.input(0), op.integer("block_size")
        if len(x.shape) != 4 or b < 1:
            op.malformed(f"a block size of {b} does not fit {list(x.shape)}")
        _, h, w, c = x.shape
        if to_depth:
            split, perm = (-1, h // b, b, w // b, b, c), (0, 1, 3, 2, 4, 5)
            joined = (-1, h // b, w // b, b * b * c)
        else:
            split, perm = (-1, h, w, b, b, c // (b * b)), (0, 1, 3, 2, 4, 5)
            joined = (-1, h * b, w * b, c // (b * b))
        y = graph.reshaped(graph.real(x), split)
        return graph.reshaped(graph.add("Transpose", y, perm=perm), joined)

    return read


def read_space_to_batch(graph: OnnxGraph, op: LiteOperator) -> str:
    """[n, h, w, c] padded -> [n * b0 * b1, h / b0, w / b1, c]; the block is the slowest axis."""
    x, block, sizes = op.input(0), op.constant_integers(1), _pairs(op)
    spatial = [n + sum(p) for n, p in zip(x.shape[1:], sizes, strict=False)]
    after = x.shape[1 + len(block) :]
    pads = [0, *(p[0] for p in sizes), *(0 for _ in after)]
    pads += [0, *(p[1] for p in sizes), *(0 for _ in after)]
    y = graph.add("Pad", graph.real(x), graph.constant(pads))
    split = [v for n, b in zip(spatial, block, strict=True) for v in (n // b, b)]
    y = graph.reshaped(y, (x.shape[0], *split, *after))
    count = len(block)
    perm = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2)]
    y = graph.add("Transpose", y, perm=[*perm, *range(2 * count + 1, 2 * count + 1 + len(after))])
    return graph.reshaped(y, (-1, *split[::2], *after))


def read_batch_to_space(graph: OnnxGraph, op: LiteOperator) -> str:
    """The reverse of SPACE_TO_BATCH_ND, then the crops."""
    x, block, crops = op.input(0), op.constant_integers(1), _pairs(op)
    count, inner = len(block), x.shape[1 : 1 + len(block)]
    after = x.shape[1 + count :]
    y = graph.reshaped(graph.real(x), (*block, x.shape[0] // math.prod(block), *inner, *after))
    perm = [count, *(v for i in range(count) for v in (count + 1 + i, i))]
    y = graph.add("Transpose", y, perm=[*perm, *range(2 * count + 1, 2 * count + 1 + len(after))])
    whole = [n * b for n, b in zip(inner, block, strict=True)]
    y = graph.reshaped(y, (x.shape[0] // math.prod(block), *whole, *after))
    starts = [c[0] for c in crops]
    ends = [n - c[1] for n, c in zip(whole, crops, strict=True)]
    axes = list(range(1, count + 1))
    return graph.add("Slice", y, *map(graph.constant, (starts, ends, axes)))


def _pairs(op: LiteOperator) -> list[tuple[int, int]]:
    """The pads or crops [count, 2] for the block [count] of the axes after the batch."""
    block, values = op.constant_integers(1), op.constant(2)
    if values.shape != (len(block), 2) or len(op.input(0).shape) <= len(block) or min(block) < 1:
        op.malformed(f"a block {list(block)} does not fit {list(op.input(0).shape)}")
    return [(int(a), int(b)) for a, b in values.tolist()]
