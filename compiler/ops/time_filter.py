"""TimeFilter: what SVDF computes of the past: y[b, u] = clamp(bias[u] + sum of its filters).

x [batch, memory, filters], the last steps of each filter, by constant weights [memory, filters];
`filters / units` filters in a row belong to a unit, whose sums are added up.

Quantized: the sum of (x - zx) * (w - zw) plus an integer bias, exact, requantized once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import (
    centred,
    factors,
    product_scales,
    requantization_to,
    weight_values,
)
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float, stored_bounds
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fixed_point import (
    LONG_LIMIT,
    Requantization,
    long_requantization,
    requantize,
)
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.requantize import requantizer
from tinyc.targets import Target

WEIGHTS = (*EIGHT_BITS, DType.INT16)


@dataclass(frozen=True, slots=True)
class TimeFilterAttrs:
    """rank: filters of a unit; clamp: real bounds of the result."""

    rank: int
    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x = inputs[0]
    check_type("TimeFilter", x, (DType.FLOAT32,))
    return (((x.shape[0], x.shape[2] // attrs.rank), x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, y = call.attrs, call.output
    x, w = factors(call, arrays)
    filtered = np.einsum("bmf,mf->bf", x, w)
    sums = filtered.reshape(*y.shape, a.rank).sum(axis=-1)
    if len(arrays) > 2:
        sums = sums + arrays[2].astype(np.float64)
    if y.quant is None:
        return (np.clip(sums, a.clamp.low, a.clamp.high).astype(np.float32),)
    whole, low_high = sums.astype(np.int64), stored_bounds(y, a.clamp)
    steps = requantize(whole, _scale(call), y.quant.zero_point[0], *low_high)
    return (steps.astype(y.dtype.value),)


def can_quantize(call: Call) -> bool:
    """Weights that are centred in 16 bits, one scale for each tensor, and sums below 2^39."""
    x, w, y = call.inputs[0], call.inputs[1], call.output
    stored = (*EIGHT_BITS, *SIXTEEN_BITS)
    if x.dtype not in stored or y.dtype not in stored or w.dtype not in WEIGHTS or w.data is None:
        return False
    if not all(t.quant is not None and t.quant.axis is None for t in (x, w, y)):
        return False
    if np.abs(centred(w.data, w)).max(initial=0) >= 1 << 15 or _largest_sum(call) >= LONG_LIMIT:
        return False
    return float(product_scales(call).max()) < 2.0**20


def macs(call: Call) -> int:
    return call.inputs[0].elements


def _largest_sum(call: Call) -> float:
    """What no partial sum of stored values and folded bias exceeds in magnitude."""
    x, w = call.inputs[:2]
    assert x.quant is not None and w.data is not None, "can_quantize has asked"
    low, high = x.dtype.limits
    sizes = np.abs(centred(w.data, w)).sum(axis=0).reshape(-1, call.attrs.rank).sum(axis=1)
    largest = sizes * (max(-low, high) + abs(x.quant.zero_point[0]))
    bias = call.inputs[2].data if len(call.inputs) > 2 else None
    return float((largest if bias is None else largest + np.abs(bias.astype(np.float64))).max())


def _is_long(call: Call) -> bool:
    return _largest_sum(call) >= 1 << 31


def _scale(call: Call) -> Requantization:
    scales = product_scales(call)
    return (
        long_requantization(scales)
        if _is_long(call)
        else requantization_to(call.output.dtype, scales)
    )


def _tables(call: Call, wide: str) -> tuple[Constant, Constant]:
    """The weights, and the bias less what the zero point of x adds to each sum."""
    x, values = call.inputs[0], weight_values(call)
    bias = np.zeros(call.output.shape[1]) if len(call.inputs) < 3 else call.inputs[2].data
    assert bias is not None, "the bias is constant"
    if x.quant is not None:
        own = values.sum(axis=0).reshape(-1, call.attrs.rank).sum(axis=1)
        bias = bias - x.quant.zero_point[0] * own
    narrow = values.dtype if values.dtype == np.float32 else _narrowest(values)
    weights = Constant("weights", read_only(values.reshape(-1), str(narrow)))
    return weights, Constant("bias", read_only(bias, wide))


def _narrowest(values: Array) -> str:
    return "int8" if -128 <= values.min() and values.max() <= 127 else "int16"


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, a = call.inputs[0], call.output, call.attrs
    batch, memory, filters = x.shape
    exact = "int64" if call.quantized and _is_long(call) else "int32"
    wide = exact if call.quantized else "float32"
    constants = _tables(call, wide)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    weights, bias = (loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants)
    to = requantizer(_scale(call), target) if call.quantized else None
    acc, factor = loops.local("acc", wide), "int32" if call.quantized else "float32"

    def take(b: Any, f: Any, t: Any) -> list[Any]:
        old = loops.load(source, (b * memory + t) * filters + f, factor)
        product = old * loops.load(weights, t * filters + f, factor)
        return [loops.store(acc, 0, loops.load(acc, 0) + product.astype(wide))]

    def finished(u: Any) -> Any:
        if to is None:
            return clamp_float(loops.load(acc, 0), a.clamp)
        assert y.quant is not None
        steps = to.apply(loops.load(acc, 0), u, y.quant.zero_point[0])
        return loops.clamp(steps, *stored_bounds(y, a.clamp))

    def unit(b: Any, u: Any) -> list[Any]:
        return [
            *loops.declare(acc),
            loops.store(acc, 0, loops.load(bias, u)),
            loops.loop("r", a.rank, lambda r: [
                loops.loop("t", memory, lambda t: take(b, u * a.rank + r, t))
            ]),
            loops.store(result, b * y.shape[1] + u, finished(u)),
        ]  # fmt: skip

    body = [loops.loop("b", batch, lambda b: [loops.loop("u", y.shape[1], lambda u: unit(b, u))])]
    tables, buffers = (to.constants, to.buffers) if to else ((), ())
    function = loops.function([source, result, weights, bias, *buffers], body)
    return Kernel(
        "time_filter", function, (*constants, *tables), float_code=x.dtype.is_float,
        note=f"{wide} sums",
    )  # fmt: skip


TIME_FILTER = Op("TimeFilter", infer, reference, kernel, macs=macs, quantize=can_quantize)
