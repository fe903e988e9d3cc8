"""Writes ONNX models."""

from pathlib import Path

import onnx

from tinyc.compiler.artifact import write_file
from tinyc.compiler.errors import CompileError


def write_model(model: onnx.ModelProto, file: Path) -> None:
    """Write the model whole or not at all; the same model gives the same bytes.

    Raises CompileError("cannot-write").
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompileError(
            "cannot-write",
            f"the model cannot be written: {error.strerror or error}",
            f"file '{file}'",
            "choose another place with --output",
        ) from error
    write_file(file, model.SerializeToString(deterministic=True))
