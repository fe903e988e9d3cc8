"""The stored values that each channel of a quantized tensor can take, for every possible input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, Graph, Tensor
from tinyc.compiler.ops.accumulate import centred, output_requantization
from tinyc.compiler.ops.averaging import average_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.fixed_point import Requantization, requantize
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.ops.unary import table_of


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Lowest and highest stored value of each channel (the last axis), int64, both included."""

    low: Array
    high: Array

    @property
    def is_constant(self) -> Array:
        return np.asarray(self.low == self.high)

    def of(self, channels: Array) -> "Range":
        """The range of these channels alone."""
        return Range(self.low[channels], self.high[channels])


Ranges = Mapping[str, Range]


def channel_ranges(graph: Graph) -> Ranges:
    """The range of every activation of stored integers, as far as it is known."""
    ranges: dict[str, Range] = {}
    for name in graph.inputs:
        if graph.tensors[name].quant is not None:
            ranges[name] = _any(graph.tensors[name])
    for node in graph.nodes:
        call = call_of(graph, node)
        for output in call.outputs:
            if output.quant is not None and output.quant.axis is None:
                ranges[output.name] = _any(output)
        rule, x = RULES.get(node.op), ranges.get(node.inputs[0])
        if rule is not None and x is not None and call.output.name in ranges:
            ranges[call.output.name] = rule(call, x)
    return ranges


def _any(tensor: Tensor) -> Range:
    low, high = tensor.dtype.limits
    channels = tensor.shape[-1] if tensor.shape else 1
    return Range(np.full(channels, low, np.int64), np.full(channels, high, np.int64))


def _products(call: Call, x: Range) -> tuple[Array, Array] | None:
    """Lowest and highest (x - zero point) per channel; padding adds the zero point itself."""
    quant = call.inputs[0].quant
    if quant is None or getattr(call.attrs, "residual", None) is not None:
        return None
    low, high = x.low - quant.zero_point[0], x.high - quant.zero_point[0]
    if any(getattr(call.attrs, "pads", ())):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    return low, high


def _weighted(call: Call, weights: Array, low: Array, high: Array, axes: tuple[int, ...]) -> Range:
    """Stored results when each weight meets the worst product of its channel, summed over `axes`.

    low, high  of the products, shaped to broadcast against `weights`
    """
    up, down = np.maximum(weights, 0), np.minimum(weights, 0)
    ends = [(up * a + down * b).sum(axis=axes) for a, b in ((low, high), (high, low))]
    bias = call.inputs[2].data if len(call.inputs) > 2 else None
    return _stored(
        call, output_requantization(call), [e if bias is None else e + bias for e in ends]
    )


def _stored(call: Call, to: Requantization, ends: list[Array]) -> Range:
    """Results of accumulators between the two `ends`."""
    y = call.output
    assert y.quant is not None
    bounds = stored_bounds(y, call.attrs.clamp)
    low, high = (requantize(a, to, y.quant.zero_point[0], *bounds).astype(np.int64) for a in ends)
    return Range(low, high)


def _layer(call: Call, x: Range) -> Range:
    """Conv2D and Dense."""
    products, w = _products(call, x), call.inputs[1]
    if products is None or w.data is None or getattr(call.attrs, "groups", 1) != 1:
        return _any(call.output)
    weights = centred(w.data, w).astype(np.int64).reshape(w.shape[0], -1, w.shape[-1])
    return _weighted(call, weights, *products, axes=(1, 2))


def _depthwise(call: Call, x: Range) -> Range:
    products, w = _products(call, x), call.inputs[1]
    if products is None or w.data is None:
        return _any(call.output)
    multiplier = w.shape[2] // call.inputs[0].shape[3]
    low, high = (np.repeat(p, multiplier) for p in products)
    weights = centred(w.data, w).astype(np.int64).reshape(-1, w.shape[2])
    return _weighted(call, weights, low, high, axes=(0,))


def _table(call: Call, x: Range) -> Range:
    """Every value between the ends, through the table."""
    lowest = call.inputs[0].dtype.limits[0]
    table = np.roll(table_of(call).astype(np.int64), 128 if lowest < 0 else 0)
    seen = [table[a - lowest : b - lowest + 1] for a, b in zip(x.low, x.high, strict=True)]
    return Range(np.array([s.min() for s in seen]), np.array([s.max() for s in seen]))


def _reshape(call: Call, x: Range) -> Range:
    source, y = call.inputs[0], call.output
    kept = source.quant == y.quant and y.shape[-1] == source.shape[-1]
    return x if kept and y.shape[:1] == source.shape[:1] else _any(y)


def _maximum(call: Call, x: Range) -> Range:
    low, high = stored_bounds(call.output, call.attrs.clamp)
    return Range(np.clip(x.low, low, high), np.clip(x.high, low, high))


def _average(call: Call, x: Range) -> Range:
    """The mean of n values between the ends lies between the means of n ends."""
    quant, y, a = call.inputs[0].quant, call.output, call.attrs
    if quant is None or y.quant is None or any(a.pads):
        return _any(y)
    cells = a.kernel[0] * a.kernel[1]
    sums = [cells * (end - quant.zero_point[0]) for end in (x.low, x.high)]
    return _stored(call, average_requantization(call), sums)


RULES: dict[str, Callable[[Call, Range], Range]] = {
    "AveragePool2D": _average,
    "Conv2D": _layer,
    "Dense": _layer,
    "DepthwiseConv2D": _depthwise,
    "MaxPool2D": _maximum,
    "Reshape": _reshape,
    "Unary": _table,
}
