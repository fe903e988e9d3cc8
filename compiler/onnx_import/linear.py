"""Gemm and MatMul -> Dense where the right operand is a constant matrix, else MatMul."""

import numpy as np

from tinyc.compiler.graph import DType, QParams, Tensor
from tinyc.compiler.onnx_import.blocks import Blocks
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.block_dense import BlockDenseAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.matmul import OWN_TYPE, MatMulAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs


def read_matmul(build: Builder, node: ModelNode) -> Tensor:
    return matrix_product(build, node, build.operand(node, 0), build.operand(node, 1))


def matrix_product(build: Builder, node: ModelNode, a: Tensor, b: Tensor) -> Tensor:
    """NumPy's matmul; vectors become matrices of one row or one column."""
    if not a.shape or not b.shape:
        node.malformed("an operand has no axes")
    if a.shape[-1] != b.shape[-2 if len(b.shape) > 1 else 0]:
        node.malformed(f"{list(a.shape)} and {list(b.shape)} do not fit together")
    matrix = a if len(a.shape) > 1 else build.reshaped(node, a, (1, *a.shape))
    blocks = build.blocks.get(b.name)
    if blocks is not None and blocks.axis == 0 and a.dtype == DType.FLOAT32:
        return block_product(build, node, a, blocks)
    constant = len(b.shape) <= 2 and a.dtype not in OWN_TYPE
    weights = _weights(build, node, b, transposed=False) if constant else None
    if weights is not None:
        y = build.add(node, "Dense", (matrix, weights), DenseAttrs())
    else:
        other = b if len(b.shape) > 1 else build.reshaped(node, b, (*b.shape, 1))
        _check_batches(node, matrix, other)
        y = build.add(node, "MatMul", (matrix, other), MatMulAttrs())
    rows = y.shape[:-2] if len(a.shape) == 1 else y.shape[:-1]
    return build.reshaped(node, y, rows if len(b.shape) == 1 else (*rows, y.shape[-1]))


def block_product(build: Builder, node: ModelNode, a: Tensor, blocks: Blocks) -> Tensor:
    """a [..., k] by weights [n, k] that stay stored as they are."""
    matrix = a if len(a.shape) > 1 else build.reshaped(node, a, (1, *a.shape))
    dtype = DType.UINT4 if blocks.bits == 4 else DType.UINT8
    parts = (
        ("weights", blocks.weights, dtype), ("scales", blocks.scales, DType.FLOAT32),
        ("zeros", blocks.zeros, DType.UINT8),
    )  # fmt: skip
    constants = (
        build.constant(f"{node.name}/{name}", data.astype(kind.value), kind)
        for name, data, kind in parts
    )
    y = build.add(node, "BlockDense", (matrix, *constants), BlockDenseAttrs(blocks.block))
    return build.reshaped(node, y, (*a.shape[:-1], y.shape[-1]))


def _check_batches(node: ModelNode, a: Tensor, b: Tensor) -> None:
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        node.malformed(f"{list(a.shape)} and {list(b.shape)} do not fit together")


def _weights(
    build: Builder, node: ModelNode, b: Tensor, transposed: bool, factor: float = 1.0
) -> Tensor | None:
    """b [k, n], or [n, k] when `transposed`, as the weights [n, k] of Dense; None: no constant."""
    source = build.dequantized_constant(b) or b
    if source.data is None:
        return None
    quant, data = source.quant, source.data
    if data.ndim == 1:
        data = data.reshape(-1, 1)
    outputs_axis = 0 if transposed else 1
    per_input = quant is not None and quant.axis not in (None, outputs_axis)
    if per_input or (factor <= 0 and quant is not None):
        real = build.real_constant(b)
        assert real is not None, f"'{b.name}' is a constant"
        source, quant, data = b, None, real.reshape(data.shape)
    data = data if transposed else data.T
    if quant is None:
        scaled = data if factor == 1 else np.multiply(data, np.float32(factor))
        return build.constant(f"{source.name}/weights", scaled, source.dtype)
    scale = tuple(float(np.float32(s * factor)) for s in quant.scale)
    kept = QParams(scale, quant.zero_point, None if quant.axis is None else 0)
    constant = build.constant(f"{source.name}/weights", data, DType(data.dtype.name), kept)
    return constant if source is b else build.add(node, "Dequantize", (constant,))


def read_gemm(build: Builder, node: ModelNode) -> Tensor:
    a, b, c = build.operand(node, 0), build.operand(node, 1), build.optional(node, 2)
    return general_product(build, node, a, b, c)


def general_product(
    build: Builder, node: ModelNode, a: Tensor, b: Tensor, c: Tensor | None
) -> Tensor:
    """alpha * a @ b + beta * c, with a and b transposed on demand: attributes of `node`."""
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    transposed = bool(node.integer("transB", 0))
    if len(a.shape) != 2 or len(b.shape) != 2:
        node.malformed(f"{list(a.shape)} and {list(b.shape)} are not both matrices")
    if node.integer("transA", 0):
        a = build.layout(node, "Transpose", a, TransposeAttrs((1, 0)))
    if a.shape[1] != b.shape[1 if transposed else 0]:
        node.malformed(f"{list(a.shape)} and {list(b.shape)} do not fit together")
    blocks = build.blocks.get(b.name) if alpha == 1 and a.dtype == DType.FLOAT32 else None
    weights = None if a.dtype in OWN_TYPE else _weights(build, node, b, transposed, alpha)
    if blocks is not None and blocks.axis == int(transposed):
        y = block_product(build, node, a, blocks)
    elif weights is None:
        b = build.layout(node, "Transpose", b, TransposeAttrs((1, 0))) if transposed else b
        y = _scaled(build, node, build.add(node, "MatMul", (a, b), MatMulAttrs()), alpha)
    else:
        bias = None if c is None else _bias(build, node, c, beta, weights.shape[0])
        operands = (a, weights) if bias is None else (a, weights, bias)
        y = build.add(node, "Dense", operands, DenseAttrs())
        c = c if bias is None else None
    if c is None:
        return y
    if len(c.shape) > 2 or any(
        n not in (1, m) for n, m in zip(c.shape[::-1], y.shape[::-1], strict=False)
    ):
        node.malformed(f"C {list(c.shape)} does not fit the result {list(y.shape)}")
    return build.binary(node, "Add", y, _scaled(build, node, c, beta))


def _scaled(build: Builder, node: ModelNode, x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    if not x.dtype.is_float and factor != int(factor):
        node.refuse(f"a factor of {factor:g} for {x.dtype} is not supported")
    number = build.constant(f"{node.name}/factor", factor, x.dtype)
    return build.binary(node, "Mul", x, number)


def _bias(build: Builder, node: ModelNode, c: Tensor, beta: float, n: int) -> Tensor | None:
    """C as the bias [n] of Dense; None when it is no constant or varies over the rows."""
    stored = build.dequantized_constant(c)
    if stored is not None and stored.shape == (n,) and beta == 1:
        return c
    values = build.real_constant(c)
    if values is None or values.shape not in ((), (1,), (n,), (1, 1), (1, n)):
        return None
    data = np.broadcast_to(np.multiply(values.reshape(-1), np.float32(beta)), (n,))
    return build.constant(f"{c.name}/bias", data, c.dtype)


def read_determinant(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        node.malformed(f"{list(x.shape)} are no square matrices")
    return build.add(node, "Determinant", (x,))
