"""Unary: y = clamp(function(x)), element by element; a 256-byte table on 8-bit stored values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type, dequantized
from tinyc.compiler.ops.quantize import quantized
from tinyc.compiler.ops.row_range import row_range, same_rows
from tinyc.targets import Target

UNROLL = 4  # elements a turn of a table's loop


@dataclass(frozen=True, slots=True)
class UnaryAttrs:
    """function is a key of FUNCTIONS; parameters are its numbers, as ONNX names them."""

    function: str
    parameters: tuple[float, ...] = ()
    clamp: Clamp = NO_CLAMP


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its meaning on float64 arrays, and its float32 expression."""

    meaning: Callable[..., Array]
    expression: Callable[..., Any]


def _c(name: str) -> Callable[[Any], Any]:
    return lambda x: loops.call(name, x, dtype="float32")


def _f(value: float) -> Any:
    return loops.const(value, "float32")


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _sigmoid(x: Any) -> Any:
    return _f(1.0) / (_f(1.0) + _c("expf")(_f(0.0) - x))


def _exponential_unit(x: Any, alpha: float, scale: float = 1.0, inside: float = 1.0) -> Any:
    below = _f(scale * alpha) * _c("expm1f")(loops.minimum(x, _f(0.0)) * _f(1.0 / inside))
    return loops.maximum(x, _f(0.0)) * _f(scale) + below


FUNCTIONS: dict[str, Function] = {
    "identity": Function(lambda x: x, lambda x: x),
    "abs": Function(np.abs, _c("fabsf")),
    "neg": Function(np.negative, lambda x: _f(0.0) - x),
    "sign": Function(
        np.sign,
        lambda x: loops.select(x > _f(0.0), _f(1.0), loops.select(x < _f(0.0), _f(-1.0), _f(0.0))),
    ),
    "floor": Function(np.floor, _c("floorf")),
    "ceil": Function(np.ceil, _c("ceilf")),
    "round": Function(np.rint, _c("rintf")),
    "sqrt": Function(np.sqrt, _c("sqrtf")),
    "reciprocal": Function(np.reciprocal, lambda x: _f(1.0) / x),
    "exp": Function(np.exp, _c("expf")),
    "log": Function(np.log, _c("logf")),
    "sin": Function(np.sin, _c("sinf")),
    "cos": Function(np.cos, _c("cosf")),
    "tanh": Function(np.tanh, _c("tanhf")),
    "erf": Function(_erf, _c("erff")),
    "sigmoid": Function(lambda x: 1 / (1 + np.exp(-x)), _sigmoid),
    "softplus": Function(
        lambda x: np.logaddexp(x, 0),
        lambda x: loops.maximum(x, _f(0.0)) + _c("log1pf")(_c("expf")(_f(0.0) - _c("fabsf")(x))),
    ),
    "softsign": Function(lambda x: x / (1 + np.abs(x)), lambda x: x / (_f(1.0) + _c("fabsf")(x))),
    "hard_sigmoid": Function(
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
        lambda x, alpha, beta: loops.minimum(
            loops.maximum(x * _f(alpha) + _f(beta), _f(0.0)), _f(1.0)
        ),
    ),
    "hard_swish": Function(
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda x: x * loops.minimum(loops.maximum(x * _f(1 / 6) + _f(0.5), _f(0.0)), _f(1.0)),
    ),
    "leaky_relu": Function(
        lambda x, alpha: np.where(x < 0, alpha * x, x),
        lambda x, alpha: loops.select(x < _f(0.0), x * _f(alpha), x),
    ),
    "thresholded_relu": Function(
        lambda x, alpha: np.where(x > alpha, x, 0),
        lambda x, alpha: loops.select(x > _f(alpha), x, _f(0.0)),
    ),
    "elu": Function(
        lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x), _exponential_unit
    ),
    "celu": Function(
        lambda x, alpha: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha),
        lambda x, alpha: _exponential_unit(x, alpha, 1.0, alpha),
    ),
    "selu": Function(
        lambda x, alpha, gamma: gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
        lambda x, alpha, gamma: _exponential_unit(x, alpha, gamma),
    ),
    "gelu": Function(
        lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
        lambda x: _f(0.5) * x * (_f(1.0) + _c("erff")(x * _f(math.sqrt(0.5)))),
    ),
    "gelu_tanh": Function(
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        lambda x: (
            _f(0.5)
            * x
            * (_f(1.0) + _c("tanhf")(_f(math.sqrt(2 / math.pi)) * (x + _f(0.044715) * x * x * x)))
        ),
    ),
    "swish": Function(
        lambda x, alpha: x / (1 + np.exp(-alpha * x)), lambda x, alpha: x * _sigmoid(x * _f(alpha))
    ),
    "mish": Function(
        lambda x: x * np.tanh(np.logaddexp(x, 0)),
        lambda x: (
            x
            * _c("tanhf")(
                loops.maximum(x, _f(0.0)) + _c("log1pf")(_c("expf")(_f(0.0) - _c("fabsf")(x)))
            )
        ),
    ),
}


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type(attrs.function, inputs[0], (DType.FLOAT32,))
    return ((inputs[0].shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, y = call.attrs, call.output
    real = dequantized(arrays[0], call.inputs[0])
    with np.errstate(all="ignore"):
        result = FUNCTIONS[a.function].meaning(real, *a.parameters)
    result = np.clip(result, a.clamp.low, a.clamp.high).astype(np.float32)
    return (result if y.quant is None else quantized(result, y.dtype, y.quant),)


def can_quantize(call: Call) -> bool:
    x, y = call.inputs[0], call.output
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in (x, y))
    return per_tensor and x.dtype in EIGHT_BITS and y.dtype in EIGHT_BITS


def table_of(call: Call) -> Array:
    """The output for each stored input value, by its bits as an unsigned byte; 256 elements."""
    x = call.inputs[0]
    every = np.arange(256, dtype=np.uint8).view(x.dtype.value)
    return read_only(reference(call, (every,))[0])


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a, rows = call.inputs, call.output, call.attrs, row_range(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    if call.quantized:
        table, constants = loops.buffer("table", 256, y.dtype), (Constant("table", table_of(call)),)
        body = _look_up(source, table, result, *rows.span(len(y.shape)))
        function = loops.function([source, result, table, *rows.parameters], body)
        return Kernel("look_up", function, constants, rows=rows.count, note="table")

    def compute(i: Any) -> list[Any]:
        value = FUNCTIONS[a.function].expression(loops.load(source, i), *a.parameters)
        return [loops.store(result, i, clamp_float(value, a.clamp))]

    first, count = rows.span(len(y.shape))
    body = [loops.loop("i", count, compute, first)]
    name = "clamp" if a.function == "identity" else a.function
    function = loops.function([source, result, *rows.parameters], body)
    return Kernel(name, function, rows=rows.count, float_code=True)


def _look_up(source: Any, table: Any, result: Any, begin: Any, elements: Any) -> list[Any]:
    """Some elements at once: all are read before the first is written, which may be over them."""
    values = [loops.local(f"y_{u}") for u in range(UNROLL)]
    turns = loops.quotient(elements, UNROLL)

    def look_up(first: Any, count: int) -> list[Any]:
        lines = []
        for u in range(count):
            at = loops.load(source, first + u, "uint8").astype("int32")
            lines.append(loops.store(values[u], 0, loops.load(table, at, "int32")))
        stores = (loops.store(result, first + u, loops.load(values[u], 0)) for u in range(count))
        return [*lines, *stores]

    done = turns * UNROLL
    return [
        *loops.declare(*values),
        loops.loop("i", turns, lambda i: look_up(begin + i * UNROLL, UNROLL)),
        loops.loop("i", elements - done, lambda i: look_up(begin + done + i, 1)),
    ]


UNARY = Op("Unary", infer, reference, kernel, same_rows, quantize=can_quantize, in_place=True)
