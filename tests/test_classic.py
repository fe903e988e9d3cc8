"""Models as scikit-learn, XGBoost and LightGBM export them: the C against onnxruntime's answers."""

from pathlib import Path

import numpy as np
import pytest

from tests.harness import optimized, run_c
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.onnx_import.reading import read_onnx

FOLDER = Path(__file__).parent / "data" / "classic"
MODELS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
FIRST = ("tree_names_zipmap", "xgboost_two", "svc_poly_probability")  # one of each family


def stored(name: str) -> tuple[Array, list[Array]]:
    """The rows that go in, and all outputs for them."""
    with np.load(FOLDER / f"{name}.npz") as file:
        outputs = [file[f"output_{i}"] for i in range(len(file.files) - 1)]
        return file["x"], outputs


def assert_answers(graph: Graph, answers: list[dict[str, Array]], wanted: list[Array]) -> None:
    for output, expected in zip(graph.outputs, wanted, strict=True):
        found = np.concatenate([a[output].reshape(1, -1) for a in answers])
        if expected.dtype.kind == "U":
            found = np.array(graph.names[output])[found]
        expected = expected.reshape(found.shape)
        if expected.dtype.kind in "iU":
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, 1e-5, 1e-5 * np.abs(expected).max())


@pytest.mark.sampled
@pytest.mark.parametrize("name", MODELS)
def test_the_c_answers_as_onnxruntime_does(name: str) -> None:
    graph = optimized(read_onnx(FOLDER / f"{name}.onnx"))
    x, wanted = stored(name)
    samples = [{graph.inputs[0]: row.reshape(1, -1)} for row in x]

    answers = run_c(graph, samples)

    assert_answers(graph, answers, wanted)


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_means_what_onnxruntime_computes(name: str) -> None:
    graph = optimized(read_onnx(FOLDER / f"{name}.onnx"))
    x, wanted = stored(name)

    answers = [run(graph, {graph.inputs[0]: row.reshape(1, -1)}) for row in x]

    assert_answers(graph, answers, wanted)


@pytest.mark.parametrize("name", FIRST)
def test_a_core_answers_as_onnxruntime_does(name: str) -> None:
    graph = optimized(read_onnx(FOLDER / f"{name}.onnx"))
    x, wanted = stored(name)
    samples = [{graph.inputs[0]: row.reshape(1, -1)} for row in x[:4]]

    answers = run_c(graph, samples, "cortex-m4")

    assert_answers(graph, answers, [w[:4] for w in wanted])
