"""What cannot be quantized, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest

import tinyc
from tests.refusals import DATA, EXAMPLE, MODEL, refused

FLOAT = EXAMPLE / "digits_cnn.onnx"


def test_quantizing_a_quantized_model(capsys, tmp_path: Path) -> None:
    text = refused(capsys, "quantize", MODEL, "--data", DATA, "-o", tmp_path / "q.onnx")

    assert text == (
        "error[already-quantized]: the model is quantized already: it has a DequantizeLinear\n"
        f"  --> file '{MODEL}'\n"
        "  help: give the float model it was made from\n"
    )


def test_quantizing_by_an_empty_folder(capsys, tmp_path: Path) -> None:
    text = refused(capsys, "quantize", FLOAT, "--data", tmp_path, "-o", tmp_path / "q.onnx")

    assert text == (
        "error[bad-data]: the folder has neither .npy files nor images for the model's one input\n"
        f"  --> folder '{tmp_path}'\n"
        "  help: give a folder of .npy, .png, .jpg, .bmp, .ppm or .pgm files, or an .npz file\n"
    )


def test_quantizing_by_images_without_a_preprocessing(capsys, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    text = refused(capsys, "quantize", FLOAT, "--data", tmp_path, "-o", tmp_path / "q.onnx")

    assert text == (
        "error[no-preprocessing]: what happens to pixels is not stated\n"
        "  help: state it as in --images scale=1/255,mean=0.485:0.456:0.406,"
        "std=0.229:0.224:0.225\n"
    )


def test_preprocessing_that_is_not_understood(capsys, tmp_path: Path) -> None:
    arguments = "quantize", FLOAT, "--data", DATA, "-o", tmp_path / "q.onnx", "--images", "gain=2"

    assert refused(capsys, *arguments) == (
        "error[bad-preprocessing]: the pre-processing is not understood: 'gain' is none of "
        "scale, mean, std\n"
        "  --> 'gain=2'\n"
        "  help: state it as in scale=1/255,mean=0.5,std=0.5\n"
    )


def test_quantizing_several_models_at_once(capsys, tmp_path: Path) -> None:
    arguments = "compile", FLOAT, MODEL, "--target", "host", "--quantize", DATA, "-o", tmp_path

    assert refused(capsys, *arguments) == (
        "error[wrong-option]: several models are not quantized at once\n"
        "  --> --quantize\n"
        "  help: quantize each with `tinyc quantize`, and compile the results\n"
    )


def test_range_method_that_is_not_known() -> None:
    with pytest.raises(tinyc.CompileError) as error:
        tinyc.quantize(FLOAT, {"x": np.zeros((4, 1, 8, 8))}, ranges=["max"])

    assert str(error.value) == (
        "error[unknown-method]: no method of ranges is named 'max'\n"
        "  help: use one of: minmax, percentile 99.9, percentile 99.99, percentile 99.999, mse, "
        "entropy"
    )


def test_quantizing_by_samples_that_do_not_fit() -> None:
    with pytest.raises(tinyc.CompileError) as error:
        tinyc.quantize(FLOAT, {"x": np.zeros((4, 3))})
    with pytest.raises(tinyc.CompileError) as endless:
        tinyc.quantize(FLOAT, {"x": np.full((4, 1, 8, 8), np.nan)})

    assert str(error.value) == (
        "error[wrong-input]: samples of [1, 1, 8, 8] are needed, the data has [4, 3]\n"
        "  --> input 'x'\n"
        "  help: put the samples along the first axis, each with its axes in the model's order"
    )
    assert str(endless.value) == (
        "error[bad-data]: values are not finite in 4 of 4 samples, first in 0\n  --> input 'x'\n"
        "  help: leave these samples out, or fill gaps as they will be filled on the device"
    )
