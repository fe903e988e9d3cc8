"""Trees of every mode and aggregate, as tables and as branches, against ONNX's own meaning."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node, make_tensor

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
VALUES = (-1.5, -0.0, 0.0, 0.25, 1.0, 3.0, math.inf, -math.inf, math.nan)
FEATURES = 4
Ensemble = dict[str, Any]


def random_ensemble(
    seed: int, kind: str, targets: int, trees: int = 5, depth: int = 4, full: bool = False
) -> Ensemble:
    """Attributes of a TreeEnsembleClassifier ("class") or -Regressor ("target")."""
    rng = np.random.default_rng(seed)
    nodes: list[tuple[Any, ...]] = []
    weights: list[tuple[int, int, int, float]] = []

    def grow(tree: int, level: int, ids: list[int]) -> int:
        me = len(ids)
        ids.append(me)
        at = len(nodes)
        nodes.append(())
        if level == depth or (level and rng.random() < 0.2):
            nodes[at] = (tree, me, "LEAF", 0, 0.0, 0, 0, 0)
            own = range(targets) if full else [int(rng.integers(targets))]
            weights.extend((tree, me, t, float(np.float32(rng.normal()))) for t in own)
            return me
        yes, no = grow(tree, level + 1, ids), grow(tree, level + 1, ids)
        nodes[at] = (
            tree, me, MODES[rng.integers(len(MODES))], int(rng.integers(FEATURES)),
            float(np.float32(rng.choice(VALUES[:6]))), yes, no, int(rng.integers(2)),
        )  # fmt: skip
        return me

    for tree in range(trees):
        grow(tree, 0, [])
    columns = [list(c) for c in zip(*nodes, strict=True)]
    names = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids",
             "missing_value_tracks_true")  # fmt: skip
    result: Ensemble = {f"nodes_{n}": c for n, c in zip(names, columns, strict=True)}
    for name, column in zip(("treeids", "nodeids", "ids", "weights"), zip(*weights, strict=True), strict=True):  # fmt: skip
        result[f"{kind}_{name}"] = list(column)
    return result


def model_of(op: str, attributes: Ensemble, outputs: dict[str, tuple[str, tuple[Any, ...]]],
             rows: int = 1) -> onnx.ModelProto:  # fmt: skip
    node = make_node(op, ["x"], list(outputs), name="node", domain="ai.onnx.ml", **attributes)
    model = onnx_model([node], {"x": ("float32", (rows, FEATURES))}, outputs)
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    return model


def regressor(targets: int, rows: int = 1, **attributes: Any) -> onnx.ModelProto:
    given = {"n_targets": targets, **attributes}
    return model_of("TreeEnsembleRegressor", given, {"y": ("float32", (rows, targets))}, rows)


def rows_of(seed: int, count: int = 12) -> Array:
    """Rows full of values that splits compare with, and of missing ones."""
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(VALUES, np.float32), (count, FEATURES))


def check(model: onnx.ModelProto, folder: Path, x: Array, form: str = "") -> Graph:
    """C, graph and onnxruntime agree on all rows of x, one at a time."""
    graph = optimized(read_model(model, folder))
    samples = [{"x": row.reshape(1, -1)} for row in x]
    trees = next(n.name for n in graph.nodes if n.op == "Trees")
    schedules = {trees: Schedule(form)} if form else {}

    answers = run_c(graph, samples, schedules=schedules)

    for sample, answer in zip(samples, answers, strict=True):
        meant, expected = run(graph, sample), run_onnxruntime(model, sample)
        for name, wanted in expected.items():
            np.testing.assert_allclose(answer[name], wanted, 1e-5, 1e-5)
            np.testing.assert_allclose(meant[name], wanted, 1e-5, 1e-5)
    return graph


@pytest.mark.parametrize("form", ["tables", "branches"])
@pytest.mark.parametrize("seed", range(3))
def test_all_modes_and_missing_values_lead_where_onnxruntime_goes(
    seed: int, form: str, tmp_path: Path
) -> None:
    check(regressor(1, **random_ensemble(seed, "target", 1)), tmp_path, rows_of(seed), form)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("full", [True, False])
def test_several_targets_aggregate(aggregate: str, full: bool, tmp_path: Path) -> None:
    ensemble = random_ensemble(3, "target", 3, full=full)
    base = {"base_values": [0.5, -1.0, 2.0]} if full else {}  # else onnxruntime may forget it

    check(regressor(3, aggregate_function=aggregate, **base, **ensemble), tmp_path, rows_of(1))


@pytest.mark.parametrize("transform", ["SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
def test_scores_are_transformed(transform: str, tmp_path: Path) -> None:
    ensemble = random_ensemble(5, "target", 3)

    check(regressor(3, post_transform=transform, **ensemble), tmp_path, rows_of(2))


def test_probit_of_one_target(tmp_path: Path) -> None:
    ensemble = random_ensemble(6, "target", 1, trees=1)
    ensemble["target_weights"] = np.linspace(0.1, 0.9, len(ensemble["target_weights"])).tolist()

    check(regressor(1, post_transform="PROBIT", **ensemble), tmp_path, rows_of(3))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("base", [[], [0.25]])
def test_one_score_for_two_classes(
    sign: int, transform: str, base: list[float], tmp_path: Path
) -> None:
    ensemble = random_ensemble(7, "class", 1, trees=3)
    if sign > 0:
        ensemble["class_weights"] = [abs(w) / 3 for w in ensemble["class_weights"]]
    outputs = {"label": ("int64", (1,)), "p": ("float32", (1, 2))}
    given = {"classlabels_int64s": [7, 9], "post_transform": transform, **ensemble}
    model = model_of(
        "TreeEnsembleClassifier", given | ({"base_values": base} if base else {}), outputs
    )

    check(model, tmp_path, rows_of(4))


def test_more_features_and_leaves_than_bytes_count(tmp_path: Path) -> None:
    ensemble = random_ensemble(8, "target", 1, trees=3, depth=9)
    ensemble["nodes_featureids"] = [
        f + 200 * (i % 2) for i, f in enumerate(ensemble["nodes_featureids"])
    ]
    node = make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **ensemble
    )
    model = onnx_model([node], {"x": ("float32", (1, 204))}, {"y": ("float32", (1, 1))})
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    rng = np.random.default_rng(0)

    check(model, tmp_path, rng.choice(np.array(VALUES, np.float32), (9, 204)))


def test_few_splits_become_branches_and_many_tables(tmp_path: Path) -> None:
    def note(depth: int, trees: int) -> str:
        ensemble = random_ensemble(9, "target", 1, trees=trees, depth=depth)
        graph = optimized(read_model(regressor(1, **ensemble), tmp_path))
        from tinyc.compiler.planning import plan_program
        from tinyc.targets import load_target

        (kernel,) = plan_program(graph, load_target("cortex-m4")).kernels.values()
        return kernel.note

    assert "branches" in note(1, 1)
    assert "tables" in note(6, 9)


def test_members_of_sets_and_doubles(tmp_path: Path) -> None:
    """The newer operator, against onnx's reference."""
    doubles, none = onnx.TensorProto.DOUBLE, np.nan
    node = make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=2, tree_roots=[0],
        nodes_splits=make_tensor("s", doubles, (3,), [1.1, 0.0, 2.2]),
        nodes_featureids=[0, 1, 2], nodes_modes=make_tensor("m", onnx.TensorProto.UINT8, (3,), [0, 6, 4]),
        nodes_truenodeids=[1, 0, 2], nodes_falsenodeids=[2, 1, 3],
        nodes_trueleafs=[0, 1, 1], nodes_falseleafs=[0, 1, 1],
        membership_values=make_tensor("v", doubles, (3,), [0.3, 5.0, none]),
        leaf_targetids=[0, 1, 0, 1], leaf_weights=make_tensor("w", doubles, (4,), [0.1, 0.2, 0.7, 3.3]),
    )  # fmt: skip
    model = onnx_model([node], {"x": ("float64", (1, 3))}, {"y": ("float64", (1, 2))})
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 5))
    graph = optimized(read_model(model, tmp_path))
    rows = [(a, b, c) for a in (1.1, 1.2) for b in (0.3, 5.0, 4.0) for c in (2.2, 2.0)]
    samples = [{"x": np.array([row])} for row in rows]

    answers = run_c(graph, samples)

    reference = onnx.reference.ReferenceEvaluator(model)
    for sample, answer in zip(samples, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], reference.run(None, sample)[0])


def refusal(model: onnx.ModelProto, folder: Path) -> CompileError:
    with pytest.raises(CompileError) as caught:
        read_model(model, folder)
    return caught.value


def test_a_tree_that_leads_back_is_refused(tmp_path: Path) -> None:
    ensemble = random_ensemble(1, "target", 1, trees=1)
    inner = next(i for i, m in enumerate(ensemble["nodes_modes"]) if m != "LEAF" and i)
    ensemble["nodes_truenodeids"][inner] = 0

    assert "leads back" in refusal(regressor(1, **ensemble), tmp_path).message


def test_a_transform_that_onnxruntime_leaves_out_is_refused(tmp_path: Path) -> None:
    model = regressor(1, post_transform="LOGISTIC", **random_ensemble(1, "target", 1))

    assert "single target" in refusal(model, tmp_path).message


def test_a_feature_beyond_the_input_is_refused(tmp_path: Path) -> None:
    ensemble = random_ensemble(1, "target", 1)
    ensemble["nodes_featureids"][0] = 9

    assert "features" in refusal(regressor(1, **ensemble), tmp_path).message
