"""What `tinyc` prints when it refuses."""

from pathlib import Path

import onnx
import pytest

from tinyc.compiler.cli import main

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODEL, DATA = EXAMPLE / "digits_cnn_int8_qdq_ort.onnx", EXAMPLE / "digits.npz"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `tinyc` prints when it refuses, with exit status 1."""
    assert main([str(a) for a in arguments]) == 1
    output = capsys.readouterr()
    assert not output.out and "Traceback" not in output.err
    return output.err


def refused_model(
    capsys: pytest.CaptureFixture[str], model: onnx.ModelProto, folder: Path, *more: str
) -> str:
    path = folder / "m.onnx"
    onnx.save(model, str(path))
    text = refused(capsys, "compile", path, "--target", "host", "-o", folder / "out", *more)
    assert not (folder / "out").exists()
    return text.replace(str(folder), "FOLDER")
