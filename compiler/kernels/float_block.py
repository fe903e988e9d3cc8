"""What the float matrix kernels share: output channels in parts with their blocks and streams."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_vfp import FloatBlock, fits, float_block, packed_stream

UNROLLS = (8, 4, 16)  # steps of a turn; the first is the rule


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring output channels, as many as the block's or a multiple.

    first       of the channels
    begin, end  of their stream, in floats
    blocks      by pixels
    """

    first: int
    begin: int
    end: int
    blocks: Mapping[int, Microkernel]


@dataclass(frozen=True, slots=True)
class Reads:
    """How a block finds its values, in floats (`TEXT` of arm_vfp.py)."""

    pixel: int
    row: int
    rows: int
    values: int


def suits(factors: Sequence[Tensor], bias: Sequence[Tensor], target: Target) -> bool:
    """Floats on a core with an FPU, and a constant bias or none."""
    constant = all(b.data is not None for b in bias)
    floats = all(t.dtype == DType.FLOAT32 for t in factors)
    return "fpu" in target.features and floats and constant


def shapes(blocks: Sequence[tuple[int, int]]) -> Iterator[Schedule]:
    """Every block (pixels, channels), and how far its loop is written out."""
    for pixels, channels in blocks:
        for unroll in UNROLLS:
            yield Schedule("", pixels, channels, unroll)


def fused(target: Target) -> bool:
    return "pipelined-fma" in target.features


def bias_of(inputs: Sequence[Tensor], outputs: int) -> Array:
    """The third input, or zeros."""
    data = inputs[2].data if len(inputs) > 2 else None
    return np.zeros(outputs, np.float32) if data is None else data


def parts_of(
    matrix: Array,
    bias: Array,
    pixels: Sequence[int],
    channels: int,
    unroll: int,
    clamp: Clamp,
    target: Target,
    residual: bool = False,
) -> tuple[Array, tuple[Part, ...]]:
    """The stream of all channels, and their parts: whole blocks, then one narrower block.

    matrix  weights [outputs, products]
    pixels  of the blocks that are needed
    """
    outputs, products = matrix.shape
    streams, parts, first, begin = [], [], 0, 0
    for width in (channels, outputs % channels):
        count = (outputs - first) // width * width if width else 0
        if not count:
            continue
        stream = packed_stream(matrix[first : first + count], bias[first : first + count], width)
        blocks = {}
        for p in pixels:
            assert fits(p, width), f"{p}x{width} accumulators"
            blocks[p] = float_block(FloatBlock(p, width, unroll, clamp, fused(target), residual))
        parts.append(Part(first, begin, begin + stream.size, blocks))
        streams.append(stream)
        first, begin = first + count, begin + stream.size
    assert begin == outputs * (products + 1)
    return np.concatenate(streams), tuple(parts)


def run_part(
    part: Part,
    pixels: int,
    stream: Any,
    x: Any,
    reads: Reads,
    result: tuple[Any, Any],
    y_pixel: int,
    blocks: Any,
    residual: Any = None,
) -> Any:
    """The call of a part's block, `blocks` times; result: a buffer, and the first pixel's index."""
    y, at = result
    extra = [] if residual is None else [loops.pointer(residual, at + part.first)]
    size = int(stream.shape[0])
    return loops.run(
        part.blocks[pixels].name,
        x,
        loops.pointer(stream, part.begin),
        loops.pointer(y, at + part.first),
        blocks,
        loops.end_pointer(stream) if part.end == size else loops.pointer(stream, part.end),
        *(loops.const(v) for v in (reads.pixel, reads.row, reads.rows, reads.values)),
        loops.const(y_pixel),
        loops.const(0),
        *extra,
    )
