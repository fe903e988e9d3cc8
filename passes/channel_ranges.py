"""The values that each channel of a tensor can take, for every possible input.

Stored integers where a tensor is quantized; floats as float64, an infinity where there is no bound.
The bounds of floats hold for what a kernel computes, in whatever order it sums.
"""

from collections.abc import Callable

import numpy as np

from tinyc.compiler.graph import SIXTEEN_BITS, Array, DType, Graph, Tensor
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.averaging import average_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.ops.pad import stored_value
from tinyc.compiler.ops.unary import table_of
from tinyc.passes.layer_ranges import depthwise_range, layer_range
from tinyc.passes.value_ranges import Range, Ranges, any_value, clamped, corners, stored


def channel_ranges(graph: Graph) -> Ranges:
    """The range of every float and every tensor of stored integers, constants too."""
    ranges: dict[str, Range] = {}
    for tensor in graph.tensors.values():
        if tensor.data is not None and _has_range(tensor):
            values = tensor.data.reshape(-1, tensor.shape[-1] if tensor.shape else 1)
            wide = values.astype(np.float64 if tensor.dtype.is_float else np.int64)
            ranges[tensor.name] = Range(wide.min(axis=0), wide.max(axis=0))
        elif _has_range(tensor):
            ranges[tensor.name] = any_value(tensor)
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


def _unary(call: Call, ranges: Ranges) -> Range:
    """Every value between the ends, through the table; of floats only what keeps zero."""
    x, y = ranges[call.inputs[0].name], call.output
    if call.inputs[0].dtype in SIXTEEN_BITS and y.quant is not None:
        return corners(call, [x])
    if call.inputs[0].quant is not None and y.quant is not None:
        lowest = call.inputs[0].dtype.limits[0]
        table = np.roll(table_of(call).astype(np.int64), 128 if lowest < 0 else 0)
        seen = [table[a - lowest : b - lowest + 1] for a, b in zip(x.low, x.high, strict=True)]
        return Range(np.array([s.min() for s in seen]), np.array([s.max() for s in seen]))
    if y.quant is not None or not y.dtype.is_float:
        return any_value(y)
    (of_zero,) = OPS["Unary"].reference(call, (np.zeros(1, np.float32),))
    zeros = x.is_constant & (x.low == 0) & (of_zero[0] == 0)
    unknown = clamped(call, any_value(y))
    return Range(np.where(zeros, 0, unknown.low), np.where(zeros, 0, unknown.high))


def _reshape(call: Call, ranges: Ranges) -> Range:
    """As in `channel_links.py`: kept, repeated by what flattens into the axis, or cut."""
    x, source, y = ranges[call.inputs[0].name], call.inputs[0], call.output
    of_x, of_y = x.low.size, any_value(y).low.size
    if source.quant != y.quant or (of_y % of_x and of_x % of_y):
        return any_value(y)
    if of_y % of_x == 0:
        return Range(np.tile(x.low, of_y // of_x), np.tile(x.high, of_y // of_x))
    return Range(x.low.reshape(-1, of_y).min(axis=0), x.high.reshape(-1, of_y).max(axis=0))


def _maximum(call: Call, ranges: Ranges) -> Range:
    x = ranges[call.inputs[0].name]
    if call.output.quant is None:
        return clamped(call, x)
    low, high = stored_bounds(call.output, call.attrs.clamp)
    return Range(np.clip(x.low, low, high), np.clip(x.high, low, high))


def _average(call: Call, ranges: Ranges) -> Range:
    """The mean of n values between the ends lies between the means of n ends; floats keep signs."""
    x, quant, y, a = ranges[call.inputs[0].name], call.inputs[0].quant, call.output, call.attrs
    if quant is None and y.quant is None:
        low, high = np.where(x.low >= 0, 0, -np.inf), np.where(x.high <= 0, 0, np.inf)
        return clamped(call, Range(low, high))
    if quant is None or y.quant is None or any(a.pads):
        return any_value(y)
    cells = a.kernel[0] * a.kernel[1]
    sums = [cells * (end - quant.zero_point[0]) for end in (x.low, x.high)]
    return stored(call, average_requantization(call), sums)


def _binary(call: Call, ranges: Ranges) -> Range:
    if any(t.name not in ranges for t in call.inputs):
        return any_value(call.output)
    return corners(call, [ranges[t.name] for t in call.inputs])


def _concat(call: Call, ranges: Ranges) -> Range:
    if any(t.name not in ranges for t in call.inputs):
        return any_value(call.output)
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
        return any_value(call.output)
    if a.mode != "constant" or not any(sum(pair) for pair in a.pads):
        return x
    value = stored_value(call)
    return Range(np.minimum(x.low, value), np.maximum(x.high, value))


RULES: dict[str, Callable[[Call, Ranges], Range]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Minimum", "Maximum"), _binary),
    "AveragePool2D": _average,
    "Concat": _concat,
    "Conv2D": layer_range,
    "Dense": layer_range,
    "DepthwiseConv2D": depthwise_range,
    "MaxPool2D": _maximum,
    "Pad": _pad,
    "Reshape": _reshape,
    "Unary": _unary,
}
