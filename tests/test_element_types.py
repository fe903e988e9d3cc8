"""Operators element by element on floats, bools and mixed types, and Where."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c, run_nodes, run_onnxruntime
from tests.test_casts import FLOATS, HALVES
from tests.test_integer_types import BINARY, COMPARED, pairs
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array


def reals(dtype: str) -> Array:
    finite = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.25, 7.0, 100.0]
    return np.array([*finite, math.inf, -math.inf, math.nan], dtype)


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
    "Swish": lambda x: x / (1 + np.exp(-x)),
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


def test_constants_of_bools_and_infinities(tmp_path: Path) -> None:
    constants = {
        "c": np.array([True, False, True]),
        "low": np.array([-math.inf, math.inf, math.nan], np.float32),
        "most": np.array([0, 1, (1 << 64) - 1], np.uint64),
        "half": np.array([0.5, -math.inf, 65504], np.float16),
    }
    nodes = [
        make_node("Where", ["c", "x", "low"], ["y"]),
        make_node("Max", ["u", "most"], ["v"]),
        make_node("Add", ["h", "half"], ["w"]),
        make_node("CastLike", ["most", "x"], ["floats"]),
        make_node("Add", ["x", "floats"], ["z"]),
    ]
    inputs = {
        "x": np.array([1, 2, 3], np.float32),
        "u": np.array([5, 0, 7], np.uint64),
        "h": np.array([1, 2, 3], np.float16),
    }
    types = {"y": "float32", "v": "uint64", "w": "float16", "z": "float32"}

    computed = run_nodes(nodes, inputs, types, tmp_path, constants)

    np.testing.assert_array_equal(computed["y"], [1, math.inf, 3])
    assert computed["v"].tolist() == [5, 1, (1 << 64) - 1]
    np.testing.assert_array_equal(computed["w"], inputs["h"] + constants["half"])
    np.testing.assert_array_equal(computed["z"], inputs["x"] + constants["most"].astype("float32"))


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


def test_doubles_without_a_kernel_become_floats_and_it_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(1, 3, 2, 2)), rng.normal(size=(4, 3, 1, 1))
    nodes = [make_node("Conv", ["x", "w"], ["y"], name="conv")]
    kinds = ({"x": ("float64", x.shape)}, {"y": ("float64", (1, 4, 2, 2))})
    graph = read_model(onnx_model(nodes, *kinds, {"w": w}), tmp_path)

    (computed,) = run_c(optimized(graph), [{"x": x}])

    expected = np.einsum("nchw,oc->nohw", x, w[:, :, 0, 0])
    np.testing.assert_allclose(computed["y"], expected, 1e-5, 1e-5)
    assert computed["y"].dtype == np.float64
    assert "node 'conv' (Conv) computes in float32: it has no kernel for double" in graph.notes


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
