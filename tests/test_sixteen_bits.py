"""Activations of 16 bits beside 8-bit weights: integers throughout, C equal to the meaning bit for
bit, and within one step of exact arithmetic on reals.

As in `test_quantized_ops.py`, every case runs on random values and on the extremes only.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.harness import (
    assert_c_computes_the_meaning,
    optimized,
    read_model,
    run_onnxruntime,
)
from tests.qdq import Q, Weights, qdq_model, random_weights
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run

Q16, U16 = partial(Q, dtype="int16"), partial(Q, dtype="uint16")
X = Q16(0.000203, 0)
FLOAT_OPS = ("Quantize", "Dequantize")
OPSET = 21  # the first whose QuantizeLinear has 16 bits


def layer(
    op: str, x: tuple[int, ...], w: Weights, y: tuple[int, ...], out: Q, q_in: Q = X,
    biases: int = 2000, **options: Any,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    """biases  the largest one; 0: no bias"""
    count = w.values.shape[w.axis]
    bias = np.random.default_rng(2).integers(-biases, biases + 1, count).astype(np.int32)
    return partial(
        qdq_model, op, [x], out, y, [q_in], [w], bias if biases else None, opset=OPSET, **options
    )


def simple(
    op: str, shapes: list[tuple[int, ...]], y: tuple[int, ...], ins: list[Q], out: Q,
    **attributes: Any,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    return partial(qdq_model, op, shapes, out, y, ins, opset=OPSET, **attributes)


def full(shape: tuple[int, ...], value: int = 127) -> Weights:
    """All weights as large as they can be: sums that leave int32."""
    return Weights(np.full(shape, value, np.int8), np.full(shape[0], 0.01, np.float32))


W3, W1 = random_weights((4, 3, 3, 3), 0), random_weights((5, 7, 1, 1), 0)
DEPTHWISE = random_weights((8, 1, 3, 3), 0)
UNSYMMETRIC = random_weights((5, 3, 3, 3), None, dtype="uint8", zero_point=131)
CASES: dict[str, Callable[[], onnx.ModelProto]] = {
    "conv 3x3": layer("Conv", (1, 3, 7, 6), W3, (1, 4, 7, 6), Q16(0.0003), pads=[1] * 4),
    "conv 1x1": layer("Conv", (1, 7, 3, 3), W1, (1, 5, 3, 3), Q16(0.0003), relu=True),
    "conv, zero points": layer("Conv", (1, 3, 7, 6), W3, (1, 4, 4, 3), Q16(0.0003, -3000),
                               Q16(0.0002, 5000), pads=[1] * 4, strides=[2, 2]),
    "conv, uint16": layer("Conv", (1, 3, 5, 5), W3, (1, 4, 5, 5), U16(0.0003, 40000),
                          U16(0.0002, 30000), pads=[1] * 4),
    "conv, asymmetric weights": layer("Conv", (1, 3, 5, 5), UNSYMMETRIC, (1, 5, 5, 5), Q16(0.0004),
                                      biases=0, pads=[1] * 4),
    "conv, long sums": layer("Conv", (1, 64, 3, 3), full((3, 64, 3, 3)), (1, 3, 3, 3), Q16(0.02),
                             pads=[1] * 4),
    "conv, long sums to int8": layer("Conv", (1, 64, 4, 3), full((3, 64, 3, 3), -127),
                                     (1, 3, 2, 1), Q(0.5, -7)),
    "conv, large bias": layer("Conv", (1, 3, 4, 4), W3, (1, 4, 2, 2), Q16(0.01), biases=2**31 - 2),
    "conv, to int8": layer("Conv", (1, 3, 5, 5), W3, (1, 4, 3, 3), Q(0.1, -3), relu=True),
    "conv, from int8": layer("Conv", (1, 3, 5, 5), W3, (1, 4, 3, 3), Q16(0.0005), Q(0.05, 3)),
    "conv, scale over one": layer("Conv", (1, 3, 5, 5), W3, (1, 4, 3, 3), Q16(1e-7)),
    "conv, groups": layer("Conv", (1, 6, 5, 5), random_weights((4, 3, 3, 3), 0), (1, 4, 3, 3),
                          Q16(0.0003), group=2),
    "conv 1-D": layer("Conv", (1, 3, 20), random_weights((4, 3, 5), 0), (1, 4, 10), Q16(0.0003),
                      strides=[2], pads=[2, 2]),
    "depthwise": layer("Conv", (1, 8, 6, 5), DEPTHWISE, (1, 8, 6, 5), Q16(0.0003), group=8,
                       pads=[1] * 4, relu=True),
    "depthwise, zero point": layer("Conv", (1, 8, 7, 7), DEPTHWISE, (1, 8, 4, 4), Q16(0.0003, 77),
                                   Q16(0.0002, -32768), group=8, pads=[1] * 4, strides=[2, 2]),
    "depthwise, multiplier 2": layer("Conv", (1, 4, 6, 5), DEPTHWISE, (1, 8, 4, 3), Q16(0.0003),
                                     group=4),
    "depthwise, long sums": layer("Conv", (1, 2, 30, 30), full((2, 1, 25, 25)), (1, 2, 6, 6),
                                  Q16(0.02), group=2),
    "matmul": layer("MatMul", (1, 16), random_weights((16, 8), 1), (1, 8), Q16(0.0004), biases=0),
    "matmul, rows": layer("MatMul", (3, 13), random_weights((13, 7), None), (3, 7), Q16(0.0004),
                          biases=0),
    "matmul, long sums": layer("MatMul", (2, 4096), random_weights((4096, 3), 1), (2, 3),
                               Q16(0.002), biases=0),
    "matmul of two": simple("MatMul", [(2, 3, 9), (2, 9, 4)], (2, 3, 4), [X, Q16(0.0001)],
                            Q16(0.0004)),
    "matmul of 16 and 8 bits": simple("MatMul", [(3, 9), (9, 4)], (3, 4), [X, Q(0.02, 3)],
                                      Q16(0.0004)),
    "add": simple("Add", [(1, 3, 4, 5)] * 2, (1, 3, 4, 5), [X, Q16(0.0003)], Q16(0.0004)),
    "add, zero points": simple("Add", [(1, 99)] * 2, (1, 99), [Q16(0.0002, -700), Q16(0.0003, 9)],
                               Q16(0.000397, 1234), relu=True),
    "add of 16 and 8 bits": simple("Add", [(2, 33)] * 2, (2, 33), [X, Q(0.05, 5)], Q16(0.0003)),
    "add, broadcast": simple("Add", [(1, 3, 4, 5), (1, 3, 1, 1)], (1, 3, 4, 5), [X, X],
                             Q16(0.000397)),
    "add, scales far apart": simple("Add", [(64,)] * 2, (64,), [Q16(10.0), Q16(1e-6)], Q16(0.5)),
    "sub, to int8": simple("Sub", [(1, 30)] * 2, (1, 30), [X, Q16(0.0003)], Q(0.1, 4)),
    "mul": simple("Mul", [(1, 30)] * 2, (1, 30), [X, Q16(0.0001, 7)], Q16(0.0004, -9)),
    "mul, uint16": simple("Mul", [(1, 30)] * 2, (1, 30), [U16(0.01), U16(0.02)], U16(10.0)),
    "max": simple("Max", [(1, 30)] * 2, (1, 30), [X, X], X),
    "max pool": simple("MaxPool", [(1, 3, 5, 5)], (1, 3, 3, 3), [X], X, kernel_shape=[3, 3],
                       strides=[2, 2], pads=[1] * 4),
    "average pool": simple("AveragePool", [(1, 4, 5, 5)], (1, 4, 5, 5), [Q16(0.0002, -99)],
                           Q16(0.00017, 4), kernel_shape=[3, 3], pads=[1] * 4),
    "average pool, to int8": simple("AveragePool", [(1, 4, 6, 6)], (1, 4, 3, 3), [X], Q(0.05, -4),
                                    kernel_shape=[2, 2], strides=[2, 2]),
    "global average": simple("GlobalAveragePool", [(1, 6, 5, 7)], (1, 6, 1, 1), [X], Q16(0.0001)),
    "mean": simple("ReduceMean", [(1, 6, 9)], (1, 6, 1), [Q16(0.0002, 5)], Q16(0.0001, -5)),
    "conv, padded sides": layer("Conv", (1, 4, 4, 5), random_weights((4, 2, 2, 3), 0), (1, 4, 5, 5),
                                Q16(0.0003), Q16(0.0002, -257), pads=[1] * 4, group=2),
    "requantization": simple("Identity", [(1, 300)], (1, 300), [X], Q16(0.00031, 77)),
    "to int8": simple("Identity", [(1, 300)], (1, 300), [X], Q(0.05, 3)),
    "from int8": simple("Identity", [(1, 256)], (1, 256), [Q(0.05, 3)], Q16(0.0003)),
    "relu": simple("Relu", [(1, 300)], (1, 300), [X], Q16(0.0001)),
    "sigmoid of int8": simple("Sigmoid", [(1, 256)], (1, 256), [Q(0.05, 3)], Q16(1 / 32768)),
    "softmax of int8": simple("Softmax", [(3, 12)], (3, 12), [Q(0.1, 4)], Q16(2.0**-16, -32768)),
    "softmax of int8, steep": simple("Softmax", [(1, 64)], (1, 64), [Q(1.5, 0)],
                                     U16(2.0**-16, 0)),
    "concat": simple("Concat", [(1, 2, 3), (1, 4, 3)], (1, 6, 3), [X, X], X, axis=1),
    "transpose": simple("Transpose", [(2, 3, 4)], (4, 2, 3), [X], X, perm=[2, 0, 1]),
}  # fmt: skip


def inputs_for(graph: Graph, kind: str) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    values: dict[str, Array] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        low, high = tensor.dtype.limits
        array = rng.integers(low, high + 1, tensor.shape)
        if kind == "largest":
            array = np.full_like(array, low)
        elif kind == "extremes":
            array = np.where(array % 2 == 0, low, high)
        values[name] = array.astype(tensor.dtype.value)
    return values


@pytest.mark.parametrize("kind", ["random", "extremes", "largest"])
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_the_meaning_is_that_of_reals(case: str, kind: str, tmp_path: Path) -> None:
    """onnxruntime sums float32, which have fewer bits than these sums; twice a step for it."""
    model = CASES[case]()
    graph = optimized(read_model(model, tmp_path))
    inputs = inputs_for(graph, kind)

    ours = run(graph, inputs)["y"].astype(np.int64)

    theirs = run_onnxruntime(model, inputs)["y"].astype(np.int64)
    assert not [n.op for n in graph.nodes if n.op in FLOAT_OPS], "a float is left"
    assert np.abs(ours - theirs).max() <= 2
    assert (ours != theirs).mean() <= 0.02 + 2 / ours.size


def check(case: str, target: str, on: str, folder: Path) -> None:
    """The C for `target`, run on another, gives the bytes of the reference."""
    graph = optimized(read_model(CASES[case](), folder))
    samples = [inputs_for(graph, kind) for kind in ("random", "extremes", "largest")]
    assert_c_computes_the_meaning(graph, samples, target, on)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_the_c_computes_the_meaning(case: str, target: str, tmp_path: Path) -> None:
    check(case, target, "host", tmp_path)


EMULATED = ("conv 3x3", "conv, long sums", "depthwise", "matmul, long sums", "add", "mul",
            "average pool", "requantization")  # fmt: skip


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("case", EMULATED)
def test_the_core_computes_the_meaning(case: str, target: str, tmp_path: Path) -> None:
    check(case, target, target, tmp_path)
