"""SVDF of TensorFlow Lite: many runs in a row against NumPy, on host and core."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import tinyc
from tests.harness import onnx_model, optimized
from tests.svdf_layers import (
    LAYERS,
    RELU,
    RUNS,
    Svdf,
    doubled,
    float_svdf,
    inputs_of,
    rounded,
    stored_svdf,
    svdf_parts,
)
from tests.tflite_files import Operation, T
from tests.tflite_runs import TARGETS, generator, refusal, run_in_a_row, written
from tinyc.compiler.errors import CompileError
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.options import Options
from tinyc.compiler.verification import verify_model
from tinyc.targets import load_target


@TARGETS
@pytest.mark.parametrize("case", LAYERS)
def test_svdf_remembers_what_tensorflow_lite_does(case: str, target: str, tmp_path: Path) -> None:
    layer = LAYERS[case]
    tensors, operation = svdf_parts(layer)
    runs = inputs_of(layer)

    found = run_in_a_row(read_onnx(written(tmp_path, tensors, operation)), runs, target)

    if layer.state == "float32":
        wanted = list(float_svdf(layer, tensors, runs))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    else:
        once, twice = (
            np.array(list(stored_svdf(layer, tensors, runs, how))) for how in (rounded, doubled)
        )
        gap = np.abs(np.array(found, int) - once)
        assert gap.max() <= 1 and (gap > 0).mean() < 0.02
        assert np.abs(np.array(found, int) - twice).max() <= 1
        assert np.unique(found).size > 20, "the outputs are not all saturated"


def svdf_file(folder: Path, case: str = "int16") -> Path:
    tensors, operation = svdf_parts(LAYERS[case])
    return written(folder, tensors, operation)


def test_the_caller_owns_and_resets_what_is_remembered(tmp_path: Path) -> None:
    artifact = tinyc.compile(svdf_file(tmp_path), "cortex-m4")

    header = str(artifact.files["m.h"])
    assert "void m_reset(m_state *state);" in header
    assert "void m_run(m_arena *arena, m_state *state, const int8_t x[11], int8_t y[6]);" in header
    assert artifact.report.state_bytes == 6 * 8 * 2
    assert any("reset the state" in note for note in artifact.report.notes)


def test_verify_takes_samples_as_one_sequence(tmp_path: Path) -> None:
    x = np.stack(inputs_of(LAYERS["int16"]))

    found = verify_model(svdf_file(tmp_path), load_target("host"), {"x": x})

    assert found.samples == RUNS and found.outputs[0].largest <= 1


@pytest.mark.parametrize("options", [Options(stream="x:1"), Options(io="rows")])
def test_steps_and_rows_are_refused(options: Options, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="remembers tensors from run to run") as error:
        tinyc.compile(svdf_file(tmp_path), "host", stream=options.stream, io=options.io)

    assert error.value.code == "wrong-option"


def test_pruning_and_quantizing_are_refused(tmp_path: Path) -> None:
    from tinyc.quantization.float_model import read_float_model

    with pytest.raises(CompileError, match="remembers tensors from run to run"):
        read_float_model(svdf_file(tmp_path, "float"))


def test_int8_outside_leaves_the_state_alone(tmp_path: Path) -> None:
    """Floats around a quantized layer go; what is remembered stays as it is stored."""
    tensors, operation = svdf_parts(LAYERS["int16"])
    inner = [replace(t, name={"x": "s", "y": "t"}.get(t.name, t.name)) for t in tensors]
    operations = (
        Operation("QUANTIZE", ("x",), ("s",)),
        replace(operation, inputs=("s", *operation.inputs[1:]), outputs=("t",)),
        Operation("DEQUANTIZE", ("t",), ("y",)),
    )
    path = written(tmp_path, [T("x", (1, 11)), *inner, T("y", (1, 6))], *operations)

    artifact = tinyc.compile(path, "host", io_dtype="int8")

    assert [str(p.dtype) for p in artifact.report.inputs] == ["int8"]
    assert artifact.report.state_bytes == 6 * 8 * 2


def keyword_model(folder: Path, sizes: Sequence[tuple[int, int, int]], inputs: int = 40) -> Path:
    """SVDF layers (units, rank, memory) of int8 with states of int16 between 16-bit ends.

    As the example of keywords that TensorFlow Lite for microcontrollers measures itself by.
    """
    tensors = [T("x", (1, inputs), "int16", scale=(0.001,)),
               T("s0", (1, inputs), "int8", scale=(0.1,))]  # fmt: skip
    operations = [Operation("QUANTIZE", ("x",), ("s0",))]
    for number, (units, rank, memory) in enumerate(sizes):
        layer = Svdf(inputs, units, memory, rank, state="int16", activation=RELU)
        parts, svdf = svdf_parts(layer)
        names = {t.name: f"{t.name}{number}" for t in parts}
        names |= {"x": f"s{number}", "y": f"s{number + 1}"}
        tensors += [replace(t, name=names[t.name]) for t in parts if t.name != "x"]
        inner = tuple(names[n] for n in svdf.inputs)
        operations.append(replace(svdf, inputs=inner, outputs=(names["y"],)))
        inputs = units
    w = generator().integers(-127, 128, (12, inputs)).astype(np.int8)
    b = np.zeros(12, np.int32)
    tensors += [
        T("w", w.shape, "int8", w, (0.004,)),
        T("b", (12,), "int32", b, (0.00016,)),
        T("scores", (1, 12), "int8", None, (0.1,)),
        T("y", (1, 12), "int16", None, (1 / 65536,), (-32768,)),
    ]
    last = f"s{len(sizes)}"
    operations += [
        Operation("FULLY_CONNECTED", (last, "w", "b"), ("scores",), "FullyConnectedOptions"),
        Operation("SOFTMAX", ("scores",), ("y",), "SoftmaxOptions", {"Beta": 1.0}),
    ]
    return written(folder, tensors, *operations)


def test_a_model_of_keywords_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    graph = read_onnx(keyword_model(tmp_path, [(16, 1, 8), (12, 2, 10)]))
    assert not any(t.dtype.is_float for t in optimized(graph).tensors.values())
    x = np.random.default_rng(8).integers(-9000, 9000, (RUNS, 1, 40)).astype(np.int16)

    host, core = (run_in_a_row(graph, list(x), target) for target in ("host", "cortex-m4"))

    np.testing.assert_array_equal(host, core)
    assert np.unique(host).size > 20
    assert len(graph.states) == 2


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"nothing": "y"}, "a state needs an input, its initializer, and an output"),
        ({"s": "nothing"}, "a state needs an input, its initializer, and an output"),
        ({"s": "z", "t": "z"}, "two states are the same"),
        ({"s": "y"}, "it is float32[2] before a call and float32[3] after it"),
        ({}, ""),
    ],
)
def test_states_of_an_onnx_file_are_checked(
    entries: dict[str, str], message: str, tmp_path: Path
) -> None:
    """The form that a file is read as is ONNX, which may come from anywhere."""
    nodes = [onnx.helper.make_node("Neg", ["x"], ["y"]),
             onnx.helper.make_node("Add", ["s", "t"], ["z"])]  # fmt: skip
    kinds = {"x": ("float32", (3,)), "s": ("float32", (2,)), "t": ("float32", (2,))}
    first = {name: np.zeros(2, np.float32) for name in "st"}
    model = onnx_model(
        nodes, kinds, {"y": ("float32", (3,)), "z": ("float32", (2,))}, first, opset=21
    )
    for before, after in entries.items():
        model.metadata_props.add(key=f"tinyc.state.{before}", value=after)
    model.metadata_props.add(key="other", value="text")
    content = model.SerializeToString().replace(b"other", b"\xff\xfe\xfd\xfc\xfb")
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    if message:
        assert refusal(path) == message
    else:
        assert not read_onnx(path).states
