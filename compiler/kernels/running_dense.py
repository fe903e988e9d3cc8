"""Dense of one row as its elements come: the sums of all outputs wait in the scratch."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, SIXTEEN_BITS, DType
from tinyc.compiler.kernels.block import partial_sums, plain_product, smlad_product
from tinyc.compiler.kernels.epilogue import epilogue
from tinyc.compiler.kernels.gemm_conv import suits_smlad
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target

COLUMNS = 4  # channels whose sums are in registers


def suits(call: Call, target: Target) -> bool:
    """One row, of which the sums have 32 bits, and no weights to convert."""
    x, w = call.inputs[:2]
    stored = w.dtype in EIGHT_BITS if call.quantized else w.dtype == DType.FLOAT32
    return x.elements == w.shape[1] and x.dtype not in SIXTEEN_BITS and stored


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Up to four channels share what is loaded of the row."""
    for columns in (1, 2, COLUMNS):
        if columns <= call.inputs[1].shape[0]:
            yield Schedule(columns=columns)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    n, k = w.shape
    assert w.data is not None, "the weights are constant"
    matrix = np.asarray(w.data if x.dtype.is_float else centred(w.data, w))
    product_of = smlad_product if suits_smlad(call, target) else plain_product
    product, finished = product_of(matrix, x.dtype), epilogue(call, matrix, target)
    source = loops.buffer("x", x.elements, x.dtype)
    result = loops.buffer("y", y.elements, y.dtype)
    weights = loops.buffer("weights", product.weights.size, str(product.weights.dtype))
    sums = loops.buffer("scratch", n, "float32" if x.dtype.is_float else "int32")
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    columns = min(schedule.columns or COLUMNS, n)

    def start(acc: Any, channel: Any) -> Any:
        resumed = [loops.store(acc, 0, loops.load(sums, channel))]
        return loops.when(begin == 0, [loops.store(acc, 0, finished.start(channel))], resumed)

    def store(channel: Any, value: Any) -> Any:
        return loops.store(sums, channel, value)

    def channels(first: Any, count: int, tag: str) -> list[Any]:
        return partial_sums(source, weights, first, count, product, begin, end, start, store, tag)

    def finish(channel: Any) -> list[Any]:
        value = finished.finish(loops.load(sums, channel), channel)
        return [loops.store(result, channel, value)]

    whole, rest = divmod(n, columns)
    lines = [loops.loop("c", whole, lambda c: channels(c * columns, columns, ""))]
    if rest:
        lines.append(loops.loop("c", rest, lambda c: channels(whole * columns + c, 1, "t")))
    lines.append(loops.when(end == k, [loops.loop("n", n, finish)]))
    return Kernel(
        name="running_dense",
        function=loops.function(
            [source, result, weights, *finished.buffers, sums, begin, end], lines
        ),
        constants=(Constant("weights", product.weights), *finished.constants),
        scratch_bytes=4 * n,
        microkernels=product.microkernels,
        rows=k,
        accumulates=True,
        float_code=x.dtype.is_float,
        note=f"element by element, 1x{columns}, {product.note}",
    )
