"""Operators element by element on every element type, against Python's own integers and NumPy."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.ops.cast import CastAttrs

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float32", "float64"]
HALVES = ["float16", "bfloat16"]


def extremes(dtype: str) -> Array:
    """Values at which integers of a type overflow, trap or change sign."""
    info = np.iinfo(dtype)
    values = {info.min, info.min + 1, -8, -3, -1, 0, 1, 2, 3, 7, info.bits - 1, info.bits, info.max}
    return np.array(sorted(v for v in values if info.min <= v <= info.max), dtype)


def reals(dtype: str) -> Array:
    finite = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.25, 7.0, 100.0]
    return np.array([*finite, math.inf, -math.inf, math.nan], dtype)


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
    "clip": (make_node("Clip", ["a", "b", "seven"], ["clip"]), lambda a, b, n: min(max(a, b), 7)),
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


def run_nodes(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Array],
    outputs: dict[str, str],
    folder: Path,
    constants: dict[str, Array] | None = None,
    target: str = "host",
) -> dict[str, Array]:
    """What the C of a model computes; outputs are name -> type, of any shape."""
    given = {n: (str(a.dtype), a.shape) for n, a in inputs.items()}
    wanted = {n: (dtype, (None,)) for n, dtype in outputs.items()}
    model = onnx_model(nodes, given, wanted, constants, opset=26)
    (result,) = run_c(optimized(read_model(model, folder)), [inputs], target)
    return result


@pytest.mark.parametrize(
    "dtype, target",
    [*((d, "host") for d in INTEGERS), ("int8", "cortex-m4"), ("int64", "cortex-m0plus")],
)
def test_integers_wrap_around_and_never_trap(dtype: str, target: str, tmp_path: Path) -> None:
    inputs, info = pairs(extremes(dtype)), np.iinfo(dtype)
    kept = {n: v for n, v in BINARY.items() if n != "power" or dtype in ("int32", "int64")}
    kept = {n: v for n, v in kept.items() if n != "clip"}  # its bounds are single numbers
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


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_keep_what_is_no_number(dtype: str, tmp_path: Path) -> None:
    inputs = pairs(reals(dtype))
    a, b = inputs.values()
    expected: dict[str, Any] = {}
    with np.errstate(all="ignore"):
        expected = {"min": np.minimum(a, b), "max": np.maximum(a, b), "div": a / b,
                    "fmod": np.fmod(a, b), "mod": np.mod(a, b), "add": a + b}  # fmt: skip
        expected |= {op: compare(a, b) for op, compare in COMPARED.items()}
        expected |= {"IsNaN": np.isnan(a), "IsInf": np.isinf(a), "below": np.isneginf(a),
                     "neither": np.zeros(a.shape, bool)}  # fmt: skip
    nodes = [BINARY[n][0] for n in ("min", "max", "div", "fmod", "mod", "add")]
    nodes += [make_node(op, ["a", "b"], [op]) for op in COMPARED]
    nodes += [make_node(op, ["a"], [op]) for op in ("IsNaN", "IsInf")]
    nodes.append(make_node("IsInf", ["a"], ["below"], detect_positive=0))
    nodes.append(make_node("IsInf", ["a"], ["neither"], detect_positive=0, detect_negative=0))

    computed = run_nodes(nodes, inputs, {n: str(e.dtype) for n, e in expected.items()}, tmp_path)

    for name, values in expected.items():
        np.testing.assert_array_equal(computed[name], values, err_msg=name)


FUNCTIONS = {
    "Acos": np.arccos, "Acosh": np.arccosh, "Asin": np.arcsin, "Asinh": np.arcsinh,
    "Atan": np.arctan, "Atanh": np.arctanh, "Cosh": np.cosh, "Sinh": np.sinh, "Tan": np.tan,
    "Exp": np.exp, "Log": np.log, "Sqrt": np.sqrt, "Floor": np.floor, "Abs": np.abs,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Relu": lambda x: np.maximum(x, 0),
    "Softplus": lambda x: np.logaddexp(x, 0), "Reciprocal": np.reciprocal,
}  # fmt: skip


@pytest.mark.parametrize("dtype, target", [(d, t) for d in FLOATS for t in ("host", "cortex-m4")])
def test_functions_of_reals(dtype: str, target: str, tmp_path: Path) -> None:
    x = np.array([0.1, 0.25, 0.5, 0.9, 1.0, 1.5, 3.0], dtype)
    nodes = [make_node(op, ["x"], [op]) for op in FUNCTIONS]

    computed = run_nodes(nodes, {"x": x}, dict.fromkeys(FUNCTIONS, dtype), tmp_path, target=target)

    for op, function in FUNCTIONS.items():
        with np.errstate(all="ignore"):
            expected = function(x.astype(np.float64))
        close = 1e-6 if dtype == "float32" else 1e-14
        np.testing.assert_allclose(computed[op], expected, close, close, err_msg=op)


def test_logic(tmp_path: Path) -> None:
    inputs = pairs(np.array([False, True]))
    meanings = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.not_equal, "Equal": np.equal}
    nodes = [make_node(op, ["a", "b"], [op]) for op in meanings]
    nodes.append(make_node("Not", ["a"], ["Not"]))

    computed = run_nodes(nodes, inputs, dict.fromkeys((*meanings, "Not"), "bool"), tmp_path)

    for op, meaning in meanings.items():
        assert (computed[op] == meaning(inputs["a"], inputs["b"])).all(), op
    assert (computed["Not"] == ~inputs["a"]).all()


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float64", "float32"])
def test_clip_takes_bounds_that_are_computed(dtype: str, tmp_path: Path) -> None:
    x = np.array([-5, 0, 3, 9, 100]).astype(dtype)
    inputs = {"x": x, "low": np.array(2, dtype)}
    node = make_node("Clip", ["x", "low", "high"], ["y"])

    computed = run_nodes([node], inputs, {"y": dtype}, tmp_path, {"high": np.array(9, dtype)})

    np.testing.assert_array_equal(computed["y"], np.minimum(np.maximum(x, inputs["low"]), 9))


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "float64", *HALVES])
def test_where_repeats_its_operands(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    inputs = {
        "c": np.array([[True], [False], [True]]),
        "a": rng.integers(0, 100, (2, 1, 4)).astype(dtype),
    }
    b = rng.integers(0, 100, (1, 4)).astype(dtype)
    node = make_node("Where", ["c", "a", "b"], ["y"])

    computed = run_nodes([node], inputs, {"y": dtype}, tmp_path, {"b": b})

    np.testing.assert_array_equal(computed["y"], np.where(inputs["c"], inputs["a"], b))


def test_powers_of_mixed_types(tmp_path: Path) -> None:
    inputs = {
        "i": np.array([-3, 2, 9], np.int64),
        "f": np.array([1.5, -2.0, 0.25], np.float32),
        "u": np.array([0, 3, 2], np.uint8),
        "e": np.array([3.0, 0.5, 2.0], np.float32),
    }
    nodes = [make_node("Pow", pair, [y]) for pair, y in ((["f", "u"], "fu"), (["i", "e"], "ie"))]

    computed = run_nodes(nodes, inputs, {"fu": "float32", "ie": "int64"}, tmp_path)

    np.testing.assert_allclose(computed["fu"], [1.0, -8.0, 0.0625], 1e-6)
    assert computed["ie"].tolist() == [-27, 1, 81]


EVERY = [*INTEGERS, *FLOATS, *HALVES, "bool"]


@pytest.mark.parametrize("source", EVERY)
def test_cast_from_every_type_to_every_other(source: str, tmp_path: Path) -> None:
    if source == "bool":
        x = np.array([True, False])
    elif source in INTEGERS:
        x = extremes(source)
    else:
        x = np.array([0.0, -0.0, 0.75, -0.75, 1.5, -2.5, 100.4, 127.0], source)
    to = [t for t in EVERY if t != source]
    kinds = {t: onnx.helper.np_dtype_to_tensor_dtype(np.dtype(t)) for t in to}
    nodes = [make_node("Cast", ["x"], [f"to_{t}"], to=kinds[t]) for t in to]

    computed = run_nodes(nodes, {"x": x}, {f"to_{t}": t for t in to}, tmp_path)

    for t in to:
        real = x.astype(np.float32) if source in HALVES else x
        if t.startswith("u") and source in (*FLOATS, *HALVES):
            real = np.maximum(real, 0)  # saturated; NumPy leaves it undefined
        through = real.astype(np.float32) if t in HALVES and source in INTEGERS else real
        with np.errstate(over="ignore"):
            expected = through.astype(t)
        np.testing.assert_array_equal(computed[f"to_{t}"], expected, err_msg=t)


@pytest.mark.parametrize("source", FLOATS)
def test_floats_beyond_an_integer_type_saturate(source: str, tmp_path: Path) -> None:
    x = np.array([math.inf, -math.inf, math.nan, 1e30, -1e30, 2147483646.0], source)
    kind = onnx.helper.np_dtype_to_tensor_dtype
    kinds = {t: kind(np.dtype(t)) for t in ("int32", "uint64", "int8")}
    nodes = [make_node("Cast", ["x"], [t], to=number) for t, number in kinds.items()]

    computed = run_nodes(nodes, {"x": x}, {t: t for t in kinds}, tmp_path)

    largest = {"float32": 2147483520, "float64": 2147483647}[source]
    last = {"float32": 2147483520, "float64": 2147483646}[source]
    low = -(1 << 31)
    assert computed["int32"].tolist() == [largest, low, low, largest, low, last]
    assert computed["int8"].tolist() == [127, -128, -128, 127, -128, 127]
    assert computed["uint64"].tolist()[1:3] == [0, 0]
    assert computed["uint64"][0] >= (1 << 64) - (1 << 40)


def every_half() -> Array:
    return np.arange(1 << 16, dtype=np.uint16)


@pytest.mark.parametrize(
    "half, target", [("float16", "host"), ("bfloat16", "host"), ("float16", "cortex-m0plus")]
)
def test_halves_convert_exactly(half: str, target: str, tmp_path: Path) -> None:
    rng, kind = np.random.default_rng(3), onnx.helper.np_dtype_to_tensor_dtype
    bits = every_half() if target == "host" else every_half()[::97]
    h = bits.view(half)
    words = rng.integers(0, 1 << 32, bits.size, np.uint64).astype(np.uint32)
    near = h.astype(np.float32).view(np.uint32) + rng.integers(-3, 4, bits.size).astype(np.uint32)
    between = (near + np.uint32(0x1000 if half == "float16" else 0x8000)).astype(np.uint32)
    f = np.concatenate([words, near, between]).view(np.float32)
    with np.errstate(all="ignore"):
        d = f.astype(np.float64) * (1 + rng.choice([0, 1e-12, -1e-12], f.size))
    nodes = [
        make_node("Cast", ["h"], ["float"], to=kind(np.dtype("float32"))),
        make_node("Cast", ["f"], ["half"], to=kind(np.dtype(half))),
        make_node("Cast", ["d"], ["from_double"], to=kind(np.dtype(half))),
    ]
    types = {"float": "float32", "half": half, "from_double": half}

    computed = run_nodes(nodes, {"h": h, "f": f, "d": d}, types, tmp_path, target=target)

    with np.errstate(all="ignore"):
        expected = {
            "float": h.astype(np.float32),
            "half": f.astype(half),
            "from_double": _nearest(d, half),
        }
    for name, values in expected.items():  # as floats: NumPy does not know bfloat16's NaN
        found = computed[name].astype(np.float32)
        np.testing.assert_array_equal(found, values.astype(np.float32), err_msg=name)


def _nearest(values: Array, half: str) -> Array:
    """Halves of doubles rounded once; ml_dtypes goes through float, and so rounds twice."""
    if half == "float16":
        return values.astype(half)
    first = values.astype(np.float32).astype(half)
    steps = [np.nextafter(first, ml_dtypes.bfloat16(e)) for e in (-math.inf, math.inf)]
    exact = [s.astype(np.float64) for s in (first, *steps)]
    gaps = [np.where(np.isfinite(e), np.abs(e - values), math.inf) for e in exact]
    closer = np.where(gaps[1] < gaps[0], steps[0], np.where(gaps[2] < gaps[0], steps[1], first))
    return np.where(np.isfinite(exact[0]), closer, first).astype(half)


@pytest.mark.parametrize("half", HALVES)
def test_halves_compute_in_float_and_round_when_they_store(half: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 3, 5)).astype(half)
    w = rng.normal(size=(5, 4)).astype(half)
    nodes = [
        make_node("MatMul", ["x", "w"], ["m"]),
        make_node("Softmax", ["m"], ["s"]),
        make_node("Transpose", ["m"], ["t"], perm=[0, 2, 1]),
        make_node("IsNaN", ["m"], ["n"]),
    ]

    computed = run_nodes(
        nodes, {"x": x}, {"m": half, "s": half, "t": half, "n": "bool"}, tmp_path, {"w": w}
    )

    step = 2.0**-10 if half == "float16" else 2.0**-7
    product = x.astype(np.float64) @ w.astype(np.float64)
    np.testing.assert_allclose(computed["m"].astype(np.float64), product, step, step)
    m = computed["m"].astype(np.float64)
    np.testing.assert_array_equal(computed["t"], computed["m"].transpose(0, 2, 1))
    e = np.exp(m - m.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(
        computed["s"].astype(np.float64), e / e.sum(axis=-1, keepdims=True), step, step
    )
    assert not computed["n"].any()


def test_the_mean_of_halves_is_rounded_once(tmp_path: Path) -> None:
    inputs = {n: np.array([60000.0, 1.0], np.float16) for n in "ab"}
    node = make_node("Mean", ["a", "b"], ["y"])
    computed = run_nodes([node], inputs, {"y": "float16"}, tmp_path)
    assert computed["y"].tolist() == [60000.0, 1.0]


def test_doubles_without_a_kernel_become_floats_and_it_is_said(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3))
    nodes = [make_node("Softmax", ["x"], ["y"], name="soft")]
    model = onnx_model(nodes, {"x": ("float64", (2, 3))}, {"y": ("float64", (2, 3))})
    graph = read_model(model, tmp_path)

    (computed,) = run_c(optimized(graph), [{"x": x}])

    expected = run_onnxruntime(model, {"x": x})["y"]
    np.testing.assert_allclose(computed["y"], expected, 1e-6)
    assert computed["y"].dtype == np.float64
    assert "node 'soft' (Softmax) computes in float32: it has no kernel for double" in graph.notes


def test_the_bits_of_another_type(tmp_path: Path) -> None:
    x = np.array([1.5, -0.0, math.inf], np.float32)
    node = make_node("BitCast", ["x"], ["y"], to=onnx.TensorProto.INT32)
    computed = run_nodes([node], {"x": x}, {"y": "int32"}, tmp_path)
    assert computed["y"].tolist() == x.view(np.int32).tolist()


@pytest.mark.parametrize("dtype", ["int32", "uint64", "float64"])
def test_products_of_matrices_in_their_own_type(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    a, b = ((rng.normal(size=shape) * 1e6).astype(dtype) for shape in ((2, 3, 5), (5, 4)))
    nodes = [
        make_node("MatMul", ["a", "b"], ["y"]),
        make_node("Gemm", ["c", "b", "d"], ["z"], beta=2.0),
    ]
    inputs = {"a": a, "c": a[0], "d": a[1, :, :1].copy()}

    computed = run_nodes(nodes, inputs, {"y": dtype, "z": dtype}, tmp_path, {"b": b})

    factor = np.array(2, dtype)
    expected = {"y": a @ b, "z": a[0] @ b + inputs["d"] * factor}
    for name, values in expected.items():
        np.testing.assert_allclose(computed[name], values, 1e-14, err_msg=name)


def test_a_condition_chooses_stored_integers_as_they_are(tmp_path: Path) -> None:
    """Where on int8 of one scale moves bytes; the comparison is of the reals, dequantized."""
    constants = {
        "scale": np.array(0.05, np.float32),
        "zero": np.array(-3, np.int8),
        "limit": np.array(1.0, np.float32),
        "masked": np.array(-1e9, np.float32),
    }
    quant = ["scale", "zero"]
    nodes = [
        make_node("DequantizeLinear", ["a", *quant], ["a_real"]),
        make_node("DequantizeLinear", ["b", *quant], ["b_real"]),
        make_node("Greater", ["a_real", "limit"], ["above"]),
        make_node("Where", ["above", "a_real", "b_real"], ["chosen"]),
        make_node("QuantizeLinear", ["chosen", *quant], ["y"]),
        make_node("Where", ["c", "a_real", "masked"], ["hidden"]),
        make_node("QuantizeLinear", ["hidden", *quant], ["z"]),
    ]
    every = np.arange(-128, 128, dtype=np.int8)
    inputs = {"a": every, "b": every[::-1].copy(), "c": every % 3 == 0}
    given = {n: (str(a.dtype), a.shape) for n, a in inputs.items()}
    model = onnx_model(nodes, given, {n: ("int8", (256,)) for n in "yz"}, constants, opset=18)
    graph = optimized(read_model(model, tmp_path))

    (computed,) = run_c(graph, [inputs])

    expected = run_onnxruntime(model, inputs)
    assert {n: computed[n].tolist() for n in "yz"} == {n: expected[n].tolist() for n in "yz"}
    chosen = [n for n in graph.nodes if n.op == "Where"]
    assert [graph.tensors[n.output].dtype for n in chosen] == ["int8", "int8"]
    assert sum(n.op == "Dequantize" for n in graph.nodes) == 1  # before the comparison


@pytest.mark.parametrize(
    "op, dtype, message",
    [("Exp", "int32", "exp of int32 is not supported"), ("Not", "float32", "not of float32 is"),
     ("BitwiseAnd", "float32", "BitwiseAnd of float32 is not"), ("Add", "bool", "Add of bool is")],
)  # fmt: skip
def test_what_a_type_cannot_do_is_refused(
    op: str, dtype: str, message: str, tmp_path: Path
) -> None:
    inputs = ["x"] if op in ("Exp", "Not") else ["x", "x"]
    nodes = [make_node(op, inputs, ["y"], name="node")]
    model = onnx_model(nodes, {"x": (dtype, (2,))}, {"y": (dtype, (2,))}, opset=18)
    with pytest.raises(CompileError) as caught:
        read_model(model, tmp_path)
    assert caught.value.code == "unsupported-type"
    assert message in caught.value.message
    assert caught.value.where == f"node 'node' ({op}), tensor 'x'"


def test_a_cast_to_the_same_type_is_no_node(tmp_path: Path) -> None:
    nodes = [make_node("CastLike", ["x", "z"], ["y"]), make_node("CastLike", ["x", "i"], ["w"])]
    given = {"x": ("float32", (2,)), "z": ("float32", (1,)), "i": ("int8", (1,))}
    model = onnx_model(nodes, given, {"y": ("float32", (2,)), "w": ("int8", (2,))}, opset=19)
    graph = read_model(model, tmp_path)
    casts = [n.attrs for n in graph.nodes if n.op == "Cast"]
    assert [c.dtype for c in casts if isinstance(c, CastAttrs)] == ["int8"]
