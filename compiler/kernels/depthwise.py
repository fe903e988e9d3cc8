"""DepthwiseConv2D, output by output: pixels inside run without checks, border pixels with them.

A tap outside the input counts as the stored zero, so that the input's zero point stays folded
into the bias.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.kernels.block import WORD, value_of, widened
from tinyc.compiler.kernels.epilogue import Epilogue, epilogue
from tinyc.compiler.kernels.gemm_conv import suits_smlad as suits_smlad_weights
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import weight_values
from tinyc.compiler.ops.half import conversions
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_dsp import dsp, extension

MOST_UNROLLED_TAPS = 12  # a 3x3 is written out, larger windows are loops


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """One channel at a time, for every core and for floats."""
    matrix, finished = _operands(call, target)
    table = np.ascontiguousarray(matrix.T)  # taps x channels: neighbours share a load's line
    if not call.inputs[1].dtype.is_float:
        fits = table.min(initial=0) >= -128 and table.max(initial=0) <= 127
        table = table.astype("int8" if fits else "int16")
    return _kernel(call, finished, read_only(table.reshape(-1)), _one_channel, 1, "plain C")


def suits(call: Call, target: Target) -> bool:
    """Everything."""
    return True


def kernel_smlad(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """Four channels at a time, a word of inputs and a word of weights a tap."""
    matrix, finished = _operands(call, target)
    table = read_only(matrix.T.reshape(-1), "int8")
    return _kernel(call, finished, table, _four_channels, WORD, "4 channels, smlabb and smlatt")


def suits_smlad(call: Call, target: Target) -> bool:
    """As for convolutions; one output channel an input channel, and whole words of channels."""
    channels = call.inputs[0].shape[3]
    return (
        suits_smlad_weights(call, target)
        and call.inputs[1].shape[2] == channels
        and channels % WORD == 0
    )


def _operands(call: Call, target: Target) -> tuple[Array, Epilogue]:
    """The weights as [channels, taps], centred, and the epilogue."""
    values = weight_values(call)
    matrix = np.ascontiguousarray(values.reshape(-1, values.shape[2]).T)
    return matrix, epilogue(call, matrix, target)


def _kernel(
    call: Call, finished: Epilogue, table: Array, channels_at: Any, step: int, note: str
) -> Kernel:
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    batch, h, width, _ = x.shape
    kh, kw, channels = w.shape
    _, oh, ow, _ = y.shape
    source = loops.buffer("x", x.elements, x.dtype)
    result = loops.buffer("y", y.elements, y.dtype)
    weights = loops.buffer("weights", table.size, str(table.dtype))
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def pixel(n: Any, oy: Any, ox: Any) -> list[Any]:
        first_y, first_x = oy * a.strides[0] - a.pads[0], ox * a.strides[1] - a.pads[1]
        reach_y, reach_x = (kh - 1) * a.dilations[0], (kw - 1) * a.dilations[1]
        inside = [first_y >= 0] if a.pads[0] else []
        inside += [first_y < h - reach_y] if a.pads[2] else []
        inside += [first_x >= 0] if a.pads[1] else []
        inside += [first_x < width - reach_x] if a.pads[3] else []

        def compute(checked: bool) -> list[Any]:
            return [
                loops.loop("c", channels // step, lambda c: channels_at(
                    call, finished, (source, result, weights),
                    (n * h * width, first_y, first_x), ((n * oh + oy) * ow + ox) * channels,
                    c * step, checked,
                ))
            ]  # fmt: skip

        if not inside:
            return compute(False)
        return [loops.when(loops.every(inside), compute(False), compute(True))]

    def image(n: Any, first: Any, rows: Any) -> Any:
        return loops.loop("oy", rows, lambda oy: [
            loops.loop("ox", ow, lambda ox: pixel(n, oy, ox))
        ], first)  # fmt: skip

    parameters = [source, result, weights, *finished.buffers]
    if batch == 1:
        function = loops.function([*parameters, begin, end], [image(0, begin, end - begin)])
    else:
        body = [loops.loop("n", batch, lambda n: [image(n, 0, oh)])]
        function = loops.function(parameters, body)
    return Kernel(
        name=f"depthwise_{kh}x{kw}",
        function=function,
        constants=(Constant("weights", table), *finished.constants),
        microkernels=(
            _four_channel_microkernels(x.dtype) if step == WORD else conversions(w.dtype, y.dtype)
        ),
        rows=oh if batch == 1 else 0,
        float_code=x.dtype.is_float,
        note=note,
    )


def _four_channel_microkernels(x_dtype: str) -> tuple[Microkernel, ...]:
    return dsp("load_word", *extension(x_dtype), *extension("int8"), "smlabb", "smlatt")


def _taps(
    call: Call, origin: tuple[Any, Any, Any], checked: bool, tap: Callable[[Any, Any], list[Any]],
    outside: Callable[[Any], list[Any]],
) -> list[Any]:  # fmt: skip
    """`tap(input pixel, tap number)` for every tap, `outside(tap number)` in the padding."""
    a, (_, h, width, _) = call.attrs, call.inputs[0].shape
    kh, kw, _ = call.inputs[1].shape
    image, first_y, first_x = origin

    def one(i: Any, j: Any) -> list[Any]:
        iy, ix = first_y + i * a.dilations[0], first_x + j * a.dilations[1]
        lines = tap(image + iy * width + ix, i * kw + j)
        if not checked:
            return lines
        inside = loops.every([iy >= 0, iy < h, ix >= 0, ix < width])
        return [loops.when(inside, lines, outside(i * kw + j))]

    write_out = not checked and kh * kw <= MOST_UNROLLED_TAPS
    repeat = loops.unrolled if write_out else loops.loop
    return [repeat("i", kh, lambda i: [repeat("j", kw, lambda j: one(i, j))])]


def _one_channel(
    call: Call, finished: Epilogue, buffers: tuple[Any, Any, Any], origin: tuple[Any, Any, Any],
    at: Any, channel: Any, checked: bool,
) -> list[Any]:  # fmt: skip
    source, result, weights = buffers
    x = call.inputs[0]
    outputs = call.inputs[1].shape[2]
    multiplier = outputs // x.shape[3]
    dtype = "float32" if x.dtype == DType.FLOAT32 else "int32"
    zero = x.quant.zero_point[0] if x.quant else 0
    acc = loops.local("border_acc" if checked else "acc", finished.accumulator)
    input_channel = channel if multiplier == 1 else loops.quotient(channel, multiplier)

    def add(value: Any, number: Any) -> list[Any]:
        weight = value_of(weights, number * outputs + channel, dtype)
        return [loops.store(acc, 0, loops.load(acc, 0) + widened(value * weight, acc))]

    def tap(pixel: Any, number: Any) -> list[Any]:
        return add(loops.load(source, pixel * x.shape[3] + input_channel, dtype), number)

    taps = _taps(call, origin, checked, tap, lambda number: add(loops.const(zero, dtype), number))
    return [
        *loops.declare(acc),
        loops.store(acc, 0, finished.start(channel)),
        *taps,
        loops.store(result, at + channel, finished.finish(loops.load(acc, 0), channel)),
    ]


def _four_channels(
    call: Call, finished: Epilogue, buffers: tuple[Any, Any, Any], origin: tuple[Any, Any, Any],
    at: Any, channel: Any, checked: bool,
) -> list[Any]:  # fmt: skip
    source, result, weights = buffers
    x = call.inputs[0]
    channels = x.shape[3]
    zero = (x.quant.zero_point[0] if x.quant else 0) & 0xFF
    x_extend, w_extend = extension(x.dtype), extension("int8")
    prefix = "border_" if checked else ""
    acc = [loops.local(f"{prefix}acc_{c}") for c in range(WORD)]
    word, weight = (loops.local(f"{prefix}{n}", "uint32") for n in ("x_word", "w_word"))
    x_pairs = [loops.local(f"{prefix}x_{n}", "uint32") for n in ("even", "odd")]
    w_pairs = [loops.local(f"{prefix}w_{n}", "uint32") for n in ("even", "odd")]

    def add(value: Any, number: Any) -> list[Any]:
        taken = loops.call(
            "tinyc_load_word", loops.pointer(weights, number * channels + channel), dtype="uint32"
        )
        lines = [loops.store(word, 0, value), loops.store(weight, 0, taken)]
        for parity in range(2):
            for pair, source_word, name in (
                (x_pairs[parity], word, x_extend[parity]),
                (w_pairs[parity], weight, w_extend[parity]),
            ):
                half = loops.call(f"tinyc_{name}", loops.load(source_word, 0), dtype="uint32")
                lines.append(loops.store(pair, 0, half))
            for half_number, instruction in enumerate(("tinyc_smlabb", "tinyc_smlatt")):
                target = acc[2 * half_number + parity]
                values = (loops.load(v, 0) for v in (x_pairs[parity], w_pairs[parity], target))
                lines.append(loops.store(target, 0, loops.call(instruction, *values)))
        return lines

    def tap(pixel: Any, number: Any) -> list[Any]:
        taken = loops.pointer(source, pixel * channels + channel)
        return add(loops.call("tinyc_load_word", taken, dtype="uint32"), number)

    zeros = loops.const(zero * 0x01010101, "uint32")
    taps = _taps(call, origin, checked, tap, lambda number: add(zeros, number))
    lines = loops.declare(*acc, word, weight, *x_pairs, *w_pairs)
    lines += [loops.store(a, 0, finished.start(channel + c)) for c, a in enumerate(acc)]
    lines += taps
    for c, a in enumerate(acc):
        value = finished.finish(loops.load(a, 0), channel + c)
        lines.append(loops.store(result, at + channel + c, value))
    return lines
