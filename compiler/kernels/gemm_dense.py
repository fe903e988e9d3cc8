"""Dense as a matrix product: the rows of x times output channels; nothing is gathered."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import FOUR_BITS, Array
from tinyc.compiler.kernels.block import (
    WORD,
    Product,
    block,
    plain_product,
    plain_space,
    smlad_product,
)
from tinyc.compiler.kernels.epilogue import epilogue
from tinyc.compiler.kernels.gemm_conv import suits_smlad as suits_smlad_weights
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import weight_values
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Multiply-accumulate by multiply-accumulate, for every core and for floats."""
    return kernel_of(call, target, schedule, plain_product, 4, 1)


def suits(call: Call, target: Target) -> bool:
    """Everything but weights that are stored packed."""
    return call.inputs[1].dtype not in FOUR_BITS


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Up to eight channels at a time."""
    yield from plain_space((0,), (1, 2, 3, 4, 6, 8))


def kernel_smlad(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Two multiply-accumulates an instruction, for cores with the DSP extension."""
    return kernel_of(call, target, schedule, smlad_product, 4, 2)


def suits_smlad(call: Call, target: Target) -> bool:
    """As for convolutions, where the rows of x are whole words."""
    return suits_smlad_weights(call, target) and call.inputs[1].shape[1] % WORD == 0


def kernel_of(
    call: Call,
    target: Target,
    schedule: Schedule,
    product_of: Callable[[Array, str], Product],
    columns: int,
    unroll: int,
) -> Kernel:
    """By one kind of product; what the schedule leaves open is as given."""
    (x, w), y = call.inputs[:2], call.output
    n, k = w.shape
    matrix = np.asarray(weight_values(call))
    product, finished = product_of(matrix, x.dtype), epilogue(call, matrix, target)
    source = loops.buffer("x", x.elements, x.dtype)
    result = loops.buffer("y", y.elements, y.dtype)
    weights = loops.buffer("weights", product.weights.size, str(product.weights.dtype))
    columns, unroll = min(schedule.columns or columns, n), schedule.unroll or unroll

    def row(r: Any) -> list[Any]:
        def store(_: int, channel: Any, value: Any) -> Any:
            return loops.store(result, r * n + channel, value)

        def channels(first: Any, count: int, tag: str) -> list[Any]:
            return block(
                source, [r * k], weights, first, count, product, unroll, finished, store, tag
            )

        whole, rest = divmod(n, columns)
        lines = [loops.loop("c", whole, lambda c: channels(c * columns, columns, ""))]
        if rest:
            lines.append(loops.loop("c", rest, lambda c: channels(whole * columns + c, 1, "t")))
        return lines

    body = [loops.loop("r", x.elements // k, row)]
    return Kernel(
        name="dense",
        function=loops.function([source, result, weights, *finished.buffers], body),
        constants=(Constant("weights", product.weights), *finished.constants),
        microkernels=product.microkernels,
        float_code=x.dtype.is_float,
        note=f"gemm 1x{columns}, {product.note}",
    )
