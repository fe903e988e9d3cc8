"""Gates: squeeze-and-excite keeps the layout of convolutions, HardSwish stays one operator."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import tinyc
from tests.harness import onnx_model, optimized, read_model
from tests.quantization_models import saved
from tinyc.quantization.options import DEFAULTS
from tinyc.quantization.points import points_of
from tinyc.quantization.preparation import prepare

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("operands", [["c", "g"], ["g", "c"]])
def test_gates_of_channels_are_multiplied_where_convolutions_have_them(
    operands: list[str], tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["m"]),
        helper.make_node("Conv", ["m", "v"], ["n"]),
        helper.make_node("Sigmoid", ["n"], ["g"]),
        helper.make_node("Mul", operands, ["s"]),
        helper.make_node("Conv", ["s", "v"], ["t"]),
        helper.make_node("GlobalAveragePool", ["t"], ["y"]),
    ]
    constants = {
        "w": RANDOM.normal(size=(6, 3, 1, 1)).astype(np.float32),
        "v": RANDOM.normal(size=(6, 6, 1, 1)).astype(np.float32),
    }
    types = {"x": ("float32", (1, 3, 5, 4))}, {"y": ("float32", (1, 6, 1, 1))}

    graph = optimized(read_model(onnx_model(nodes, *types, constants, opset=17), tmp_path))

    moved = [node.inputs for node in graph.nodes if node.op == "Transpose"]
    (product,) = (node for node in graph.nodes if node.op == "Mul")
    assert moved == [("x",)]
    assert graph.tensors[product.output].shape == (1, 5, 4, 6)


def test_a_row_that_makes_the_result_larger_leaves_transposes_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 2, 1]),
        helper.make_node("Mul", ["t", "r"], ["y"]),
    ]
    types = (
        {"x": ("float32", (1, 4, 5, 1)), "r": ("float32", (1, 6, 1, 1))},
        {"y": ("float32", (1, 6, 5, 4))},
    )

    graph = optimized(read_model(onnx_model(nodes, *types, {}, opset=17), tmp_path))

    (moved,) = (node for node in graph.nodes if node.op == "Transpose")
    assert graph.tensors[moved.output].elements == 20


def test_hard_swish_stays_one_operator(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"]),
        helper.make_node("HardSwish", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "w"], ["y"]),
    ]
    path = saved(nodes, ([1, 8], [1, 8]), tmp_path / "m.onnx", w=RANDOM.normal(size=(8, 8)))
    x = RANDOM.normal(size=(40, 1, 8)).astype(np.float32)

    model = prepare(path, {"x": x}, DEFAULTS).model
    artifact = tinyc.compile(path, "host", quantize={"x": x})

    gates = {n.output[0] for n in model.nodes if n.op_type == "HardSigmoid"}
    assert not gates.intersection(n for point in points_of(model) for n in point.tensors)
    assert [layer.op for layer in artifact.report.layers] == [
        "Quantize", "Dense", "Unary", "Dense", "Dequantize",
    ]  # fmt: skip
