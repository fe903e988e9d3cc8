"""Writes ONNX models."""

import os
from collections.abc import Iterable
from pathlib import Path

import onnx

from tinyc.compiler.artifact import write_file
from tinyc.compiler.errors import CompileError


def write_model(model: onnx.ModelProto, file: Path) -> None:
    """Write the model whole or not at all; the same model gives the same bytes.

    Raises CompileError("cannot-write").
    """
    write_in_folder(file, model.SerializeToString(deterministic=True))


def write_in_folder(file: Path, content: str | bytes) -> None:
    """Write a file, and make its folder.

    Raises CompileError("cannot-write").
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompileError(
            "cannot-write",
            f"the file cannot be written: {error.strerror or error}",
            f"file '{file}'",
            "choose another place for it",
        ) from error
    write_file(file, content)


def check_place(file: Path, read: Iterable[Path | None]) -> None:
    """Refuse, before minutes of work, a file that cannot be written or that is read itself.

    Raises CompileError("cannot-write") or ("wrong-option").
    """
    if any(p is not None and p.exists() and file.exists() and p.samefile(file) for p in read):
        raise CompileError(
            "wrong-option", "the file is read, and would be overwritten", f"file '{file}'",
            "choose another name for what is written",
        )  # fmt: skip
    folder = next(p for p in (file.absolute(), *file.absolute().parents) if p.exists())
    writable = folder.is_dir() or folder == file.absolute()
    if file.is_dir() or not writable or not os.access(folder, os.W_OK):
        reason = "is a folder" if file.is_dir() else f"'{folder}' cannot be written to"
        raise CompileError(
            "cannot-write", f"the file cannot be written: {reason}", f"file '{file}'",
            "choose another place, or make room on the disk",
        )  # fmt: skip
