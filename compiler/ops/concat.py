"""Concat: tensors behind each other along one axis; requantized where their scales differ."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import EIGHT_BITS, Array, Tensor, elements, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type, dequantized
from tinyc.compiler.ops.quantize import quantized
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ConcatAttrs:
    """axis >= 0."""

    axis: int


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    shape = list(inputs[0].shape)
    if shape:
        shape[attrs.axis] = sum(t.shape[attrs.axis] for t in inputs)
    return ((tuple(shape), inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    parts = [_converted(call, t, a) for t, a in zip(call.inputs, arrays, strict=True)]
    return (np.concatenate(parts, axis=call.attrs.axis) if parts[0].ndim else parts[0].copy(),)


def _converted(call: Call, tensor: Tensor, array: Array) -> Array:
    """`array` in the output's stored form."""
    y = call.output
    if tensor.quant == y.quant and tensor.dtype == y.dtype:
        return array
    assert y.quant is not None
    return quantized(dequantized(array, tensor).astype(np.float32), y.dtype, y.quant)


def can_quantize(call: Call) -> bool:
    tensors = (*call.inputs, call.output)
    per_tensor = all(t.quant is not None and t.quant.axis is None for t in tensors)
    return per_tensor and all(t.dtype in EIGHT_BITS for t in tensors)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    y, axis = call.output, call.attrs.axis
    result = loops.buffer("y", y.elements, y.dtype)
    row = elements(y.shape[axis:])
    constants: list[Constant] = []
    sources, tables, body, offset = [], [], [], 0
    for number, tensor in enumerate(call.inputs):
        source = loops.buffer(f"x{number}", tensor.elements, tensor.dtype)
        run = elements(tensor.shape[axis:])
        if tensor.data is not None:
            data = read_only(_converted(call, tensor, tensor.data).reshape(-1))
            constants.append(Constant(f"operand_{number}", data))
            source = loops.buffer(f"x{number}", tensor.elements, str(data.dtype))
            tables.append(source)
        else:
            sources.append(source)
        table = None
        if tensor.data is None and (tensor.quant != y.quant or tensor.dtype != y.dtype):
            every = np.arange(256, dtype=np.uint8).view(tensor.dtype.value)
            values = read_only(_converted(call, tensor, every))
            constants.append(Constant(f"table_{number}", values))
            table = loops.buffer(f"table{number}", 256, y.dtype)
            tables.append(table)
        body.append(_move(source, table, result, elements(y.shape[:axis]), run, row, offset))
        offset += run
    return Kernel("concat", loops.function([*sources, result, *tables], body), tuple(constants))


def _move(source: Any, table: Any, result: Any, count: int, run: int, row: int, offset: int) -> Any:
    """`count` runs of one input to their places in the output's rows."""

    def one(o: Any, k: Any) -> list[Any]:
        value = loops.load(source, o * run + k)
        if table is not None:
            value = loops.load(table, value.astype("uint8").astype("int32"))
        return [loops.store(result, o * row + offset + k, value)]

    return loops.loop("o", count, lambda o: [loops.loop("k", run, lambda k: one(o, k))])


CONCAT = Op("Concat", infer, reference, kernel, quantize=can_quantize)
