"""Ranges of activations: what they leave out, and the room for what no sample showed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import tinyc
from tests.quantization_models import run, saved
from tinyc.compiler.cli import main
from tinyc.compiler.graph import Array
from tinyc.quantization.distortion import compared_tensors, judge_of, told_apart
from tinyc.quantization.grids import grid_of
from tinyc.quantization.options import DEFAULTS
from tinyc.quantization.points import FIXED, Point, points_of
from tinyc.quantization.preparation import Prepared, prepare
from tinyc.quantization.quantize import choose_ranges, quantize_model
from tinyc.quantization.ranges import Range, Trial, best_range, insured

pytest.importorskip("onnxruntime")

EVERYTHING = np.ones(64, bool)


def scores(path: Path, activation: str, x: Array) -> Prepared:
    """Scores of x by the identity, squashed by an operator."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"]),
        helper.make_node(activation, ["scores"], ["y"]),
    ]
    width = x.shape[-1]
    file = saved(nodes, ([1, width], [1, width]), path / "m.onnx", w=np.eye(width))
    return prepare(file, {"x": x}, DEFAULTS)


def rounded_outputs(prepared: Prepared, tensor: str, rounded: Array) -> Array:
    """The output for other values of a tensor."""
    return prepared.execution.run({tensor: rounded}, ["y"])["y"]


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Softmax"])
def test_scores_have_no_room_for_what_their_rounded_result_does_not_show(tmp_path, op) -> None:
    x = np.random.default_rng(0).normal(size=(64, 1, 5)) * 40
    prepared = scores(tmp_path, op, x.astype(np.float32))

    told = told_apart(prepared.model, "scores", prepared.values["scores"])

    lost = rounded_outputs(prepared, "scores", told) - prepared.values["y"]
    assert np.abs(lost).max() <= FIXED[op].scale / 2 * 1.01
    assert told.max() - told.min() < 0.7 * np.ptp(prepared.values["scores"])
    grid = choose_ranges(prepared, (), ("minmax",), {}).grids["scores"]
    assert grid.high - grid.low < 0.8 * np.ptp(prepared.values["scores"])


def test_scores_that_are_outputs_themselves_keep_their_range(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(64, 1, 5)).astype(np.float32) * 40
    path = saved([helper.make_node("Gemm", ["x", "w"], ["y"])], ([1, 5], [1, 5]),
                 tmp_path / "m.onnx", w=np.eye(5))  # fmt: skip
    prepared = prepare(path, {"x": x}, DEFAULTS)

    grid = choose_ranges(prepared, (), ("minmax",), {}).grids["y"]

    assert grid.low <= x.min() + grid.scale and grid.high >= x.max() - grid.scale


def test_squashed_limits_are_on_their_grids() -> None:
    assert FIXED["Softmax"].rounded(np.array([0.0, 1.0])) == pytest.approx([0.0, 1.0])
    assert FIXED["Tanh"].rounded(np.array([-1.0, 0.0, 1.0])) == pytest.approx([-1.0, 0.0, 1.0])


def grown(path: Path) -> tuple[Prepared, Point]:
    """A model whose output's largest value is one sample's alone."""
    x = np.random.default_rng(1).normal(size=(64, 1, 4)).astype(np.float32)
    x[17] *= 6
    file = saved([helper.make_node("Gemm", ["x", "w"], ["y"])], ([1, 4], [1, 4]),
                 path / "m.onnx", w=np.eye(4))  # fmt: skip
    prepared = prepare(file, {"x": x}, DEFAULTS)
    return prepared, next(p for p in points_of(prepared.model) if p.name == "y")


def test_ranges_are_judged_on_samples_that_did_not_make_them(tmp_path: Path) -> None:
    prepared, point = grown(tmp_path)
    judge = judge_of(prepared.execution, prepared.values)
    kept = np.ones((4, 64), bool)
    for turn in range(4):
        kept[turn, turn::4] = False

    def chosen(trial: Trial) -> Range:
        return best_range(point, prepared.values, judge, ("minmax",), "int8", trial)

    inside, outside = chosen(Trial((EVERYTHING,), (1.0, 1.5))), chosen(Trial((*kept,), (1.0, 1.5)))

    assert inside.room == 1.0 and outside.room == 1.5
    assert outside.distortion > 10 * inside.distortion
    assert outside.grid.high == pytest.approx(1.5 * inside.grid.high, rel=0.02)


def test_room_is_taken_for_a_small_premium_only(tmp_path: Path) -> None:
    prepared, point = grown(tmp_path)
    judge = judge_of(prepared.execution, prepared.values)
    plain = best_range(point, prepared.values, judge, ("minmax",), "int8",
                       Trial((EVERYTHING,), (1.0,)))  # fmt: skip

    cheap = insured(point, plain, judge, 500 * plain.distortion)
    dear = insured(point, plain, judge, plain.distortion)

    assert 1.5 < cheap.room <= 2 and cheap.grid.high == pytest.approx(
        cheap.room * plain.grid.high, rel=0.02
    )
    assert dear == plain


def test_values_on_the_grid_stay_there(tmp_path: Path) -> None:
    prepared, point = grown(tmp_path)
    exact = np.random.default_rng(2).integers(0, 256, (64, 1, 4)).astype(np.float32)
    judge = judge_of(prepared.execution, {"x": exact, "y": exact})
    range_ = Range(grid_of(0.0, 255.0), "minmax", judge.of_grid(point, grid_of(0.0, 255.0)), 0.0)

    assert insured(point, range_, judge, 1e-3) == range_


def test_what_recurrent_layers_alone_read_stays_float(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "w", "r"], ["h"], hidden_size=3),
        helper.make_node("Flatten", ["h"], ["flat"], axis=0),
        helper.make_node("Gemm", ["flat", "v"], ["y"]),
    ]
    path = saved(
        nodes, ([1, 6, 2], [1, 4]), tmp_path / "m.onnx", w=rng.normal(size=(1, 12, 2)),
        r=rng.normal(size=(1, 12, 3)), v=rng.normal(size=(18, 4)),
    )  # fmt: skip
    x = rng.normal(size=(40, 1, 6, 2)).astype(np.float32)

    quantized = quantize_model(path, {"x": x})

    assert quantized.floating == ("x", "steps")
    assert {"h", "flat", "y"} <= set(quantized.ranges.grids)
    assert {"w", "r"} <= set(quantized.fitted.quantization.weights)


def test_divisors_of_float_inputs_are_equalized_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    sizes, spread = 10.0 ** np.arange(-3, 3), np.array([1, 1, 1, 1, 1, 60.0])
    nodes = [
        helper.make_node("Div", ["x", "sizes"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "w"], ["y"]),
    ]
    path = saved(nodes, ([1, 6], [1, 4]), tmp_path / "m.onnx", sizes=sizes,
                 w=rng.normal(size=(6, 4)) / spread[:, None])  # fmt: skip
    x = (rng.normal(size=(64, 1, 6)) * sizes * spread).astype(np.float32)

    plain, equalized = (
        quantize_model(path, {"x": x}, replace(DEFAULTS, equalize=on)) for on in (False, True)
    )

    assert plain.floating == equalized.floating == ("x",)
    assert np.ptp(np.log(np.abs(equalized.prepared.values["scaled"]).max(axis=(0, 1)))) < 2
    assert max(equalized.tried.values()) > max(plain.tried.values()) + 10


def test_answers_are_compared_on_samples_of_their_own(tmp_path: Path) -> None:
    x = np.random.default_rng(5).normal(size=(80, 1, 5)).astype(np.float32)
    path = saved([helper.make_node("Gemm", ["x", "w"], ["y"])], ([1, 5], [1, 5]),
                 tmp_path / "m.onnx", w=np.eye(5))  # fmt: skip
    right = x[:, 0].argmax(axis=1)
    wrong = (right + 1) % 5

    report = tinyc.quantize(
        path, {"x": x[:40], "y": right[:40]}, judges={"x": x[40:], "y": wrong[40:]}
    ).report

    assert report.samples == report.judges == 40
    assert report.float_accuracy == 0 and report.accuracy is not None and report.accuracy < 0.05
    assert report.same_answers > 0.95


def test_samples_that_cannot_judge_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    x = np.zeros((40, 1, 5), np.float32)
    path = saved([helper.make_node("Gemm", ["x", "w"], ["y"])], ([1, 5], [1, 5]),
                 tmp_path / "m.onnx", w=np.eye(5))  # fmt: skip
    stages: list[str] = []

    with pytest.raises(tinyc.CompileError) as error:
        tinyc.quantize(path, {"x": x}, judges={"x": x[:1, :, :3]},
                       watch=lambda text, step, steps: stages.append(text))  # fmt: skip

    assert error.value.code == "wrong-input" and not stages


def test_the_command_says_on_which_samples_answers_were_compared(capsys, tmp_path: Path) -> None:
    x = np.random.default_rng(6).normal(size=(80, 1, 5)).astype(np.float32)
    path = saved([helper.make_node("Gemm", ["x", "w"], ["y"])], ([1, 5], [1, 5]),
                 tmp_path / "m.onnx", w=np.eye(5))  # fmt: skip
    files = [tmp_path / name for name in ("calib.npz", "test.npz")]
    for file, part in zip(files, (x[:50], x[50:]), strict=True):
        np.savez(file, x=part, y=part[:, 0].argmax(axis=1))
    command = ["quantize", str(path), "--data", str(files[0]), "-o", str(tmp_path / "q.onnx")]
    page = tmp_path / "q.html"

    assert main(command) == 0
    flattering = capsys.readouterr().out
    assert main([*command, "--eval", str(files[1]), "--html", str(page)]) == 0
    honest = capsys.readouterr().out

    assert "quantized, on the calibration samples, to which it was fitted" in flattering
    assert "quantized, on 30 samples given for that" in honest
    assert page.read_text("utf-8").count("on 30 samples given for that") == 2


@pytest.mark.parametrize("squashed", [False, True])
def test_an_answer_of_integers_is_judged_by_the_scores_before_it(
    squashed: bool, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Softmax" if squashed else "Identity", ["scores"], ["kept"]),
        helper.make_node("ArgMax", ["kept"], ["y"], axis=1, keepdims=0),
    ]
    file = saved(nodes, ([1, 8], [1]), tmp_path / "m.onnx", w=random.standard_normal((8, 4)))
    model = onnx.load(file)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(model, file)

    samples = {"x": random.standard_normal((64, 1, 8)).astype(np.float32)}
    labels = run(model, samples["x"])[:, 0]

    made = tinyc.quantize(file, {**samples, "y": labels})

    assert compared_tensors(prepare(file, samples, DEFAULTS).model) == ("scores",)
    assert made.report.output_db > 30 and made.report.same_answers > 0.9
    assert made.report.float_accuracy == 1 and made.report.accuracy == made.report.same_answers


def beside_a_sigmoid(path: Path, other: str) -> Path:
    """Results of a sigmoid beside others of about [-2, 2], in one tensor."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"]),
        helper.make_node("Sigmoid", ["scores"], ["shares"]),
        helper.make_node("Gemm", ["x", "v"], ["boxes"]),
        helper.make_node(other, ["boxes"], ["moved"]),
        helper.make_node("Concat", ["shares", "moved"], ["y"], axis=1),
    ]
    random = np.random.default_rng(1)
    matrices = {name: random.normal(size=(6, 4)) * 0.3 for name in "wv"}
    return saved(nodes, ([1, 6], [1, 8]), path / "m.onnx", **matrices)


@pytest.mark.parametrize("other", ["Tanh", "Identity"])
def test_limits_of_one_operand_are_not_those_of_a_whole_concat(tmp_path: Path, other: str) -> None:
    file = beside_a_sigmoid(tmp_path, other)
    x = np.random.default_rng(0).normal(size=(64, 1, 6)).astype(np.float32)

    made = tinyc.quantize(file, {"x": x})

    assert made.report.output_db > 35
    assert relative_error(run(made.model, x), run(onnx.load(str(file)), x)) < 0.02


def relative_error(found: Array, real: Array) -> float:
    return float(np.sqrt(np.mean((found - real) ** 2) / real.var()))
