"""The values that each channel of a tensor can take, for every possible input.

Stored integers where a tensor is quantized; floats as float64, an infinity where there is no bound.
The bounds of floats hold for what a kernel computes, in whatever order it sums.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import SIXTEEN_BITS, Array, DType, Graph, Tensor
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.accumulate import centred, output_requantization
from tinyc.compiler.ops.averaging import average_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.fixed_point import Requantization, requantize
from tinyc.compiler.ops.op import Call, call_of, dequantized
from tinyc.compiler.ops.pad import stored_value
from tinyc.compiler.ops.residual import first_stage, second_stage
from tinyc.compiler.ops.unary import table_of

MOST_WEIGHTS = 1 << 22  # of a layer that is looked at: the products take memory
FLOAT_EPSILON = 2.0**-23  # relative error of a float32 sum, for each of its terms


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Lowest and highest value of each channel (the last axis), both included; int64 or float64."""

    low: Array
    high: Array

    @property
    def is_constant(self) -> Array:
        return np.asarray(self.low == self.high)


Ranges = Mapping[str, Range]


def channel_ranges(graph: Graph) -> Ranges:
    """The range of every float and every tensor of stored integers, constants too."""
    ranges: dict[str, Range] = {}
    for tensor in graph.tensors.values():
        if tensor.data is not None and _has_range(tensor):
            values = tensor.data.reshape(-1, tensor.shape[-1] if tensor.shape else 1)
            wide = values.astype(np.float64 if tensor.dtype.is_float else np.int64)
            ranges[tensor.name] = Range(wide.min(axis=0), wide.max(axis=0))
        elif _has_range(tensor):
            ranges[tensor.name] = _any(tensor)
    for node in graph.nodes:
        rule = RULES.get(node.op)
        if rule is not None and node.inputs[0] in ranges and node.output in ranges:
            ranges[node.output] = rule(call_of(graph, node), ranges)
    return ranges


def _has_range(tensor: Tensor) -> bool:
    """Not weights of a scale a channel, not raw integers."""
    if 0 in tensor.shape:
        return False
    if tensor.quant is not None:
        return tensor.quant.axis is None
    return tensor.dtype == DType.FLOAT32


def _any(tensor: Tensor) -> Range:
    channels = tensor.shape[-1] if tensor.shape else 1
    if tensor.dtype.is_float:
        return Range(np.full(channels, -np.inf), np.full(channels, np.inf))
    low, high = tensor.dtype.limits
    return Range(np.full(channels, low, np.int64), np.full(channels, high, np.int64))


def _products(call: Call, x: Range) -> tuple[Array, Array]:
    """Lowest and highest (x - zero point) per channel; padding adds the zero point itself."""
    quant = call.inputs[0].quant
    zero = quant.zero_point[0] if quant else 0
    low, high = x.low - zero, x.high - zero
    if any(getattr(call.attrs, "pads", ())):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    return low, high


def _weighted(call: Call, weights: Array, low: Array, high: Array, axes: tuple[int, ...]) -> Range:
    """Results when each weight meets the worst product of its channel, summed over `axes`.

    low, high  of the products, shaped to broadcast against `weights`
    """
    with np.errstate(invalid="ignore"):
        up, down = np.maximum(weights, 0), np.minimum(weights, 0)
        ends = [
            np.where(up != 0, up * a, 0) + np.where(down != 0, down * b, 0)
            for a, b in ((low, high), (high, low))
        ]
    bias = call.inputs[2].data if len(call.inputs) > 2 else None
    if call.output.quant is None:
        return _float_sums(call, weights, ends, axes, 0.0 if bias is None else bias)
    sums = [e.sum(axis=axes) for e in ends]
    return _stored(
        call, output_requantization(call), [e if bias is None else e + bias for e in sums]
    )


def _float_sums(
    call: Call, weights: Array, terms: list[Array], axes: tuple[int, ...], bias: Array | float
) -> Range:
    """What float32 sums of `terms` (lowest, highest) may be: wider by their rounding.

    Without terms, and where all have one sign, rounding does not reach beyond bias and zero.
    """
    count = (weights != 0).sum(axis=axes)
    magnitude = np.maximum(*np.abs(terms)).sum(axis=axes) + np.abs(bias)
    slack = np.where(count == 0, 0, magnitude * (count + 1) * FLOAT_EPSILON)
    with np.errstate(invalid="ignore"):
        low, high = (t.sum(axis=axes) + bias for t in terms)
        low, high = low - slack, high + slack
    never_below = (terms[0] >= 0).all(axis=axes) & (np.asarray(bias) >= 0)
    never_above = (terms[1] <= 0).all(axis=axes) & (np.asarray(bias) <= 0)
    low = np.where(never_below, np.maximum(low, 0), low)
    high = np.where(never_above, np.minimum(high, 0), high)
    return _clamped(call, Range(low, high))


def _clamped(call: Call, x: Range) -> Range:
    """Floats after the clamp; what is not a number has no bound."""
    clamp = call.attrs.clamp
    bounds = (np.float32(clamp.low), np.float32(clamp.high))
    low, high = (
        np.where(np.isnan(x.low), -np.inf, x.low),
        np.where(np.isnan(x.high), np.inf, x.high),
    )
    return Range(np.clip(low, *bounds), np.clip(high, *bounds))


def _stored(call: Call, to: Requantization, ends: list[Array]) -> Range:
    """Results of accumulators between the two `ends`."""
    y = call.output
    assert y.quant is not None
    bounds = stored_bounds(y, call.attrs.clamp)
    low, high = (requantize(a, to, y.quant.zero_point[0], *bounds).astype(np.int64) for a in ends)
    return Range(low, high)


def _layer(call: Call, ranges: Ranges) -> Range:
    """Conv2D and Dense."""
    if getattr(call.attrs, "residual", None) is not None:
        stage = _layer(first_stage(call), ranges)
        add = second_stage(call)
        return _corners(add, [stage, ranges[add.inputs[1].name]])
    w = call.inputs[1]
    if w.data is None or getattr(call.attrs, "groups", 1) != 1 or not _has_constant_bias(call):
        return _any(call.output)
    if w.elements > MOST_WEIGHTS:
        return _any(call.output)
    weights = _whole(call, _factors(call, w)).reshape(w.shape[0], -1, w.shape[-1])
    low, high = _products(call, ranges[call.inputs[0].name])
    return _weighted(call, weights, low, high, axes=(1, 2))


def _depthwise(call: Call, ranges: Ranges) -> Range:
    w = call.inputs[1]
    if w.data is None or not _has_constant_bias(call):
        return _any(call.output)
    x, multiplier = ranges[call.inputs[0].name], w.shape[2] // call.inputs[0].shape[3]
    low, high = (np.repeat(end, multiplier) for end in _products(call, x))
    weights = _whole(call, _factors(call, w)).reshape(-1, w.shape[2])
    known = _weighted(call, weights, low, high, axes=(0,))
    constant = np.repeat(x.is_constant, multiplier)
    if call.output.quant is None or not constant.any():
        return known
    seen = _of_constant_image(call, x)
    return Range(np.where(constant, seen.low, known.low), np.where(constant, seen.high, known.high))


def _of_constant_image(call: Call, x: Range) -> Range:
    """What becomes of an image of `x.low` everywhere: exactly what its borders see."""
    source = call.inputs[0]
    image = np.broadcast_to(x.low, source.shape).astype(source.dtype.value)
    constants = tuple(t.data for t in call.inputs[1:] if t.data is not None)
    (result,) = OPS[call.node.op].reference(call, (image, *constants))
    values = result.reshape(-1, result.shape[-1]).astype(np.int64)
    return Range(values.min(axis=0), values.max(axis=0))


def _factors(call: Call, w: Tensor) -> Array:
    """What x is multiplied by: stored integers where it is one, too, else reals."""
    assert w.data is not None, "the weights are constant"
    return (centred if call.quantized else dequantized)(w.data, w)


def _has_constant_bias(call: Call) -> bool:
    return len(call.inputs) < 3 or call.inputs[2].data is not None


def _whole(call: Call, weights: Array) -> Array:
    return weights.astype(np.int64) if call.inputs[0].quant is not None else weights


def _unary(call: Call, ranges: Ranges) -> Range:
    """Every value between the ends, through the table; of floats only what keeps zero."""
    x, y = ranges[call.inputs[0].name], call.output
    if call.inputs[0].dtype in SIXTEEN_BITS and y.quant is not None:
        return _corners(call, [x])
    if call.inputs[0].quant is not None and y.quant is not None:
        lowest = call.inputs[0].dtype.limits[0]
        table = np.roll(table_of(call).astype(np.int64), 128 if lowest < 0 else 0)
        seen = [table[a - lowest : b - lowest + 1] for a, b in zip(x.low, x.high, strict=True)]
        return Range(np.array([s.min() for s in seen]), np.array([s.max() for s in seen]))
    if y.quant is not None or not y.dtype.is_float:
        return _any(y)
    (of_zero,) = OPS["Unary"].reference(call, (np.zeros(1, np.float32),))
    zeros = x.is_constant & (x.low == 0) & (of_zero[0] == 0)
    unknown = _clamped(call, _any(y))
    return Range(np.where(zeros, 0, unknown.low), np.where(zeros, 0, unknown.high))


def _reshape(call: Call, ranges: Ranges) -> Range:
    """As in `channel_links.py`: kept, repeated by what flattens into the axis, or cut."""
    x, source, y = ranges[call.inputs[0].name], call.inputs[0], call.output
    of_x, of_y = x.low.size, _any(y).low.size
    if source.quant != y.quant or (of_y % of_x and of_x % of_y):
        return _any(y)
    if of_y % of_x == 0:
        return Range(np.tile(x.low, of_y // of_x), np.tile(x.high, of_y // of_x))
    return Range(x.low.reshape(-1, of_y).min(axis=0), x.high.reshape(-1, of_y).max(axis=0))


def _maximum(call: Call, ranges: Ranges) -> Range:
    x = ranges[call.inputs[0].name]
    if call.output.quant is None:
        return _clamped(call, x)
    low, high = stored_bounds(call.output, call.attrs.clamp)
    return Range(np.clip(x.low, low, high), np.clip(x.high, low, high))


def _average(call: Call, ranges: Ranges) -> Range:
    """The mean of n values between the ends lies between the means of n ends; floats keep signs."""
    x, quant, y, a = ranges[call.inputs[0].name], call.inputs[0].quant, call.output, call.attrs
    if quant is None and y.quant is None:
        low, high = np.where(x.low >= 0, 0, -np.inf), np.where(x.high <= 0, 0, np.inf)
        return _clamped(call, Range(low, high))
    if quant is None or y.quant is None or any(a.pads):
        return _any(y)
    cells = a.kernel[0] * a.kernel[1]
    sums = [cells * (end - quant.zero_point[0]) for end in (x.low, x.high)]
    return _stored(call, average_requantization(call), sums)


def _binary(call: Call, ranges: Ranges) -> Range:
    if any(t.name not in ranges for t in call.inputs):
        return _any(call.output)
    return _corners(call, [ranges[t.name] for t in call.inputs])


def _corners(call: Call, operands: Sequence[Range]) -> Range:
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
        channels = _any(call.output).low.size
        found.append(np.broadcast_to(result, (*result.shape[:-1], channels)).astype(wide))
    values = np.stack(found).reshape(-1, found[0].shape[-1])
    unknown, known = _any(call.output), ~np.isnan(values).any(axis=0)
    return Range(
        np.where(known, values.min(axis=0), unknown.low),
        np.where(known, values.max(axis=0), unknown.high),
    )


def _concat(call: Call, ranges: Ranges) -> Range:
    if any(t.name not in ranges for t in call.inputs):
        return _any(call.output)
    known = [ranges[t.name] for t in call.inputs]
    ends = [
        _concatenated(call, [r.low for r in known]),
        _concatenated(call, [r.high for r in known]),
    ]
    return Range(ends[0].min(axis=0), ends[1].max(axis=0))


def _concatenated(call: Call, ends: list[Array]) -> Array:
    """One end of each operand through the operator, [places, channels]."""
    rank = len(call.output.shape)
    arrays = tuple(
        e.astype(t.dtype.value).reshape([1] * (rank - 1) + [-1])
        for e, t in zip(ends, call.inputs, strict=True)
    )
    (result,) = OPS["Concat"].reference(call, arrays)
    wide = np.float64 if call.output.dtype.is_float else np.int64
    return np.asarray(result.reshape(-1, result.shape[-1]).astype(wide))


def _pad(call: Call, ranges: Ranges) -> Range:
    x, a = ranges[call.inputs[0].name], call.attrs
    if a.pads[-1] != (0, 0):
        return _any(call.output)
    if a.mode != "constant" or not any(sum(pair) for pair in a.pads):
        return x
    value = stored_value(call)
    return Range(np.minimum(x.low, value), np.maximum(x.high, value))


RULES: dict[str, Callable[[Call, Ranges], Range]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Minimum", "Maximum"), _binary),
    "AveragePool2D": _average,
    "Concat": _concat,
    "Conv2D": _layer,
    "Dense": _layer,
    "DepthwiseConv2D": _depthwise,
    "MaxPool2D": _maximum,
    "Pad": _pad,
    "Reshape": _reshape,
    "Unary": _unary,
}
