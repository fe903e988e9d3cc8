"""Mixed precision: what a budget asks for is done, measured, and said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.outlier_nets import digits_with_outliers
from tinyc.compiler.cli import main
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.pipeline import read_graph
from tinyc.quantization.costs import Limits, cost_on
from tinyc.quantization.distortion import judge_of
from tinyc.quantization.loss import loss_of
from tinyc.quantization.mixed import Budget, check_budget, mixed
from tinyc.quantization.options import Options
from tinyc.quantization.quantize import Quantized, quantize_model
from tinyc.targets import load_target

pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
CALIBRATED = 100
M4 = load_target("cortex-m4")
PLAIN = Options(equalize=False, adapt=False)  # leaves noise for the mix to take away


def digits() -> tuple[Array, Array]:
    with np.load(EXAMPLE / "digits.npz") as file:
        return file["x"].reshape(-1, 1, 1, 8, 8), file["y"]


@pytest.fixture(scope="module")
def int8() -> Quantized:
    """The plain digits network."""
    x, y = digits()
    data = {"x": x[:CALIBRATED], "y": y[:CALIBRATED]}
    return quantize_model(EXAMPLE / "digits_cnn.onnx", data, PLAIN)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """That with outliers, which plain int8 cannot hold."""
    file = tmp_path_factory.mktemp("mixed") / "outliers.onnx"
    onnx.save(digits_with_outliers(), str(file))
    x, y = digits()
    return quantize_model(file, {"x": x[:CALIBRATED], "y": y[:CALIBRATED]}, PLAIN)


def answers(model: onnx.ModelProto, samples: Array) -> Array:
    """onnxruntime's, as the nodes stand."""
    from tinyc.compiler.reference_run import reference_session

    session = reference_session(model)
    name = session.get_inputs()[0].name
    return np.array([session.run(None, {name: x})[0].argmax() for x in samples])


def dtypes(model: onnx.ModelProto) -> set[str]:
    """Of the zero points."""
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and len(n.input) > 2]
    return {str(arrays[n.input[2]].dtype) for n in nodes}


def test_int8_stays_where_it_keeps_to_the_budget(int8: Quantized) -> None:
    result, mixture = mixed(int8, Budget(loss=5.0))

    assert mixture.notes == ()
    assert mixture.loss == mixture.int8_loss <= 5.0
    assert dtypes(result.model.to_proto()) <= {"int8", "int32"}


def test_a_smaller_loss_takes_more_changes(int8: Quantized) -> None:
    _, at_all = mixed(int8, Budget(loss=5.0))
    bound = at_all.int8_loss / 4

    result, mixture = mixed(int8, Budget(loss=bound))

    model = result.model.to_proto()
    onnx.checker.check_model(model)
    assert mixture.loss <= bound
    assert 0 < len(mixture.notes) < len(result.ranges.points) + 4
    assert "int16" in dtypes(model) or any("float" in note for note in mixture.notes)


def test_outliers_cost_some_tensors_but_no_accuracy(troubled: Quantized) -> None:
    x, y = digits()
    before = np.mean(answers(troubled.model.to_proto(), x[CALIBRATED:]) == y[CALIBRATED:])

    result, mixture = mixed(troubled, Budget(loss=0.5))

    after = np.mean(answers(result.model.to_proto(), x[CALIBRATED:]) == y[CALIBRATED:])
    whole = np.mean(answers(digits_with_outliers(), x[CALIBRATED:]) == y[CALIBRATED:])
    assert after >= whole - 0.005 > before
    assert mixture.notes


def test_a_mix_compiles_to_integers(troubled: Quantized, tmp_path: Path) -> None:
    """16 bits beside 8: what is quantized on both sides has no float."""
    result, _ = mixed(troubled, Budget(loss=0.5))
    file = tmp_path / "mix.onnx"
    onnx.save(result.model.to_proto(), str(file))

    graph = read_graph(file, M4)

    real = {n.op for n in graph.nodes if graph.tensors[n.inputs[0]].dtype == "float32"}
    floats = {m for m, f in result.formats.by_layer.items() if f == "float32"}
    assert real <= {"Quantize"} or floats


def test_flash_is_met_with_weights_of_four_bits(int8: Quantized) -> None:
    whole = cost_on(int8.model.to_proto(), M4)
    limits = Limits(flash_bytes=int(whole.flash_bytes * 0.8))

    result, mixture = mixed(int8, Budget(limits=limits, target=M4))

    assert mixture.cost is not None and mixture.cost.flash_bytes <= limits.flash_bytes  # type: ignore[operator]
    assert mixture.cost == cost_on(result.model.to_proto(), M4)
    assert "int4" in dtypes(result.model.to_proto())
    assert all("4 bits" in note for note in mixture.notes)


def test_a_budget_that_cannot_be_met_is_refused(int8: Quantized) -> None:
    for limits in (Limits(flash_bytes=100), Limits(ram_bytes=10), Limits(cycles=10)):
        with pytest.raises(CompileError, match="over-budget"):
            mixed(int8, Budget(limits=limits, target=M4))
    with pytest.raises(CompileError, match="wrong-option"):
        check_budget(Budget(limits=Limits(ram_bytes=1000)))
    with pytest.raises(CompileError, match="loss-too-large"):
        mixed(int8, Budget(loss=1e-12))


def test_close_answers_are_expected_to_turn(int8: Quantized) -> None:
    """Twice the noise turns twice as many; noise without end leaves no more than guesses."""
    prepared = int8.prepared
    judge = judge_of(prepared.execution, prepared.values)
    (name,) = judge.compared
    real, labels = prepared.values[name], prepared.samples.labels
    noise = np.random.default_rng(1).normal(0, float(real.std()), real.shape)

    losses = [
        loss_of(judge, {name: real + share * noise}, real, labels) for share in (0, 0.01, 0.02, 99)
    ]

    assert losses[0] == 0 < losses[1] < losses[3] <= 50
    assert losses[2] == pytest.approx(2 * losses[1], rel=1e-3)


def test_labels_that_are_wrong_near_the_border_cost_less(int8: Quantized) -> None:
    prepared = int8.prepared
    judge = judge_of(prepared.execution, prepared.values)
    (name,) = judge.compared
    real, labels = prepared.values[name], prepared.samples.labels
    assert labels is not None
    found = {name: real * np.float32(0.9)}

    all_right, all_wrong = (loss_of(judge, found, real, y) for y in (labels, (labels + 1) % 10))

    assert all_wrong < all_right


def test_the_command_says_what_it_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = digits()
    data, out = tmp_path / "calib.npz", tmp_path / "mix.onnx"
    np.savez(data, x=x[:40], y=y[:40])
    page = tmp_path / "mix.html"
    given = ["quantize", str(EXAMPLE / "digits_cnn.onnx"), "--data", str(data), "-o", str(out)]

    status = main([*given, "--max-loss", "0.02", "--json", "--html", str(page)])

    report = json.loads(capsys.readouterr().out)
    assert status == 0 and out.exists()
    assert report["mixture"]["loss"] <= 0.02
    assert "<h2>Formats</h2>" in page.read_text()


def test_compiling_takes_the_bound_too(tmp_path: Path) -> None:
    x, y = digits()
    data = tmp_path / "calib.npz"
    np.savez(data, x=x[:40], y=y[:40])
    given = ["compile", str(EXAMPLE / "digits_cnn.onnx"), "--quantize", str(data)]

    status = main([*given, "--max-loss", "0.02", "--target", "cortex-m4", "-o", str(tmp_path)])

    assert status == 0 and (tmp_path / "digits_cnn.c").exists()


def test_a_layer_that_is_float_already_is_left_alone(int8: Quantized) -> None:
    layer = int8.formats.by_layer or {"node_linear": "float32"}
    floating = replace(int8, formats=replace(int8.formats, by_layer=layer))

    _, mixture = mixed(floating, Budget(loss=5.0))

    assert mixture.notes == ()
