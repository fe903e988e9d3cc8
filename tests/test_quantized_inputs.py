"""Models that read integers, share weights, or use one of a recurrent layer's results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import tinyc
from tests.quantization_models import run, saved
from tinyc.compiler.graph import Array
from tinyc.quantization.distortion import judge_of
from tinyc.quantization.fitting import Method, fitted
from tinyc.quantization.layers import layers_of
from tinyc.quantization.loss import is_classifier
from tinyc.quantization.options import DEFAULTS
from tinyc.quantization.preparation import Prepared, prepare
from tinyc.quantization.quantize import quantize_model
from tinyc.quantization.ranges import long_range
from tinyc.quantization.weights import nearest

pytest.importorskip("onnxruntime")

RANDOM = np.random.default_rng(0)


def relative_error(found: Array, real: Array) -> float:
    return float(np.sqrt(np.mean((found - real) ** 2) / real.var()))


def test_token_numbers_are_quantized_as_what_they_pick(tmp_path: Path) -> None:
    path = saved(
        [
            helper.make_node("Gather", ["table", "x"], ["rows"]),
            helper.make_node("Flatten", ["rows"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["y"]),
        ],
        ([1, 4], [1, 3]), tmp_path / "m.onnx",
        table=RANDOM.normal(size=(10, 6)), w=RANDOM.normal(size=(24, 3)),
    )  # fmt: skip
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(model, str(path))
    x = RANDOM.integers(0, 10, (50, 1, 4))

    made = tinyc.quantize(path, {"x": x}, max_loss=50)

    assert relative_error(run(made.model, x), run(model, x)) < 0.03
    assert not any("'x'" in warning for warning in made.report.warnings)


def last_state(path: Path) -> Prepared:
    """A GRU of which only the last step is used."""
    nodes = [
        helper.make_node("GRU", ["x", "w", "r"], ["all", "last"], "gru", hidden_size=5),
        helper.make_node("Squeeze", ["last", "zero"], ["state"]),
        helper.make_node("Gemm", ["state", "v"], ["y"], "dense"),
    ]
    file = saved(nodes, ([7, 1, 4], [1, 3]), path / "m.onnx", zero=np.zeros(1),
                 w=RANDOM.normal(size=(1, 15, 4)) / 2, r=RANDOM.normal(size=(1, 15, 5)) / 2,
                 v=RANDOM.normal(size=(5, 3)))  # fmt: skip
    model = onnx.load(str(file))
    for tensor in (t for t in model.graph.initializer if t.name == "zero"):
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(1, np.int64), "zero"))
    onnx.save(model, str(file))
    return prepare(file, {"x": RANDOM.normal(size=(40, 7, 1, 4))}, DEFAULTS)


def test_weights_are_judged_by_whichever_result_is_read(tmp_path: Path) -> None:
    prepared = last_state(tmp_path)
    layer = layers_of(prepared.model)[0]

    judge = judge_of(prepared.execution, prepared.values)
    zero = {n: np.zeros_like(prepared.model.constants[n]) for n in layer.weights}

    assert layer.output == "last" and "all" not in prepared.values
    assert judge.of_weights(layer.node, zero) > 0.1


def test_formats_of_16_bits_have_room_for_what_no_sample_showed() -> None:
    found = long_range(np.array([-3.0, 5.0]))

    assert found.grid.dtype == "int16" and found.grid.high == pytest.approx(10.0)
    assert found.origin == "minmax x 2"


def test_weights_that_layers_share_are_fitted_to_the_first(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["y"], "second"),
    ]
    ports = [1, 8, 4, 4], [1, 8, 4, 4]
    path = saved(nodes, ports, tmp_path / "m.onnx", w=RANDOM.normal(size=(8, 8, 1, 1)) / 2)
    x = RANDOM.normal(size=(40, 1, 8, 4, 4)) @ RANDOM.normal(size=(4, 4))
    quantized = quantize_model(path, {"x": x}, replace(DEFAULTS, correct_bias=False))

    method = Method(correct=False, adapt=True, compensate=False)
    prepared, grids = quantized.prepared, quantized.ranges.grids
    both = fitted(prepared.execution, prepared.values, grids, method, quantized.formats)

    layer = layers_of(prepared.model)[0]
    alone = fitted(
        replace(prepared.execution, model=prepared.model.with_nodes([layer.node])),
        prepared.values, grids, method, quantized.formats,
    )  # fmt: skip
    found, wanted = (f.quantization.weights["w"].stored for f in (both, alone))
    real = prepared.model.constants["w"]
    scale = both.quantization.weights["w"].scale
    assert np.array_equal(found, wanted)
    assert not np.array_equal(found, nearest(real, scale, 0, "int8").stored)


@pytest.mark.parametrize(
    ("op", "shape", "labels", "tells"),
    [
        ("Softmax", (1, 4), None, True),
        ("Sigmoid", (1, 1), None, True),
        ("ArgMax", (1, 4), None, True),
        ("Tanh", (1, 4), None, False),  # as of a signal
        ("Tanh", (1, 4), np.arange(4), True),
        ("Sigmoid", (1, 4, 8, 8), None, False),  # a class of each pixel
        ("Softmax", (1, 9, 4), np.arange(4), False),
        ("Identity", (1, 4), None, False),
    ],
)
def test_what_tells_a_class(
    op: str, shape: tuple[int, ...], labels: Array | None, tells: bool, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["z"]), helper.make_node(op, ["z"], ["y"])]
    path = saved(nodes, ([1, 4], [1, 4]), tmp_path / "m.onnx", w=np.eye(4))
    if op == "ArgMax":
        model = onnx.load(str(path))
        model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
        del model.graph.output[0].type.tensor_type.shape.dim[:]
        model.graph.node[1].attribute.append(helper.make_attribute("keepdims", 0))
        onnx.save(model, str(path))
    prepared = prepare(path, {"x": RANDOM.normal(size=(4, 1, 4))}, DEFAULTS)

    assert is_classifier(prepared.model, shape, labels) == tells


def test_labels_beyond_the_classes_are_warned_of(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"])]
    path = saved(nodes, ([1, 8], [1, 8]), tmp_path / "m.onnx", w=np.eye(8))
    x = RANDOM.normal(size=(40, 8))

    counted_from_one = tinyc.quantize(path, {"x": x, "y": np.arange(40) % 8 + 1}).report
    right = tinyc.quantize(path, {"x": x, "y": np.arange(40) % 8}).report

    assert counted_from_one.warnings[-1].startswith("labels are from 1 to 8")
    assert not any("labels" in warning for warning in right.warnings)


def test_a_budget_for_a_model_without_weights(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = saved(nodes, ([1, 8], [1, 8]), tmp_path / "m.onnx")

    made = tinyc.quantize(path, {"x": RANDOM.normal(size=(40, 8))}, max_loss=0.001)

    assert {row.dtype for row in made.report.rows} == {"int16"}
