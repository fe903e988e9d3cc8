"""Groups of element types, and the error of an operator that does not take one."""

from collections.abc import Collection

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import DType, Tensor

SIGNED = (DType.INT8, DType.INT16, DType.INT32, DType.INT64)
UNSIGNED = (DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64)
INTEGERS = (*SIGNED, *UNSIGNED)
FLOATS = (DType.FLOAT32, DType.FLOAT64)
HALVES = (DType.FLOAT16, DType.BFLOAT16)  # computed in float32, and rounded where they are stored
REALS = (*FLOATS, *HALVES)
NUMBERS = (*INTEGERS, *REALS)


def computed_type(dtype: DType) -> DType:
    """The type that values of `dtype` are computed in."""
    return DType.FLOAT32 if dtype in HALVES else dtype


def check_type(what: str, tensor: Tensor, types: Collection[DType]) -> None:
    """For `infer`: raises CompileError("unsupported-type") unless `tensor` has one of `types`."""
    if tensor.dtype in types:
        return
    real = DType.FLOAT32 in types
    raise CompileError(
        "unsupported-type",
        f"{what} of {tensor.dtype} is not supported",
        f"tensor '{tensor.name}'",
        "use float32, or quantize the model to int8" if real else f"use {', '.join(types)}",
    )


def check_same_type(a: Tensor, b: Tensor) -> None:
    """For `infer` of operators whose operands have one type."""
    if a.dtype != b.dtype:
        raise CompileError(
            "unsupported-type",
            f"the operands are {a.dtype} and {b.dtype}",
            f"tensors '{a.name}' and '{b.name}'",
            "cast one of them in the model",
        )
