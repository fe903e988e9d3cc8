"""Recurrent operators whose weights or sequences are stored, or of other reals."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import make_node

from tests.harness import HOST, onnx_model, optimized, read_model, run_c, run_onnxruntime
from tests.test_recurrent import (
    BATCH,
    CASES,
    INPUTS,
    RNG,
    STEPS,
    assert_close,
    floats,
    model_of,
    operands_of,
)
from tinyc.compiler.graph import Array
from tinyc.compiler.interpreter import run
from tinyc.compiler.planning import plan_program

# name -> operator, attributes, stored type, axis of the scales (None: one), zero point
STORED: dict[str, tuple[str, dict[str, Any], str, int | None, int]] = {
    "lstm": ("LSTM", {}, "int8", None, 0),
    "lstm, by row": ("LSTM", {}, "int8", 1, 0),
    "lstm, uint8": ("LSTM", {}, "uint8", 1, 117),
    "lstm, both ways": ("LSTM", {"direction": "bidirectional"}, "int8", 0, 5),
    "lstm, int16": ("LSTM", {}, "int16", None, 0),
    "lstm, by column": ("LSTM", {}, "int8", 2, 0),
    "gru": ("GRU", {}, "int8", 1, 0),
    "gru, reset after": ("GRU", {"linear_before_reset": 1}, "int8", 1, 0),
    "rnn": ("RNN", {"direction": "bidirectional"}, "int8", 1, 0),
}


def stored_model(names: list[str]) -> onnx.ModelProto:
    """Nodes whose weights are DequantizeLinear of constants, as exporters write them."""
    nodes, values, outputs = [], {}, {}
    for i, name in enumerate(names):
        op, attributes, dtype, axis, zero = STORED[name]
        directions = 2 if "direction" in attributes else 1
        given = operands_of(op, 5, ("bias",), directions)
        values[f"n{i}_bias"] = given["bias"]
        for part in "wr":
            info = np.iinfo(dtype)
            shape = given[part].shape
            stored = RNG.integers(info.min, info.max, shape, dtype, endpoint=True)
            count = () if axis is None else (shape[axis],)
            scale = RNG.uniform(0.5, 1, count) / info.max
            values |= {
                f"n{i}_{part}": stored,
                f"n{i}_{part}s": np.asarray(scale, np.float32),
                f"n{i}_{part}z": np.full(count, zero, dtype),
            }
            inputs = [f"n{i}_{part}{end}" for end in ("", "s", "z")]
            extra = {} if axis is None else {"axis": axis}
            nodes.append(make_node("DequantizeLinear", inputs, [f"n{i}_{part}f"], **extra))
        inputs = ["x", f"n{i}_wf", f"n{i}_rf", f"n{i}_bias"]
        outputs[f"n{i}_y"] = ("float32", (STEPS, directions, BATCH, 5))
        nodes.append(make_node(op, inputs, [f"n{i}_y"], hidden_size=5, **attributes))
    return onnx_model(nodes, {"x": ("float32", (STEPS, BATCH, INPUTS))}, outputs, values, 21)


def test_stored_weights_agree_with_onnxruntime(tmp_path: Path) -> None:
    model, data = stored_model(list(STORED)), {"x": floats(STEPS, BATCH, INPUTS)}
    expected = run_onnxruntime(model, data)
    graph = read_model(model, tmp_path)

    (got,) = run_c(optimized(graph), [data])

    assert_close(got, expected)
    assert_close(run(graph, data), expected)


@pytest.mark.parametrize("name", [n for n in STORED if n != "lstm, by column"])
def test_stored_weights_stay_stored(name: str, tmp_path: Path) -> None:
    program = plan_program(optimized(read_model(stored_model([name]), tmp_path)), HOST)

    (kernel,) = program.kernels.values()

    kinds = {c.role: str(c.array.dtype) for c in kernel.constants}
    assert kinds["w"] == kinds["r"] == STORED[name][2]


@pytest.mark.parametrize("dtype", [pytest.param("float16", marks=pytest.mark.slow), "float64"])
def test_other_reals_are_computed_as_floats(dtype: str, tmp_path: Path) -> None:
    model, data = model_of({"gru": CASES["gru, all operands"]}, constant=False)
    halves = {
        n: v.astype(np.float16).astype(v.dtype) if v.dtype == np.float32 else v
        for n, v in data.items()
    }
    expected = run_onnxruntime(model, halves)
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for port in (*model.graph.input, *model.graph.output):
        if port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            port.type.tensor_type.elem_type = element
    given = {n: v.astype(dtype) if v.dtype == np.float32 else v for n, v in halves.items()}

    (got,) = run_c(optimized(read_model(model, tmp_path)), [given])

    for name, want in expected.items():
        assert got[name].dtype == dtype
        digits = 1e-3 if dtype == "float16" else 1e-5
        np.testing.assert_allclose(got[name], want, rtol=digits, atol=digits)


SEQUENCES: dict[str, tuple[str, str, dict[str, Any]]] = {  # operator, stored type, attributes
    "lstm": ("LSTM", "int8", {}),
    "gru": ("GRU", "uint8", {"linear_before_reset": 1}),
    "rnn": ("RNN", "int16", {"direction": "bidirectional"}),
}


def sequences_model() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Stored x -> DequantizeLinear -> layer -> QuantizeLinear -> stored sequence; h stays real."""
    nodes, values, outputs, data = [], {}, {}, {}
    for i, (op, dtype, attributes) in enumerate(SEQUENCES.values()):
        directions, info = 2 if "direction" in attributes else 1, np.iinfo(dtype)
        given = operands_of(op, 5, ("bias", "lengths"), directions)
        values |= {f"n{i}_{n}": v for n, v in given.items() if v.size}
        values |= {f"n{i}_s": np.array(2 / info.max, np.float32), f"n{i}_z": np.array(3, dtype)}
        data[f"x{i}"] = RNG.integers(
            info.min, info.max, (STEPS, BATCH, INPUTS), dtype, endpoint=True
        )
        parameters, x = [f"n{i}_s", f"n{i}_z"], f"n{i}_x"
        inputs = [x, *(f"n{i}_{n}" if v.size else "" for n, v in given.items())]
        outputs[f"n{i}_y"] = (dtype, (STEPS, directions, BATCH, 5))
        outputs[f"n{i}_h"] = ("float32", (directions, BATCH, 5))
        nodes += [
            make_node("DequantizeLinear", [f"x{i}", *parameters], [x]),
            make_node(op, inputs, [f"n{i}_f", f"n{i}_h"], hidden_size=5, **attributes),
            make_node("QuantizeLinear", [f"n{i}_f", *parameters], [f"n{i}_y"]),
        ]
    ports = {n: (v.dtype.name, v.shape) for n, v in data.items()}
    return onnx_model(nodes, ports, outputs, values, 21), data


def test_sequences_are_read_and_written_as_they_are_stored(tmp_path: Path) -> None:
    model, data = sequences_model()
    expected = run_onnxruntime(model, data)
    graph = optimized(read_model(model, tmp_path))

    (got,) = run_c(graph, [data])

    assert [n.op for n in graph.nodes] == ["Recurrent"] * len(SEQUENCES)
    for found in (got, run(graph, data)):
        for name, want in expected.items():
            if name.endswith("h"):
                np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=2e-6)
            else:  # a tie may round otherwise
                steps = np.abs(found[name].astype(np.int64) - want)
                assert steps.max() <= 1 and steps.mean() < 0.02


DYNAMIC = (  # scales for each row, type, attributes, sequences, lengths
    (False, "int8", {}, 1, None),
    (True, "int8", {}, 3, None),
    (False, "uint8", {"direction": "bidirectional"}, 3, None),
    (True, "int8", {"direction": "bidirectional"}, 2, [STEPS, 2]),
)


def dynamic_model() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """onnxruntime's LSTM of stored weights, as its quantize_dynamic writes it."""
    nodes, values, outputs, data = [], {}, {}, {}
    for i, (by_row, dtype, attributes, batch, lengths) in enumerate(DYNAMIC):
        directions, info = 2 if attributes else 1, np.iinfo(dtype)
        zero = 0 if by_row else 3
        operands = {"bias": floats(directions, 40), "h": floats(directions, batch, 5)}
        operands["c"] = floats(directions, batch, 5)
        for part, columns in (("w", INPUTS), ("r", 5)):
            count = (directions, 20) if by_row else (directions,)
            shape = (directions, columns, 20)
            operands |= {
                part: RNG.integers(info.min, info.max, shape, dtype, endpoint=True),
                f"{part}s": (RNG.uniform(0.3, 1, count) / info.max).astype(np.float32),
                f"{part}z": np.full(count, zero, dtype),
            }
        if lengths is not None:
            operands["lengths"] = np.array(lengths, np.int32)
        names = ("w", "r", "bias", "lengths", "h", "c", "", "ws", "wz", "rs", "rz")
        inputs = [f"x{i}", *(f"n{i}_{n}" if n in operands else "" for n in names)]
        values |= {f"n{i}_{n}": v for n, v in operands.items()}
        data[f"x{i}"] = floats(STEPS, batch, INPUTS)
        results = [f"n{i}_{r}" for r in ("y", "yh", "yc")]
        shapes = ((STEPS, directions, batch, 5), *[(directions, batch, 5)] * 2)
        outputs |= {r: ("float32", s) for r, s in zip(results, shapes, strict=True)}
        nodes.append(make_node(
            "DynamicQuantizeLSTM", inputs, results, hidden_size=5, domain="com.microsoft",
            **attributes,
        ))  # fmt: skip
    ports = {n: ("float32", v.shape) for n, v in data.items()}
    return onnx_model(nodes, ports, outputs, values, 17, ["com.microsoft"]), data


def test_dynamically_quantized_layers_agree_with_onnxruntime(tmp_path: Path) -> None:
    model, data = dynamic_model()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 4  # one for each sequence at least
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
    names = [o.name for o in session.get_outputs()]
    expected = dict(zip(names, session.run(names, data), strict=True))
    graph = read_model(model, tmp_path)

    (got,) = run_c(optimized(graph), [data])

    for found in (got, run(graph, data)):
        for name, want in expected.items():  # a state near a tie may be quantized otherwise
            deviation = np.abs(found[name] - want)
            assert np.median(deviation) < 2e-6 and deviation.max() < 2e-3
