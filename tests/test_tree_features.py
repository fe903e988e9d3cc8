"""Trees that compare int16: ranks of any float decide as the floats do, stored features as said."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from tests.harness import onnx_model, run_c
from tests.test_classic import FOLDER, stored
from tests.test_trees import FEATURES, VALUES, random_ensemble, regressor
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.cli import main
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.options import Options
from tinyc.compiler.pipeline import read_graph
from tinyc.passes.tree_inputs import stored_features
from tinyc.targets import load_target

HOST = load_target("host")
RANKS, STORED = Options(tree_features="int16"), Options(io_dtype="int16")
TREES = (
    "ada_boost", "extra_trees", "forest", "gradient_boosting_two", "imputed", "isolation_forest",
    "lightgbm", "tree_missing", "tree_two_targets", "xgboost", "xgboost_regressor",
)  # fmt: skip
WHOLE_INTERFACE = [name for name in TREES if name not in ("imputed", "isolation_forest")]


def graph_of(model: onnx.ModelProto | Path, folder: Path, options: Options) -> Graph:
    path = model if isinstance(model, Path) else folder / "m.onnx"
    if not isinstance(model, Path):
        onnx.save(model, str(path))
    return read_graph(path, HOST, options)


def feed(graph: Graph, x: Array) -> list[dict[str, Array]]:
    (name,) = graph.inputs
    return [{name: row.reshape(1, -1)} for row in x]


def answers_of(graph: Graph, x: Array, form: str = "", on: str = "host") -> list[dict[str, Array]]:
    names = [n.name for n in graph.nodes if n.op == "Trees"] if form else []
    return run_c(graph, feed(graph, x), on, schedules={n: Schedule(form) for n in names})


def assert_same(found: list[dict[str, Array]], wanted: list[dict[str, Array]]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        for ours_one, theirs_one in zip(ours.values(), theirs.values(), strict=True):
            np.testing.assert_array_equal(ours_one, theirs_one)


def around(thresholds: list[float]) -> Array:
    """Rows of the thresholds and of the floats beside them, and of what is special."""
    real = np.array(thresholds, np.float32)
    beside = [np.nextafter(real, np.float32(to)) for to in (-math.inf, math.inf)]
    tiny = np.float32([1e-45, -1e-45, 3e38, -3e38])
    values = np.concatenate([real, *beside, np.float32(VALUES), tiny])
    return np.random.default_rng(0).choice(values, (40, FEATURES)).astype(np.float32)


@pytest.mark.parametrize("form", ["tables", "branches"])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_decide_as_floats_do(seed: int, form: str, tmp_path: Path) -> None:
    """Every mode; missing values, infinities, zeros of both signs, the floats beside thresholds."""
    ensemble = random_ensemble(seed, "target", 1)
    model, x = regressor(1, **ensemble), around(ensemble["nodes_values"])
    graph = graph_of(model, tmp_path, RANKS)

    answers = answers_of(graph, x, form)

    assert [n.op for n in graph.nodes] == ["TreeRanks", "Trees"]
    assert_same(answers, answers_of(graph_of(model, tmp_path, Options()), x, form))
    for sample, answer in zip(feed(graph, x), answers, strict=True):
        np.testing.assert_allclose(run(graph, sample)["y"], answer["y"], 1e-5, 1e-6)


@pytest.mark.parametrize("name", TREES)
def test_ranks_answer_as_the_floats_of_real_models(name: str, tmp_path: Path) -> None:
    path, (x, _) = FOLDER / f"{name}.onnx", stored(name)

    answers = answers_of(graph_of(path, tmp_path, RANKS), x)

    assert_same(answers, answers_of(graph_of(path, tmp_path, Options()), x))


@pytest.mark.parametrize("core", ["cortex-m0plus", "rv32imc"])
def test_ranks_on_a_core(core: str, tmp_path: Path) -> None:
    path, (x, _) = FOLDER / "lightgbm_two.onnx", stored("lightgbm_two")
    graph = graph_of(path, tmp_path, RANKS)

    assert_same(answers_of(graph, x[:4], on=core), answers_of(graph, x[:4]))


def test_trees_of_one_input_share_its_ranks(tmp_path: Path) -> None:
    graph = graph_of(FOLDER / "ada_boost.onnx", tmp_path, RANKS)

    assert [n.op for n in graph.nodes].count("TreeRanks") == 1
    assert [n.op for n in graph.nodes].count("Trees") == 4


def test_more_thresholds_and_features_than_bytes_count(tmp_path: Path) -> None:
    ensemble = random_ensemble(8, "target", 1, trees=3, depth=9)
    rng = np.random.default_rng(1)
    count = len(ensemble["nodes_values"])
    ensemble["nodes_values"] = np.float32(rng.normal(size=count)).tolist()
    ensemble["nodes_featureids"] = [300 + (i > 5) for i in range(count)]
    node = make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **ensemble
    )
    model = onnx_model([node], {"x": ("float32", (2, 302))}, {"y": ("float32", (2, 1))})
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    x = rng.normal(size=(5, 2, 302)).astype(np.float32)
    graph, floats = (graph_of(model, tmp_path, o) for o in (RANKS, Options()))

    answers = run_c(graph, [{"x": rows} for rows in x])

    assert_same(answers, run_c(floats, [{"x": rows} for rows in x]))


def test_doubles_are_ranked_too(tmp_path: Path) -> None:
    from onnx.helper import make_tensor

    doubles = onnx.TensorProto.DOUBLE
    node = make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, tree_roots=[0],
        nodes_splits=make_tensor("s", doubles, (2,), [1.1, -2.5e-200]), nodes_featureids=[0, 1],
        nodes_modes=make_tensor("m", onnx.TensorProto.UINT8, (2,), [0, 2]),
        nodes_truenodeids=[1, 0], nodes_falsenodeids=[2, 1], nodes_trueleafs=[0, 1],
        nodes_falseleafs=[1, 1], nodes_missing_value_tracks_true=[1, 0],
        leaf_targetids=[0, 0, 0], leaf_weights=make_tensor("w", doubles, (3,), [0.1, 0.2, 0.7]),
    )  # fmt: skip
    model = onnx_model([node], {"x": ("float64", (1, 2))}, {"y": ("float64", (1, 1))})
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 5))
    values = [1.1, np.nextafter(1.1, 2), np.nan, -2.5e-200, -3e-200, 0.0, np.inf, -np.inf]
    x = np.array([(a, b) for a in values for b in values])

    answers = answers_of(graph_of(model, tmp_path, RANKS), x)

    assert answers[0]["y"].dtype == np.float64
    assert_same(answers, answers_of(graph_of(model, tmp_path, Options()), x))


def test_a_model_without_trees_is_said_to_have_none(tmp_path: Path) -> None:
    assert "no trees" in " ".join(graph_of(FOLDER / "linear.onnx", tmp_path, RANKS).notes)


def halves(seed: int) -> dict[str, Any]:
    """An ensemble of features that are whole numbers: thresholds between them, and on them."""
    ensemble = random_ensemble(seed, "target", 1)
    values = np.random.default_rng(seed).integers(-9, 9, len(ensemble["nodes_values"]))
    ensemble["nodes_values"] = (values / 2).tolist()
    return ensemble


@pytest.mark.parametrize("form", ["tables", "branches"])
@pytest.mark.parametrize("seed", range(3))
def test_whole_numbers_go_in_as_they_are(seed: int, form: str, tmp_path: Path) -> None:
    model = regressor(1, **halves(seed))
    graph = graph_of(model, tmp_path, STORED)
    x = np.random.default_rng(seed).integers(-6, 7, (30, FEATURES)).astype(np.int16)
    x[:2] = [[-32768] * FEATURES, [32767] * FEATURES]

    answers = answers_of(graph, x, form)

    assert graph.tensors["x"].quant is None
    assert [n.op for n in graph.nodes] == ["Trees"]
    floats = graph_of(model, tmp_path, Options())
    assert_same(answers, answers_of(floats, x.astype(np.float32), form))


@pytest.mark.parametrize("seed", range(4))
def test_what_stored_features_stand_for_decides_as_it_does(seed: int, tmp_path: Path) -> None:
    """Multiples of each feature's step, those beside thresholds among them; the step is small."""
    ensemble, rng = random_ensemble(seed, "target", 1), np.random.default_rng(seed)
    scale = np.array([1e-3, 1.0, 77.7, 5e5])[ensemble["nodes_featureids"]]
    ensemble["nodes_values"] = np.float32(
        rng.normal(size=len(ensemble["nodes_values"])) * scale
    ).tolist()
    model = regressor(1, **ensemble)
    graph = graph_of(model, tmp_path, STORED)
    quant = graph.tensors["x"].quant
    assert quant is not None
    of_feature = np.repeat(np.float32(ensemble["nodes_values"])[:, None], FEATURES, 1)
    near = stored_features(rng.permuted(of_feature, axis=0), quant)
    x = near + rng.integers(-2, 3, near.shape, np.int16) * (abs(near) < 32000)

    answers = answers_of(graph, x)

    real = np.float32(x * np.array(quant.scale))
    assert_same(answers, answers_of(graph_of(model, tmp_path, Options()), real))


@pytest.mark.parametrize("name", WHOLE_INTERFACE)
def test_stored_features_of_real_data_decide_as_the_floats_do(name: str, tmp_path: Path) -> None:
    """Measured, not promised: no row of them has a feature within a step above a threshold."""
    path, x = FOLDER / f"{name}.onnx", np.nan_to_num(stored(name)[0])
    graph = graph_of(path, tmp_path, STORED)

    answers = answers_of(graph, stored_features(x, graph.tensors[graph.inputs[0]].quant))

    assert_same(answers, answers_of(graph_of(path, tmp_path, Options()), x))


def test_features_beyond_all_thresholds_are_cut_off_without_harm(tmp_path: Path) -> None:
    model = regressor(1, **random_ensemble(2, "target", 1))
    graph = graph_of(model, tmp_path, STORED)
    x = np.random.default_rng(0).choice(np.float32([-3e38, -1e6, 1e6, 3e38]), (20, FEATURES))

    answers = answers_of(graph, stored_features(x, graph.tensors["x"].quant))

    assert_same(answers, answers_of(graph_of(model, tmp_path, Options()), x))


def test_the_largest_integer_is_above_all_thresholds(tmp_path: Path) -> None:
    """32767.5 would be 32767, which is what larger features are stored as."""
    ensemble = random_ensemble(2, "target", 1)
    ensemble["nodes_values"] = [32767.5] * len(ensemble["nodes_values"])
    model = regressor(1, **ensemble)
    graph = graph_of(model, tmp_path, STORED)
    x = np.random.default_rng(0).choice(np.float32([-5, 32764, 32768, 40000]), (20, FEATURES))

    answers = answers_of(graph, stored_features(x, graph.tensors["x"].quant))

    assert_same(answers, answers_of(graph_of(model, tmp_path, Options()), x))


def test_a_model_whose_input_is_prepared_keeps_its_interface(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as caught:
        graph_of(FOLDER / "imputed.onnx", tmp_path, STORED)

    assert "read by trees alone" in caught.value.message


def test_header_and_report_say_what_the_integers_stand_for() -> None:
    artifact = tinyc.compile(FOLDER / "tree.onnx", "cortex-m4", io_dtype="int16")
    header, (port,) = str(artifact.files["tree.h"]), artifact.report.inputs
    assert port.quant is not None
    shifts = ", ".join(str(round(-math.log2(scale))) for scale in port.quant.scale)

    assert f"#define TREE_INPUT_0_SHIFTS {{{shifts}}}" in header
    assert "int16_t" in header
    assert "in steps of 2^-" in " ".join(artifact.report.notes)


@pytest.mark.parametrize("option", ["--tree-features", "--io-dtype"])
@pytest.mark.parametrize("verb", ["compile", "plan", "profile", "verify", "tune"])
def test_every_verb_takes_the_options(
    verb: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, _ = stored("xgboost_regressor")
    np.savez(tmp_path / "x.npz", X=x, input=x, float_input=x)
    more = {
        "compile": ["-o", str(tmp_path / "out")],
        "verify": ["--data", str(tmp_path / "x.npz")],
        "tune": ["--trials", "1", "--records", str(tmp_path / "r.jsonl")],
    }.get(verb, [])
    target = "host" if verb in ("compile", "verify") else "cortex-m4"

    status = main([
        verb, str(FOLDER / "xgboost_regressor.onnx"), "--target", target, option, "int16",
        "--json", *more,
    ])  # fmt: skip

    assert status == 0, capsys.readouterr()


def test_verify_compares_with_the_floats(tmp_path: Path) -> None:
    x, _ = stored("xgboost_regressor")
    path = FOLDER / "xgboost_regressor.onnx"
    (name,) = graph_of(path, tmp_path, Options()).inputs

    found = tinyc.verify(path, "host", {name: x}, io_dtype="int16")

    assert found.outputs[0].differing_share == 0
    assert found.samples == len(x)


def test_models_of_one_firmware_take_the_option(tmp_path: Path) -> None:
    models = [FOLDER / "xgboost.onnx", FOLDER / "linear.onnx"]

    reports = tinyc.compile_bundle(models, "cortex-m4", tree_features="int16").report.models

    assert "TreeRanks" in [layer.op for layer in reports[0].layers]
    assert "no trees" in " ".join(reports[1].notes)
