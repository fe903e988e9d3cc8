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
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run

RNG = np.random.default_rng(5)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUTS = 5, 2, 3
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
    lengths = np.array([STEPS - 2, STEPS, 1, 0][:batch], np.int32)
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
        outputs |= {
            f"n{i}_{r}": ("float32", s) for r, s in zip(results, shapes, strict=False)
        }
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
    ("constant", "target"), [(True, "host"), (False, "host"), (True, "cortex-m4")]
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
