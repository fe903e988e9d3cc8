"""Products of int16 values and int8 weights, two multiply-accumulates an instruction.

SXTB16 takes bytes 0 and 2, then 1 and 3 of a word of weights apart; values come as pairs of
neighbours. So four neighbouring weights lie in the order 0, 2, 1, 3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.kernels import gemm_conv, gemm_dense
from tinyc.compiler.kernels.block import WORD, Accumulators, Product, Side
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_dsp import dsp

ORDER = (0, 2, 1, 3)
ROWS, COLUMNS, UNROLL = 2, 2, 1  # 1.7 cycles a product on Cortex-M4; 2.3 written out twice


def suits_conv(call: Call, target: Target) -> bool:
    """int16 values and symmetric int8 weights on a core with the DSP extension."""
    x, w = call.inputs[:2]
    symmetric = w.quant is not None and not any(w.quant.zero_point) and w.dtype == DType.INT8
    return "dsp" in target.features and x.dtype == DType.INT16 and symmetric


def suits_dense(call: Call, target: Target) -> bool:
    """As for convolutions, where rows are whole words of weights."""
    return suits_conv(call, target) and call.inputs[1].shape[1] % WORD == 0


def kernel_conv(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return gemm_conv.kernel_of(call, target, schedule, product, ROWS, COLUMNS, UNROLL)


def kernel_dense(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return gemm_dense.kernel_of(call, target, schedule, product, 4, UNROLL)


def product(weights: Array, x_dtype: str) -> Product:
    channels, products = weights.shape
    pitch = -(-products // WORD) * WORD
    table = np.zeros((channels, pitch), np.int8)
    table[:, :products] = weights
    ordered = table.reshape(channels, -1, WORD)[:, :, ORDER]
    needed = dsp("load_word", "sxtb16", "sxtb16_ror8", "smlad", "smlald")
    return Product(
        read_only(ordered.reshape(-1)), pitch, WORD, needed, "16-bit smlad", _operands, _step
    )


def _operands(name: str, source: Any, dtype: str) -> tuple[Any, ...]:
    parts = ("word", "first", "second") if str(source.dtype) == "int8" else ("first", "second")
    return tuple(loops.local(f"{name}_{part}", "uint32") for part in parts)


def _step(x_side: Side, w_side: Side, acc: Accumulators) -> list[Any]:
    """acc[r][c] += the four products of two words of x[r] and a word of w[c]."""
    lines = []
    for at, operands in zip(*x_side[1:], strict=True):
        for number, pair in enumerate(operands):
            lines.append(loops.store(pair, 0, _word(x_side[0], at + 2 * number)))
    for c, (at, (word, *pairs)) in enumerate(zip(*w_side[1:], strict=True)):
        lines.append(loops.store(word, 0, _word(w_side[0], at)))
        for name, pair in zip(("sxtb16", "sxtb16_ror8"), pairs, strict=True):
            value = loops.call(f"tinyc_{name}", loops.load(word, 0), dtype="uint32")
            lines.append(loops.store(pair, 0, value))
        for x_pairs, row in zip(x_side[2], acc, strict=True):
            lines += _accumulated(x_pairs, pairs, row[c])
    return lines


def _accumulated(x_pairs: Sequence[Any], w_pairs: Sequence[Any], acc: Any) -> list[Any]:
    dtype = str(acc.dtype)
    name = "tinyc_smlald" if dtype == "int64" else "tinyc_smlad"
    return [
        loops.store(acc, 0, loops.call(
            name, loops.load(x, 0), loops.load(w, 0), loops.load(acc, 0), dtype=dtype))
        for x, w in zip(x_pairs, w_pairs, strict=True)
    ]  # fmt: skip


def _word(source: Any, at: Any) -> Any:
    return loops.call("tinyc_load_word", loops.pointer(source, at), dtype="uint32")
