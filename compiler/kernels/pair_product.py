"""What Conv2D and Dense share on Thumb-1 cores: rows of packed pairs times all output channels.

Channels whose weights allow it are multiplied in quads, the others in pairs: two sections of one
stream. An odd number of channels computes its last one twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.thumb_gemm import (
    GROUP,
    UNROLLS,
    gemm,
    packed_stream,
    pairs_fit,
    quads_fit,
)

FORM = "int16"  # of the weights, when the schedule does not say it
WORTH_QUADS = 512  # products of a row in quads; a section of its own costs a call


@dataclass(frozen=True, slots=True)
class Section:
    """Words begin..end of the stream, and the function that multiplies with them."""

    begin: int
    end: int
    function: Microkernel


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """The weights of a layer as a stream.

    groups  of 4 products of one output, padded
    """

    groups: int
    channels: int
    table: Array
    stream: Any
    sections: tuple[Section, ...]
    zero_point: int

    @property
    def functions(self) -> tuple[Microkernel, ...]:
        return tuple(section.function for section in self.sections)


def suits(call: Call, target: Target) -> bool:
    """Thumb-1, int8 results of exact pairs of symmetric int8 weights."""
    (x, w), y = call.inputs[:2], call.output
    if "thumb1" not in target.features or x.dtype != DType.INT8 or y.dtype != DType.INT8:
        return False
    if w.quant is None or any(w.quant.zero_point) or w.dtype != DType.INT8 or y.quant is None:
        return False
    return bool(pairs_fit(_padded(call)).all()) and not output_requantization(call).is_wide


def space() -> Iterator[Schedule]:
    """The form of the weights, groups of a turn."""
    for form, unrolls in UNROLLS.items():
        for unroll in unrolls:
            yield Schedule(unroll=unroll, weights=form)


def product(stage: Call, schedule: Schedule) -> Product:
    """What multiplies a row of packed values by all channels of `stage`."""
    assert stage.output.quant is not None
    matrix, form = _padded(stage), schedule.weights or FORM
    unroll = schedule.unroll or UNROLLS[form][0]
    bias = folded_bias(stage, matrix)
    multipliers = np.broadcast_to(output_requantization(stage).packed16, (matrix.shape[0],))
    bounds = stored_bounds(stage.output, stage.attrs.clamp)
    tables: list[Array] = []
    sections: list[Section] = []
    begin = 0
    for kind, channels in _kinds(form, matrix):
        order = channels + channels[-1:] * (len(channels) % 2)
        tables.append(packed_stream(form, order, matrix[order], bias[order], multipliers[order]))
        end = begin + tables[-1].size
        sections.append(Section(begin, end, gemm(kind, unroll, *bounds)))
        begin = end
    return Product(
        matrix.shape[1] // GROUP,
        matrix.shape[0],
        read_only(np.concatenate(tables)),
        loops.buffer("stream", begin, "int32"),
        tuple(sections),
        stage.output.quant.zero_point[0],
    )


def _padded(call: Call) -> Array:
    """The weights [channels, K], centred, K padded to whole groups."""
    w = call.inputs[1]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1)
    return np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % GROUP)))


def _kinds(form: str, matrix: Array) -> Iterator[tuple[str, list[int]]]:
    """How the channels are multiplied: kind of the function, and channels, not none."""
    every = set(range(matrix.shape[0]))
    able = np.flatnonzero(quads_fit(matrix)).tolist() if form == "int16" else []
    quads = set(able[: len(able) // 2 * 2])
    if len(quads) * matrix.shape[1] < WORTH_QUADS:
        quads = set()
    for kind, channels in (("quads", quads), (form, every - quads)):
        if channels:
            yield kind, sorted(channels)


def multiply(by: Product, rows: Any, scratch: Any, result: Any, at: Any) -> list[Any]:
    """`rows` rows of packed values in the scratch become outputs from result[at] on."""
    return [
        loops.run(
            section.function.name,
            loops.pointer(scratch),
            loops.pointer(by.stream, section.begin),
            loops.pointer(result, at),
            loops.pointer(by.stream, section.end),
            loops.const(by.groups),
            rows,
            loops.const(by.channels),
            loops.const(by.zero_point),
        )
        for section in by.sections
    ]
