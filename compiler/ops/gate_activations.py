"""The activation functions of recurrent operators: those of Unary, and two that only they have."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import Clamp, clamp_float
from tinyc.compiler.ops.unary_functions import FUNCTIONS, Function


def _f(value: float) -> Any:
    return loops.const(value, "float32")


OWN: dict[str, Function] = {
    "affine": Function(
        lambda x, alpha, beta: alpha * x + beta, lambda x, alpha, beta: x * _f(alpha) + _f(beta)
    ),
    "scaled_tanh": Function(
        lambda x, alpha, beta: alpha * np.tanh(beta * x),
        lambda x, alpha, beta: _f(alpha) * loops.call("tanhf", x * _f(beta), dtype="float32"),
    ),
    "relu": Function(
        lambda x: np.maximum(x, 0), lambda x: clamp_float(x, Clamp(0.0)),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Activation:
    """A key of FUNCTIONS or OWN, and its alpha and beta."""

    function: str
    parameters: tuple[float, ...] = ()


def _function(activation: Activation) -> Function:
    return OWN.get(activation.function) or FUNCTIONS[activation.function]


def activated(activation: Activation, x: Array) -> Array:
    """The function of an array of float64."""
    with np.errstate(all="ignore"):
        return np.asarray(_function(activation).meaning(x, *activation.parameters))


def expression(activation: Activation, x: Any) -> Any:
    """The function of a float32 expression, which may be evaluated several times."""
    return _function(activation).expression(x, *activation.parameters)
