"""A tensor in another element type."""

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.cast import CastAttrs, cast_array


def cast(build: Builder, node: ModelNode, x: Tensor, dtype: DType) -> Tensor:
    """`x` as elements of `dtype`; constants are converted at once, so that readers know them."""
    if x.dtype == dtype:
        return x
    if x.data is not None:
        return build.constant(f"{x.name}/{dtype}", cast_array(x.data, x.dtype, dtype), dtype)
    return build.add(node, "Cast", (x,), CastAttrs(dtype))
