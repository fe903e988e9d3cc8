"""The values that each channel of a convolution or dense layer can take, from its weights."""

import numpy as np

from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.accumulate import centred, output_requantization
from tinyc.compiler.ops.op import Call, dequantized
from tinyc.compiler.ops.residual import first_stage, second_stage
from tinyc.passes.value_ranges import Range, Ranges, any_value, clamped, corners, stored

MOST_WEIGHTS = 1 << 22  # of a layer that is looked at: the products take memory
FLOAT_EPSILON = 2.0**-23  # relative error of a float32 sum, for each of its terms


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
    return stored(
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
    return clamped(call, Range(low, high))


def layer_range(call: Call, ranges: Ranges) -> Range:
    """Conv2D and Dense."""
    if getattr(call.attrs, "residual", None) is not None:
        stage = layer_range(first_stage(call), ranges)
        add = second_stage(call)
        return corners(add, [stage, ranges[add.inputs[1].name]])
    w = call.inputs[1]
    if w.data is None or getattr(call.attrs, "groups", 1) != 1 or not _has_constant_bias(call):
        return any_value(call.output)
    if w.elements > MOST_WEIGHTS:
        return any_value(call.output)
    weights = _whole(call, _factors(call, w)).reshape(w.shape[0], -1, w.shape[-1])
    low, high = _products(call, ranges[call.inputs[0].name])
    return _weighted(call, weights, low, high, axes=(1, 2))


def depthwise_range(call: Call, ranges: Ranges) -> Range:
    w = call.inputs[1]
    if w.data is None or not _has_constant_bias(call):
        return any_value(call.output)
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
