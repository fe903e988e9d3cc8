"""What lies inside a function of one value gets no grid, and becomes a table."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from tests.quantization_models import saved
from tinyc.compiler.graph import Array
from tinyc.quantization.options import DEFAULTS
from tinyc.quantization.points import points_of
from tinyc.quantization.preparation import prepare

pytest.importorskip("onnxruntime")
RANDOM = np.random.default_rng(0)
NUMBERS = {"one": np.float32(1), "half": np.full((1, 1), 0.5), "row": np.linspace(0.1, 1, 8)}
FIRST, LAST = make_node("Gemm", ["x", "w"], ["c"]), make_node("Gemm", ["a", "w"], ["y"])
SWISH = [make_node("Sigmoid", ["c"], ["s"]), make_node("Mul", ["s", "c"], ["a"])]
CASES = {
    "swish": (SWISH, {"x", "c", "a", "y"}),
    "three in a row": (
        [make_node("Erf", ["c"], ["e"]), make_node("Add", ["one", "e"], ["f"]),
         make_node("Mul", ["f", "half"], ["a"])],
        {"x", "c", "a", "y"},
    ),
    "a clamp of the product ends no chain before it": (
        [make_node("Relu", ["c"], ["r"]), make_node("Sigmoid", ["r"], ["s"]),
         make_node("Mul", ["s", "r"], ["a"])],
        {"x", "r", "a", "y"},
    ),
    "read by another layer": (
        [make_node("Sigmoid", ["c"], ["s"]), make_node("Mul", ["s", "c"], ["m"]),
         make_node("Gemm", ["s", "w"], ["o"]), make_node("Add", ["m", "o"], ["a"])],
        {"x", "c", "s", "m", "o", "a", "y"},
    ),
    "a factor for each channel": (
        [make_node("Sigmoid", ["c"], ["s"]), make_node("Mul", ["s", "row"], ["a"])],
        {"x", "c", "s", "a", "y"},
    ),
}  # fmt: skip


def model(nodes: list[onnx.NodeProto], folder: Path) -> Path:
    weights: Array = RANDOM.normal(size=(8, 8)) / 2
    shapes = ([1, 8], [1, 8])
    return saved([FIRST, *nodes, LAST], shapes, folder / "m.onnx", w=weights, **NUMBERS)


@pytest.mark.parametrize("case", CASES)
def test_which_tensors_have_a_grid(case: str, tmp_path: Path) -> None:
    nodes, wanted = CASES[case]
    x = RANDOM.normal(size=(10, 1, 8)).astype(np.float32)
    prepared = prepare(model(nodes, tmp_path), {"x": x}, DEFAULTS)
    assert {n for point in points_of(prepared.model) for n in point.tensors} == wanted


def test_swish_is_one_table(tmp_path: Path) -> None:
    path = model(SWISH, tmp_path)
    x = RANDOM.normal(size=(40, 1, 8)).astype(np.float32)
    artifact = tinyc.compile(path, "host", quantize={"x": x})
    assert [layer.op for layer in artifact.report.layers] == [
        "Quantize", "Dense", "Table", "Dense", "Dequantize",
    ]  # fmt: skip
