"""What goes along axes (reductions, ArgMax, TopK, cumulative sums, Softmax) on every element type.

Many nodes are one program: a case is one of them. The oracle is onnxruntime, or the evaluator of
onnx for what onnxruntime does not take.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, random_inputs, read_model, run_c, run_onnxruntime
from tests.node_cases import Case, case, check, model_of, values
from tests.qdq import Q, qdq_model
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array

F, D = values("float32", 3, 4, 5), values("float64", 3, 4, 5)
LARGE = np.array([[1e30, -1e30], [300.0, 301.0], [-np.inf, -np.inf], [np.inf, 1.0]], np.float32)
EXTREMES = np.array([[-(2**31), 2**31 - 1, 5], [2**31 - 1, 2**31 - 1, 1]], np.int32)
TIES = np.array([[3, 1, 3, 3, 0, 1], [2, 2, 2, 2, 2, 2]])
ALL = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
INTEGER = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "SumSquare")

BY_ONNXRUNTIME: dict[str, Case] = {
    **{f"{kind} of {x.dtype}": case(f"Reduce{kind}", abs(x), [1, -1])
       for kind in ALL for x in (F, D)},
    **{f"{kind}, outer axes, gone": case(f"Reduce{kind}", abs(F), [0, 2], keepdims=0)
       for kind in ALL},
    **{f"{kind} of all": case(f"Reduce{kind}", abs(F), keepdims=0) for kind in ALL},
    **{f"{kind} of one": case(f"Reduce{kind}", np.float32(2).reshape(1, 1), [0]) for kind in ALL},
    "no axes, no change": case("ReduceSum", F, noop_with_empty_axes=1),
    "log of a sum of huge exponentials": case("ReduceLogSumExp", LARGE, [1]),
    **{f"{op} of {t}, axis {axis}": case(op, values(t, 3, 4, 5), axis=axis)
       for op in ("ArgMax", "ArgMin") for t in ("float32", "float64", "int32", "int8", "uint8")
       for axis in (0, -1)},
    **{f"{op} of ties, last {n}": case(
        op, TIES.astype(np.float32), axis=1, keepdims=0, select_last_index=n)
       for op in ("ArgMax", "ArgMin") for n in (0, 1)},
    **{f"TopK of {t}, {n}": case("TopK", values(t, 7, 3), [3], outputs=2, axis=0, largest=n)
       for t in ("float32", "float64", "int32", "int64") for n in (0, 1)},
    **{f"TopK, k {k}": case("TopK", values("float32", 2, 9), [k], outputs=2) for k in (1, 2, 8, 9)},
    "TopK of ties": case("TopK", TIES.astype(np.float32), [4], outputs=2),
    "TopK of ties, smallest": case("TopK", TIES.astype(np.int32), [5], outputs=2, largest=0),
    **{f"CumSum of {t}, {exclusive}, {reverse}": case(
        "CumSum", values(t, 3, 4, 2), 1, exclusive=exclusive, reverse=reverse)
       for t in ("float32", "float64", "int32", "int64")
       for exclusive in (0, 1) for reverse in (0, 1)},
    **{f"{op} of {x.dtype}, axis {axis}": case(op, x, axis=axis)
       for op in ("Softmax", "LogSoftmax") for x in (F, D) for axis in (0, 1, -1)},
    **{f"Hardmax, axis {axis}": case("Hardmax", F, axis=axis) for axis in (0, 1, -1)},
    "Hardmax of ties": case("Hardmax", TIES.astype(np.float32)),
    "Softmax of huge values": case("Softmax", LARGE[:2]),
}  # fmt: skip
OLD: dict[str, Case] = {  # operator set 11: axes are attributes, and those behind `axis` are one
    **{kind: case(f"Reduce{kind}", abs(F), axes=[-2]) for kind in ALL},
    **{f"{op}, axis {axis}": case(op, F, axis=axis)
       for op in ("Softmax", "LogSoftmax", "Hardmax") for axis in (0, 1, 2)},
    "TopK": case("TopK", F, [2], outputs=2, axis=1),
}  # fmt: skip
BY_ONNX: dict[str, Case] = {
    **{f"{kind} of {t}": case(f"Reduce{kind}", values(t, 3, 4, 5), [1])
       for kind in INTEGER for t in ("int32", "int64", "uint32", "uint64") if kind != "Mean"},
    **{f"{kind} of {t}": case(f"Reduce{kind}", values(t, 3, 5), [1])
       for kind in ("Max", "Min") for t in ("int8", "uint8", "bool")},
    **{f"{kind} that wraps": case(f"Reduce{kind}", EXTREMES, [1])
       for kind in ("Sum", "Prod", "SumSquare")},
    **{f"{kind}, no axes": case(f"Reduce{kind}", -abs(F), noop_with_empty_axes=1)
       for kind in ("L1", "L2", "SumSquare", "LogSumExp")},
    "CumSum that wraps": case("CumSum", EXTREMES, 1),
    **{f"TopK of {t}": case("TopK", values(t, 2, 7), [4], outputs=2)
       for t in ("int8", "uint8", "int16", "uint64")},
}  # fmt: skip
TABLES = (BY_ONNXRUNTIME, OLD, BY_ONNX)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("cases", "opset", "by_onnxruntime"),
    [(BY_ONNXRUNTIME, 18, True), (OLD, 11, True), (BY_ONNX, 20, False)],
    ids=["onnxruntime", "old operators", "onnx"],
)
def test_the_c_computes_what_others_do(
    cases: dict[str, Case], opset: int, by_onnxruntime: bool, tmp_path: Path
) -> None:
    check(cases, opset, by_onnxruntime, tmp_path, "host")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", ["cortex-m4", "rv32imc"])
def test_a_core_computes_the_same(target: str, tmp_path: Path) -> None:
    check(OLD, 11, True, tmp_path, target)


def test_means_of_integers_go_towards_zero(tmp_path: Path) -> None:
    x = np.array([[-7, 0], [7, 0], [-(2**62), -(2**62) + 1]], np.int64)
    model = model_of({"mean": case("ReduceMean", x, [1], keepdims=0)}, 18)

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [{"x0": x}])

    np.testing.assert_array_equal(computed["y0_0"], [-3, 3, -(2**62) + 1])


@pytest.mark.parametrize(
    ("op", "q_out", "attributes"),
    [
        ("ReduceMax", Q(0.05, 3), {"axes": [1]}),
        ("ReduceMax", Q(0.07, -9), {"axes": [1], "keepdims": 0}),
        ("ReduceMin", Q(0.05, 3), {"axes": [0, 2]}),
        ("ReduceSum", Q(0.3, 1), {}),
        ("ReduceMean", Q(0.02, 0), {"axes": [1, 2]}),
    ],
)
def test_reductions_of_stored_integers_need_no_float(
    op: str, q_out: Q, attributes: dict[str, Any], tmp_path: Path
) -> None:
    axes = tuple(attributes.get("axes", (0, 1, 2)))
    shape = np.zeros((2, 3, 4)).sum(axes, keepdims=bool(attributes.get("keepdims", 1))).shape
    model = qdq_model(op, [(2, 3, 4)], q_out, shape, [Q(0.05, 3)], opset=12, **attributes)
    graph = optimized(read_model(model, tmp_path))
    x = np.random.default_rng(3).integers(-128, 128, (2, 3, 4)).astype(np.int8)

    (computed,) = run_c(graph, [{"x0": x}], "cortex-m4", "host")

    assert not [n.op for n in graph.nodes if n.op in ("Quantize", "Dequantize")]
    theirs = run_onnxruntime(model, {"x0": x})["y"]
    assert np.abs(computed["y"].astype(int) - theirs.astype(int)).max() <= 1


def stored_model(op: str, outputs: int, *constants: Array, **attributes: Any) -> onnx.ModelProto:
    """int8 -> Dequantize -> op, without a Quantize behind it."""
    names = [f"y{i}" for i in range(outputs)]
    given = {f"c{i}": c for i, c in enumerate(constants)}
    nodes = [
        make_node("DequantizeLinear", ["x", "scale", "zero"], ["real"]),
        make_node(op, ["real", *given], names, **attributes),
    ]
    scale = {"scale": np.array(0.1, np.float32), "zero": np.array(-4, np.int8)}
    model = onnx_model(nodes, {"x": ("int8", (3, 9))}, {}, {**scale, **given})
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(
    ("model", "inside"),
    [
        (stored_model("ArgMax", 1, axis=1), ["ArgReduce"]),
        (stored_model("ArgMin", 1, axis=0, keepdims=0), ["ArgReduce"]),
        (stored_model("TopK", 2, np.array([4], np.int64)), ["TopK", "Dequantize"]),
    ],
    ids=["ArgMax", "ArgMin", "TopK"],
)
def test_stored_integers_are_compared_as_they_are(
    model: onnx.ModelProto, inside: list[str], tmp_path: Path
) -> None:
    graph = optimized(read_model(model, tmp_path))
    x = np.random.default_rng(3).integers(-128, 128, (3, 9)).astype(np.int8)

    (computed,) = run_c(graph, [{"x": x}], "cortex-m4", "host")

    assert [n.op for n in graph.nodes] == inside
    for name, expected in run_onnxruntime(model, {"x": x}).items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-6)


def test_axes_follow_the_layout_of_convolutions(tmp_path: Path) -> None:
    """Only the indices of TopK are read."""
    nodes = [
        make_node("Conv", ["x", "w"], ["a"], name="conv"),
        make_node("ArgMax", ["a"], ["best"], axis=1, keepdims=0, name="argmax"),
        make_node("CumSum", ["a", "axis"], ["sums"], name="sums"),
        make_node("TopK", ["a", "k"], ["values", "places"], axis=1, name="top"),
    ]
    constants = {
        "w": values("float32", 5, 3, 1, 1), "k": np.array([2], np.int64),
        "axis": np.array(-1, np.int64),
    }  # fmt: skip
    image = (1, 5, 4, 6)
    given = {"best": ("int64", (1, 4, 6)), "sums": ("float32", image),
             "places": ("int64", (1, 2, 4, 6))}  # fmt: skip
    model = onnx_model(nodes, {"x": ("float32", (1, 3, 4, 6))}, given, constants)
    graph = optimized(read_model(model, tmp_path))
    inputs = random_inputs(graph)

    (computed,) = run_c(graph, [inputs])

    assert graph.producers["best"].op == "ArgReduce", "no Transpose is left behind it"
    for name, expected in run_onnxruntime(model, inputs).items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("c", "message"),
    [
        (case("ReduceLogSum", values("int32", 2, 3), [1]), "the log_sum of int32 is not supported"),
        (case("TopK", F, [6], outputs=2), "k is (6,) for the axis 2 of [3, 4, 5]"),
        (case("ArgMax", F, axis=3), "the axis 3 is out of range for 3 dimensions"),
        (case("CumSum", F, [0, 1]), "the axis is missing, or the input has none"),
    ],
    ids=lambda v: v.op if isinstance(v, Case) else "",
)
def test_what_is_refused(c: Case, message: str, tmp_path: Path) -> None:
    node = make_node(
        c.op, ["x", "c"][: 1 + len(c.constants)], ["y", "z"][: c.outputs], **c.attributes
    )
    constants = {"c": c.constants[0]} if c.constants else {}
    model = onnx_model(
        [node], {"x": (str(c.x.dtype), c.x.shape)}, {"y": ("float32", ())}, constants, 18
    )

    with pytest.raises(CompileError) as error:
        read_model(model, tmp_path)

    assert error.value.message == message
