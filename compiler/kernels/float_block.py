"""What the float matrix kernels share: output channels in parts with their blocks and streams."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, FOUR_BITS, Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets import Target
from tinyc.targets.intrinsics import arm_vfp_stored
from tinyc.targets.intrinsics.arm_vfp import float_block, packed_stream
from tinyc.targets.intrinsics.arm_vfp_assembly import MOST_PIXELS, FloatBlock, fits
from tinyc.targets.intrinsics.arm_vfp_stored import FLOAT16, FLOAT32, is_whole

UNROLLS = (8, 4, 16)  # steps of a turn; the first is the rule


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring output channels, as many as the block's or a multiple.

    first       of the channels
    begin, end  of their stream, in its elements
    blocks      by pixels
    """

    first: int
    begin: int
    end: int
    blocks: Mapping[int, Microkernel]


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Weights [outputs, products] as they lie in flash, and the scale of every output.

    stored  "float32", or a form of `arm_vfp_stored.py`
    """

    values: Array
    scales: Array
    stored: str = FLOAT32

    @property
    def most_pixels(self) -> int:
        """Of a block."""
        return arm_vfp_stored.MOST_CONVERTED if is_whole(self.stored) else MOST_PIXELS

    @property
    def note(self) -> str:
        return "" if self.stored == FLOAT32 else f", {self.stored} weights"

    def stream(self, outputs: slice, bias: Array, channels: int) -> Array:
        """Of some outputs, in blocks of `channels`."""
        values = self.values[outputs]
        if self.stored == FLOAT32:
            return packed_stream(values, bias[outputs], channels)
        scales = self.scales[outputs]
        return arm_vfp_stored.packed(values, scales, bias[outputs], channels, self.stored)


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


def suits_stored(x: Tensor, w: Tensor, bias: Sequence[Tensor], target: Target) -> bool:
    """As `suits`; weights may be float16, or integers that keep their bits without zero point."""
    return suits((x,), bias, target) and stored_form(w) is not None


def stored_form(w: Tensor) -> str | None:
    """How blocks load these weights; None: not at all."""
    if w.data is None or w.dtype in (DType.FLOAT32, DType.FLOAT16):
        return {DType.FLOAT32: FLOAT32, DType.FLOAT16: FLOAT16}.get(w.dtype)
    if w.dtype not in (*EIGHT_BITS, *FOUR_BITS):
        return None
    values = centred(w.data, w)
    bits = 4 if w.dtype in FOUR_BITS else 8
    fits_in = values.min() >= -(1 << (bits - 1)) and values.max() < 1 << (bits - 1)
    return f"int{bits}" if fits_in else None


def floats(values: Array) -> Matrix:
    """Weights that are not stored in another form."""
    return Matrix(values, np.ones(len(values), np.float32))


def matrix_of(w: Tensor) -> Matrix:
    """The weights; outputs are their first axis."""
    form = stored_form(w)
    assert w.data is not None and form is not None, "suits_stored() has asked"
    outputs = w.shape[0]
    values = centred(w.data, w).astype(np.int8) if is_whole(form) else w.data
    scales = np.broadcast_to(
        np.array(1.0 if w.quant is None else w.quant.scale, np.float32), (outputs,)
    )
    return Matrix(values.reshape(outputs, -1), scales, form)


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
    matrix: Matrix,
    bias: Array,
    pixels: Sequence[int],
    channels: int,
    unroll: int,
    clamp: Clamp,
    target: Target,
    residual: bool = False,
) -> tuple[Array, tuple[Part, ...]]:
    """The stream of all channels, and their parts: whole blocks, then one narrower block.

    pixels  of the blocks that are needed
    """
    outputs, _ = matrix.values.shape
    streams, parts, first, begin = [], [], 0, 0
    for width in (channels, outputs % channels):
        count = (outputs - first) // width * width if width else 0
        if not count:
            continue
        stream = matrix.stream(slice(first, first + count), bias, width)
        blocks = {}
        for p in pixels:
            assert fits(p, width), f"{p}x{width} accumulators"
            shape = FloatBlock(p, width, unroll, clamp, fused(target), residual, matrix.stored)
            blocks[p] = float_block(shape)
        parts.append(Part(first, begin, begin + stream.size, blocks))
        streams.append(stream)
        first, begin = first + count, begin + stream.size
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
