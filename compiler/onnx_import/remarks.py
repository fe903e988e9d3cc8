"""What a model says or holds that its user should know of, though it can be compiled."""

from collections.abc import Iterator

import numpy as np
import onnx

from tinyc.compiler.graph import DType, Node, Shape
from tinyc.compiler.names import short_names
from tinyc.compiler.onnx_import.building import KEEP_STORED, Builder

NAMES = frozenset(str(dtype) for dtype in DType)


def remarks(build: Builder, graph: onnx.GraphProto) -> tuple[str, ...]:
    """One sentence each."""
    return (*_contradictions(build, graph), *_no_numbers(build), *_doubles(build))


def _contradictions(build: Builder, graph: onnx.GraphProto) -> Iterator[str]:
    """Outputs, and inputs that have a value, that are not what the model declares."""
    stored = {t.name for t in graph.initializer}
    defaults = [value for value in graph.input if value.name in stored]
    for value in (*defaults, *graph.output):
        tensor = build.tensors.get(build.values.get(value.name, ""))
        kind = value.type.tensor_type
        if tensor is None or tensor.name in build.beside.texts or value.name in build.narrow:
            continue
        said = _name_of(kind.elem_type)
        if said in NAMES and said != tensor.dtype:
            yield f"'{value.name}' is declared as {said}, and is {tensor.dtype}"
        if kind.HasField("shape") and not _fits(kind.shape, tensor.shape):
            dims = [d.dim_value if d.HasField("dim_value") else "?" for d in kind.shape.dim]
            shown = f"[{', '.join(map(str, dims))}]"
            yield f"'{value.name}' is declared as {shown}, and is {list(tensor.shape)}"


def _name_of(element_type: int) -> str:
    """As NumPy calls it; "" for what is not said."""
    if element_type not in onnx.TensorProto.DataType.values()[1:]:  # the first: undefined
        return ""
    return str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)


def _fits(declared: onnx.TensorShapeProto, shape: Shape) -> bool:
    """Whether `shape` is the declared one, of which dimensions may be open."""
    return len(declared.dim) == len(shape) and all(
        not d.HasField("dim_value") or d.dim_value in (size, 0, -1)
        for d, size in zip(declared.dim, shape, strict=True)
    )


def _no_numbers(build: Builder) -> tuple[str, ...]:
    """Constants that hold NaN, which spreads to all that is computed with it."""
    read = dict.fromkeys(name for node in build.nodes for name in node.inputs)
    found = [
        name
        for name in read
        if (data := build.tensors[name].data) is not None
        and build.tensors[name].dtype in (DType.FLOAT32, DType.FLOAT64, DType.FLOAT16)
        and np.isnan(data).any()
    ]
    return (f"constants of the model hold NaN: {short_names(found)}",) if found else ()


def _doubles(build: Builder) -> tuple[str, ...]:
    """Doubles that are computed at run time."""
    slow = [n.name for n in build.nodes if _computes_doubles(build, n)]
    if not slow:
        return ()
    return (f"double is slow on cores without a unit for it: {short_names(slow)}",)


def _computes_doubles(build: Builder, node: Node) -> bool:
    return node.op not in KEEP_STORED and any(
        build.tensors[name].dtype == DType.FLOAT64 for name in (*node.inputs, *node.outputs)
    )
