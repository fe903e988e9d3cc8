"""The quantizer: models stay what they were, and answer as they did."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import tinyc
from tests.outlier_nets import digits_with_outliers
from tests.quantization_models import CALIBRATED, MODEL, digits, run, saved
from tinyc.compiler.cli import main
from tinyc.compiler.graph import Array
from tinyc.quantization.images import parse_preprocessing
from tinyc.quantization.options import DEFAULTS
from tinyc.quantization.preparation import prepare
from tinyc.quantization.quantize import choose_ranges, quantize_model

pytest.importorskip("onnxruntime")


def relative_error(found: Array, real: Array) -> float:
    return float(np.sqrt(np.mean((found - real) ** 2) / real.var()))


def test_digits_keep_their_accuracy_on_unseen_samples() -> None:
    x, y = digits()

    quantization = tinyc.quantize(MODEL, {"x": x[:CALIBRATED], "y": y[:CALIBRATED]})

    onnx.checker.check_model(quantization.model)
    scores = run(quantization.model, x[CALIBRATED:])
    real = run(onnx.load(str(MODEL)), x[CALIBRATED:])
    rights = [np.mean(s.argmax(1) == y[CALIBRATED:]) for s in (real, scores)]
    assert rights[1] >= rights[0] - 0.003
    assert quantization.report.accuracy == pytest.approx(1.0, abs=0.011)
    assert quantization.report.output_db > 40


def test_outliers_are_survived_where_one_range_for_all_fails(tmp_path: Path) -> None:
    path = tmp_path / "outliers.onnx"
    onnx.save(digits_with_outliers(), str(path))
    x, y = digits()
    samples = {"x": x[:CALIBRATED]}

    ours = tinyc.quantize(path, samples).model
    naive = tinyc.quantize(
        path, samples, ranges=["minmax"], per_tensor=True, equalize=False, adapt=False,
        correct_bias=False,
    ).model  # fmt: skip

    models = onnx.load(str(path)), ours, naive
    rights = [np.mean(run(m, x[CALIBRATED:]).argmax(1) == y[CALIBRATED:]) for m in models]
    assert rights[1] >= rights[0] - 0.01
    assert rights[2] <= rights[0] - 0.10


def test_no_layer_of_the_result_stays_float(tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    tinyc.quantize(MODEL, {"x": digits()[0][:20]}).write(path)

    report = tinyc.compile(path, "cortex-m4", io_dtype="int8").report

    assert not report.float_nodes
    assert report.inputs[0].dtype == report.outputs[0].dtype == "int8"


def test_compiled_model_answers_like_onnxruntime(tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    x, _ = digits()
    tinyc.quantize(MODEL, {"x": x[:20]}).write(path)

    verification = tinyc.verify(path, "host", {"x": x[:50, 0]})

    assert verification.same_answers == 1.0


def test_compile_quantizes_in_one_step() -> None:
    artifact = tinyc.compile(MODEL, "host", quantize={"x": digits()[0][:20]})

    assert artifact.report.model == "digits_cnn"
    assert {n.op for n in artifact.report.float_nodes} == {"Quantize", "Dequantize"}


def test_same_samples_give_the_same_bytes() -> None:
    samples = {"x": digits()[0][:12]}

    first, second = (tinyc.quantize(MODEL, samples).model for _ in range(2))

    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_inputs_of_very_different_sizes_are_scaled_as_floats(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sizes = 10.0 ** np.arange(-3, 3)
    nodes = [
        helper.make_node("Div", ["x", "sizes"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "w"], ["y"]),
    ]
    path = saved(nodes, ([1, 6], [1, 4]), tmp_path / "m.onnx", sizes=sizes,
                 w=rng.normal(size=(6, 4)))  # fmt: skip
    x = (rng.normal(size=(64, 1, 6)) * sizes).astype(np.float32)

    quantized = quantize_model(path, {"x": x})

    assert quantized.floating == ("x",)
    assert relative_error(run(quantized.model.to_proto(), x), run(onnx.load(str(path)), x)) < 0.02


def test_layers_of_every_geometry_are_fitted(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], kernel_shape=[3, 2], strides=[2, 1],
                         pads=[0, 1, 1, 0], dilations=[1, 2]),
        helper.make_node("Conv", ["a", "w2", "b2"], ["b"], group=2, kernel_shape=[3, 3],
                         auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("LeakyRelu", ["b"], ["c"]),
        helper.make_node("ConvTranspose", ["c", "w3"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w4"], ["y"]),
    ]  # fmt: skip
    path = saved(
        nodes, ([1, 3, 9, 8], [1, 5]), tmp_path / "m.onnx",
        w1=rng.normal(size=(4, 3, 3, 2)), w2=rng.normal(size=(6, 2, 3, 3)),
        b2=rng.normal(size=6), w3=rng.normal(size=(6, 3, 2, 2)), w4=rng.normal(size=(96, 5)),
    )  # fmt: skip
    x = rng.normal(size=(48, 1, 3, 9, 8)).astype(np.float32)

    model = tinyc.quantize(path, {"x": x}).model

    assert relative_error(run(model, x), run(onnx.load(str(path)), x)) < 0.05


def test_attention_is_quantized(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["a"]),
        helper.make_node("Add", ["a", "qb"], ["queries"]),
        helper.make_node("MatMul", ["x", "k"], ["keys"]),
        helper.make_node("Transpose", ["keys"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["queries", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "x"], ["picked"]),
        helper.make_node("Concat", ["x", "picked"], ["both"], axis=2),
        helper.make_node("LayerNormalization", ["both", "g", "gb"], ["y"], axis=-1),
    ]
    path = saved(
        nodes, ([1, 6, 8], [1, 6, 16]), tmp_path / "m.onnx",
        q=rng.normal(size=(8, 8)) / 3, k=rng.normal(size=(8, 8)) / 3, qb=rng.normal(size=8),
        g=np.ones(16), gb=np.zeros(16),
    )  # fmt: skip
    x = rng.normal(size=(40, 1, 6, 8)).astype(np.float32)

    quantization = tinyc.quantize(path, {"x": x})

    real, found = (run(m, x) for m in (onnx.load(str(path)), quantization.model))
    assert relative_error(found, real) < 0.06
    quantization.write(tmp_path / "int8.onnx")
    artifact = tinyc.compile(tmp_path / "int8.onnx", "host")
    ops = {n.op for n in artifact.report.float_nodes}
    assert "MatMul" not in ops and "Softmax" not in ops


def test_tables_whose_rows_are_picked_are_stored_as_integers(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    path = saved(
        [helper.make_node("Cast", ["x"], ["i"], to=onnx.TensorProto.INT64),
         helper.make_node("Gather", ["table", "i"], ["rows"]),
         helper.make_node("Flatten", ["rows"], ["flat"]),
         helper.make_node("Gemm", ["flat", "w"], ["y"])],
        ([1, 4], [1, 3]), tmp_path / "m.onnx",
        table=rng.normal(size=(10, 6)), w=rng.normal(size=(24, 3)),
    )  # fmt: skip
    x = rng.integers(0, 10, (50, 1, 4)).astype(np.float32)

    model = tinyc.quantize(path, {"x": x}).model

    stored = {i.name: i.data_type for i in model.graph.initializer}
    assert stored["table/stored"] == onnx.TensorProto.INT8
    assert relative_error(run(model, x), run(onnx.load(str(path)), x)) < 0.03


def test_folders_and_iterables_are_samples(tmp_path: Path) -> None:
    x, _ = digits()
    whole, single = tmp_path / "whole", tmp_path / "single"
    whole.mkdir()
    single.mkdir()
    np.save(whole / "x.npy", x[:8])
    for i, sample in enumerate(x[:8]):
        np.save(single / f"{i}.npy", sample)

    counts = [
        prepare(MODEL, data, DEFAULTS).samples.inputs["x"] for data in (whole, single, iter(x[:8]))
    ]

    assert all(np.array_equal(c, x[:8]) for c in counts)


def test_images_are_scaled_as_stated(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (16, 16), 255).save(tmp_path / "white.png")

    stated = parse_preprocessing("scale=1/255,mean=0.5,std=0.25")
    samples = prepare(MODEL, tmp_path, replace(DEFAULTS, images=stated)).samples.inputs["x"]

    assert samples.shape == (1, 1, 1, 8, 8) and np.allclose(samples, 2.0)


def test_few_samples_are_warned_of_and_get_more_room() -> None:
    few = prepare(MODEL, {"x": digits()[0][:4]}, DEFAULTS)

    ranges = choose_ranges(few, (), ("minmax",), {})

    assert any("4 samples are few" in w for w in few.warnings)
    assert ranges.grids["relu"].high == pytest.approx(1.25 * few.values["relu"].max(), rel=0.01)
    assert ranges.grids["x"].high == pytest.approx(1.0)


def test_the_command_writes_model_page_and_json(capsys, tmp_path: Path) -> None:
    out, page = tmp_path / "q.onnx", tmp_path / "q.html"
    data = tmp_path / "calib.npz"
    np.savez(data, x=digits()[0][:20], y=digits()[1][:20])
    arguments = ["quantize", str(MODEL), "--data", str(data), "-o", str(out), "--html", str(page)]

    assert main([*arguments, "--no-equalize"]) == 0
    text = capsys.readouterr().out
    assert main([*arguments, "--ranges", "percentile", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    assert "node_Conv_18" in text and "dB signal to noise" in text and "hurts:" in text
    assert out.exists() and page.read_text().count("<svg") == 1 + len(report["rows"])
    assert report["accuracy"] is not None and len(report["hurting"]) == 3
    assert all(r["method"].startswith(("percentile", "fixed")) for r in report["rows"])
