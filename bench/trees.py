"""Trees by the type that features are compared in: cycles and flash, and whether answers stay."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import xgboost
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

import tinyc
from bench.models import ROOT
from bench.tables import table
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.graph import Array
from tinyc.passes.tree_inputs import stored_features

CLASSIC = ROOT / "tests" / "data" / "classic"
SMALL = ("tree_small", "forest", "xgboost_regressor", "lightgbm")
CORES = ("cortex-m0plus", "cortex-m4")
WAYS: Mapping[str, Mapping[str, Any]] = {
    "`model`": {},
    "`--tree-features int16`": {"tree_features": "int16"},
    "`--io-dtype int16`": {"io_dtype": "int16"},
}
SAMPLES = 4  # that cycles are the mean of
CLASSES, ROUNDS, DEPTH = 10, 20, 4  # of the model of the digits


def trees_section() -> Iterator[str]:
    yield "\n## Trees: features as floats, as ranks, as the caller's int16\n"
    yield (
        f"Cycles: mean of {SAMPLES} samples. Flash: text and tables of the model's files, without "
        "the C library's floats. Other answers: labels, or scores by more than 1e-5 of the "
        "largest.\n"
    )
    with tempfile.TemporaryDirectory() as name:
        models = [(m, CLASSIC / f"{m}.onnx", _samples(m)) for m in SMALL]
        models += _digits(Path(name))
        rows = [row for m, path, x in models for row in _rows(m, path, x)]
    yield table("model | core | features | trees | cycles | times | flash B | other answers", rows)


def _rows(name: str, path: Path, x: Array) -> Iterator[tuple[object, ...]]:
    changed = _changed(path, x)
    for core in CORES:
        first_cycles = 0.0
        for way, options in WAYS.items():
            artifact = tinyc.compile(path, core, **options)
            (port,) = artifact.report.inputs
            samples = _as_taken(artifact, x)[:SAMPLES]
            results = [tinyc.run(artifact, {port.name: row[None]}) for row in samples]
            cycles = float(np.mean([result.cycles for result in results]))
            first_cycles = first_cycles or cycles
            (kernel,) = [la.kernel for la in artifact.report.layers if la.op == "Trees"]
            yield (
                name, core, way, kernel, f"{cycles:,.0f}", f"{cycles / first_cycles:.2f}",
                f"{results[0].text_bytes + results[0].rodata_bytes:,}",
                f"{changed[way]} of {len(x)}",
            )  # fmt: skip


def _changed(path: Path, x: Array) -> dict[str, int]:
    """Samples whose answer is not that of the floats."""
    answers = {}
    for way, options in WAYS.items():
        artifact = tinyc.compile(path, "host", **options)
        (port,) = artifact.report.inputs
        answers[way] = tinyc.run(artifact, {port.name: _as_taken(artifact, x)}).outputs
    return {way: _others(answers["`model`"], own) for way, own in answers.items()}


def _as_taken(artifact: Artifact, x: Array) -> Array:
    """Rows of features as the compiled model takes them."""
    port = artifact.report.inputs[0]
    return x if port.dtype.is_float else stored_features(x, port.quant)


def _others(wanted: Mapping[str, Array], answers: Mapping[str, Array]) -> int:
    """Samples with another label, or where there are no labels with other scores."""
    name = next((n for n, a in wanted.items() if a.dtype.kind in "iu"), next(iter(wanted)))
    a, b = (o[name].reshape(len(o[name]), -1).astype(np.float64) for o in (wanted, answers))
    return int((np.abs(a - b).max(axis=1) > 1e-5 * np.abs(a).max()).sum())


def _samples(name: str) -> Array:
    """The stored rows, and 1000 that take each feature from any of them."""
    with np.load(CLASSIC / f"{name}.npz") as file:
        x = np.nan_to_num(file["x"])
    rows = np.random.default_rng(0).integers(0, len(x), (1000, x.shape[1]))
    return np.concatenate([x, np.take_along_axis(x, rows, axis=0)])


def _digits(folder: Path) -> list[tuple[str, Path, Array]]:
    """XGBoost's trees for digits of 8x8 pixels: of whole numbers, and of means of neighbours."""
    with np.load(ROOT / "examples" / "digits" / "digits.npz") as file:
        whole, y = np.rint(file["x"].reshape(-1, 64) * 16).astype(np.float32), file["y"]
    real = (whole + 0.7 * np.roll(whole, 1, 1) + 0.3 * np.roll(whole, 8, 1)) / np.float32(32)
    made = []
    for name, x in (("digits, whole numbers", whole), ("digits, floats", real)):
        half = len(x) // 2
        options = {"objective": "multi:softprob", "num_class": CLASSES, "max_depth": DEPTH}
        data = xgboost.DMatrix(x[:half], y[:half])
        booster = xgboost.train({**options, "nthread": 1, "seed": 0}, data, ROUNDS)
        path = folder / f"{name.split(', ')[1].split()[0]}.onnx"
        onnx.save(_classifier(booster.get_dump(dump_format="json"), x.shape[1]), path)
        made.append((f"{name}, {CLASSES * ROUNDS} trees", path, x[half:]))
    return made


def _classifier(trees: Sequence[str], features: int) -> onnx.ModelProto:
    """A TreeEnsembleClassifier of XGBoost's trees, one of each class in turn."""
    columns: dict[str, list[Any]] = {name: [] for name in NODES + LEAVES}
    for number, text in enumerate(trees):
        waiting = [json.loads(text)]
        while waiting:
            at = waiting.pop()
            waiting += at.get("children", [])
            split = "split" in at
            feature = int(at["split"].removeprefix("f")) if split else 0
            mode = "BRANCH_LT" if split else "LEAF"
            ends = (at["yes"], at["no"]) if split else (0, 0)
            node = (number, at["nodeid"], feature, mode, at.get("split_condition", 0.0), *ends)
            for name, value in zip(NODES, node, strict=True):
                columns[name].append(value)
            if not split:
                leaf = (number, at["nodeid"], number % CLASSES, at["leaf"])
                for name, value in zip(LEAVES, leaf, strict=True):
                    columns[name].append(value)
    node = make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
        classlabels_int64s=list(range(CLASSES)), post_transform="SOFTMAX", **columns,
    )  # fmt: skip
    real, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    inputs = [make_tensor_value_info("x", real, (1, features))]
    outputs = [
        make_tensor_value_info("label", whole, (1,)),
        make_tensor_value_info("scores", real, (1, CLASSES)),
    ]
    return make_model(
        make_graph([node], "trees", inputs, outputs),
        opset_imports=[make_opsetid("ai.onnx.ml", 3)], ir_version=10,
    )  # fmt: skip


NODES = tuple(
    f"nodes_{n}"
    for n in (
        "treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
    )
)  # fmt: skip
LEAVES = tuple(f"class_{n}" for n in ("treeids", "nodeids", "ids", "weights"))
