"""What people get wrong on the command line: data, options that contradict, JSON of errors."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model
from tests.refusals import DATA, EXAMPLE, MODEL, refused
from tinyc.compiler.cli import main
from tinyc.compiler.graph import Array
from tinyc.compiler.json_text import json_text

FLOAT = EXAMPLE / "digits_cnn.onnx"
ON_HOST = ("--target", "host")
SAMPLES: Array = np.load(DATA)["x"]


def saved(folder: Path, **arrays: Array) -> Path:
    np.savez(folder / "d.npz", **arrays)  # type: ignore[arg-type]
    return folder / "d.npz"


def verified(capsys: pytest.CaptureFixture[str], model: onnx.ModelProto, data: Path) -> dict:
    """The JSON of `tinyc verify`, which takes no NaN."""
    path = data.parent / "m.onnx"
    onnx.save(model, str(path))
    assert main(["verify", str(path), *ON_HOST, "--data", str(data), "--json"]) == 0

    def unknown(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found: dict = json.loads(capsys.readouterr().out, parse_constant=unknown)
    return found


def test_an_array_alone_is_the_data_of_the_only_input(capsys, tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", SAMPLES[:3])

    data = ["--input", str(tmp_path / "samples.npy"), "--json"]
    assert main(["run", str(MODEL), *ON_HOST, *data]) == 0

    assert len(json.loads(capsys.readouterr().out)["outputs"]["softmax"]) == 3


def test_a_number_is_no_sample(capsys, tmp_path: Path) -> None:
    data = saved(tmp_path, x=np.float32(3))

    for verb, option in (("run", "--input"), ("verify", "--data")):
        text = refused(capsys, verb, MODEL, *ON_HOST, option, data)
        assert text.startswith("error[wrong-input]: the data has the shape [1], a sample has")


@pytest.mark.parametrize(
    "command", [("verify", MODEL, *ON_HOST), ("quantize", FLOAT, "-o", "never.onnx")]
)
def test_labels_for_other_samples(capsys, tmp_path: Path, command: tuple[object, ...]) -> None:
    data = saved(tmp_path, x=SAMPLES[:4], y=np.arange(3))

    text = refused(capsys, *command, "--data", data)

    assert text.startswith("error[bad-data]: there are 3 labels for 4 samples\n  --> array 'y'\n")


def test_complex_samples(capsys, tmp_path: Path) -> None:
    data = saved(tmp_path, x=SAMPLES[:4].astype(np.complex64))

    text = refused(capsys, "quantize", FLOAT, "--data", data, "-o", tmp_path / "q.onnx")

    assert text.startswith("error[wrong-input]: the model needs float32, the data is complex64")


def test_limits_without_a_target_are_refused_before_any_work(capsys) -> None:
    text = refused(
        capsys, "quantize", FLOAT, "--data", "there is none", "-o", "q.onnx", "--max-ram", "9K"
    )

    assert text.startswith("error[wrong-option]: limits of RAM, flash and cycles")


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["compile", MODEL, *ON_HOST, "--max-loss", "1"], "--max-loss"),
        (["compile", MODEL, FLOAT, *ON_HOST, "--html"], "--html"),
        (["compile", MODEL, FLOAT, *ON_HOST, "--check-memory"], "--check-memory"),
        (["compile", MODEL, *ON_HOST, "--dim", "n=1", "--dim", "n=2"], "--dim n"),
        (
            ["plan", MODEL, *ON_HOST, "--input-shape", "x=1,1", "--input-shape", "x=1,2"],
            "--input-shape x",
        ),
        (
            ["prune", FLOAT, "--data", DATA, *ON_HOST, "-o", "p.onnx", "--augment", "none", "mix"],
            "--augment none mix",
        ),
    ],
)
def test_options_that_would_do_nothing(capsys, arguments: list[object], where: str) -> None:
    text = refused(capsys, *arguments)

    assert text.startswith("error[wrong-option]") and f"\n  --> {where}\n" in text


@pytest.mark.parametrize("path", ["", "/dev/zero"])
def test_records_are_a_file(capsys, tmp_path: Path, path: str) -> None:
    """A device would be read without end."""
    text = refused(capsys, "tune", MODEL, "--target", "cortex-m4", "--records", path or tmp_path)

    assert text.startswith("error[bad-records]: records are a file")


def test_a_device_is_no_model(capsys) -> None:
    text = refused(capsys, "compile", "/dev/zero", *ON_HOST)

    assert text.startswith("error[not-onnx]: this is a device")


@pytest.mark.parametrize(
    "arguments",
    [["compile", str(MODEL)], ["profile", str(MODEL), "--target", "cortex-m4", "--seed", "-1"]],
)
def test_wrong_usage_in_json(capsys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])

    error = json.loads(capsys.readouterr().out)["error"]
    assert end.value.code == 2 and error["code"] == "wrong-usage"
    assert error["where"] == f"tinyc {arguments[0]}" and "--" in error["message"]


def test_json_has_no_numbers_that_are_none() -> None:
    assert json.loads(json_text({"a": [float("nan"), (1.5, float("-inf"))]})) == {
        "a": [None, [1.5, None]]
    }


def test_weights_that_are_no_numbers_give_valid_json(capsys, tmp_path: Path) -> None:
    weights = {"w": np.full((3, 2), np.nan, np.float32)}
    nodes = [make_node("MatMul", ["x", "w"], ["y"])]
    model = onnx_model(nodes, {"x": ("float32", (1, 3))}, {"y": ("float32", (1, 2))}, weights)

    found = verified(capsys, model, saved(tmp_path, x=np.ones((2, 3), np.float32)))

    assert found["samples"] == 2


def test_an_input_that_is_an_output_is_compared_too(capsys, tmp_path: Path) -> None:
    shape = ("float32", (1, 3))
    nodes = [make_node("Relu", ["x"], ["y"])]
    model = onnx_model(nodes, {"x": shape}, {"y": shape, "x": shape})

    found = verified(capsys, model, saved(tmp_path, x=np.ones((2, 3), np.float32)))

    assert [output["largest"] for output in found["outputs"]] == [0, 0]


def test_a_scalar_is_compared(capsys, tmp_path: Path) -> None:
    shape = ("float32", ())
    model = onnx_model([make_node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})

    found = verified(capsys, model, saved(tmp_path, x=np.ones(2, np.float32)))

    assert found["samples"] == 2 and found["outputs"][0]["largest"] == 0


def test_a_model_of_constants_runs_once(capsys, tmp_path: Path) -> None:
    """No pass folds a convolution of an input that has a default."""
    constants = {"x": np.ones((1, 2, 5, 5), np.float32), "w": np.ones((3, 2, 3, 3), np.float32)}
    nodes = [make_node("Conv", ["x", "w"], ["y"])]
    model = onnx_model(nodes, {}, {"y": ("float32", (1, 3, 3, 3))}, constants)

    found = verified(capsys, model, saved(tmp_path))

    assert found["samples"] == 1 and found["outputs"][0]["largest"] == 0


def test_what_onnxruntime_refuses_is_said(capsys, tmp_path: Path) -> None:
    nodes = [make_node("Relu", ["x"], ["y"])]
    model = onnx_model(nodes, {"x": ("float32", (1, 3))}, {"y": ("int8", (1, 3))})
    onnx.save(model, str(tmp_path / "m.onnx"))
    data = saved(tmp_path, x=np.ones((2, 3), np.float32))

    text = refused(capsys, "verify", tmp_path / "m.onnx", *ON_HOST, "--data", data)

    assert text.startswith("error[reference-failed]: onnxruntime does not run the model: ")
