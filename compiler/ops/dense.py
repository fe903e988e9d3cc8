"""Dense: y = clamp(x @ w.T + b); x [..., k], w [n, k] constant, b [n] constant or absent."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.kernels import (
    dense_blocks,
    float_dense,
    gemm_dense,
    gemm_pairs_dense,
    halfword_dense,
    halfword_products,
    nibble_dense,
    packed_weights,
    pair_dense,
    running_dense,
)
from tinyc.compiler.ops.accumulate import can_quantize, factors, output_of, result_type
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.op import Algorithm, Algorithms, Call, Op, Type, kernel_by


@dataclass(frozen=True, slots=True)
class DenseAttrs:
    """Real bounds of the result."""

    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, w = inputs[:2]
    if x.shape[-1] != w.shape[1]:
        raise CompileError(
            "shape-mismatch",
            f"Dense needs {w.shape[1]} input features, got {x.shape[-1]}",
            f"tensor '{x.name}' {list(x.shape)}, weights '{w.name}' {list(w.shape)}",
        )
    return (((*x.shape[:-1], w.shape[0]), result_type(x, "MatMul")),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, w = factors(call, arrays)
    return (output_of(call, x @ w.T, arrays[2] if len(arrays) > 2 else None),)


def macs(call: Call) -> int:
    return call.output.elements * call.inputs[1].shape[1]


ALGORITHMS: Algorithms = {
    "nibble-blocks": Algorithm(nibble_dense.suits, nibble_dense.kernel, nibble_dense.space),
    "float-blocks": Algorithm(float_dense.suits, float_dense.kernel, float_dense.space),
    "packed": Algorithm(packed_weights.suits, packed_weights.kernel),
    "blocks": Algorithm(dense_blocks.suits, dense_blocks.kernel, dense_blocks.space),
    "pairs": Algorithm(pair_dense.suits, pair_dense.kernel, pair_dense.space),
    "gemm-pairs": Algorithm(
        gemm_pairs_dense.suits, gemm_pairs_dense.kernel, gemm_pairs_dense.space
    ),
    "halfword-blocks": Algorithm(halfword_dense.suits, halfword_dense.kernel, halfword_dense.space),
    "gemm-smlad16": Algorithm(halfword_products.suits_dense, halfword_products.kernel_dense),
    "gemm-smlad": Algorithm(gemm_dense.suits_smlad, gemm_dense.kernel_smlad),
    "gemm": Algorithm(gemm_dense.suits, gemm_dense.kernel, gemm_dense.space),
    "running": Algorithm(running_dense.suits, running_dense.kernel, running_dense.space),
}


DENSE = Op(
    "Dense", infer, reference, kernel_by(ALGORITHMS), macs=macs, quantize=can_quantize,
    algorithms=ALGORITHMS,
)  # fmt: skip
