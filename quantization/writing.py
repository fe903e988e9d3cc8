"""Writes ONNX models."""

from pathlib import Path

import onnx

from tinyc.compiler.errors import CompileError


def write_model(model: onnx.ModelProto, file: Path) -> None:
    """The same model gives the same bytes.

    Raises CompileError("cannot-write").
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise CompileError(
            "cannot-write", f"the model cannot be written: {error.strerror}", f"file '{file}'"
        ) from error
