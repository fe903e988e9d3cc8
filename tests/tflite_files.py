"""Small TensorFlow Lite files, written field by field with the published schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite

from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.onnx_import.reading import read_onnx

TYPES = {
    "float32": tflite.TensorType.FLOAT32, "float16": tflite.TensorType.FLOAT16,
    "int8": tflite.TensorType.INT8, "uint8": tflite.TensorType.UINT8,
    "int16": tflite.TensorType.INT16, "int32": tflite.TensorType.INT32,
    "int64": tflite.TensorType.INT64, "bool": tflite.TensorType.BOOL,
    "int4": tflite.TensorType.INT4, "string": tflite.TensorType.STRING,
    "resource": tflite.TensorType.RESOURCE,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class T:
    """A tensor: a constant when it has data, quantized when it has scales.

    data   of int4: the packed bytes
    open   axes whose size is not said
    variable  whether an operator keeps a state in it
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: Array | None = None
    scale: tuple[float, ...] = ()
    zero: tuple[int, ...] = (0,)
    axis: int = 0
    open: tuple[int, ...] = ()
    variable: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """kind as in BuiltinOperator, or CUSTOM; options: the table's name and its fields."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def constant(name: str, values: Any, dtype: str = "int32") -> T:
    data = np.array(values, dtype)
    return T(name, data.shape, dtype, data)


def tflite_file(
    tensors: Sequence[T],
    operations: Sequence[Operation],
    inputs: Sequence[str],
    outputs: Sequence[str],
    bodies: Sequence[tuple[Sequence[T], Sequence[Operation]]] = (),
) -> bytes:
    """The bytes of a model; "" among the inputs of an operation: left out.

    bodies  the tensors and operations of further subgraphs
    """
    b = flatbuffers.Builder(1024)
    buffers = [_table(b, "Buffer")]
    kinds = list(dict.fromkeys(o.kind for _, ops in (((), operations), *bodies) for o in ops))
    graphs = [_subgraph(b, buffers, kinds, tensors, operations, inputs, outputs)]
    graphs += [_subgraph(b, buffers, kinds, t, o, [], []) for t, o in bodies]
    codes = [_code(b, kind) for kind in kinds]
    model = _table(
        b, "Model", Version=3, OperatorCodes=_tables(b, codes), Subgraphs=_tables(b, graphs),
        Buffers=_tables(b, buffers),
    )  # fmt: skip
    b.Finish(model, file_identifier=b"TFL3")
    return bytes(b.Output())


def _subgraph(
    b: flatbuffers.Builder,
    buffers: list[int],
    kinds: Sequence[str],
    tensors: Sequence[T],
    operations: Sequence[Operation],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> int:
    at = {t.name: i for i, t in enumerate(tensors)} | {"": -1}
    first = len(buffers)
    for tensor in tensors:
        data = None if tensor.data is None else np.ascontiguousarray(tensor.data).tobytes()
        buffers.append(_table(b, "Buffer", Data=None if data is None else b.CreateByteVector(data)))
    written = [_tensor(b, t, i + first) for i, t in enumerate(tensors)]
    done = [
        _table(
            b, "Operator", OpcodeIndex=kinds.index(o.kind),
            Inputs=_integers(b, [at[n] for n in o.inputs]),
            Outputs=_integers(b, [at[n] for n in o.outputs]),
            **_options(b, o),
        )
        for o in operations
    ]  # fmt: skip
    return _table(
        b, "SubGraph", Tensors=_tables(b, written), Operators=_tables(b, done),
        Inputs=_integers(b, [at[n] for n in inputs]),
        Outputs=_integers(b, [at[n] for n in outputs]),
    )  # fmt: skip


def _code(b: flatbuffers.Builder, kind: str) -> int:
    number = getattr(tflite.BuiltinOperator, kind, tflite.BuiltinOperator.CUSTOM)
    custom = None if hasattr(tflite.BuiltinOperator, kind) else b.CreateString(kind)
    return _table(
        b, "OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number,
        CustomCode=custom,
    )  # fmt: skip


def _options(b: flatbuffers.Builder, operation: Operation) -> dict[str, int]:
    if not operation.options:
        return {}
    fields = {name: _field(b, value) for name, value in operation.fields.items()}
    number = getattr(tflite.BuiltinOptions, operation.options)
    table = _table(b, operation.options, **fields)
    return {"BuiltinOptionsType": number, "BuiltinOptions": table}


def _field(b: flatbuffers.Builder, value: Any) -> Any:
    if isinstance(value, str):
        return b.CreateString(value)
    return _integers(b, value) if isinstance(value, list | tuple) else value


def _tensor(b: flatbuffers.Builder, tensor: T, buffer: int) -> int:
    quantization = None
    if tensor.scale:
        scales = b.CreateNumpyVector(np.array(tensor.scale, np.float32))
        zeros = b.CreateNumpyVector(np.array(tensor.zero, np.int64))
        quantization = _table(
            b, "QuantizationParameters", Scale=scales, ZeroPoint=zeros,
            QuantizedDimension=tensor.axis,
        )  # fmt: skip
    signature = [-1 if i in tensor.open else n for i, n in enumerate(tensor.shape)]
    return _table(
        b, "Tensor", Shape=_integers(b, tensor.shape), Type=TYPES[tensor.dtype], Buffer=buffer,
        Name=b.CreateString(tensor.name), Quantization=quantization,
        ShapeSignature=_integers(b, signature) if tensor.open else None,
        IsVariable=tensor.variable or None,
    )  # fmt: skip


def _integers(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.array(values, np.int32)))


def _tables(b: flatbuffers.Builder, tables: Sequence[int]) -> int:
    b.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        b.PrependUOffsetTRelative(table)
    return int(b.EndVector())


def _table(b: flatbuffers.Builder, name: str, **fields: Any) -> int:
    """A table of the schema; fields that are None are left out."""
    getattr(tflite, f"{name}Start")(b)
    for key, value in fields.items():
        if value is not None:
            getattr(tflite, f"{name}Add{key}")(b, value)
    return int(getattr(tflite, f"{name}End")(b))


def graph_of(folder: Path, tensors: Sequence[T], *operations: Operation) -> Graph:
    """The imported graph of a model from `x` to `y`."""
    path = folder / "m.tflite"
    path.write_bytes(tflite_file(tensors, operations, ["x"], ["y"]))
    return read_onnx(path)
