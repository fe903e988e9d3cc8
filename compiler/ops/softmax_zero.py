"""SoftmaxZero: Softmax along the last axis among the scores that are not zero, which stay."""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target

ZERO = 1e-7  # scores within it count as zero, as in onnxruntime


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("the softmax", x, (DType.FLOAT32,))
    return ((x.shape, x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x = arrays[0].astype(np.float64)
    counted = abs(x) > ZERO
    shares = np.exp(x - x.max(-1, keepdims=True)) * counted
    total = shares.sum(-1, keepdims=True)
    return ((shares / np.where(total > 0, total, 1)).astype(np.float32),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    largest, total = loops.local("largest", "float32"), loops.local("total", "float32")
    columns, zero = x.shape[-1], loops.const(0.0, "float32")

    def row(r: Any) -> list[Any]:
        first = r * columns

        def find(k: Any) -> list[Any]:
            value = loops.maximum(loops.load(largest, 0), loops.load(source, first + k))
            return [loops.store(largest, 0, value)]

        def share(k: Any) -> list[Any]:
            value = loops.load(source, first + k)
            size = loops.call("fabsf", value, dtype="float32")
            power = loops.call("expf", value - loops.load(largest, 0), dtype="float32")
            counted = loops.select(size > loops.const(ZERO, "float32"), power, zero)
            return [
                loops.store(result, first + k, counted),
                loops.store(total, 0, loops.load(total, 0) + loops.load(result, first + k)),
            ]

        def divide(k: Any) -> list[Any]:
            return [
                loops.store(result, first + k, loops.load(result, first + k) / loops.load(total, 0))
            ]

        return [
            *loops.declare(largest, total),
            loops.store(largest, 0, loops.load(source, first)),
            loops.store(total, 0, zero),
            loops.loop("k", columns - 1, find, 1),
            loops.loop("k", columns, share),
            loops.when(loops.load(total, 0) > zero, [loops.loop("k", columns, divide)]),
        ]

    body = [loops.loop("r", x.elements // columns, row)]
    return Kernel("softmax_zero", loops.function([source, result], body), float_code=True)


SOFTMAX_ZERO = Op("SoftmaxZero", infer, reference, kernel)
