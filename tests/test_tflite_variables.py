"""Variables of .tflite files, and LSTMs that go on from call to call: what is assigned is kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tflite_files import Operation, T
from tests.tflite_runs import TARGETS, generator, refusal, run_in_a_row, written
from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.reading import read_onnx

HANDLE = "VarHandleOptions"


X, Y = T("x", (1, 3)), T("y", (1, 3))


FIRST = {"a": np.array([[1, 2, 3]], np.float32), "b": np.array([[-5, 0.5, 7]], np.float32)}


def handle(name: str) -> Operation:
    return Operation("VAR_HANDLE", (), (f"{name} handle",), HANDLE, {"SharedName": name})


def read(name: str, to: str) -> Operation:
    return Operation("READ_VARIABLE", (f"{name} handle",), (to,))


def assign(name: str, value: str) -> Operation:
    return Operation("ASSIGN_VARIABLE", (f"{name} handle", value), ())


def resource(name: str) -> T:
    return T(f"{name} handle", (), "resource")


def variable_model(
    folder: Path, names: Sequence[str], operations: Sequence[Operation], inner: Sequence[str] = ()
) -> Path:
    """A model of variables, whose first values a subgraph assigns."""
    once = Operation("CALL_ONCE", (), (), "CallOnceOptions", {"InitSubgraphIndex": 1})
    firsts = [T(f"first {n}", (1, 3), data=FIRST[n]) for n in names]
    body = [o for n in names for o in (handle(n), assign(n, f"first {n}"))]
    tensors = [X, Y, *(resource(n) for n in names), *(T(n, (1, 3)) for n in inner)]
    bodies = [([*firsts, *(resource(n) for n in names)], body)]
    handles = [handle(n) for n in names]
    return written(folder, tensors, once, *handles, *operations, bodies=bodies)


ADD = "AddOptions"


VARIABLES: dict[str, tuple[Sequence[str], Sequence[Operation], Sequence[str], Any]] = {
    "a sum of all inputs": (
        "a", [read("a", "old"), Operation("ADD", ("old", "x"), ("new",), ADD),
              assign("a", "new"), Operation("NEG", ("new",), ("y",))], ["old", "new"],
        lambda x, v: (-(v["a"] + x), {"a": v["a"] + x}),
    ),
    "the input before": (
        "a", [read("a", "y"), assign("a", "x")], [], lambda x, v: (v["a"], {"a": x}),
    ),
    "two that change places": (
        "ab", [read("a", "p"), read("b", "q"), assign("a", "q"), assign("b", "p"),
               Operation("ADD", ("p", "x"), ("y",), ADD)], ["p", "q"],
        lambda x, v: (v["a"] + x, {"a": v["b"], "b": v["a"]}),
    ),
    "read after it is assigned": (
        "a", [read("a", "p"), assign("a", "x"), read("a", "q"),
              Operation("MUL", ("p", "q"), ("y",), "MulOptions")], ["p", "q"],
        lambda x, v: (v["a"] * x, {"a": x}),
    ),
    "one that is never assigned": (
        "a", [read("a", "p"), Operation("ADD", ("p", "x"), ("y",), ADD)], ["p"],
        lambda x, v: (v["a"] + x, v),
    ),
}  # fmt: skip


@TARGETS
@pytest.mark.parametrize("case", VARIABLES)
def test_variables_keep_what_was_assigned(case: str, target: str, tmp_path: Path) -> None:
    names, operations, inner, step = VARIABLES[case]
    path = variable_model(tmp_path, names, operations, inner)
    runs = [generator().normal(size=(1, 3)).astype(np.float32) * i for i in range(6)]

    graph = read_onnx(path)
    found = run_in_a_row(graph, runs, target)

    values, wanted = {n: FIRST[n] for n in names}, []
    for x in runs:
        y, values = step(x, values)
        wanted.append(y)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert bool(graph.states) == ("never" not in case)


def test_an_lstm_of_one_step_goes_on(tmp_path: Path) -> None:
    hidden, inputs = 4, 3
    rng = generator()
    shapes = [(hidden, inputs)] * 4 + [(hidden, hidden)] * 4 + [(hidden,)] * 4
    parts = [rng.normal(size=s).astype(np.float32) for s in shapes]
    tensors = [
        T("x", (1, 1, inputs)), *(T(f"p{i}", p.shape, data=p) for i, p in enumerate(parts)),
        T("h", (1, hidden), variable=True), T("c", (1, hidden), variable=True),
        T("y", (1, 1, hidden)),
    ]  # fmt: skip
    names = ("x", *(f"p{i}" for i in range(8)), "", "", "", *(f"p{i}" for i in range(8, 12)),
             "", "", "h", "c")  # fmt: skip
    fields = {"FusedActivationFunction": 4, "CellClip": 10.0}
    operation = Operation(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", names, ("y",), "UnidirectionalSequenceLSTMOptions", fields
    )
    runs = [rng.normal(size=(1, 1, inputs)).astype(np.float32) for _ in range(9)]

    found = run_in_a_row(read_onnx(written(tmp_path, tensors, operation)), runs, "cortex-m4")

    h = c = np.zeros((1, hidden))
    for x, y in zip(runs, found, strict=True):
        i, f, g, o = (x[0] @ parts[k].T + h @ parts[4 + k].T + parts[8 + k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(y[0], h, rtol=1e-5, atol=1e-5)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def test_what_has_no_first_value_is_refused(tmp_path: Path) -> None:
    tensors = [X, Y, resource("a")]

    message = refusal(written(tmp_path, tensors, handle("a"), read("a", "y"), assign("a", "x")))

    assert message == "a variable without initial values is not supported"


def test_first_values_that_are_computed_are_refused(tmp_path: Path) -> None:
    once = Operation("CALL_ONCE", (), (), "CallOnceOptions", {"InitSubgraphIndex": 1})
    body = ([T("p", (1, 3), data=FIRST["a"]), T("q", (1, 3)), resource("a")],
            [handle("a"), Operation("NEG", ("p",), ("q",)), assign("a", "q")])  # fmt: skip
    operations = (once, handle("a"), read("a", "y"), assign("a", "x"))

    message = refusal(written(tmp_path, [X, Y, resource("a")], *operations, bodies=[body]))

    assert message == "initial values that NEG computes are not supported"


def test_a_variable_that_changes_its_shape_is_refused(tmp_path: Path) -> None:
    once = Operation("CALL_ONCE", (), (), "CallOnceOptions", {"InitSubgraphIndex": 1})
    body = ([T("first", (1, 1), data=np.ones((1, 1), np.float32)), resource("a")],
            [handle("a"), assign("a", "first")])  # fmt: skip
    tensors = [X, T("y", (1, 1)), resource("a")]
    operations = (once, handle("a"), read("a", "y"), assign("a", "x"))

    message = refusal(written(tmp_path, tensors, *operations, bodies=[body]))

    assert message == (
        "a variable that is float32[1, 1] at first, then float32[1, 3], is not supported"
    )
