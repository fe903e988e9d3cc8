"""The inputs of a model with static shapes."""

from collections.abc import Mapping, Sequence

import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import DType, Shape, Tensor
from tinyc.compiler.onnx_import.element_types import onnx_element_type


def read_inputs(
    graph: onnx.GraphProto, shapes: Mapping[str, Shape], dims: Mapping[str, int] = {}
) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """The inputs, and a note for each dimension that was taken as 1.

    shapes  by name of an input; dims: sizes by name of a dimension, wherever that stands

    Raises CompileError when `shapes` or `dims` do not fit, or a dimension stays open.
    """
    names = input_names(graph)
    for name in shapes:
        if name not in names:
            raise CompileError(
                "unknown-input",
                f"the model has no input '{name}'",
                f"--input-shape {_option(name, shapes[name])}",
                f"its inputs are: {', '.join(map(repr, names))}",
            )
    _check_dims(dims, dim_names(graph))
    notes: list[str] = []
    infos = (i for i in graph.input if i.name in names)
    tensors = tuple(_input(info, shapes.get(info.name), dims, notes) for info in infos)
    return tensors, tuple(notes)


def dim_names(graph: onnx.GraphProto) -> tuple[str, ...]:
    """The names of the inputs' open dimensions, in the model's order."""
    names = input_names(graph)
    dims = (d for i in graph.input if i.name in names for d in i.type.tensor_type.shape.dim)
    return tuple(dict.fromkeys(d.dim_param for d in dims if d.dim_param))


def _check_dims(dims: Mapping[str, int], known: Sequence[str]) -> None:
    for name, size in dims.items():
        if name not in known:
            names = f"its open dimensions are: {', '.join(map(repr, known))}"
            raise CompileError(
                "unknown-dimension",
                f"the model has no open dimension '{name}'",
                f"--dim {name}={size}",
                names if known else "the model leaves no named dimension open",
            )
        if size < 1:
            raise CompileError(
                "wrong-shape", "every dimension must be 1 or more", f"--dim {name}={size}"
            )


def input_names(graph: onnx.GraphProto) -> tuple[str, ...]:
    """The inputs that no initializer fills, in the model's order."""
    constants = {t.name for t in graph.initializer}
    return tuple(i.name for i in graph.input if i.name not in constants)


def _input(
    info: onnx.ValueInfoProto, wanted: Shape | None, given: Mapping[str, int], notes: list[str]
) -> Tensor:
    where, kind = f"input '{info.name}'", info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        raise CompileError("unsupported-type", "the input is no tensor", where)
    texts = kind.elem_type == onnx.TensorProto.STRING
    dtype = DType.TEXT if texts else onnx_element_type(kind.elem_type, where)
    if not kind.HasField("shape"):
        if wanted is None:
            raise CompileError("dynamic-shape", "the input has no shape", where, _help(info.name))
        return Tensor(info.name, _checked(wanted, info.name), dtype)
    dims = [
        d.dim_value
        if d.HasField("dim_value") and d.dim_value >= 0
        else given.get(d.dim_param, d.dim_param or "?")
        for d in kind.shape.dim
    ]
    if wanted is not None:
        _check_fits(info.name, dims, wanted)
        return Tensor(info.name, _checked(wanted, info.name), dtype)
    shape = []
    for index, size in enumerate(dims):
        if isinstance(size, int):
            shape.append(size)
        elif index == 0:
            notes.append(f"dimension '{size}' of input '{info.name}' is taken as 1")
            shape.append(1)
        else:
            raise CompileError(
                "dynamic-shape",
                f"dimension {index} of the input, '{size}', is not known",
                f"{where} [{', '.join(map(str, dims))}]",
                _help(info.name, str(size)),
            )
    if 0 in shape:
        notes.append(f"input '{info.name}' has no elements, as the model says: {shape}")
    return Tensor(info.name, tuple(shape), dtype)


def _check_fits(name: str, dims: list[int | str], wanted: Shape) -> None:
    """A size of 0 is one that some exporters leave open."""
    fits = len(dims) == len(wanted) and all(
        size in (n, 0) or isinstance(size, str) for size, n in zip(dims, wanted, strict=True)
    )
    if not fits:
        raise CompileError(
            "wrong-shape",
            f"the shape {list(wanted)} does not fit [{', '.join(map(str, dims))}]",
            f"--input-shape {_option(name, wanted)}",
            "change only the dimensions that the model leaves open",
        )


def _checked(shape: Shape, name: str) -> Shape:
    if min(shape, default=1) < 1:
        raise CompileError(
            "wrong-shape",
            "every dimension must be 1 or more",
            f"--input-shape {_option(name, shape)}",
        )
    return shape


def _option(name: str, shape: Shape) -> str:
    return f"{name}={','.join(map(str, shape))}"


def _help(name: str, dim: str = "?") -> str:
    shape = f"give its shape, as in `--input-shape {name}=1,3,96,96`"
    return shape if dim == "?" else f"{shape}, or the size, as in `--dim {dim}=96`"
