"""The bytes of a TensorFlow Lite file -> LiteModel, through the published schema."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tflite

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, QParams, Shape
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.tflite_import.lite_model import LiteModel, LiteOperator, LiteTensor, Option

SCHEMA_VERSION = 3  # the only one that converters write, since 2017
MOST_AXES = 8
LONGEST_NAME = 4096  # bytes
NO_FIELD = "^GetRootAs|BufferHasIdentifier$|AsNumpy$|Length$|IsNone$"  # of accessors


def read_model(content: bytes, where: str) -> LiteModel:
    """The first subgraph of the model, and those that give variables their first values.

    Raises CompileError("bad-model"), also for whatever the schema's accessors raise.
    """
    return guarded(
        lambda: _model(content), "bad-model", "the TensorFlow Lite file is damaged", where
    )


def _model(content: bytes) -> LiteModel:
    root = tflite.Model.GetRootAs(content, 0)
    if root.Version() != SCHEMA_VERSION or not root.SubgraphsLength():
        raise ValueError(f"no graph of schema version {SCHEMA_VERSION}")
    kinds = [_kind(root.OperatorCodes(i)) for i in _within(content, root.OperatorCodesLength())]
    tensors, operators = _subgraph(content, root, root.Subgraphs(0), kinds)
    graph = root.Subgraphs(0)
    inputs = tuple(tensors[i] for i in _indices(graph.InputsAsNumpy()))
    outputs = tuple(tensors[i] for i in _indices(graph.OutputsAsNumpy()))
    called = {o.integer("init_subgraph_index", 0) for o in operators if o.kind == "CALL_ONCE"}
    bodies = {
        i: _subgraph(content, root, root.Subgraphs(i), kinds)[1]
        for i in sorted(called)
        if 0 < i < root.SubgraphsLength()
    }
    return LiteModel(inputs, tuple(dict.fromkeys(outputs)), _live(operators, outputs), bodies)


def _subgraph(
    content: bytes, root: Any, graph: Any, kinds: list[str]
) -> tuple[tuple[LiteTensor, ...], tuple[LiteOperator, ...]]:
    names: set[str] = set()
    tensors = tuple(
        _tensor(content, root, graph.Tensors(i), i, names)
        for i in _within(content, graph.TensorsLength())
    )
    operators = tuple(
        _operator(graph.Operators(i), i, kinds, tensors)
        for i in _within(content, graph.OperatorsLength())
    )
    return tensors, operators


def _within(content: bytes, count: int) -> range:
    """The positions of a vector, each of which takes four bytes of the file or more."""
    if count * 4 > len(content):
        raise ValueError("a list is longer than the file")
    return range(count)


def _indices(vector: Any) -> tuple[int, ...]:
    """A vector of integers; a missing one is read as 0 by the accessors."""
    return tuple(int(v) for v in vector) if isinstance(vector, np.ndarray) else ()


def _kind(code: Any) -> str:
    """Codes above 126 are written to the newer field only, the older ones to both."""
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = BUILTINS.get(number, f"operator {number}")
    return f"CUSTOM {_text(code.CustomCode())}" if kind == "CUSTOM" else kind


def _text(name: bytes | None) -> str:
    if name is not None and len(name) > LONGEST_NAME:
        raise ValueError("a name is too long")
    return (name or b"").decode("utf-8", "replace")


def _tensor(content: bytes, root: Any, table: Any, index: int, names: set[str]) -> LiteTensor:
    name = _text(table.Name()) or f"tensor_{index}"
    while name in names:
        name = f"{name}_{index}"
    names.add(name)
    shape, signature = _indices(table.ShapeAsNumpy()), _indices(table.ShapeSignatureAsNumpy())
    if len(shape) > MOST_AXES or min(shape, default=0) < 0:
        raise ValueError(f"tensor '{name}' has the shape {list(shape[:MOST_AXES])}")
    kind = TYPES.get(table.Type(), f"type {table.Type()}")
    data = None
    if not 0 <= table.Buffer() < root.BuffersLength():
        raise ValueError(f"tensor '{name}' has no buffer")
    stored = _stored(content, root.Buffers(table.Buffer()))
    if stored.size:
        if table.Sparsity() is not None:
            raise CompileError(
                "unsupported-type", "sparse tensors are not supported", f"tensor '{name}'",
                "convert the model without sparsity",
            )  # fmt: skip
        data = _values(name, stored, kind, shape)
    kind = "int8" if kind == "int4" else kind
    signature = signature if len(signature) == len(shape) else shape
    quant = _quantization(name, table, kind, shape)
    return LiteTensor(name, shape, signature, kind, data, quant, table.IsVariable())


def _stored(content: bytes, buffer: Any) -> Array:
    """The bytes of a buffer; large ones lie behind the tables, at an offset above 1."""
    offset, size = buffer.Offset(), buffer.Size()
    if offset > 1:
        if offset + size > len(content):
            raise ValueError("a buffer lies behind the end of the file")
        return np.frombuffer(content, np.uint8, size, offset)
    data = buffer.DataAsNumpy()
    return data if isinstance(data, np.ndarray) else np.zeros(0, np.uint8)


def _values(name: str, stored: Array, kind: str, shape: Shape) -> Array | None:
    """The constant that the bytes are; None for types that have no NumPy name."""
    if kind == "int4":
        low, high = (stored << 4).view(np.int8) >> 4, stored.view(np.int8) >> 4
        stored = np.stack([low, high], axis=-1).reshape(-1)[: math.prod(shape)].view(np.uint8)
        kind = "int8"
    if kind not in NUMPY_TYPES:
        return None
    if stored.size != math.prod(shape) * np.dtype(kind).itemsize:
        raise ValueError(f"tensor '{name}' has {stored.size} bytes, not those of {list(shape)}")
    return stored.view(kind).reshape(shape)


def _quantization(name: str, table: Any, kind: str, shape: Shape) -> QParams | None:
    parameters = table.Quantization()
    if parameters is None or not parameters.ScaleLength() or kind not in QUANTIZED:
        return None
    scales, zeros = parameters.ScaleAsNumpy(), _indices(parameters.ZeroPointAsNumpy())
    axis = parameters.QuantizedDimension()
    if len(zeros) in (0, 1):
        zeros = (zeros or (0,)) * len(scales)
    whole = len(scales) == 1
    if not whole and not (0 <= axis < len(shape) and shape[axis] == len(scales) == len(zeros)):
        raise ValueError(f"tensor '{name}' has {len(scales)} scales for axis {axis}")
    info = np.iinfo(kind)
    if not all(math.isfinite(s) and s > 0 for s in scales.tolist()) or not all(
        info.min <= z <= info.max for z in zeros
    ):
        raise ValueError(f"tensor '{name}' has a scale or zero point that means nothing")
    return QParams(tuple(float(s) for s in scales.tolist()), zeros, None if whole else axis)


def _operator(
    table: Any, index: int, kinds: list[str], tensors: tuple[LiteTensor, ...]
) -> LiteOperator:
    kind = kinds[table.OpcodeIndex()]

    def chosen(vector: Any) -> Iterable[LiteTensor | None]:
        for i in _indices(vector):
            if not -1 <= i < len(tensors):
                raise ValueError(f"operator {index} reads tensor {i} of {len(tensors)}")
            yield None if i < 0 else tensors[i]

    outputs = tuple(t for t in chosen(table.OutputsAsNumpy()) if t is not None)
    return LiteOperator(
        f"{kind}_{index}", kind, tuple(chosen(table.InputsAsNumpy())), outputs, _options(table)
    )


def _options(table: Any) -> Mapping[str, Option]:
    for numbers, number, raw in (
        (OPTIONS, table.BuiltinOptionsType(), table.BuiltinOptions()),
        (OPTIONS_2, table.BuiltinOptions2Type(), table.BuiltinOptions2()),
    ):
        if number in numbers and raw is not None:
            options = getattr(tflite, numbers[number])()
            options.Init(raw.Bytes, raw.Pos)
            return _fields(options)
    return {}


def _fields(options: Any) -> dict[str, Option]:
    """Every number, text and vector of numbers of a table.

    The accessors of a vector `A` are A, AAsNumpy, ALength and AIsNone.
    """
    methods = [name for name in vars(type(options)) if name[0].isupper() and name != "Init"]
    vectors = {name.removesuffix("Length") for name in methods if name.endswith("Length")}
    found: dict[str, Option] = {}
    for name in methods:
        if name in vectors:
            if f"{name}AsNumpy" in methods:
                found[_snake(name)] = _indices(getattr(options, f"{name}AsNumpy")())
        elif not re.search(NO_FIELD, name):
            value = getattr(options, name)()
            if isinstance(value, bytes):
                found[_snake(name)] = _text(value)
            if isinstance(value, int | float):
                found[_snake(name)] = value
    return found


def _snake(name: str) -> str:
    """DilationWFactor -> dilation_w_factor, as in the schema."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _live(
    operators: tuple[LiteOperator, ...], outputs: Iterable[LiteTensor]
) -> tuple[LiteOperator, ...]:
    """The operators that the outputs depend on, and what is assigned to variables."""
    needed, live = set(outputs), []
    for operator in reversed(operators):
        if operator.kind in EFFECTS or needed.intersection(operator.outputs):
            needed.update(t for t in operator.inputs if t is not None)
            live.append(operator)
    return tuple(reversed(live))


def _names(enumeration: type) -> dict[int, str]:
    return {v: n for n, v in vars(enumeration).items() if isinstance(v, int) and n.isidentifier()}


BUILTINS = _names(tflite.BuiltinOperator)
OPTIONS = {v: n for v, n in _names(tflite.BuiltinOptions).items() if v}
OPTIONS_2 = {v: n for v, n in _names(tflite.BuiltinOptions2).items() if v}
TYPES = {v: n.lower() for v, n in _names(tflite.TensorType).items()}
NUMPY_TYPES = frozenset(
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()
)
EFFECTS = ("ASSIGN_VARIABLE", "CALL_ONCE")  # operators without outputs
QUANTIZED = ("int8", "uint8", "int16", "int32", "int64")  # types whose scales are meant
