"""The functions of one operand, element by element, on every element type they have.

Those of reals have their meaning on float64; those of integers and bools on their own type.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, DType
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import INTEGERS, REALS, SIGNED
from tinyc.compiler.ops.integer_math import unsigned
from tinyc.compiler.ops.real import Real, is_nan, type_of

BOOL = (DType.BOOL,)


@dataclass(frozen=True, slots=True)
class Function:
    """meaning on arrays, expression in TensorIR; both take the parameters behind the operand.

    types   element types of the operand
    result  the element type of the result; None: that of the operand
    """

    meaning: Callable[..., Array]
    expression: Callable[..., Any]
    types: tuple[DType, ...] = REALS
    result: DType | None = None


def _real(meaning: Callable[..., Array], expression: Callable[..., Any]) -> Function:
    """Of reals: the expression is given their `Real` first."""
    return Function(meaning, lambda x, *parameters: expression(Real(type_of(x)), x, *parameters))


def _math(meaning: Callable[..., Array], name: str) -> Function:
    """A function of math.h."""
    return _real(meaning, lambda r, x: r.call(name, x))


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _sigmoid(r: Real, x: Any) -> Any:
    return r.number(1.0) / (r.number(1.0) + r.call("exp", r.number(0.0) - x))


def _softplus(r: Real, x: Any) -> Any:
    small = r.call("exp", r.number(0.0) - r.call("fabs", x))
    return loops.maximum(x, r.number(0.0)) + r.call("log1p", small)


def _exponential_unit(
    r: Real, x: Any, alpha: float, scale: float = 1.0, inside: float = 1.0
) -> Any:
    inner = loops.minimum(x, r.number(0.0)) * r.number(1.0 / inside)
    below = r.number(scale * alpha) * r.call("expm1", inner)
    return loops.maximum(x, r.number(0.0)) * r.number(scale) + below


def _unit_interval(r: Real, x: Any) -> Any:
    return loops.minimum(loops.maximum(x, r.number(0.0)), r.number(1.0))


def _gelu_tanh(r: Real, x: Any) -> Any:
    inner = r.number(math.sqrt(2 / math.pi)) * (x + r.number(0.044715) * x * x * x)
    return r.number(0.5) * x * (r.number(1.0) + r.call("tanh", inner))


def _shrunk(r: Real, x: Any, bias: float, lambd: float) -> Any:
    above = loops.select(x > r.number(lambd), x - r.number(bias), r.number(0.0))
    return loops.select(x < r.number(-lambd), x + r.number(bias), above)


def _infinite(r: Real, x: Any, below: float, above: float) -> Any:
    """Whether x is the infinity below, if `below` is not 0, or that above."""
    signs = [sign for sign, wanted in ((1, above), (-1, below)) if wanted]
    found = [loops.equal(x, r.number(sign * math.inf)) for sign in signs]
    return loops.either(*found) if len(found) > 1 else found[0]


def _is_infinite(x: Array, below: float, above: float) -> Array:
    signs = [sign for sign, wanted in ((-np.inf, below), (np.inf, above)) if wanted]
    return np.isin(x, signs)


def _sign(x: Any) -> Any:
    dtype = type_of(x)
    zero, one = loops.const(0, dtype), loops.const(1, dtype)
    if dtype.startswith("u"):
        return loops.select(x > zero, one, zero)
    return loops.select(x > zero, one, loops.select(x < zero, loops.const(-1, dtype), zero))


def _negated(x: Any) -> Any:
    """The smallest integer stays what it is."""
    wide = unsigned(type_of(x))
    return (loops.const(0, wide) - x.astype(wide)).astype(type_of(x))


def _inverted(x: Any) -> Any:
    wide = unsigned(type_of(x))
    every = loops.const((1 << DType(wide).size * 8) - 1, wide)
    return (x.astype(wide) ^ every).astype(type_of(x))


FUNCTIONS: dict[str, Function] = {
    "identity": Function(lambda x: x, lambda x: x),
    "abs": _math(np.abs, "fabs"),
    "neg": _real(np.negative, lambda r, x: r.number(0.0) - x),
    "sign": _real(
        np.sign,
        lambda r, x: loops.select(
            x > r.number(0.0),
            r.number(1.0),
            loops.select(x < r.number(0.0), r.number(-1.0), r.number(0.0)),
        ),
    ),
    "floor": _math(np.floor, "floor"),
    "ceil": _math(np.ceil, "ceil"),
    "round": _math(np.rint, "rint"),
    "sqrt": _math(np.sqrt, "sqrt"),
    "reciprocal": _real(np.reciprocal, lambda r, x: r.number(1.0) / x),
    "exp": _math(np.exp, "exp"),
    "log": _math(np.log, "log"),
    "sin": _math(np.sin, "sin"),
    "cos": _math(np.cos, "cos"),
    "tan": _math(np.tan, "tan"),
    "asin": _math(np.arcsin, "asin"),
    "acos": _math(np.arccos, "acos"),
    "atan": _math(np.arctan, "atan"),
    "sinh": _math(np.sinh, "sinh"),
    "cosh": _math(np.cosh, "cosh"),
    "tanh": _math(np.tanh, "tanh"),
    "asinh": _math(np.arcsinh, "asinh"),
    "acosh": _math(np.arccosh, "acosh"),
    "atanh": _math(np.arctanh, "atanh"),
    "erf": _math(_erf, "erf"),
    "sigmoid": _real(lambda x: 1 / (1 + np.exp(-x)), _sigmoid),
    "softplus": _real(lambda x: np.logaddexp(x, 0), _softplus),
    "softsign": _real(
        lambda x: x / (1 + np.abs(x)), lambda r, x: x / (r.number(1.0) + r.call("fabs", x))
    ),
    "hard_sigmoid": _real(
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
        lambda r, x, alpha, beta: _unit_interval(r, x * r.number(alpha) + r.number(beta)),
    ),
    "hard_swish": _real(
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda r, x: x * _unit_interval(r, x * r.number(1 / 6) + r.number(0.5)),
    ),
    "leaky_relu": _real(
        lambda x, alpha: np.where(x < 0, alpha * x, x),
        lambda r, x, alpha: loops.select(x < r.number(0.0), x * r.number(alpha), x),
    ),
    "thresholded_relu": _real(
        lambda x, alpha: np.where(x > alpha, x, 0),
        lambda r, x, alpha: loops.select(x > r.number(alpha), x, r.number(0.0)),
    ),
    "shrink": _real(
        lambda x, bias, lambd: np.where(
            x < -lambd, x + bias, np.where(x > lambd, x - bias, np.zeros_like(x))
        ),
        _shrunk,
    ),
    "elu": _real(
        lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x), _exponential_unit
    ),
    "celu": _real(
        lambda x, alpha: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha),
        lambda r, x, alpha: _exponential_unit(r, x, alpha, 1.0, alpha),
    ),
    "selu": _real(
        lambda x, alpha, gamma: gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
        lambda r, x, alpha, gamma: _exponential_unit(r, x, alpha, gamma),
    ),
    "gelu": _real(
        lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
        lambda r, x: (
            r.number(0.5) * x * (r.number(1.0) + r.call("erf", x * r.number(math.sqrt(0.5))))
        ),
    ),
    "gelu_tanh": _real(
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        _gelu_tanh,
    ),
    "swish": _real(
        lambda x, alpha: x / (1 + np.exp(-alpha * x)),
        lambda r, x, alpha: x * _sigmoid(r, x * r.number(alpha)),
    ),
    "mish": _real(
        lambda x: x * np.tanh(np.logaddexp(x, 0)),
        lambda r, x: x * r.call("tanh", _softplus(r, x)),
    ),
    "is_nan": Function(np.isnan, is_nan, REALS, DType.BOOL),
    "is_infinite": Function(
        _is_infinite,
        lambda x, below, above: _infinite(Real(type_of(x)), x, below, above),
        REALS,
        DType.BOOL,
    ),
    "not": Function(np.logical_not, loops.negation, BOOL),
    "invert": Function(np.invert, _inverted, INTEGERS),
    "abs_integer": Function(
        np.abs, lambda x: loops.select(x < loops.const(0, type_of(x)), _negated(x), x), SIGNED
    ),
    "neg_integer": Function(np.negative, _negated, SIGNED),
    "sign_integer": Function(np.sign, _sign, INTEGERS),
}
