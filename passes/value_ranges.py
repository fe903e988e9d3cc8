"""Lowest and highest value of each channel; what clamps and monotonic functions make of them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.fixed_point import Requantization, requantize
from tinyc.compiler.ops.op import Call


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Lowest and highest value of each channel (the last axis), both included; int64 or float64."""

    low: Array
    high: Array

    @property
    def is_constant(self) -> Array:
        return np.asarray(self.low == self.high)


Ranges = Mapping[str, Range]


def any_value(tensor: Tensor) -> Range:
    channels = tensor.shape[-1] if tensor.shape else 1
    if tensor.dtype.is_float:
        return Range(np.full(channels, -np.inf), np.full(channels, np.inf))
    low, high = tensor.dtype.limits
    return Range(np.full(channels, low, np.int64), np.full(channels, high, np.int64))


def clamped(call: Call, x: Range) -> Range:
    """Floats after the clamp; what is not a number has no bound."""
    clamp = call.attrs.clamp
    bounds = (np.float32(clamp.low), np.float32(clamp.high))
    low, high = (
        np.where(np.isnan(x.low), -np.inf, x.low),
        np.where(np.isnan(x.high), np.inf, x.high),
    )
    return Range(np.clip(low, *bounds), np.clip(high, *bounds))


def stored(call: Call, to: Requantization, ends: list[Array]) -> Range:
    """Results of accumulators between the two `ends`."""
    y = call.output
    assert y.quant is not None
    bounds = stored_bounds(y, call.attrs.clamp)
    low, high = (requantize(a, to, y.quant.zero_point[0], *bounds).astype(np.int64) for a in ends)
    return Range(low, high)


def corners(call: Call, operands: Sequence[Range]) -> Range:
    """The extremes over the operands' ends: each function is monotonic in each operand."""
    rank, found = len(call.output.shape), []
    for ends in itertools.product(*((r.low, r.high) for r in operands)):
        arrays = tuple(
            e.astype(t.dtype.value).reshape([1] * (rank - 1) + [-1])
            for e, t in zip(ends, call.inputs, strict=True)
        )
        with np.errstate(invalid="ignore", over="ignore"):
            (result,) = OPS[call.node.op].reference(call, arrays)
        wide = np.float64 if call.output.dtype.is_float else np.int64
        channels = any_value(call.output).low.size
        found.append(np.broadcast_to(result, (*result.shape[:-1], channels)).astype(wide))
    values = np.stack(found).reshape(-1, found[0].shape[-1])
    unknown, known = any_value(call.output), ~np.isnan(values).any(axis=0)
    return Range(
        np.where(known, values.min(axis=0), unknown.low),
        np.where(known, values.max(axis=0), unknown.high),
    )
