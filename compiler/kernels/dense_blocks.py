"""Dense by the assembly blocks of `targets/intrinsics/arm_dense.py`: up to 8 channels at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType
from tinyc.compiler.kernels.gemm_conv import suits_assembly
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_dense import MOST_COLUMNS, dense
from tinyc.targets.intrinsics.arm_stream import (
    GROUP,
    Products,
    for_pairs,
    packed_stream,
)

TURN_GROUPS, SHORT_TURN_GROUPS = 8, 2  # 39 cycles each; the end of a turn takes 5
FEW_PRODUCTS = 1024  # of a layer with short turns


def suits(call: Call, target: Target) -> bool:
    """int8 activations and results, symmetric int8 weights that the paired form can hold."""
    plain = call.inputs[0].dtype == DType.INT8 and suits_assembly(call, target)
    return plain and _products(call) is not None


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Blocks of all widths that differ, turns from short code to quick loops."""
    n, k = call.inputs[1].shape
    turns = [turn for turn in (1, 2, 4, 8, 16) if turn == 1 or turn * GROUP <= k]
    for columns in sorted({_even_columns(n, most) for most in (4, 6, MOST_COLUMNS)}):
        for turn in turns:
            yield Schedule(columns=columns, unroll=turn)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    n, k = w.shape
    groups = -(-k // GROUP)
    columns = min(schedule.columns, n) or _even_columns(n, MOST_COLUMNS)
    whole = n // columns
    # a last block that is not whole computes some channels of the one before again
    firsts = [c * columns for c in range(whole)] + ([n - columns] if n % columns else [])
    products = _products(call)
    assert products is not None and y.quant is not None, "suits() has asked"
    multipliers = products.multipliers
    uniform = bool((multipliers == multipliers[0]).all())
    blocks = [range(first, first + columns) for first in firsts]
    packed = packed_stream(products, blocks, wide=False, with_multipliers=not uniform)
    low, high = stored_bounds(y, call.attrs.clamp)
    turn = TURN_GROUPS if n * k >= FEW_PRODUCTS else SHORT_TURN_GROUPS
    microkernel = dense(columns, schedule.unroll or turn, uniform, low, high)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    stream = loops.buffer("stream", packed.size, "int8")
    padding = k % GROUP != 0  # a row's last word would end behind it
    scratch = loops.buffer("scratch", groups * GROUP, "int8")
    zero_point, whole_bytes = y.quant.zero_point[0], whole * (packed.size // len(blocks))

    def channels(row: Any, r: Any, first: int, begin: int, end: Any) -> Any:
        return loops.run(
            microkernel.name,
            row,
            loops.pointer(stream, begin),
            loops.pointer(result, r * n + first),
            loops.const(groups),
            end,
            loops.const(zero_point),
            *([loops.const(int(multipliers[0]))] if uniform else []),
        )

    def one_row(r: Any) -> list[Any]:
        row, lines = loops.pointer(source, r * k), []
        if padding:
            lines.append(loops.run("memcpy", loops.pointer(scratch), row, loops.const(k)))
            row = loops.pointer(scratch)
        if n % columns == 0:
            return [*lines, channels(row, r, 0, 0, loops.end_pointer(stream))]
        lines.append(channels(row, r, 0, 0, loops.pointer(stream, whole_bytes)))
        return [*lines, channels(row, r, firsts[-1], whole_bytes, loops.end_pointer(stream))]

    body = [loops.loop("r", x.elements // k, one_row)]
    parameters = [source, result, stream, *([scratch] if padding else [])]
    return Kernel(
        name="dense",
        function=loops.function(parameters, body),
        constants=(Constant("stream", packed),),
        scratch_bytes=groups * GROUP if padding else 0,
        microkernels=(microkernel,),
        note=f"gemm 1x{columns}, assembly",
    )


def _products(call: Call) -> Products | None:
    """Rows padded to whole groups, as the paired form takes them; None: it cannot."""
    w = call.inputs[1]
    assert w.data is not None, "the weights are constant"
    n, k = w.shape
    padded = np.zeros((n, -(-k // GROUP) * GROUP), np.int8)
    padded[:, :k] = centred(w.data, w)
    multipliers = np.broadcast_to(output_requantization(call).multipliers, (n,))
    return for_pairs(Products(padded, folded_bias(call, padded), multipliers))


def _even_columns(n: int, most: int) -> int:
    """Channels of a block such that blocks of up to `most` are about equal."""
    blocks = -(-n // most)
    return -(-n // blocks)
