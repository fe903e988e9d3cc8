"""Two operands, element by element, with NumPy broadcasting: y = clamp(function(a, b))."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, Array, Tensor, read_only
from tinyc.compiler.kernels.sums import sum_of
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.binary_functions import FUNCTIONS
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float, stored_bounds
from tinyc.compiler.ops.copying import broadcast_strides, dense_strides, strided_nest
from tinyc.compiler.ops.element_types import check_same_type, check_type, computed_type
from tinyc.compiler.ops.fixed_point import (
    Requantization,
    long_requantization,
    requantization,
    requantize,
)
from tinyc.compiler.ops.half import conversions, narrowed, widened
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type, dequantized
from tinyc.compiler.ops.quantize import quantized
from tinyc.compiler.ops.requantize import requantizer
from tinyc.compiler.ops.row_range import row_range, same_rows
from tinyc.compiler.ops.sum_scales import has_long_sums, in_steps, sum_scales
from tinyc.targets import Target

EXTREMES = ("Maximum", "Minimum")
MOST_SCALE = 2.0**20  # that an integer multiplier stands for


@dataclass(frozen=True, slots=True)
class BinaryAttrs:
    """Real bounds of the result."""

    clamp: Clamp = NO_CLAMP


def infer_of(name: str) -> Callable[[tuple[Tensor, ...], Any], tuple[Type, ...]]:
    """The types of the operator `name`."""
    function = FUNCTIONS[name]

    def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
        a, b = inputs
        check_type(name, a, function.types)
        check_same_type(a, b)
        return ((np.broadcast_shapes(a.shape, b.shape), function.result or a.dtype),)

    return infer


def _product_ratio(call: Call) -> np.float64:
    a, b, y = (*call.inputs, call.output)
    assert a.quant and b.quant and y.quant, "all three are quantized"
    return np.float64(a.quant.scale[0]) * b.quant.scale[0] / y.quant.scale[0]


def _product_scale(call: Call) -> Requantization:
    form = long_requantization if has_long_sums(call) else requantization
    return form(np.array([_product_ratio(call)]))


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    function = FUNCTIONS[call.node.op].meaning
    a, b = arrays
    if not call.output.quant:
        wide = computed_type(call.inputs[0].dtype).value
        with np.errstate(all="ignore"):
            result = function(a.astype(wide), b.astype(wide))
        if call.output.dtype.is_float:
            result = np.clip(result, call.attrs.clamp.low, call.attrs.clamp.high)
        return (np.asarray(result).astype(call.output.dtype.value),)
    low, high = stored_bounds(call.output, call.attrs.clamp)
    dtype = call.output.dtype.value
    if _table_operand(call) is not None:
        real = function(*(dequantized(v, t) for v, t in zip(arrays, call.inputs, strict=True)))
        real = np.clip(real, call.attrs.clamp.low, call.attrs.clamp.high).astype(np.float32)
        return (quantized(real, call.output.dtype, call.output.quant),)
    if call.node.op == "Mul":
        zeros = [t.quant.zero_point[0] for t in call.inputs if t.quant]
        product = (a.astype(np.int64) - zeros[0]) * (b.astype(np.int64) - zeros[1])
        zero_point = call.output.quant.zero_point[0]
        return (requantize(product, _product_scale(call), zero_point, low, high).astype(dtype),)
    if call.node.op in EXTREMES:
        return (np.clip(function(a, b), low, high).astype(dtype),)
    s = sum_scales(call)
    assert s is not None, "can_quantize has refused it"
    total = a.astype(np.int64) * s.a_multiplier + b.astype(np.int64) * s.b_multiplier + s.constant
    return (np.clip(total >> s.shift, low, high).astype(dtype),)


def can_quantize(call: Call) -> bool:
    stored = (*EIGHT_BITS, *SIXTEEN_BITS)
    if call.output.dtype not in stored:
        return False
    if _table_operand(call) is not None:
        return True
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in call.inputs)
    if not per_tensor or any(t.dtype not in stored for t in call.inputs):
        return False
    if call.node.op in ("Add", "Sub"):
        return sum_scales(call) is not None
    if call.node.op in EXTREMES:  # stored integers of one scale are in the order of their reals
        return len({(t.dtype, t.quant) for t in (*call.inputs, call.output)}) == 1
    return call.node.op == "Mul" and float(_product_ratio(call)) < MOST_SCALE


def _table_operand(call: Call) -> int | None:
    """Which operand varies when the other is one number: the result is then a 256-byte table."""
    for varying, other in ((0, 1), (1, 0)):
        x, number = call.inputs[varying], call.inputs[other]
        if (
            number.data is not None
            and number.elements == 1
            and x.dtype in EIGHT_BITS
            and x.quant is not None
            and x.shape == call.output.shape
        ):
            return varying
    return None


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    if call.output.quant and (varying := _table_operand(call)) is not None:
        return _table_kernel(call, varying)
    y, name = call.output, call.node.op.lower()
    operands = [
        loops.buffer(letter, t.elements, t.dtype)
        for letter, t in zip("ab", call.inputs, strict=True)
    ]
    result = loops.buffer("y", y.elements, y.dtype)
    given = tuple(
        Constant(f"operand_{role}", tensor.data.reshape(-1))
        for role, tensor in zip("ab", call.inputs, strict=True)
        if tensor.data is not None
    )
    moving = [b for b, t in zip(operands, call.inputs, strict=True) if t.data is None]
    fixed = [b for b, t in zip(operands, call.inputs, strict=True) if t.data is not None]
    rows = row_range(call)
    if (total := sum_of(call, target)) is not None:
        first, count = rows.span(len(y.shape))
        to_a, to_b, to_y = (loops.pointer(b, first) for b in (*operands, result))
        line = total.run(to_a, to_b, to_y, count)
        function = loops.function([*moving, result, *fixed, *rows.parameters], [line])
        block = (total.microkernel,)
        return Kernel(name, function, given, microkernels=block, rows=rows.count, note="assembly")
    (expression, constants, buffers), own = expression_of(call, target), call.inputs[0].dtype
    strides = [broadcast_strides(t.shape, y.shape) for t in call.inputs]

    def compute(at_a: Any, at_b: Any, at_y: Any) -> list[Any]:
        a, b = loops.load(operands[0], at_a), loops.load(operands[1], at_b)
        value = expression(widened(a, own), widened(b, own))
        return [loops.store(result, at_y, narrowed(value, own, y.dtype))]

    strides.append(dense_strides(y.shape))
    body = strided_nest(y.shape, strides, (0, 0, 0), compute, rows=rows)
    function = loops.function([*moving, result, *buffers, *fixed, *rows.parameters], body)
    calls = () if y.quant else FUNCTIONS[call.node.op].calls(computed_type(own))
    return Kernel(
        name, function, (*constants, *given), microkernels=(*conversions(own, y.dtype), *calls),
        rows=rows.count, float_code=own.is_float,
    )  # fmt: skip


def expression_of(
    call: Call, target: Target
) -> tuple[Callable[[Any, Any], Any], tuple[Constant, ...], tuple[Any, ...]]:
    """The value to store for two loaded operands, and the tables it reads."""
    function, y = FUNCTIONS[call.node.op].expression, call.output
    if y.quant is None:
        if not y.dtype.is_float:
            return function, (), ()
        return lambda a, b: clamp_float(function(a, b), call.attrs.clamp), (), ()
    low, high = stored_bounds(y, call.attrs.clamp)
    if call.node.op == "Mul":
        to = requantizer(_product_scale(call), target)
        zeros = [t.quant.zero_point[0] for t in call.inputs if t.quant]
        zero_point = y.quant.zero_point[0]

        def product(a: Any, b: Any) -> Any:
            wide = "int64" if has_long_sums(call) else "int32"
            acc = (a.astype(wide) - zeros[0]) * (b.astype(wide) - zeros[1])
            return loops.clamp(to.apply(acc, 0, zero_point), low, high)

        return product, to.constants, to.buffers
    if call.node.op in EXTREMES:
        return lambda a, b: loops.clamp(function(a, b), low, high), (), ()
    s = sum_scales(call)
    assert s is not None, "can_quantize has refused it"

    def long_total(a: Any, b: Any) -> Any:
        products = (a.astype("int64") * s.a_multiplier, b.astype("int64") * s.b_multiplier)
        acc = (products[0] + products[1] + loops.const(s.constant, "int64")) >> s.shift
        bounds = (loops.const(bound, "int64") for bound in (low, high))
        return loops.minimum(loops.maximum(acc, next(bounds)), next(bounds))

    if has_long_sums(call):
        return long_total, (), ()

    small = in_steps(s) or s

    def total(a: Any, b: Any) -> Any:
        acc = a.astype("int32") * small.a_multiplier + b.astype("int32") * small.b_multiplier
        return loops.clamp((acc + small.constant) >> small.shift, low, high)

    return total, (), ()


def _table_kernel(call: Call, varying: int) -> Kernel:
    x, y = call.inputs[varying], call.output
    every = np.arange(256, dtype=np.uint8).view(x.dtype.value)
    number = call.inputs[1 - varying].data
    assert number is not None
    arrays = (every, number) if varying == 0 else (number, every)
    table_values = read_only(reference(call, arrays)[0].reshape(-1))
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    table = loops.buffer("table", 256, y.dtype)

    def look_up(i: Any) -> list[Any]:
        at = loops.load(source, i, "uint8").astype("int32")
        return [loops.store(result, i, loops.load(table, at))]

    rows = row_range(call)
    first, count = rows.span(len(y.shape))
    function = loops.function(
        [source, result, table, *rows.parameters], [loops.loop("i", count, look_up, first)]
    )
    constants = (Constant("table", table_values),)
    return Kernel("look_up", function, constants, rows=rows.count, note="table")


BINARY_OPS = tuple(
    Op(name, infer_of(name), reference, kernel, same_rows, quantize=can_quantize, in_place=True)
    for name in FUNCTIONS
)
