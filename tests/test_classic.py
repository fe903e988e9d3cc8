"""Models as scikit-learn, XGBoost and LightGBM export them: the C against onnxruntime's answers."""

import math
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
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.pipeline import compile_model
from tinyc.targets import load_target

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


def test_names_of_classes_are_in_the_header_and_the_notes() -> None:
    artifact = compile_model(FOLDER / "tree_names_zipmap.onnx", load_target("host"))
    header, notes = str(artifact.files["tree_names_zipmap.h"]), " ".join(artifact.report.notes)

    names = '_NAMES {"setosa", "versicolor", "virginica"}'
    assert header.count(names) == 2  # of the label's values and of the scores' columns
    assert "instead of a text" in notes
    assert "instead of a map" in notes


def one_node(op: str, x: Array, folder: Path, version: int = 2, **attributes: Any) -> Array:
    """The output of one operator of ai.onnx.ml, in C, that onnxruntime gives too."""
    node = make_node(op, ["x"], ["y"], domain="ai.onnx.ml", **attributes)
    keeps = op in ("Imputer", "Binarizer")
    kind = "int64" if "values_int64s" in attributes else str(x.dtype) if keeps else "float32"
    rank = x.ndim + (op == "OneHotEncoder")
    model = onnx_model([node], {"x": (str(x.dtype), x.shape)}, {"y": (kind, (None,) * rank)})
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", version))
    (answer,) = run_c(optimized(read_model(model, folder)), [{"x": x}])
    expected = run_onnxruntime(model, {"x": x})["y"]
    assert answer["y"].dtype == expected.dtype
    np.testing.assert_allclose(answer["y"], expected, 1e-6)
    return expected


ODD = np.array([[0.0, -2.5, np.nan, 7.0], [1.0, 2.0, 3.0, 0.0]], np.float32)
WHOLE = np.array([[0, -2, 5, 7], [1, 2, 3, 0]], np.int64)
NODES: dict[str, tuple[str, Array, dict[str, Any]]] = {
    "imputer, one value": ("Imputer", ODD, {"imputed_value_floats": [4.0], "replaced_value_float": 7.0}),
    "imputer, a value a column": ("Imputer", ODD, {
        "imputed_value_floats": [4.0, 5.0, 6.0, 8.0], "replaced_value_float": math.nan}),
    "imputer of integers": ("Imputer", WHOLE, {"imputed_value_int64s": [9], "replaced_value_int64": -2}),
    "binarizer": ("Binarizer", np.nan_to_num(ODD), {"threshold": 1.5}),
    "scaler": ("Scaler", ODD, {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5, 2.0, 1.0, -1.0]}),
    "scaler of integers": ("Scaler", WHOLE, {"offset": [1.0], "scale": [0.5]}),
    "normalizer, max": ("Normalizer", np.nan_to_num(ODD), {"norm": "MAX"}),
    "normalizer, L1": ("Normalizer", np.nan_to_num(ODD) * 0, {"norm": "L1"}),
    "normalizer, L2": ("Normalizer", np.nan_to_num(ODD), {"norm": "L2"}),
    "categories": ("OneHotEncoder", WHOLE, {"cats_int64s": [7, 2, 0, -2]}),
    "categories of floats": ("OneHotEncoder", np.nan_to_num(ODD), {"cats_int64s": [7, 2, 0, -2]}),
    "labels of integers": ("LabelEncoder", WHOLE, {
        "keys_int64s": [0, 7, 0, 3], "values_floats": [0.5, 1.5, 9.0, 2.5], "default_float": -7.0}),
    "labels of floats": ("LabelEncoder", ODD, {
        "keys_floats": [7.0, -2.5, math.nan], "values_int64s": [3, 4, 5], "default_int64": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_features_are_prepared_as_onnxruntime_does(name: str, tmp_path: Path) -> None:
    op, x, attributes = NODES[name]

    one_node(op, x, tmp_path, 4 if op == "LabelEncoder" else 1, **attributes)


def test_texts_that_come_in_are_refused(tmp_path: Path) -> None:
    node = make_node("OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", cats_strings=["a", "b"])
    model = onnx_model([node], {"x": ("int64", (1,))}, {"y": ("float32", (1, 2))})
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))

    with pytest.raises(CompileError, match="texts are not supported"):
        read_model(model, tmp_path)


@pytest.mark.parametrize("shape", [(9,), (3, 9)])
@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
def test_sequences_are_counted_as_onnxruntime_does(
    mode: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    node = make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode=mode, min_gram_length=1, max_gram_length=3,
        max_skip_count=2, ngram_counts=[0, 3, 7], ngram_indexes=[0, 2, 1, 3, 5, 4],
        pool_int64s=[1, 2, 3, 1, 2, 2, 3, 1, 2, 3], weights=[0.5, 2.0, 1.5, 3.0, 0.25, 1.0],
    )  # fmt: skip
    x = np.random.default_rng(1).integers(0, 4, shape).astype(np.int64)
    model = onnx_model([node], {"x": ("int64", shape)}, {"y": ("float32", (*shape[:-1], 6))})

    (answer,) = run_c(optimized(read_model(model, tmp_path)), [{"x": x}])

    np.testing.assert_array_equal(answer["y"], run_onnxruntime(model, {"x": x})["y"])
