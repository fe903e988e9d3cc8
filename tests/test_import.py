"""Files as exporters write them: open batches, any order of nodes, outputs as declared or not."""

from pathlib import Path

import numpy as np
import pytest
from onnx.helper import make_node as node

from tests.harness import onnx_model, read_model
from tinyc.compiler.graph import QParams


def test_an_open_batch_is_taken_as_one_and_said(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"])]
    model = onnx_model(nodes, {"x": ("float32", ("batch", 3))}, {"y": ("float32", ("batch", 3))})

    graph = read_model(model, tmp_path)

    assert graph.tensors["x"].shape == (1, 3)
    assert "dimension 'batch' of input 'x' is taken as 1" in graph.notes


def test_nodes_may_come_in_any_order(tmp_path: Path) -> None:
    """onnxruntime sorts them, and editors of graphs leave them as they come."""
    nodes = [node("Neg", ["b"], ["y"]), node("Relu", ["a"], ["b"]), node("Abs", ["x"], ["a"])]
    model = onnx_model(nodes, {"x": ("float32", (2,))}, {"y": ("float32", (2,))})

    graph = read_model(model, tmp_path)

    assert [n.attrs.function for n in graph.nodes] == ["abs", "identity", "neg"]


def test_one_scale_is_that_of_the_whole_whatever_axis_is_named(tmp_path: Path) -> None:
    constants = {"s": np.array([0.5], np.float32), "z": np.array([0], np.int8)}
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=1)]
    model = onnx_model(nodes, {"x": ("int8", (4,))}, {"y": ("float32", (4,))}, constants)

    graph = read_model(model, tmp_path)

    assert graph.tensors["x"].quant == QParams((0.5,), (0,))


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (("float32", (1, 5)), ["'y' is declared as [1, 5], and is [1, 4]"]),
        (("float32", ("n", 4)), []),
        (("int64", (4,)), [
            "'y' is declared as int64, and is float32", "'y' is declared as [4], and is [1, 4]"
        ]),
    ],
)  # fmt: skip
def test_an_output_that_is_not_as_declared_is_said(
    declared: tuple[str, tuple[int, ...]], said: list[str], tmp_path: Path
) -> None:
    model = onnx_model([node("Relu", ["x"], ["y"])], {"x": ("float32", (1, 4))}, {"y": declared})

    assert list(read_model(model, tmp_path).notes) == said


def test_weights_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    constants = {"w": np.array([[1, np.nan]], np.float32), "b": np.array([-np.inf, 1], np.float32)}
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    ends = {"x": ("float32", (1, 1))}, {"y": ("float32", (1, 2))}

    notes = read_model(onnx_model(nodes, *ends, constants), tmp_path).notes

    assert list(notes) == ["constants of the model hold NaN: w/weights"]
