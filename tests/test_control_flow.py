"""If, Loop and Scan, which become straight lines of code; and dimensions that the user sets."""

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

import tinyc.compiler.api as tinyc
from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.reading import read_onnx

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


EQUATIONS = {
    "ij->ji": [(2, 3)],
    "ij": [(3, 2)],
    "ii->i": [(3, 3)],
    "iij,jk->ik": [(3, 3, 2), (2, 4)],
    "i,i": [(5,), (5,)],
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "...ij,...jk->...ik": [(2, 1, 3, 4), (5, 4, 2)],
    "bhqd,bhkd->bhqk": [(1, 2, 3, 4), (1, 2, 5, 4)],
    "i,j->ij": [(3,), (4,)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 2)],
    "abc->b": [(2, 3, 4)],
    "ij,kj->": [(2, 3), (4, 3)],
    "...->...": [(2, 3)],
    "b...c,c->b...": [(2, 3, 4), (4,)],
    "aab,bcc->ac": [(2, 2, 3), (3, 4, 4)],
}


def test_every_equation_of_einsum(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = {
        f"x{n}_{i}": rng.normal(size=shape).astype(np.float32)
        for n, shapes in enumerate(EQUATIONS.values())
        for i, shape in enumerate(shapes)
    }
    nodes, outputs = [], {}
    for n, (equation, shapes) in enumerate(EQUATIONS.items()):
        names = [f"x{n}_{i}" for i in range(len(shapes))]
        nodes.append(make_node("Einsum", names, [f"y{n}"], equation=equation))
        outputs[f"y{n}"] = np.einsum(equation, *(values[name].astype(float) for name in names))
    model = onnx_model(
        nodes,
        {name: ("float32", array.shape) for name, array in values.items()},
        {name: ("float32", np.shape(array)) for name, array in outputs.items()},
    )

    results = computed(model, values, tmp_path)

    for (name, expected), equation in zip(outputs.items(), EQUATIONS, strict=True):
        assert results[name].shape == np.shape(expected), equation
        np.testing.assert_allclose(results[name], expected, 1e-5, 1e-5, err_msg=equation)


def open_model(folder: Path) -> Path:
    model = onnx_model(
        [make_node("Shape", ["a"], ["s"]), make_node("Expand", ["b", "s"], ["y"])],
        {"a": ("float32", ("batch", "n")), "b": ("float32", (1, "n"))},
        {"y": ("float32", ("batch", "n"))},
    )
    onnx.save(model, str(folder / "open.onnx"))
    return folder / "open.onnx"


def test_a_dimension_is_set_wherever_it_stands(tmp_path: Path) -> None:
    graph = read_onnx(open_model(tmp_path), dims={"batch": 3, "n": 5})

    assert [graph.tensors[n].shape for n in ("a", "b", "y")] == [(3, 5), (1, 5), (3, 5)]
    assert not graph.notes


def test_a_dimension_that_the_model_does_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as refused:
        tinyc.compile(open_model(tmp_path), "host", dims={"m": 3})

    assert refused.value.code == "unknown-dimension"
    assert refused.value.help == "its open dimensions are: 'batch', 'n'"


def test_every_verb_that_takes_shapes_takes_dimensions(tmp_path: Path) -> None:
    model, dims = open_model(tmp_path), {"batch": 2, "n": 3}

    artifact = tinyc.compile(model, "host", dims=dims)
    plans = tinyc.plan(model, "cortex-m4", dims=dims)
    bundle = tinyc.compile_bundle([model], "host", dims=dims)

    assert artifact.report.outputs[0].shape == (2, 3)
    assert bundle.artifacts[0].report.outputs[0].shape == (2, 3)
    assert plans.points


def test_sequences_are_lists_at_compile_time(tmp_path: Path) -> None:
    """Built, changed, carried through a loop, split, joined; a position of the run is a Gather."""
    append = make_graph(
        [
            make_node("Identity", ["go"], ["again"]),
            make_node("Mul", ["x", "x"], ["square"]),
            make_node("SequenceInsert", ["list", "square"], ["longer"]),
        ],
        "append",
        [
            value("i", INT64),
            value("go", BOOL),
            onnx.helper.make_tensor_sequence_value_info("list", FLOAT, None),
        ],
        [value("again", BOOL), onnx.helper.make_tensor_sequence_value_info("longer", FLOAT, None)],
    )
    model = onnx_model(
        [
            make_node("SequenceEmpty", [], ["none"]),
            make_node("SequenceInsert", ["none", "z"], ["one"]),
            make_node("SequenceConstruct", ["x", "z"], ["pair"]),
            make_node("SequenceErase", ["pair", "first"], ["rest"]),
            make_node("SequenceInsert", ["rest", "x", "first"], ["turned"]),
            make_node("Loop", ["two", "", "turned"], ["long"], body=append),
            make_node("SequenceAt", ["long", "at"], ["y"]),
            make_node("SequenceLength", ["long"], ["n"]),
            make_node("SequenceLength", ["one"], ["m"]),
            make_node("SplitToSequence", ["x"], ["columns"], axis=1, keepdims=0),
            make_node("SequenceAt", ["columns", "last"], ["column"]),
            make_node("ConcatFromSequence", ["columns"], ["stacked"], axis=0, new_axis=1),
        ],
        {"x": ("float32", (2, 3)), "z": ("float32", (2, 3)), "at": ("int64", ())},
        {
            "y": ("float32", (2, 3)), "n": ("int64", ()), "m": ("int64", ()),
            "column": ("float32", (2,)), "stacked": ("float32", (3, 2)),
        },
        {"first": np.array(0), "last": np.array(-1), "two": np.array(2)},
    )  # fmt: skip

    for at in (0, 1, 3, -3):
        check(model, {"x": X, "z": X - 1, "at": np.array(at)}, tmp_path)


def test_a_shape_of_the_run_is_what_the_model_declares(tmp_path: Path) -> None:
    model = onnx_model(
        [make_node("Reshape", ["x", "s"], ["y"])],
        {"x": ("float32", (2, 3)), "s": ("int64", (2,))},
        {"y": ("float32", (3, 2))},
    )

    graph = read_model(model, tmp_path)

    assert graph.tensors["y"].shape == (3, 2)
    assert any("as the model says" in note for note in graph.notes)
