"""The functions of two operands, element by element, on every element type they have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, DType
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import INTEGERS, NUMBERS, REALS
from tinyc.compiler.ops.integer_math import called, computed_in, division, power, unsigned
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.real import Real, is_nan, type_of

Expression = Callable[[Any, Any], Any]
BOOL = (DType.BOOL,)


@dataclass(frozen=True, slots=True)
class Function:
    """meaning on NumPy arrays and expression in TensorIR, both on operands of one type.

    types   element types of the operands
    result  the element type of the result; None: that of the operands
    calls   the C functions that the expression calls, by element type
    """

    meaning: Callable[[Array, Array], Array]
    expression: Expression
    types: tuple[DType, ...] = NUMBERS
    result: DType | None = None
    calls: Callable[[DType], tuple[Microkernel, ...]] = lambda dtype: ()


def _wrapping(compute: Expression) -> Expression:
    """Integers are computed without sign: C does not define the overflow of signed ones."""

    def expression(a: Any, b: Any) -> Any:
        dtype = type_of(a)
        if dtype.startswith("float"):
            return compute(a, b)
        wide = unsigned(dtype)
        return compute(a.astype(wide), b.astype(wide)).astype(dtype)

    return expression


def _divided(name: str, of_floats: Expression) -> Expression:
    """Division by a C function for integers."""

    def expression(a: Any, b: Any) -> Any:
        dtype = type_of(a)
        if dtype.startswith("float"):
            return of_floats(a, b)
        wide = computed_in(dtype)
        return called(division(name, wide), wide, a, b)

    return expression


def _division(name: str) -> Callable[[DType], tuple[Microkernel, ...]]:
    """What `_divided` calls; floats have a function of their own for the modulo only."""

    def calls(dtype: DType) -> tuple[Microkernel, ...]:
        if dtype.is_float:
            return (division(name, dtype),) if name == "modulo" else ()
        return (division(name, computed_in(dtype)),)

    return calls


def _modulo_of_floats(a: Any, b: Any) -> Any:
    dtype = type_of(a)
    return loops.call(division("modulo", dtype).name, a, b, dtype=dtype)


def _raised(a: Any, b: Any) -> Any:
    dtype = type_of(a)
    if dtype.startswith("float"):
        return Real(dtype).call("pow", a, b)
    wide = computed_in(dtype)
    return called(power(wide), wide, a, b)


def _extreme(better: Expression) -> Expression:
    """The operand that is `better`; what is not a number is passed on, as NumPy does."""

    def expression(a: Any, b: Any) -> Any:
        first = better(a, b)
        if type_of(a).startswith("float"):
            first = loops.either(is_nan(a), first)
        return loops.select(first, a, b)

    return expression


def _shifted_left(a: Any, b: Any) -> Any:
    """0 for a shift of the whole width or more; a negative one is such a shift."""
    dtype = type_of(a)
    wide, bits = unsigned(dtype), DType(dtype).size * 8
    count = b.astype(wide)
    moved = (a.astype(wide) << count).astype(dtype)
    return loops.select(count < loops.const(bits, wide), moved, loops.const(0, dtype))


def _shifted_right(a: Any, b: Any) -> Any:
    """A shift of the whole width or more leaves the sign."""
    dtype = type_of(a)
    wide, last = unsigned(dtype), DType(dtype).size * 8 - 1
    count, own = b.astype(wide), computed_in(dtype)
    inside = count <= loops.const(last, wide)
    if dtype.startswith("u"):
        return loops.select(inside, (a.astype(own) >> count).astype(dtype), loops.const(0, dtype))
    count = loops.select(inside, count, loops.const(last, wide)).astype(own)
    return (a.astype(own) >> count).astype(dtype)


def _left(a: Array, b: Array) -> Array:
    bits = a.dtype.itemsize * 8
    inside = (b >= 0) & (b < bits)
    return np.where(inside, np.left_shift(a, np.where(inside, b, 0).astype(a.dtype)), 0)


def _right(a: Array, b: Array) -> Array:
    bits = a.dtype.itemsize * 8
    inside = (b >= 0) & (b < bits)
    moved = np.right_shift(a, np.where(inside, b, 0).astype(a.dtype))
    return np.where(inside, moved, np.where(a < 0, -1, 0))


def _quotient(a: Array, b: Array) -> Array:
    """NumPy rounds quotients of integers down; ONNX towards zero."""
    if a.dtype.kind == "f":
        return np.asarray(np.divide(a, b))
    with np.errstate(all="ignore"):
        return np.asarray(np.floor_divide(a, b) + ((np.fmod(a, b) != 0) & ((a < 0) != (b < 0))))


def _power(a: Array, b: Array) -> Array:
    """NumPy has no powers of integers below 0."""
    if a.dtype.kind == "f":
        return np.asarray(np.power(a, b))
    below = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b & 1), 0))
    return np.where(b < 0, below, np.power(a, np.maximum(b, 0)))


def _compared(meaning: Any, expression: Expression, *more: DType) -> Function:
    return Function(meaning, expression, (*NUMBERS, *more), DType.BOOL)


FUNCTIONS: dict[str, Function] = {
    "Add": Function(np.add, _wrapping(lambda a, b: a + b)),
    "Sub": Function(np.subtract, _wrapping(lambda a, b: a - b)),
    "Mul": Function(np.multiply, _wrapping(lambda a, b: a * b)),
    "Div": Function(
        _quotient, _divided("divide", lambda a, b: a / b), calls=_division("divide")
    ),
    "Minimum": Function(np.minimum, _extreme(lambda a, b: a < b)),
    "Maximum": Function(np.maximum, _extreme(lambda a, b: a > b)),
    "Pow": Function(
        _power, _raised, (DType.INT32, DType.INT64, *REALS),
        calls=lambda dtype: () if dtype.is_float else (power(dtype),),
    ),
    "Modulo": Function(
        np.mod, _divided("modulo", _modulo_of_floats), calls=_division("modulo")
    ),
    "Remainder": Function(
        np.fmod,
        _divided("remainder", lambda a, b: Real(type_of(a)).call("fmod", a, b)),
        calls=_division("remainder"),
    ),
    "ShiftLeft": Function(_left, _shifted_left, INTEGERS),
    "ShiftRight": Function(_right, _shifted_right, INTEGERS),
    "BitwiseAnd": Function(np.bitwise_and, _wrapping(lambda a, b: a & b), INTEGERS),
    "BitwiseOr": Function(np.bitwise_or, _wrapping(lambda a, b: a | b), INTEGERS),
    "BitwiseXor": Function(np.bitwise_xor, _wrapping(lambda a, b: a ^ b), INTEGERS),
    "And": Function(np.logical_and, lambda a, b: loops.every([a, b]), BOOL),
    "Or": Function(np.logical_or, loops.either, BOOL),
    "Xor": Function(np.logical_xor, loops.unequal, BOOL),
    "Equal": _compared(np.equal, loops.equal, DType.BOOL),
    "Less": _compared(np.less, lambda a, b: a < b),
    "LessOrEqual": _compared(np.less_equal, lambda a, b: a <= b),
    "Greater": _compared(np.greater, lambda a, b: a > b),
    "GreaterOrEqual": _compared(np.greater_equal, lambda a, b: a >= b),
}  # fmt: skip
