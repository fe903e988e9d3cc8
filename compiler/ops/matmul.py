"""MatMul of two activations: y[..., i, j] = sum a[..., i, k] * b[..., k, j], NumPy broadcasting.

Integers of 32 and 64 bits wrap around.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, Array, DType, Shape, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import (
    centred,
    output_of,
    output_requantization,
    product_scales,
    result_type,
)
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float, stored_bounds
from tinyc.compiler.ops.copying import broadcast_strides, dense_strides, strided_nest
from tinyc.compiler.ops.element_types import check_same_type
from tinyc.compiler.ops.fixed_point import (
    LONG_LIMIT,
    Requantization,
    long_requantization,
    requantize,
)
from tinyc.compiler.ops.integer_math import unsigned
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.requantize import requantizer
from tinyc.compiler.ops.sum_scales import has_long_sums
from tinyc.targets import Target

WHOLE = (DType.INT32, DType.INT64, DType.UINT32, DType.UINT64)
OWN_TYPE = (*WHOLE, DType.FLOAT64)  # of operands whose products are summed in their own type


@dataclass(frozen=True, slots=True)
class MatMulAttrs:
    """Real bounds of the result."""

    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    a, b = inputs
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise CompileError(
            "shape-mismatch",
            f"MatMul cannot multiply {list(a.shape)} by {list(b.shape)}",
            f"tensors '{a.name}' and '{b.name}'",
        )
    if a.dtype in OWN_TYPE:
        check_same_type(a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    dtype = a.dtype if a.dtype in OWN_TYPE else result_type(a, "MatMul")
    return (((*lead, a.shape[-2], b.shape[-1]), dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    if call.inputs[0].dtype in OWN_TYPE:
        product = np.matmul(*arrays)
        floats, clamp = call.output.dtype.is_float, call.attrs.clamp
        return (np.clip(product, clamp.low, clamp.high) if floats else product,)
    a, b = (centred(v, t) for v, t in zip(arrays, call.inputs, strict=True))
    if call.output.quant is not None and has_long_sums(call):
        low, high = stored_bounds(call.output, call.attrs.clamp)
        zero_point, acc = call.output.quant.zero_point[0], (a @ b).astype(np.int64)
        y = requantize(acc, _requantization(call), zero_point, low, high)
        return (y.astype(call.output.dtype.value),)
    return (output_of(call, a @ b, None),)


def can_quantize(call: Call) -> bool:
    """Both stored per tensor; sums of products of centred 8-bit values stay in int32.

    Those of 16-bit values have 64 bits.
    """
    a, b = call.inputs
    stored = (*EIGHT_BITS, *SIXTEEN_BITS)
    if any(t.dtype not in stored or t.quant is None or t.quant.axis is not None for t in (a, b)):
        return False
    if (_largest_sum(call) >= LONG_LIMIT) if has_long_sums(call) else a.shape[-1] >= 1 << 14:
        return False
    if call.output.quant is None:
        return call.output.dtype == DType.INT32 and not has_long_sums(call)
    return call.output.dtype in stored and float(product_scales(call).max()) < 2.0**20


def _largest_sum(call: Call) -> int:
    """What no sum of products of centred values exceeds."""
    most = call.inputs[0].shape[-1]
    for tensor in call.inputs:
        assert tensor.quant is not None, "both are stored integers"
        (zero,), (low, high) = tensor.quant.zero_point, tensor.dtype.limits
        most *= max(high - zero, zero - low)
    return most


def _requantization(call: Call) -> Requantization:
    if has_long_sums(call):
        return long_requantization(product_scales(call))
    return output_requantization(call)


def macs(call: Call) -> int:
    return call.output.elements * call.inputs[0].shape[-1]


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    y = call.output
    operands = [
        loops.buffer(n, t.elements, t.dtype) for n, t in zip("ab", call.inputs, strict=True)
    ]
    result = loops.buffer("y", y.elements, y.dtype)
    rows, depth, columns = call.inputs[0].shape[-2], call.inputs[0].shape[-1], y.shape[-1]
    whole = "int64" if has_long_sums(call) else "int32"
    dtype = whole if call.quantized else _sum_type(call.inputs[0].dtype)
    zeros = [t.quant.zero_point[0] if t.quant else 0 for t in call.inputs]
    acc = loops.local("acc", dtype)
    requantized = y.quant is not None
    to = requantizer(_requantization(call), target) if requantized else None

    def value(side: int, at: Any) -> Any:
        loaded = loops.load(operands[side], at, dtype)
        return loaded - zeros[side] if zeros[side] else loaded

    def final() -> Any:
        total = loops.load(acc, 0)
        if to is not None and y.quant is not None:
            scaled = to.apply(total, 0, y.quant.zero_point[0])
            return loops.clamp(scaled, *stored_bounds(y, call.attrs.clamp))
        return clamp_float(total, call.attrs.clamp) if y.dtype.is_float else total

    def product(at_a: Any, at_b: Any, at_y: Any) -> list[Any]:
        def term(k: Any, i: Any, j: Any) -> Any:
            return value(0, at_a + i * depth + k) * value(1, at_b + k * columns + j)

        def one(i: Any, j: Any) -> list[Any]:
            return [
                *loops.declare(acc),
                loops.store(acc, 0, loops.const(0, dtype)),
                loops.loop("k", depth, lambda k: [
                    loops.store(acc, 0, loops.load(acc, 0) + term(k, i, j))
                ]),
                loops.store(result, at_y + i * columns + j, final()),
            ]  # fmt: skip

        return [loops.loop("i", rows, lambda i: [loops.loop("j", columns, lambda j: one(i, j))])]

    lead = y.shape[:-2]
    strides = [_lead_strides(t.shape, lead) for t in call.inputs]
    steps = [s * rows * columns for s in dense_strides(lead)]
    body = strided_nest(lead, (*strides, steps), (0, 0, 0), product, "pqrstuvw")
    moving = [b for b, t in zip(operands, call.inputs, strict=True) if t.data is None]
    fixed = [(b, t) for b, t in zip(operands, call.inputs, strict=True) if t.data is not None]
    constants = to.constants if to else ()
    tables = to.buffers if to else ()
    constants += tuple(
        Constant("operand", t.data.reshape(-1)) for _, t in fixed if t.data is not None
    )
    function = loops.function([*moving, result, *tables, *(b for b, _ in fixed)], body)
    floats = call.inputs[0].dtype.is_float
    return Kernel("matmul", function, constants, float_code=floats)


def _sum_type(dtype: DType) -> str:
    return unsigned(dtype) if dtype in WHOLE else dtype.value


def _lead_strides(shape: Shape, lead: Shape) -> list[int]:
    """Strides over the broadcast leading axes, in elements."""
    matrix = shape[-2] * shape[-1]
    return [s * matrix for s in broadcast_strides(shape[:-2], lead)]


MATMUL = Op("MatMul", infer, reference, kernel, macs=macs, quantize=can_quantize)
