"""Global pools as the rows of the image come: the state of every output waits in the scratch.

With the DSP extension four channels of 8 bits are a word, as in `pool_words.py`.
"""

from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import SIXTEEN_BITS
from tinyc.compiler.kernels import pool, pool_words
from tinyc.compiler.kernels.reduction import Cells, Reduction, clipped, taken
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target


def suits(call: Call, target: Target) -> bool:
    """One image, a window of its whole height, values whose sums an int16 may hold."""
    a, (batch, height, _, _) = call.attrs, call.inputs[0].shape
    if call.inputs[0].dtype in SIXTEEN_BITS:
        return False
    whole = a.kernel[0] == height and (a.pads[0], a.pads[2]) == (0, 0)
    return batch == 1 and whole and a.dilations == (1, 1)


def kernel_max(call: Call, target: Target, schedule: Schedule) -> Kernel:
    if pool_words.suits_max(call, target):
        return _kernel(call, pool_words.maxima(call), pool_words.WORD)
    return _kernel(call, pool.maximum(call), 1)


def kernel_average(call: Call, target: Target, schedule: Schedule) -> Kernel:
    if pool_words.suits_average(call, target):
        return _kernel(call, pool_words.averages(call, target), pool_words.WORD)
    return _kernel(call, pool.average(call, target), 1)


def _kernel(call: Call, reduction: Reduction, lanes: int) -> Kernel:
    """`lanes` channels are one value of the reduction."""
    (x,), y = call.inputs, call.output
    (_, height, width, channels), (_, _, columns, _) = x.shape, y.shape
    groups, parts = -(-channels // lanes), len(reduction.state)
    kept = loops.buffer("scratch", columns * groups * parts, reduction.kept)
    source = loops.buffer("x", x.elements, x.dtype)
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def group(ox: Any, cells: Cells, number: Any) -> list[Any]:
        at = (ox * groups + number) * parts
        last = loops.const(channels - lanes)  # moved back where groups are not whole
        channel = number * lanes
        channel = loops.minimum(channel, last) if channels % lanes else channel

        def cell(pixel: Any) -> list[Any]:
            return reduction.take(_value(source, pixel * channels + channel, lanes))

        resumed = [
            loops.store(s, 0, loops.load(kept, at + i, str(s.dtype)))
            for i, s in enumerate(reduction.state)
        ]
        saved = [loops.store(kept, at + i, loops.load(s, 0)) for i, s in enumerate(reduction.state)]
        finished = reduction.finish(height * cells.columns, ox * channels + channel)
        return [
            *loops.declare(*reduction.state),
            loops.when(begin == 0, reduction.restart(), resumed),
            *taken(cells, cell),
            loops.when(end == height, finished, saved),
        ]

    def column(ox: Any) -> list[Any]:
        left, right = call.attrs.pads[1], call.attrs.pads[3]
        first = ox * call.attrs.strides[1] - left
        first, cells = clipped(first, call.attrs.kernel[1], width, bool(left or right))
        inside = Cells(begin * width + first, end - begin, width, cells)
        return [loops.loop("c", groups, lambda number: group(ox, inside, number))]

    parameters = [source, reduction.result, *reduction.tables, kept, begin, end]
    return Kernel(
        name=f"running_{reduction.name}",
        function=loops.function(parameters, [loops.loop("ox", columns, column)]),
        constants=reduction.constants,
        scratch_bytes=columns * groups * parts * int(kept.dtype.bits) // 8,
        microkernels=reduction.microkernels,
        rows=height,
        accumulates=True,
        float_code=x.dtype.is_float,
        note="row by row" if lanes == 1 else "row by row, 4 channels as a word",
    )


def _value(source: Any, at: Any, lanes: int) -> Any:
    if lanes == 1:
        return loops.load(source, at)
    return loops.call("tinyc_load_word", loops.pointer(source, at), dtype="uint32")
