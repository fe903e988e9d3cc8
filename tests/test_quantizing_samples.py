"""Samples for the quantizer in every form that people have them, and what is said of the wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tinyc
from tests.quantization_models import MODEL, digits, saved
from tests.refusals import refused
from tinyc.compiler.graph import Array
from tinyc.compiler.interface_data import labels_of
from tinyc.quantization.float_model import Value
from tinyc.quantization.images import parse_preprocessing as parsed
from tinyc.quantization.images import read_images
from tinyc.quantization.samples import Data, read_samples, sample_warnings

IMAGE = Value("x", (1, 3, 4, 5), np.dtype(np.float32))
STATED = parsed("scale=1/255")


def image_samples(count: int) -> Array:
    return np.random.default_rng(0).normal(size=(count, 1, 3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "given",
    [
        lambda x: {"x": x},
        lambda x: {"x": x[:, 0]},
        lambda x: {"x": x.reshape(len(x), 60)},
        lambda x: x,
        lambda x: (sample[0] for sample in x),
        lambda x: [x[:4, 0], x[4:, 0]],  # batches, of which the last is smaller
        lambda x: ({"x": sample} for sample in x),
    ],
)
def test_samples_of_every_form(given: Callable[[Array], Data]) -> None:
    x = image_samples(7)

    assert np.array_equal(read_samples(given(x), (IMAGE,)).inputs["x"], x)


def test_batches_of_a_model_are_samples_of_it() -> None:
    pair = Value("x", (2, 6), np.dtype(np.float32))
    x = np.arange(48.0).reshape(8, 6)

    assert read_samples({"x": x}, (pair,)).inputs["x"].shape == (4, 2, 6)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (lambda x: {"x": x[:, 0].transpose(0, 2, 3, 1)}, "[60, 4, 5, 3]"),
        (lambda x: {"x": x.reshape(60, 60).T.reshape(15, 240)}, "[15, 240]"),
        (lambda x: [x[0], x[1, :, :2]], "[1, 2, 4, 5]"),
    ],
)
def test_axes_in_another_order_are_not_taken_for_samples(
    given: Callable[[Array], Data], shape: str
) -> None:
    with pytest.raises(tinyc.CompileError) as error:
        read_samples(given(image_samples(60)), (IMAGE,))

    assert error.value.message == f"samples of [1, 3, 4, 5] are needed, the data has {shape}"
    assert "in the model's order" in error.value.help


def test_a_pair_of_samples_and_labels_is_no_sample() -> None:
    with pytest.raises(tinyc.CompileError) as error:
        read_samples([(x, 3) for x in image_samples(4)], (IMAGE,))
    with pytest.raises(tinyc.CompileError) as unnamed:
        read_samples([{"image": x} for x in image_samples(4)], (IMAGE,))

    assert str(error.value) == (
        "error[wrong-input]: a sample is no array of numbers\n  --> sample 0\n"
        "  help: give each sample as an array, or as a dictionary of arrays by input name"
    )
    assert unnamed.value.where == "arrays of sample 0: 'image' float32[1, 3, 4, 5]"


def test_labels_may_come_with_each_sample() -> None:
    found = read_samples([{"x": x, "y": k} for k, x in enumerate(image_samples(4))], (IMAGE,))

    assert found.labels is not None and found.labels.tolist() == [0, 1, 2, 3]


def test_what_is_not_finite_is_found_and_told() -> None:
    x = image_samples(9).astype(np.float64)
    x[4, 0, 0, 1, 2], x[6, 0, 1, 1, 1] = np.nan, 1e300

    with pytest.raises(tinyc.CompileError) as error:
        read_samples({"x": x}, (IMAGE,))

    assert error.value.message == "values are not finite in 2 of 9 samples, first in 4"


def test_no_samples() -> None:
    for data in ({"x": image_samples(0)}, []):
        with pytest.raises(tinyc.CompileError) as error:
            read_samples(data, (IMAGE,))
        assert error.value.code == "bad-data" and error.value.help


def test_samples_that_are_all_the_same_are_warned_of() -> None:
    same = read_samples({"x": np.ones((40, 60))}, (IMAGE,))

    (warning,) = sample_warnings(same, same.inputs)

    assert warning == "all samples of 'x' are the same: give what the model will meet"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([2, 0, 1]), [2, 0, 1]),
        (np.array([[2.0], [0.0], [1.0]]), [2, 0, 1]),
        (np.eye(4)[[2, 0, 1]], [2, 0, 1]),
        (np.array([0.3, 0.0, 1.0]), None),
        (np.array([np.nan, 0.0, 1.0]), None),
        (np.ones((3, 4)), None),
    ],
)
def test_labels_are_numbers_of_classes(labels: Array, classes: list[int] | None) -> None:
    found = labels_of({"y": labels}, ["x"], 3)

    assert (None if found is None else found.tolist()) == classes


def test_labels_that_are_names() -> None:
    with pytest.raises(tinyc.CompileError) as error:
        labels_of({"y": np.array(["cat", "dog"])}, ["x"], 2)

    assert error.value.message == "labels are numbers of classes, the data has <U3"


@pytest.mark.parametrize("text", ["std=0", "scale=nan", "mean=1:inf:2"])
def test_preprocessing_by_numbers_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        parsed(text)


def test_preprocessing_for_other_channels(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (8, 8), 255).save(tmp_path / "white.png")
    files = list(tmp_path.iterdir())

    for shape in ((1, 3, 4, 4), (1, 1, 4, 4)):
        with pytest.raises(tinyc.CompileError) as error:
            read_images(files, shape, parsed("mean=1:2"))
        assert error.value.code == "bad-preprocessing"
    with pytest.raises(tinyc.CompileError) as vector:
        read_images(files, (1, 64), STATED)
    assert vector.value.help == "give the samples as arrays in an .npz file"


def test_preprocessing_of_what_are_no_images() -> None:
    with pytest.raises(tinyc.CompileError) as error:
        read_samples({"x": image_samples(3)}, (IMAGE,), STATED)

    assert error.value.code == "wrong-option" and error.value.where == "--images"


def test_places_that_cannot_be_written_are_told_before_any_work(capsys, tmp_path: Path) -> None:
    data = tmp_path / "calib.npz"
    data.write_bytes(b"never read")

    def said(verb: str, *options: object) -> str:
        return refused(capsys, verb, MODEL, "--data", data, *options).splitlines()[0]

    overwritten = "error[wrong-option]: the file is read, and would be overwritten"
    assert said("quantize", "-o", data) == overwritten
    assert said("quantize", "-o", MODEL) == overwritten
    assert said("prune", "-o", data, "--target", "cortex-m4") == overwritten
    assert said("quantize", "-o", tmp_path).startswith("error[cannot-write]")
    assert said("quantize", "-o", data / "q.onnx").startswith("error[cannot-write]")
    assert said("quantize", "-o", "q.onnx", "--html", tmp_path).startswith("error[cannot-write]")


def test_compiling_says_what_is_doubtful_about_the_samples() -> None:
    artifact = tinyc.compile(MODEL, "host", quantize={"x": digits()[0][:4]})

    assert any("4 samples are few" in note for note in artifact.report.notes)


def test_open_dimensions_are_settled_before_compiling(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    path = saved([helper.make_node("Gemm", ["x", "w"], ["y"])], ([1, 4], [1, 3]),
                 tmp_path / "m.onnx", w=np.eye(4, 3))  # fmt: skip
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    onnx.save(model, str(path))
    x = np.random.default_rng(0).normal(size=(40, 4))

    for named in ({"dims": {"rows": 1}}, {"input_shapes": {"x": (1, 4)}}):
        artifact = tinyc.compile(path, "host", quantize={"x": x}, **named)
        assert artifact.report.inputs[0].shape == (1, 4)


def test_compiling_by_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (8, 8), 255).save(tmp_path / "white.png")

    artifact = tinyc.compile(MODEL, "host", quantize=tmp_path, images="scale=1/255")

    assert any("1 sample is few" in note for note in artifact.report.notes)
