"""A file on disk as a checked ONNX model with its weights loaded."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from tinyc.compiler.errors import CompileError

OLDEST_OPSET = 7
MOST_ELEMENTS = 1 << 28  # of all constants together; no microcontroller holds more


def load_model(path: Path) -> onnx.ModelProto:
    """Parse, load side files, check.

    Raises CompileError for whatever is wrong with the file.
    """
    model = _parse(path)
    for tensor in external_data_helper._get_all_tensors(model):
        if external_data_helper.uses_external_data(tensor):
            _load_side_file(tensor, path)
    _check(model, path)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise CompileError(
            "old-opset",
            f"the model uses opset {opset}, tinyc reads {OLDEST_OPSET} and newer",
            f"file '{path}'",
            "export the model again, or convert it with onnx.version_converter",
        )
    return model


def _parse(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CompileError(
            "cannot-read", f"the model cannot be read: {error.strerror}", f"file '{path}'"
        ) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise _not_onnx(path, "it does not parse; it may be truncated") from error
    if not model.HasField("graph") or (not model.graph.node and not model.graph.output):
        raise _not_onnx(path, "it holds no graph")
    return model


def _not_onnx(path: Path, reason: str) -> CompileError:
    return CompileError(
        "not-onnx", f"the file is no ONNX model: {reason}", f"file '{path}'", "export it again"
    )


def _load_side_file(tensor: onnx.TensorProto, model: Path) -> None:
    """Read a tensor's data from the file beside the model that it names."""
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    where = f"tensor '{tensor.name}' of '{model}'"
    side = model.parent / location
    inside = model.parent.resolve() in side.resolve().parents
    if not location or not inside:
        raise CompileError(
            "bad-side-file", f"the side file '{location}' lies outside the model's folder", where
        )
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", -1))
        with open(side, "rb") as file:
            file.seek(offset)
            data = file.read(length)
    except FileNotFoundError as error:
        raise CompileError(
            "missing-side-file",
            f"the side file '{location}' with the weights is missing",
            where,
            f"put '{location}' beside the model",
        ) from error
    except (OSError, ValueError, OverflowError) as error:
        raise CompileError("bad-side-file", f"'{location}' cannot be read", where) from error
    if length >= 0 and len(data) != length:
        raise CompileError(
            "bad-side-file",
            f"'{location}' is too short: {length} bytes from {offset} on, {len(data)} are there",
            where,
            "copy the file again",
        )
    tensor.raw_data = data
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _check(model: onnx.ModelProto, path: Path) -> None:
    elements = 0
    for tensor in external_data_helper._get_all_tensors(model):
        count = 1
        for size in tensor.dims:
            count *= max(size, 0)
        elements += count
    if elements > MOST_ELEMENTS:
        raise CompileError(
            "too-large",
            f"the constants hold {elements} elements, more than {MOST_ELEMENTS}",
            f"file '{path}'",
        )
    try:
        onnx.checker.check_model(model)
    # onnx raises ValidationError, and from its C++ side any of the others, on broken models
    except (onnx.checker.ValidationError, RuntimeError, ValueError, IndexError, TypeError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise CompileError(
            "invalid-model", f"the model breaks the ONNX rules: {first}", f"file '{path}'"
        ) from error
