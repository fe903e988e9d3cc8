"""Recurrent operators: the C against onnxruntime, over directions, layouts, types and operands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.interpreter import run

RNG = np.random.default_rng(5)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUTS = 5, 3, 3
ALL = ("bias", "lengths", "h", "c", "p")


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


# name -> operator, hidden units, operands, attributes; each is one node of one model
CASES: dict[str, tuple[str, int, tuple[str, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", 4, (), {}),
    "lstm, all operands": ("LSTM", 5, ALL, {}),
    "lstm, both ways": ("LSTM", 9, ALL, {"direction": "bidirectional"}),
    "lstm, reverse": ("LSTM", 3, ("bias", "p"), {"direction": "reverse"}),
    "lstm, clip": ("LSTM", 3, ("bias", "c"), {"clip": 0.4}),
    "lstm, coupled": ("LSTM", 3, ("bias", "p", "c"), {"input_forget": 1}),
    "lstm, activations": ("LSTM", 3, ("bias",), {
        "activations": ["HardSigmoid", "Affine", "ScaledTanh"],
        "activation_alpha": [0.3, 0.7, 1.1], "activation_beta": [0.4, 0.1, 0.8],
    }),
    "lstm, one unit": ("LSTM", 1, ALL, {}),
    "gru": ("GRU", 4, (), {}),
    "gru, all operands": ("GRU", 5, ALL[:3], {}),
    "gru, both ways": ("GRU", 9, ALL[:3], {"direction": "bidirectional"}),
    "gru, reset after": ("GRU", 5, ("bias",), {"linear_before_reset": 1}),
    "gru, reset after, both ways": ("GRU", 9, ALL[:3], {
        "direction": "bidirectional", "linear_before_reset": 1,
    }),
    "gru, clip": ("GRU", 3, ("bias", "h"), {"clip": 0.3, "direction": "reverse"}),
    "gru, activations": ("GRU", 3, ("bias",), {"activations": ["Softsign", "Elu"],
                                               "activation_alpha": [0.5]}),
    "rnn": ("RNN", 4, ALL[:3], {}),
    "rnn, both ways": ("RNN", 9, ALL[:3], {
        "direction": "bidirectional", "activations": ["Relu", "Softplus"],
    }),
    "rnn, leaky": ("RNN", 3, ("h",), {"activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
    "rnn, threshold": ("RNN", 3, ("h",), {"activations": ["ThresholdedRelu"], "clip": 2.0,
                                          "activation_alpha": [0.2]}),
}  # fmt: skip


def operands_of(
    op: str, hidden: int, names: tuple[str, ...], directions: int, batch: int = BATCH
) -> dict[str, Array]:
    """Values of the operands w, r and those that are named, in the order of the node's inputs."""
    rows = GATES[op] * hidden
    lengths = np.array([STEPS - 2, STEPS, 0][:batch], np.int32)
    values: dict[str, Array] = {
        "w": floats(directions, rows, INPUTS) / 2,
        "r": floats(directions, rows, hidden) / 2,
        "bias": floats(directions, 2 * rows),
        "lengths": lengths,
        "h": floats(directions, batch, hidden),
        "c": floats(directions, batch, hidden),
        "p": floats(directions, 3 * hidden),
    }
    kept = {n: v for n, v in values.items() if n in ("w", "r", *names)}
    order = ("w", "r", *(ALL if op == "LSTM" else ALL[:3]))
    return {name: kept.get(name, np.zeros(0, np.float32)) for name in order}


def model_of(
    cases: Mapping[str, tuple[str, int, tuple[str, ...], dict[str, Any]]], constant: bool
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model with a node for each case, and its inputs; constant: all operands but x are."""
    nodes, values, outputs = [], {}, {}
    for i, (op, hidden, names, attributes) in enumerate(cases.values()):
        directions = 2 if attributes.get("direction") == "bidirectional" else 1
        given = operands_of(op, hidden, names, directions)
        values |= {f"n{i}_{n}": v for n, v in given.items() if v.size}
        results = ("y", "yh", "yc")[: 3 if op == "LSTM" else 2]
        shapes = ((STEPS, directions, BATCH, hidden), *[(directions, BATCH, hidden)] * 2)
        outputs |= {f"n{i}_{r}": ("float32", s) for r, s in zip(results, shapes, strict=False)}
        inputs = ["x", *(f"n{i}_{n}" if v.size else "" for n, v in given.items())]
        written = [f"n{i}_{r}" for r in results]
        nodes.append(make_node(op, inputs, written, hidden_size=hidden, **attributes))
    data = {"x": floats(STEPS, BATCH, INPUTS)}
    if not constant:
        data |= values
    ports = {n: (v.dtype.name, v.shape) for n, v in data.items()}
    return onnx_model(nodes, ports, outputs, values if constant else {}, 14), data


def assert_close(got: dict[str, Array], expected: dict[str, Array]) -> None:
    for name, want in expected.items():
        np.testing.assert_allclose(got[name], want, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("constant", "target"),
    [
        pytest.param(True, "host", marks=pytest.mark.slow),
        pytest.param(False, "host", marks=pytest.mark.slow),
        (True, "cortex-m4"),
    ],
)
def test_recurrent_operators_agree_with_onnxruntime(
    constant: bool, target: str, tmp_path: Path
) -> None:
    model, data = model_of(CASES, constant)
    expected = run_onnxruntime(model, data)

    (got,) = run_c(optimized(read_model(model, tmp_path)), [data], target)

    assert_close(got, expected)


@pytest.mark.parametrize("constant", [True, False])
def test_the_reference_agrees_with_onnxruntime(constant: bool, tmp_path: Path) -> None:
    model, data = model_of(CASES, constant)

    assert_close(run(read_model(model, tmp_path), data), run_onnxruntime(model, data))


def batch_first_model(op: str, constant: bool) -> tuple[onnx.ModelProto, onnx.ModelProto, Any]:
    """One node with layout 1 and all outputs, the same with layout 0, and the former's inputs."""
    given = {n: v for n, v in operands_of(op, 4, ("bias", "h", "c"), 2).items() if v.size}
    data = {"x": floats(BATCH, STEPS, INPUTS), **given}
    for name in {"h", "c"} & data.keys():
        data[name] = data[name].swapaxes(0, 1).copy()
    results = ("y", "yh", "yc")[: 3 if op == "LSTM" else 2]
    shapes = ((BATCH, STEPS, 2, 4), (BATCH, 2, 4), (BATCH, 2, 4))
    names = ["x", "w", "r", "bias", "", "h", *(["c"] if op == "LSTM" else [])]
    outputs = {n: ("float32", s) for n, s in zip(results, shapes, strict=False)}
    node = make_node(op, names, results, hidden_size=4, layout=1, direction="bidirectional")
    own = {n: v for n, v in data.items() if n == "x" or not constant}
    ports = {n: (v.dtype.name, v.shape) for n, v in own.items()}
    held = given | {n: data[n] for n in ("h", "c") if n in data} if constant else {}
    first = onnx_model([node], ports, outputs, held, 14)
    turned = {n: v.swapaxes(0, 1) if n in ("x", "h", "c") else v for n, v in data.items()}
    inner = make_node(op, names, results, hidden_size=4, direction="bidirectional")
    shapes = ((STEPS, 2, BATCH, 4), (2, BATCH, 4), (2, BATCH, 4))
    plain = onnx_model(
        [inner],
        {"x": ("float32", (STEPS, BATCH, INPUTS))},
        {n: ("float32", s) for n, s in zip(results, shapes, strict=False)},
        {n: np.ascontiguousarray(v) for n, v in turned.items() if n != "x"},
        14,
    )
    return first, plain, (own, np.ascontiguousarray(turned["x"]))


@pytest.mark.parametrize(("op", "constant"), [("LSTM", True), ("GRU", False), ("RNN", True)])
def test_the_batch_may_come_first(op: str, constant: bool, tmp_path: Path) -> None:
    model, plain, (data, x) = batch_first_model(op, constant)
    expected = run_onnxruntime(plain, {"x": x})
    expected["y"] = expected["y"].transpose(2, 0, 1, 3)
    expected |= {n: v.swapaxes(0, 1) for n, v in expected.items() if n != "y"}
    graph = read_model(model, tmp_path)

    (got,) = run_c(optimized(graph), [data])

    assert_close(got, expected)
    assert_close(run(graph, data), expected)


def classifier(last: int) -> onnx.ModelProto:
    """A layer of which one step is used, as a batch-first exporter writes it."""
    given = operands_of("LSTM", 4, ("bias",), 1)
    nodes = [
        make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        make_node("LSTM", ["steps", "w", "r", "bias"], ["y", "h", "c"], hidden_size=4),
        make_node("Squeeze", ["y", "one"], ["flat"]),
        make_node("Transpose", ["flat"], ["turned"], perm=[1, 0, 2]),
        make_node("Gather", ["turned", "last"], ["z"], axis=1),
    ]
    constants = {n: v for n, v in given.items() if v.size}
    constants |= {"one": np.array([1], np.int64), "last": np.array(last, np.int64)}
    x = {"x": ("float32", (BATCH, STEPS, INPUTS))}
    return onnx_model(nodes, x, {"z": ("float32", (BATCH, 4))}, constants, 14)


@pytest.mark.parametrize(("last", "results"), [(-1, ("h",)), (2, ("sequence",))])
def test_only_what_is_read_is_written(last: int, results: tuple[str, ...], tmp_path: Path) -> None:
    model, data = classifier(last), {"x": floats(BATCH, STEPS, INPUTS)}
    graph = optimized(read_model(model, tmp_path))

    (got,) = run_c(graph, [data])

    (layer,) = (n for n in graph.nodes if n.op == "Recurrent")
    assert layer.attrs.results == results  # type: ignore[attr-defined]
    assert_close(got, run_onnxruntime(model, data))


def _one(**changes: Any) -> onnx.ModelProto:
    """An LSTM of wrong shapes or attributes."""
    attributes = {"hidden_size": 4, **changes.pop("attributes", {})}
    values = {n: v for n, v in operands_of("LSTM", 4, ("bias",), 1).items() if v.size}
    values |= changes
    node = make_node("LSTM", ["x", *values], ["y"], **attributes)
    x = {"x": ("float32", (STEPS, BATCH, INPUTS))}
    return onnx_model([node], x, {"y": ("float32", (STEPS, 1, BATCH, 4))}, values, 14)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_one(w=floats(1, 16, 2)), "do not fit together"),
        (_one(r=floats(2, 16, 4)), "do not fit together"),
        (_one(bias=floats(1, 31)), r"input 3 is \[1, 31\], expected \[1, 32\]"),
        (_one(attributes={"hidden_size": 5}), "hidden_size is not that of the weights, 4"),
        (_one(lengths=np.full(BATCH, 2, np.int64)), "are int64, they must be int32"),
        (_one(w=np.ones((1, 16, 3), np.int8)), "is int8, it must be of floats"),
        (_one(attributes={"direction": "up"}), "there is no direction 'up'"),
        (_one(attributes={"activations": ["Tanh"]}), "it needs 3 activations"),
        (_one(attributes={"activations": ["Tanh", "Tan", "Tanh"]}), "'Tan' is unknown"),
        (_one(attributes={"clip": -1.0}), "clip is -1.0"),
    ],
)
def test_what_is_wrong_is_named(model: onnx.ModelProto, message: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=message) as error:
        read_model(model, tmp_path)

    assert "LSTM_0" in str(error.value)
