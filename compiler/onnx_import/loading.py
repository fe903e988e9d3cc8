"""A model file and its side files -> a ModelProto that holds all its data and is well formed.

The file is one of ONNX, or of TensorFlow Lite, which is read as ONNX of the same meaning.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from tinyc.compiler.errors import CompileError
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.node_order import put_in_order

MOST_ELEMENTS = 1 << 28  # of all tensors of a model together: 1 GiB of floats
MOST_BYTES = 1 << 31  # a protobuf message cannot be larger
FOREIGN = "foreign"  # the domain that operators of nobody have while the model is checked
OLDEST_OPSET = 7  # the readers know every version from this one on
NOT_ONNX = "give a model in ONNX (.onnx) or TensorFlow Lite (.tflite) format"
TFLITE_MARK = b"TFL3"  # bytes 4 to 8 of every TensorFlow Lite file


def load_model(path: Path) -> onnx.ModelProto:
    """Read, complete and check the model at `path`.

    Raises CompileError: "not-onnx", "missing-file", "truncated-file", "bad-path", "bad-model",
    "new-opset", "old-opset".
    """
    model = _parse(path)
    for tensor in _stored_tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _fetch(tensor, path.parent)
    where = f"file '{path}'"
    put_in_order(model.graph)
    if not model.graph.output:
        raise CompileError("bad-model", "the model has no outputs", where, "name what it computes")
    with _as_checked(model):
        guarded(
            lambda: onnx.checker.check_model(model), "bad-model", "the model is malformed", where
        )
    return _in_known_opset(model, where)


@contextmanager
def _as_checked(model: onnx.ModelProto) -> Iterator[None]:
    """While onnx's checker looks: what it minds, and the readers either know or refuse by name.

    It wants shapes of inputs and outputs, and stops at the first operator that is not ONNX's.
    """
    values = [v.type.tensor_type for v in (*model.graph.input, *model.graph.output)]
    shapeless = [t for t in values if t.elem_type and not t.HasField("shape")]
    versions = {o.domain: o.version for o in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 1))
    version = min(max(version, 1), onnx.defs.onnx_opset_version())  # as a broken file says it
    foreign = [
        node
        for node in model.graph.node
        if node.domain in ("", "ai.onnx")
        and isinstance(node.op_type, str)  # bytes where a broken file has no UTF-8
        and not onnx.defs.has(node.op_type, version, "")
    ]
    for kind in shapeless:
        kind.shape.SetInParent()
    for node in foreign:
        node.domain = FOREIGN
    if foreign:
        model.opset_import.add(domain=FOREIGN, version=1)
    yield
    for kind in shapeless:
        kind.ClearField("shape")
    for node in foreign:
        node.domain = ""
    if foreign:
        model.opset_import.pop()


def _parse(path: Path) -> onnx.ModelProto:
    where, model = f"file '{path}'", onnx.ModelProto()
    if path.is_dir():
        raise CompileError("not-onnx", "this is a folder, not an ONNX file", where, NOT_ONNX)
    if path.is_char_device():
        raise CompileError("not-onnx", "this is a device, not an ONNX file", where, NOT_ONNX)
    try:
        if path.stat().st_size >= MOST_BYTES:
            raise CompileError("not-onnx", "the file is larger than 2 GiB", where, NOT_ONNX)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CompileError("missing-file", "there is no such file", where) from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CompileError("missing-file", f"cannot be read: {reason.lower()}", where) from error
    if not content:
        raise CompileError("not-onnx", "the file is empty", where, NOT_ONNX)
    if content[4:8] == TFLITE_MARK:
        from tinyc.compiler.tflite_import.conversion import onnx_of  # its schema loads slowly

        return onnx_of(content, where)
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise CompileError(
            "not-onnx", "the file is no ONNX model, or a damaged or truncated one", where, NOT_ONNX
        ) from error
    if not model.ir_version or not model.HasField("graph"):
        raise CompileError("not-onnx", "the file holds no ONNX model", where, NOT_ONNX)
    return model


def _stored_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _stored_tensors(attribute.g)
            for inner in attribute.graphs:
                yield from _stored_tensors(inner)


def _fetch(tensor: onnx.TensorProto, folder: Path) -> None:
    """Replace the reference to a side file by its bytes."""
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location, where = fields.get("location", ""), f"tensor '{tensor.name}'"
    if "\0" in location or not (folder / location).resolve().is_relative_to(folder.resolve()):
        raise CompileError(
            "bad-path",
            f"the side file '{location}' lies outside of the model's folder",
            where,
            "save the model again with its data beside it",
        )
    try:
        offset, length = int(fields.get("offset", 0)), _byte_count(tensor, where)
        length = int(fields.get("length", length))
    except ValueError as error:
        raise CompileError("bad-model", f"of '{location}': {error}", where) from error
    try:
        with (folder / location).open("rb") as file:
            size = file.seek(0, 2)
            if offset < 0 or length < 0 or offset + length > size:
                raise CompileError(
                    "truncated-file",
                    f"the side file '{location}' has {size} bytes; "
                    f"bytes {offset} to {offset + length} are needed",
                    where,
                    "copy the file again, whole",
                )
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise CompileError(
            "missing-file",
            f"the side file '{location}' is missing or cannot be read",
            where,
            f"put '{location}' into the folder of the model",
        ) from error
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT
    tensor.raw_data = data


def _byte_count(tensor: onnx.TensorProto, where: str) -> int:
    count = math.prod(tensor.dims)
    if min(tensor.dims, default=0) < 0 or count > MOST_ELEMENTS:
        raise CompileError("too-large", f"it declares the shape {list(tensor.dims)}", where)
    try:
        return int(count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except KeyError as error:
        raise ValueError(f"the element type {tensor.data_type} is unknown") from error


def _in_known_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model in an operator set that the readers know."""
    version, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if version > newest:
        raise CompileError(
            "new-opset", f"opset {version} is newer than {newest}, the last that is known", where,
            f"export the model with opset {newest}, or install a newer onnx",
        )  # fmt: skip
    if version >= OLDEST_OPSET or not _has_standard_operators(model):
        return model
    return guarded(
        lambda: onnx.version_converter.convert_version(model, 13),
        "old-opset",
        f"opset {version} cannot be converted to opset 13",
        where,
    )


def _has_standard_operators(model: onnx.ModelProto) -> bool:
    """Trees alone come without the standard operators' version."""
    return any(o.domain in ("", "ai.onnx") for o in model.opset_import)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model uses."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return int(max(versions, default=1))
