"""Quantize and Dequantize: reals to stored integers and back, as ONNX defines them.

    stored = saturate(round_half_even(real / scale) + zero_point)
    real   = (stored - zero_point) * scale

Scale and zero point are the QParams of the tensor that holds the stored integers.
"""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, QParams, Tensor, elements, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.row_range import row_range, same_rows
from tinyc.targets import Target


def infer_quantize(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((inputs[0].shape, DType.INT8),)  # the importer sets the stored type


def infer_dequantize(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((inputs[0].shape, DType.FLOAT32),)


def quantized(real: Array, dtype: DType, quant: QParams) -> Array:
    """Stored integers of float32 reals; float32 division, as onnxruntime does it."""
    scale, zero_point = _along_axis(quant, real.ndim)
    low, high = dtype.limits
    steps = np.rint(real.astype(np.float32) / scale).astype(np.float64) + zero_point
    return np.asarray(np.clip(steps, low, high).astype(dtype.value))


def reference_quantize(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    assert call.output.quant is not None, "the output of Quantize holds stored integers"
    return (quantized(arrays[0], call.output.dtype, call.output.quant),)


def reference_dequantize(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    quant = call.inputs[0].quant
    assert quant is not None, "the input of Dequantize holds stored integers"
    scale, zero_point = _along_axis(quant, arrays[0].ndim)
    steps = (arrays[0].astype(np.int64) - zero_point.astype(np.int64)).astype(np.float32)
    return ((steps * scale).astype(np.float32),)


def _along_axis(quant: QParams, rank: int) -> tuple[Array, Array]:
    shape = [1] * rank
    if quant.axis is not None:
        shape[quant.axis] = -1
    scale = np.array(quant.scale, np.float32).reshape(shape)
    return scale, np.array(quant.zero_point, np.float64).reshape(shape)


def kernel_quantize(call: Call, target: Target, schedule: Schedule) -> Kernel:
    y = call.output
    assert y.quant is not None
    low, high = y.dtype.limits

    def convert(value: Any, scale: Any, zero_point: Any) -> Any:
        # tinyc_nearest stops at +-131072, beyond every stored value and zero point of 16 bits
        return loops.clamp(loops.call("tinyc_nearest", value / scale) + zero_point, low, high)

    return _elementwise("quantize", call, y.quant, convert)


def kernel_dequantize(call: Call, target: Target, schedule: Schedule) -> Kernel:
    quant = call.inputs[0].quant
    assert quant is not None

    def convert(value: Any, scale: Any, zero_point: Any) -> Any:
        return (value.astype("int32") - zero_point).astype("float32") * scale

    return _elementwise("dequantize", call, quant, convert)


def _elementwise(name: str, call: Call, quant: QParams, convert: Any) -> Kernel:
    (x,), y = call.inputs, call.output
    rows = row_range(call, quant.axis not in (0, 1))
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    if quant.axis is None:
        scale, zero = loops.const(quant.scale[0], "float32"), loops.const(quant.zero_point[0])

        def one(i: Any) -> list[Any]:
            return [loops.store(result, i, convert(loops.load(source, i), scale, zero))]

        first, count = rows.span(len(x.shape))
        function = loops.function(
            [source, result, *rows.parameters], [loops.loop("i", count, one, first)]
        )
        return Kernel(name, function, rows=rows.count, float_code=True)
    (first, outer), inner = rows.span(quant.axis), elements(x.shape[quant.axis + 1 :])
    channels = x.shape[quant.axis]
    tables = (
        Constant("scales", read_only(quant.scale, "float32")),
        Constant("zero_points", read_only(quant.zero_point, "int32")),
    )
    buffers = [loops.buffer(t.role, t.array.size, str(t.array.dtype)) for t in tables]

    def at(i: Any, c: Any, k: Any) -> list[Any]:
        index = (i * channels + c) * inner + k
        scale, zero = (loops.load(b, c) for b in buffers)
        return [loops.store(result, index, convert(loops.load(source, index), scale, zero))]

    body = [
        loops.loop("i", outer, lambda i: [
            loops.loop("c", channels, lambda c: [loops.loop("k", inner, lambda k: at(i, c, k))])
        ], first)
    ]  # fmt: skip
    return Kernel(
        f"{name}_channels",
        loops.function([source, result, *buffers, *rows.parameters], body),
        tables,
        rows=rows.count,
        float_code=True,
    )


QUANTIZE = Op("Quantize", infer_quantize, reference_quantize, kernel_quantize, same_rows)
DEQUANTIZE = Op("Dequantize", infer_dequantize, reference_dequantize, kernel_dequantize, same_rows)
