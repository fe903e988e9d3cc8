"""Cast between all element types, and halves: float16 and bfloat16."""

import math
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c, run_nodes, run_onnxruntime
from tests.test_integer_types import INTEGERS, extremes
from tinyc.compiler.graph import Array
from tinyc.compiler.ops.cast import CastAttrs

FLOATS = ["float32", "float64"]
HALVES = ["float16", "bfloat16"]
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


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_a_network_of_halves(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)

    def half(*shape: int) -> Array:
        return (rng.normal(size=shape) * 0.5).astype(np.float16)

    constants = {"w": half(4, 3, 3, 3), "b": half(4), "s": half(4), "t": half(4), "m": half(4),
                 "v": np.abs(half(4)) + np.float16(0.5), "g": half(4, 5), "d": half(5)}  # fmt: skip
    nodes = [
        make_node("Conv", ["x", "w", "b"], ["conv"], pads=[1, 1, 1, 1]),
        make_node("BatchNormalization", ["conv", "s", "t", "m", "v"], ["norm"]),
        make_node("Relu", ["norm"], ["relu"]),
        make_node("GlobalAveragePool", ["relu"], ["mean"]),
        make_node("Flatten", ["mean"], ["flat"]),
        make_node("Gemm", ["flat", "g", "d"], ["y"]),
    ]
    x = half(1, 3, 6, 5)
    given, wanted = {"x": ("float16", x.shape)}, {"y": ("float16", (1, 5))}
    model = onnx_model(nodes, given, wanted, constants)

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [{"x": x}], target)

    expected = run_onnxruntime(model, {"x": x})["y"].astype(np.float64)
    np.testing.assert_allclose(computed["y"].astype(np.float64), expected, 4e-3, 4e-3)


def test_a_cast_to_the_same_type_is_no_node(tmp_path: Path) -> None:
    nodes = [make_node("CastLike", ["x", "z"], ["y"]), make_node("CastLike", ["x", "i"], ["w"])]
    given = {"x": ("float32", (2,)), "z": ("float32", (1,)), "i": ("int8", (1,))}
    model = onnx_model(nodes, given, {"y": ("float32", (2,)), "w": ("int8", (2,))}, opset=19)
    graph = read_model(model, tmp_path)
    casts = [n.attrs for n in graph.nodes if n.op == "Cast"]
    assert [c.dtype for c in casts if isinstance(c, CastAttrs)] == ["int8"]


def test_the_bits_of_another_type(tmp_path: Path) -> None:
    x = np.array([1.5, -0.0, math.inf], np.float32)
    node = make_node("BitCast", ["x"], ["y"], to=onnx.TensorProto.INT32)
    computed = run_nodes([node], {"x": x}, {"y": "int32"}, tmp_path)
    assert computed["y"].tolist() == x.view(np.int32).tolist()
