"""If, Loop and Scan, which become straight lines of code, and shapes that depend on the run."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import (
    make_graph,
    make_node,
    make_tensor_value_info,
)

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = np.array([[0.5, -2.0, 1.0], [3.0, 0.25, -1.5]], np.float32)


def value(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
    return make_tensor_value_info(name, kind, shape)


def branch(op: str, *inputs: str) -> onnx.GraphProto:
    return make_graph([make_node(op, inputs, ["r"])], op, [], [value("r", FLOAT, 2, 3)])


def computed(
    model: onnx.ModelProto, values: dict[str, Array], folder: Path, target: str = "host"
) -> dict[str, Array]:
    return run_c(optimized(read_model(model, folder)), [values], target)[0]


def check(model: onnx.ModelProto, values: dict[str, Array], folder: Path) -> None:
    expected = run_onnxruntime(model, values)
    for name, array in computed(model, values, folder).items():
        assert array.shape == expected[name].shape
        np.testing.assert_allclose(array, expected[name], 1e-6, 1e-6)


@pytest.mark.parametrize("yes", [True, False])
def test_a_constant_condition_takes_its_branch_only(yes: bool, tmp_path: Path) -> None:
    sides = {"then_branch": branch("Neg", "x"), "else_branch": branch("Exp", "x")}
    model = onnx_model(
        [make_node("If", ["c"], ["y"], name="if", **sides)],
        {"x": ("float32", (2, 3))},
        {"y": ("float32", (2, 3))},
        {"c": np.array(yes)},
    )

    graph = read_model(model, tmp_path)

    assert [n.attrs.function for n in graph.nodes if n.op == "Unary"] == ["neg" if yes else "exp"]  # type: ignore[attr-defined]
    check(model, {"x": X}, tmp_path)


@pytest.mark.parametrize("yes", [True, False])
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_a_condition_of_the_run_chooses_a_result(yes: bool, target: str, tmp_path: Path) -> None:
    inner = make_node(
        "If", ["c"], ["r"], then_branch=branch("Neg", "x"), else_branch=branch("Abs", "x")
    )
    other = make_graph([inner], "outer", [], [value("r", FLOAT, 2, 3)])
    node = make_node(
        "If", ["c"], ["y"], name="if", then_branch=branch("Exp", "x"), else_branch=other
    )
    model = onnx_model(
        [node], {"x": ("float32", (2, 3)), "c": ("bool", (1,))}, {"y": ("float32", (2, 3))}
    )

    results = computed(model, {"x": X, "c": np.array([yes])}, tmp_path, target)

    np.testing.assert_allclose(results["y"], np.exp(X) if yes else np.abs(X), 1e-6)


def test_branches_of_unequal_shapes_need_a_constant_condition(tmp_path: Path) -> None:
    rows = make_graph(
        [make_node("ReduceMax", ["x"], ["r"], axes=[0])], "rows", [], [value("r", FLOAT, 1, 3)]
    )
    node = make_node(
        "If", ["c"], ["y"], name="if", then_branch=branch("Exp", "x"), else_branch=rows
    )
    inputs = {"x": ("float32", (2, 3)), "c": ("bool", ())}
    model = onnx_model([node], inputs, {"y": ("float32", ("rows", 3))}, opset=13)

    with pytest.raises(CompileError, match="branches give float32") as refused:
        read_model(model, tmp_path)

    assert refused.value.where == "node 'if' (If)"


def loop(limit: float, trips: str, condition: str, scans: bool) -> onnx.NodeProto:
    """Doubles `a` while its sum is less than `limit`; collects it where it `scans`."""
    nodes = [
        make_node("Cast", ["i"], ["number"], to=FLOAT),
        make_node("Add", ["a", "x"], ["sum"]),
        make_node("Mul", ["sum", "two"], ["b"]),
        make_node("Add", ["b", "number"], ["next"]),
        make_node("ReduceSum", ["next"], ["total"], keepdims=0),
        make_node("Less", ["total", "limit"], ["less"]),
        make_node("Identity", ["less" if limit else "go"], ["again"]),
    ]
    body = make_graph(
        nodes,
        "body",
        [value("i", INT64), value("go", BOOL), value("a", FLOAT, 2, 3)],
        [value("again", BOOL), value("next", FLOAT, 2, 3)]
        + ([value("sum", FLOAT, 2, 3)] if scans else []),
        [
            onnx.numpy_helper.from_array(np.float32(2), "two"),
            onnx.numpy_helper.from_array(np.float32(limit), "limit"),
        ],
    )
    outputs = ["y", "all"] if scans else ["y"]
    return make_node("Loop", [trips, condition, "x"], outputs, name="loop", body=body)


@pytest.mark.parametrize("trips", [0, 1, 4])
def test_a_loop_is_unrolled(trips: int, tmp_path: Path) -> None:
    model = onnx_model(
        [loop(0, "n", "", scans=True)],
        {"x": ("float32", (2, 3))},
        {"y": ("float32", (2, 3)), "all": ("float32", (trips, 2, 3))},
        {"n": np.array(trips, np.int64)},
    )

    check(model, {"x": X}, tmp_path)


@pytest.mark.parametrize("limit", [1.0, 10.0, 1000.0])
def test_a_condition_of_the_run_freezes_a_loop(limit: float, tmp_path: Path) -> None:
    model = onnx_model(
        [loop(limit, "n", "c", scans=False)],
        {"x": ("float32", (2, 3)), "c": ("bool", ())},
        {"y": ("float32", (2, 3))},
        {"n": np.array(5, np.int64)},
    )

    check(model, {"x": X, "c": np.array(True)}, tmp_path)
    check(model, {"x": X, "c": np.array(False)}, tmp_path)


def test_a_loop_without_an_end_is_refused(tmp_path: Path) -> None:
    endless = loop(5.0, "", "c", scans=False)
    model = onnx_model(
        [endless], {"x": ("float32", (2, 3)), "c": ("bool", ())}, {"y": ("float32", (2, 3))}
    )

    with pytest.raises(CompileError, match="how often its body is repeated") as refused:
        read_model(model, tmp_path)

    assert refused.value.where == "node 'loop' (Loop)"


def test_a_trip_count_of_the_run_is_refused_unless_the_output_says_it(tmp_path: Path) -> None:
    inputs = {"x": ("float32", (2, 3)), "n": ("int64", ())}
    model = onnx_model([loop(0, "n", "", scans=False)], inputs, {"y": ("float32", (2, 3))})
    said = onnx_model(
        [loop(0, "n", "", scans=True)], inputs,
        {"y": ("float32", (2, 3)), "all": ("float32", (3, 2, 3))},
    )  # fmt: skip

    with pytest.raises(CompileError, match="known at run time only"):
        read_model(model, tmp_path)

    assert any("3 times" in note for note in read_model(said, tmp_path).notes)
    check(said, {"x": X, "n": np.array(3)}, tmp_path)


@pytest.mark.parametrize("backwards", [0, 1])
def test_a_scan_is_unrolled(backwards: int, tmp_path: Path) -> None:
    body = make_graph(
        [
            make_node("Mul", ["s", "half"], ["less"]),
            make_node("Add", ["less", "e"], ["t"]),
            make_node("Identity", ["t"], ["out"]),
        ],
        "body",
        [value("s", FLOAT, 2), value("e", FLOAT, 2)],
        [value("t", FLOAT, 2), value("out", FLOAT, 2)],
    )
    node = make_node(
        "Scan", ["start", "x"], ["final", "y"], name="scan", body=body, num_scan_inputs=1,
        scan_input_axes=[1], scan_output_axes=[-1], scan_input_directions=[backwards],
        scan_output_directions=[1 - backwards],
    )  # fmt: skip
    model = onnx_model(
        [node],
        {"start": ("float32", (2,)), "x": ("float32", (2, 3))},
        {"final": ("float32", (2,)), "y": ("float32", (2, 3))},
        {"half": np.float32(0.5) * np.ones((), np.float32)},
    )

    check(model, {"start": X[:, 0], "x": X}, tmp_path)


def test_a_shape_of_the_run_is_what_the_model_declares(tmp_path: Path) -> None:
    model = onnx_model(
        [make_node("Reshape", ["x", "s"], ["y"])],
        {"x": ("float32", (2, 3)), "s": ("int64", (2,))},
        {"y": ("float32", (3, 2))},
    )

    graph = read_model(model, tmp_path)

    assert graph.tensors["y"].shape == (3, 2)
    assert any("as the model says" in note for note in graph.notes)
