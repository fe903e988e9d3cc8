"""The steps of the quantizer: each keeps or betters what it claims to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.quantization_models import CALIBRATED, MODEL, digits, run, saved
from tinyc.quantization.distortion import decibels, distortion, judge_of
from tinyc.quantization.equalization import equalized
from tinyc.quantization.execution import execution_of, real_tensors
from tinyc.quantization.fitting import Formats, Method, fitted
from tinyc.quantization.float_model import read_float_model
from tinyc.quantization.grids import grid_of
from tinyc.quantization.options import DEFAULTS
from tinyc.quantization.points import points_of
from tinyc.quantization.preparation import Prepared, prepare
from tinyc.quantization.quantize import choose_ranges
from tinyc.quantization.ranges import METHODS
from tinyc.quantization.rounding import adapted

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(MODEL, {"x": digits()[0][:CALIBRATED]}, DEFAULTS)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_equalized_channels_leave_the_function_as_it_was(prepared: Prepared, balance) -> None:
    model = equalized(prepared.model, prepared.values, balance)

    changed = prepared.with_model(model)
    assert any(
        not np.array_equal(c, model.constants[n]) for n, c in prepared.model.constants.items()
    )
    names = judge_of(prepared.execution, prepared.values).compared
    assert distortion(prepared.values, changed.values, names) < 1e-9


def test_equalization_passes_sums_pools_and_flattening(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    spans = 2.0 ** np.arange(-4, 4)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w2", "b2"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Add", ["r", "c"], ["s"]),
        helper.make_node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["y"]),
    ]
    w2 = rng.normal(size=(8, 8, 3, 3)) * spans.reshape(-1, 1, 1, 1) / spans.reshape(1, -1, 1, 1)
    path = saved(
        nodes, ([1, 2, 6, 6], [1, 5]), tmp_path / "m.onnx",
        w1=rng.normal(size=(8, 2, 3, 3)) * spans.reshape(-1, 1, 1, 1), b1=rng.normal(size=8),
        w2=w2, b2=rng.normal(size=8),
        w3=rng.normal(size=(72, 5)) / np.repeat(spans, 9).reshape(-1, 1),
    )  # fmt: skip
    ready = prepare(path, {"x": rng.normal(size=(32, 1, 2, 6, 6))}, DEFAULTS)

    changed = ready.with_model(equalized(ready.model, ready.values, 0.5))

    assert distortion(ready.values, changed.values, ["y"]) < 1e-9
    largest = np.abs(changed.values["s"]).max(axis=(0, 1, 3, 4))
    assert largest.max() / largest.min() < 16 < 2**7


@pytest.mark.parametrize(("axes", "passes"), [([2, 3], True), ([-2, -1], True), ([1, 2], False)])
def test_equalization_passes_means_over_the_image(
    axes: list[int], passes: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    spans = 2.0 ** np.arange(-4, 4)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["m"], axes=axes, keepdims=0),
        helper.make_node("Gemm", ["m", "w2"], ["y"]),
    ]
    path = saved(
        nodes, ([1, 2, 8, 8], [1, 5]), tmp_path / "m.onnx",
        w1=rng.normal(size=(8, 2, 1, 1)) * spans.reshape(-1, 1, 1, 1), b1=rng.normal(size=8),
        w2=rng.normal(size=(8, 5)),
    )  # fmt: skip
    ready = prepare(path, {"x": rng.normal(size=(16, 1, 2, 8, 8))}, DEFAULTS)

    changed = ready.with_model(equalized(ready.model, ready.values, 0.5))

    assert distortion(ready.values, changed.values, ["y"]) < 1e-9
    assert np.allclose(changed.values["r"], ready.values["r"]) != passes


def test_adaptive_rounding_is_nearer_to_the_layer_than_the_nearest() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 500, 12)) @ rng.normal(size=(2, 12, 12))  # inputs that go together
    matrix = rng.normal(size=(2, 7, 12))
    scale = np.abs(matrix).max(axis=2) / 7

    stored = adapted(matrix, x, scale, "int4")

    nearest = np.clip(np.rint(matrix / scale[:, :, None]), -7, 7)
    errors = [
        np.mean(((w * scale[:, :, None] - matrix) @ x.transpose(0, 2, 1)) ** 2)
        for w in (stored, nearest)
    ]
    assert np.abs(stored).max() <= 7
    assert errors[0] < 0.7 * errors[1]


def test_corrected_biases_take_the_mean_error_away(prepared: Prepared) -> None:
    ranges = choose_ranges(prepared, (), ("minmax",), {})

    def mean_error(method: Method) -> float:
        found = fitted(prepared.execution, prepared.values, ranges.grids, method, Formats())
        quantized = replace(prepared.execution, model=found.qdq())
        (name,) = judge_of(prepared.execution, prepared.values).compared
        rounded = quantized.run(prepared.samples.inputs, [f"{name}"])[name]
        return float(np.abs((rounded - prepared.values[name]).mean(axis=0)).max())

    without = mean_error(Method(correct=False, adapt=False, compensate=False))
    corrected = mean_error(Method(correct=True, adapt=False, compensate=False))

    assert corrected < without / 3


@pytest.mark.parametrize("method", METHODS)
def test_ranges_hold_what_they_claim(method: str) -> None:
    x = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    x[0] = 100.0  # a spike

    low, high = METHODS[method](x)

    assert low < -2.5 and high > 2.5
    assert (high == 100.0) == (method == "minmax") or method == "percentile 99.999"
    grid = grid_of(low, high)
    assert grid.rounded(np.zeros(1, np.float32)) == 0
    inside = x[(x > grid.low) & (x < grid.high)]
    assert np.abs(grid.rounded(inside) - inside).max() <= grid.scale * 0.501


def test_points_share_a_grid_where_data_only_moves(prepared: Prepared) -> None:
    points = points_of(prepared.model)

    together = next(p for p in points if "relu_1" in p.tensors)

    assert {"max_pool2d_1", "view"} <= set(together.tensors)
    assert not any("getitem" in p.tensors for p in points)  # before a Relu: never stored
    assert next(p for p in points if "softmax" in p.tensors).fixed is not None


def test_batches_are_run_only_where_samples_do_not_meet(tmp_path: Path) -> None:
    normal = saved([helper.make_node("Relu", ["x"], ["y"])], ([1, 4], [1, 4]), tmp_path / "a.onnx")
    mixing = saved(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)], ([1, 4], [1, 4]), tmp_path / "b.onnx"
    )
    x = {"x": np.random.default_rng(0).normal(size=(5, 1, 4)).astype(np.float32)}

    together = [execution_of(read_float_model(p), x).together for p in (normal, mixing)]

    assert together == [True, False]


def test_values_of_prepared_models_are_those_of_the_file(prepared: Prepared) -> None:
    real = run(onnx.load(str(MODEL)), digits()[0][:CALIBRATED])

    assert np.allclose(prepared.values["softmax"][:, 0], real, atol=1e-5)
    assert set(real_tensors(prepared.model)) == set(prepared.values)
    assert decibels(0.001) == pytest.approx(30)
