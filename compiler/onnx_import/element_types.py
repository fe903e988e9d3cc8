"""Element types of NumPy and ONNX as DType."""

import numpy as np
import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import DType
from tinyc.compiler.onnx_import.foreign import guarded


def element_type(dtype: "np.dtype[np.generic]", where: str) -> DType:
    """The DType of a NumPy type.

    Raises CompileError("unsupported-type").
    """
    try:
        return DType(dtype.name)
    except ValueError as error:
        raise CompileError(
            "unsupported-type", f"the element type {dtype.name} is not supported", where
        ) from error


def onnx_element_type(number: int, where: str) -> DType:
    """The DType of an ONNX element type.

    Raises CompileError("unsupported-type").
    """
    dtype = guarded(
        lambda: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)),
        "unsupported-type",
        f"the element type {number} is unknown",
        where,
    )
    return element_type(dtype, where)
