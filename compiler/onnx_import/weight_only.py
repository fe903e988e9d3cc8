"""MatMulNBits, and products by weights of a few bits: real activations, a scale for each block."""

import numpy as np

from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.onnx_import.arguments import constant_values
from tinyc.compiler.onnx_import.blocks import blocks_of
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.linear import block_product, matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.block_dense import real_weights


def read_matmul_few_bits(build: Builder, node: ModelNode) -> Tensor:
    """x [..., k] by weights [n, blocks, bytes], which stay stored where a kernel reads them."""
    if any(node.inputs[4:5]) or node.integer("bits", 4) not in (2, 4, 8):
        node.refuse("a group index, or weights of other than 2, 4 or 8 bits, are not supported")
    x, bias = build.operand(node, 0), build.optional(node, 5)
    stored, scales, zeros, block = _stored(build, node)
    bits = node.integer("bits", 4)
    blocks = blocks_of(stored, scales, zeros, block, 1, (0, (1 << bits) - 1))
    if blocks is not None and x.dtype == DType.FLOAT32:
        y = block_product(build, node, x, blocks)
    else:
        weights = real_weights(stored, scales, zeros, block).astype(np.float32)
        b = build.constant(f"{node.name}/weights", weights.T, DType.FLOAT32)
        y = matrix_product(build, node, x, b)
    return y if bias is None else build.binary(node, "Add", y, bias)


def _stored(build: Builder, node: ModelNode) -> tuple[Array, Array, Array, int]:
    """The weights [n, k], the scales and zero points [n, blocks], and the size of a block."""
    n, k, bits = node.integer("N", 0), node.integer("K", 0), node.integer("bits", 4)
    block = node.integer("block_size", 0)
    if min(n, k, block) < 1:
        node.malformed("N, K or block_size is missing")
    blocks = -(-k // block)
    stored, scales, zeros = (constant_values(build, node, i) for i in (1, 2, 3))
    if stored is None or scales is None or stored.size * 8 != n * blocks * block * bits:
        node.malformed(f"the weights are not {n} x {blocks} blocks of {block} values")
    if scales.size != n * blocks:
        node.malformed(f"{scales.size} scales for {n} x {blocks} blocks")
    steps = _unpacked(stored.reshape(n * blocks, -1), bits).reshape(n, blocks * block)[:, :k]
    points: Array = np.full((n, blocks), 1 << bits - 1, np.float32)
    if zeros is not None and zeros.dtype == np.uint8:
        points = _unpacked(zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
    elif zeros is not None:
        points = zeros.reshape(n, blocks).astype(np.float32)
    return steps, scales.reshape(n, blocks).astype(np.float32), points, block


def _unpacked(stored: Array, bits: int) -> Array:
    """The values in the bytes of each row, the lowest bits first."""
    each = 8 // bits
    shifts = np.arange(each, dtype=np.uint8) * bits
    values = (stored[:, :, None] >> shifts) & ((1 << bits) - 1)
    return np.asarray(values.reshape(stored.shape[0], -1))
