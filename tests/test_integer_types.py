"""Integers of every width, against Python's own: they wrap around, and nothing traps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import run_nodes
from tinyc.compiler.graph import Array

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


def extremes(dtype: str) -> Array:
    """Values at which integers of a type overflow, trap or change sign."""
    info = np.iinfo(dtype)
    values = {info.min, info.min + 1, -8, -3, -1, 0, 1, 2, 3, 7, info.bits - 1, info.bits, info.max}
    return np.array(sorted(v for v in values if info.min <= v <= info.max), dtype)


def pairs(values: Array) -> dict[str, Array]:
    """Every value with every other."""
    return {"a": np.repeat(values, values.size), "b": np.tile(values, values.size)}


def wrapped(value: int, dtype: str) -> int:
    info = np.iinfo(dtype)
    return (value - info.min) % (1 << info.bits) + info.min


def quotient(a: int, b: int) -> int:
    return 0 if b == 0 else (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)


def shifted(a: int, b: int, bits: int, left: bool) -> int:
    if 0 <= b < bits:
        return a << b if left else a >> b
    return -1 if a < 0 and not left else 0


def power(a: int, b: int) -> int:
    if b >= 0:
        return pow(a, b, 1 << 64)
    return {1: 1, -1: -1 if b % 2 else 1}.get(a, 0)


Meaning = Callable[[int, int, int], int]  # of two operands and the bits of the type
BINARY: dict[str, tuple[onnx.NodeProto, Meaning]] = {
    "add": (make_node("Add", ["a", "b"], ["add"]), lambda a, b, n: a + b),
    "sub": (make_node("Sub", ["a", "b"], ["sub"]), lambda a, b, n: a - b),
    "mul": (make_node("Mul", ["a", "b"], ["mul"]), lambda a, b, n: a * b),
    "div": (make_node("Div", ["a", "b"], ["div"]), lambda a, b, n: quotient(a, b)),
    "mod": (make_node("Mod", ["a", "b"], ["mod"]), lambda a, b, n: a % b if b else 0),
    "fmod": (
        make_node("Mod", ["a", "b"], ["fmod"], fmod=1),
        lambda a, b, n: a - b * quotient(a, b) if b else 0,
    ),
    "min": (make_node("Min", ["a", "b"], ["min"]), lambda a, b, n: min(a, b)),
    "max": (make_node("Max", ["a", "b"], ["max"]), lambda a, b, n: max(a, b)),
    "left": (
        make_node("BitShift", ["a", "b"], ["left"], direction="LEFT"),
        lambda a, b, n: shifted(a, b, n, left=True),
    ),
    "right": (
        make_node("BitShift", ["a", "b"], ["right"], direction="RIGHT"),
        lambda a, b, n: shifted(a, b, n, left=False),
    ),
    "bits_and": (make_node("BitwiseAnd", ["a", "b"], ["bits_and"]), lambda a, b, n: a & b),
    "bits_or": (make_node("BitwiseOr", ["a", "b"], ["bits_or"]), lambda a, b, n: a | b),
    "bits_xor": (make_node("BitwiseXor", ["a", "b"], ["bits_xor"]), lambda a, b, n: a ^ b),
    "power": (make_node("Pow", ["a", "b"], ["power"]), lambda a, b, n: power(a, b)),
}
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}
UNARY: dict[str, Callable[[int], int]] = {
    "Abs": abs,
    "Neg": lambda a: -a,
    "Sign": lambda a: (a > 0) - (a < 0),
    "BitwiseNot": lambda a: ~a,
    "Relu": lambda a: max(a, 0),
}


@pytest.mark.parametrize(
    "dtype, target",
    [*((d, "host") for d in INTEGERS), ("int8", "cortex-m4"), ("int64", "cortex-m0plus")],
)
def test_integers_wrap_around_and_never_trap(dtype: str, target: str, tmp_path: Path) -> None:
    inputs, info = pairs(extremes(dtype)), np.iinfo(dtype)
    kept = {n: v for n, v in BINARY.items() if n != "power" or dtype in ("int32", "int64")}
    nodes = [node for node, _ in kept.values()]
    nodes += [make_node(op, ["a", "b"], [op]) for op in COMPARED]
    signed = dtype.startswith("i")
    unary = {op: f for op, f in UNARY.items() if signed or op not in ("Neg", "Relu")}
    nodes += [make_node(op, ["a"], [op]) for op in unary]
    types = {**dict.fromkeys((*kept, *unary), dtype), **dict.fromkeys(COMPARED, "bool")}

    computed = run_nodes(nodes, inputs, types, tmp_path, target=target)

    both = list(zip(inputs["a"].tolist(), inputs["b"].tolist(), strict=True))
    for name, (_, meaning) in kept.items():
        expected = [wrapped(meaning(a, b, info.bits), dtype) for a, b in both]
        assert computed[name].tolist() == expected, name
    for op, function in unary.items():
        assert computed[op].tolist() == [wrapped(function(a), dtype) for a, _ in both], op
    for op, compare in COMPARED.items():
        assert computed[op].tolist() == [bool(compare(a, b)) for a, b in both], op
