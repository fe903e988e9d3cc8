"""TensorFlow Lite files: every operator against NumPy."""

from pathlib import Path

import pytest

from tests.harness import optimized, run_c, run_onnxruntime
from tests.tflite_cases import CASES, STATEFUL, Case
from tests.tflite_written import assert_close, written
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.tflite_import.operators import READERS


def test_every_operator_has_a_case() -> None:
    assert {case.kind for case in CASES} | STATEFUL == set(READERS)


@pytest.mark.parametrize("stored", ["", "int8"])  # onnxruntime has no ArgMax and pools of int16
def test_operators_mean_what_numpy_computes(stored: str, tmp_path: Path) -> None:
    """The reading alone: onnxruntime computes the ONNX form of all operators in one file."""
    cases = [c for c in CASES if c.quantized or not stored]
    file, path = written(cases, stored), tmp_path / "m.tflite"
    path.write_bytes(file.content)

    found = run_onnxruntime(load_model(path), file.sample)

    for name, wanted in file.results.items():
        assert_close(f"{cases[int(name[1 : name.index('_')])].kind} {name}", found[name], wanted)


@pytest.mark.parametrize("stored", ["", "int8", "int16"])
@pytest.mark.parametrize("target", ["host", pytest.param("cortex-m4", marks=pytest.mark.slow)])
def test_operators_compute_what_numpy_does(stored: str, target: str, tmp_path: Path) -> None:
    cases = [c for c in CASES if c.quantized or not stored]
    file, path = written(cases, stored), tmp_path / "m.tflite"
    path.write_bytes(file.content)

    (found,) = run_c(optimized(read_onnx(path)), [file.sample], target)

    for name, wanted in file.results.items():
        kind = cases[int(name[1 : name.index("_")])].kind
        assert_close(f"{kind} {name}", found[name].reshape(wanted.shape), wanted)


# CONCATENATION of several scales with an activation; the cells of an LSTM are floats.
FLOAT_STAYS = frozenset(["CONCATENATION", "UNIDIRECTIONAL_SEQUENCE_LSTM"])


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.quantized and c.kind not in FLOAT_STAYS],
    ids=lambda c: c.kind,
)  # fmt: skip
def test_a_quantized_operator_leaves_no_float(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(written([case], "int8").content)

    graph = optimized(read_onnx(path))

    assert [t.name for t in graph.tensors.values() if t.dtype.is_float] == []
