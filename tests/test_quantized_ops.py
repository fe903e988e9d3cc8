"""Quantized operators as exporters write them: absorbed whole, C equal to the meaning bit for bit,
and within one step of onnxruntime.

Every case runs on random values and on the extremes only (all -128 or 127), as the C for the
host, as the portable twins of the DSP code, and as the C of a core without a long multiply.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.harness import (
    assert_c_computes_the_meaning,
    optimized,
    random_values,
    read_model,
    run_onnxruntime,
)
from tests.qdq import Q, Weights, qdq_model, random_weights
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run

SEED = 5
Q_IN, Q_OUT = Q(), Q(0.3, -5)
FLOAT_OPS = ("Quantize", "Dequantize")


def conv(
    x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], *, q_in: Q = Q_IN, out: Q = Q_OUT,
    per_channel: bool = True, with_bias: bool = True, relu: bool = False,
    weights: Weights | None = None, **attributes: Any,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    def build() -> onnx.ModelProto:
        stored = weights or random_weights(w, 0 if per_channel else None)
        bias = np.random.default_rng(2).integers(-2000, 2000, w[0]).astype(np.int32)
        return qdq_model(
            "Conv", [x], out, y, [q_in], [stored], bias if with_bias else None, relu, **attributes
        )

    return build


def simple(
    op: str, shapes: list[tuple[int, ...]], y: tuple[int, ...], ins: list[Q], out: Q,
    **attributes: Any,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    return lambda: qdq_model(op, shapes, out, y, ins, **attributes)


def matmul(k: int, n: int, **options: Any) -> Callable[[], onnx.ModelProto]:
    weights = random_weights((k, n), options.pop("axis", None))
    out = options.pop("out", Q(0.2 * k**0.5, 1))
    return lambda: qdq_model("MatMul", [(1, k)], out, (1, n), [Q_IN], [weights], **options)


WIDE = Weights(np.full((3, 2, 1, 1), 100, np.int8), np.array([0.5, 2.0, 0.001], np.float32), 0, 0)
SPREAD = random_weights((6, 4, 3, 3), 0, spread=20)
UNSYMMETRIC = random_weights((5, 3, 3, 3), None, dtype="uint8", zero_point=131)
U8 = Q(0.04, 120, "uint8")
CASES: dict[str, Callable[[], onnx.ModelProto]] = {
    "conv 1x1 of one pixel": conv((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
    "conv 1x1": conv((1, 8, 5, 7), (6, 8, 1, 1), (1, 6, 5, 7), relu=True),
    "conv 1x1, odd channels": conv((1, 7, 3, 3), (5, 7, 1, 1), (1, 5, 3, 3)),
    "conv 1x1, stride 2": conv((1, 8, 6, 5), (3, 8, 1, 1), (1, 3, 3, 3), strides=[2, 2]),
    "conv 3x3": conv((1, 4, 7, 6), (8, 4, 3, 3), (1, 8, 7, 6), pads=[1, 1, 1, 1]),
    "conv 3x3, no padding": conv((1, 4, 7, 6), (3, 4, 3, 3), (1, 3, 5, 4), with_bias=False),
    "conv, one input channel": conv((1, 1, 9, 8), (4, 1, 4, 3), (1, 4, 6, 6)),
    "conv, one output channel": conv((1, 3, 5, 5), (1, 3, 3, 3), (1, 1, 5, 5), pads=[1] * 4),
    "conv, stride over kernel": conv((1, 2, 9, 9), (3, 2, 2, 2), (1, 3, 3, 3), strides=[3, 4]),
    "conv, unequal padding": conv((1, 3, 6, 5), (4, 3, 3, 3), (1, 4, 4, 5), pads=[0, 2, 2, 1],
                                  strides=[2, 1], out=Q(0.4, 20)),
    "conv, kernel over input": conv((1, 2, 2, 3), (3, 2, 5, 5), (1, 3, 2, 3), pads=[2] * 4),
    "conv, dilation": conv((1, 3, 9, 9), (2, 3, 3, 3), (1, 2, 5, 5), dilations=[2, 2]),
    "conv, groups": conv((1, 6, 5, 5), (4, 3, 3, 3), (1, 4, 5, 5), group=2, pads=[1] * 4),
    "conv, same upper": conv((1, 2, 7, 7), (3, 2, 3, 3), (1, 3, 4, 4), strides=[2, 2],
                             auto_pad="SAME_UPPER"),
    "conv, lowest zero point": conv((1, 4, 5, 5), (4, 4, 3, 3), (1, 4, 5, 5), q_in=Q(0.05, -128),
                                    out=Q(0.3, -128), pads=[1] * 4, relu=True),
    "conv, highest zero point": conv((1, 4, 5, 5), (4, 4, 3, 3), (1, 4, 5, 5), q_in=Q(0.05, 127),
                                     out=Q(0.3, 127), pads=[1] * 4),
    "conv, uint8": conv((1, 4, 5, 5), (4, 4, 3, 3), (1, 4, 5, 5), q_in=U8,
                        out=Q(0.3, 100, "uint8"), pads=[1] * 4),
    "conv, unsigned to signed": conv((1, 4, 5, 5), (4, 4, 1, 1), (1, 4, 5, 5), q_in=U8, out=Q(0.2, 0)),
    "conv, asymmetric weights": conv((1, 3, 5, 5), (5, 3, 3, 3), (1, 5, 5, 5), per_channel=False,
                                     weights=UNSYMMETRIC, pads=[1] * 4, out=Q(1.0, 0)),
    "conv, one weight scale": conv((1, 4, 5, 5), (6, 4, 3, 3), (1, 6, 3, 3), per_channel=False),
    "conv, scales over 2^20": conv((1, 4, 5, 5), (6, 4, 3, 3), (1, 6, 3, 3), weights=SPREAD,
                                   out=Q(0.5, 0)),
    "conv, scale over a half": conv((1, 2, 3, 3), (3, 2, 1, 1), (1, 3, 3, 3), weights=WIDE,
                                    q_in=Q(1.0, 0), out=Q(0.75, -3), with_bias=False),
    "conv, batch of two": conv((2, 3, 4, 4), (4, 3, 3, 3), (2, 4, 4, 4), pads=[1] * 4),
    "conv 1-D": conv((1, 3, 20), (4, 3, 5), (1, 4, 10), strides=[2], pads=[2, 2]),
    "depthwise 3x3": conv((1, 8, 6, 5), (8, 1, 3, 3), (1, 8, 6, 5), group=8, pads=[1] * 4,
                          relu=True),
    "depthwise, stride 2": conv((1, 8, 7, 7), (8, 1, 3, 3), (1, 8, 4, 4), group=8, pads=[1] * 4,
                                strides=[2, 2]),
    "depthwise, odd rows and columns": conv((1, 4, 11, 9), (4, 1, 3, 3), (1, 4, 11, 9), group=4, pads=[1] * 4,
                                            out=Q(0.3, -20), relu=True),
    "depthwise, no padding": conv((1, 4, 6, 4), (4, 1, 3, 3), (1, 4, 4, 2), group=4),
    "depthwise, stride 2, unequal": conv((1, 4, 12, 10), (4, 1, 3, 3), (1, 4, 6, 5), group=4,
                                         pads=[0, 0, 1, 1], strides=[2, 2], q_in=Q(0.05, -128)),
    "conv of many products": conv((1, 40, 4, 5), (4, 40, 3, 3), (1, 4, 4, 5), pads=[1] * 4, out=Q(1.0, 0)),
    "conv 1x1 of five pixels": conv((1, 64, 1, 5), (8, 64, 1, 1), (1, 8, 1, 5)),
    "depthwise, odd channels": conv((1, 5, 6, 5), (5, 1, 3, 3), (1, 5, 6, 5), group=5, pads=[1] * 4),
    "depthwise, multiplier 2": conv((1, 4, 6, 5), (8, 1, 3, 3), (1, 8, 4, 3), group=4),
    "depthwise, 5x1, dilated": conv((1, 4, 12, 3), (4, 1, 5, 1), (1, 4, 4, 3), group=4,
                                    dilations=[2, 1]),
    "depthwise, uint8": conv((1, 8, 5, 5), (8, 1, 3, 3), (1, 8, 5, 5), group=8, pads=[1] * 4,
                             q_in=U8, out=Q(0.2, 128, "uint8")),
    "depthwise 1-D": conv((1, 4, 11), (4, 1, 3), (1, 4, 11), group=4, pads=[1, 1]),
    "matmul": matmul(16, 8),
    "matmul of one": matmul(1, 1),
    "matmul, odd": matmul(13, 7, axis=1),
    "matmul, 4096 products": matmul(4096, 3),
    "add": simple("Add", [(1, 3, 4, 5)] * 2, (1, 3, 4, 5), [Q(0.1013, 5), Q(0.0307, -9)], Q(0.1219, 1)),
    "add, relu": simple("Add", [(1, 7)] * 2, (1, 7), [Q(0.1013, 5), Q(0.2031, -9)], Q(0.2, -128), relu=True),
    "add, broadcast": simple("Add", [(1, 3, 4, 5), (1, 3, 1, 1)], (1, 3, 4, 5),
                             [Q(0.1013, 5), Q(0.0307, -9)], Q(0.1219, 1)),
    "add, scales far apart": simple("Add", [(64,)] * 2, (64,), [Q(10.0, 0), Q(0.001, 0)], Q(0.5, 0)),
    "sub": simple("Sub", [(1, 30)] * 2, (1, 30), [Q(0.1013, 5), Q(0.0917, -128)], Q(0.2031, 127)),
    "mul": simple("Mul", [(1, 30)] * 2, (1, 30), [Q(0.1, 5), Q(0.05, -9)], Q(0.4, 0)),
    "max": simple("Max", [(1, 30)] * 2, (1, 30), [Q(0.1, 5)] * 2, Q(0.1, 5)),
    "min, uint8, broadcast": simple("Min", [(2, 30), (1, 30)], (2, 30), [U8, U8], U8),
    "mul, uint8": simple("Mul", [(1, 30)] * 2, (1, 30), [U8, U8], Q(0.2, 7, "uint8")),
    "max pool": simple("MaxPool", [(1, 3, 6, 6)], (1, 3, 3, 3), [Q(0.1, 4)], Q(0.1, 4),
                       kernel_shape=[2, 2], strides=[2, 2]),
    "max pool, padded": simple("MaxPool", [(1, 3, 5, 5)], (1, 3, 3, 3), [Q(0.1, 4)], Q(0.1, 4),
                               kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "average pool": simple("AveragePool", [(1, 4, 6, 6)], (1, 4, 3, 3), [Q(0.1, 4)], Q(0.0719, -4),
                           kernel_shape=[2, 2], strides=[2, 2]),
    "average pool, borders": simple("AveragePool", [(1, 4, 5, 5)], (1, 4, 5, 5), [Q(0.1, 4)],
                                    Q(0.0937, 4), kernel_shape=[3, 3], pads=[1] * 4),
    "average pool, padding counts": simple("AveragePool", [(1, 4, 5, 5)], (1, 4, 5, 5), [Q(0.1, 4)],
                                           Q(0.0937, 4), kernel_shape=[3, 3], pads=[1] * 4,
                                           count_include_pad=1),
    "global average": simple("GlobalAveragePool", [(1, 6, 5, 7)], (1, 6, 1, 1), [Q(0.1, -128)],
                             Q(0.05, -128)),
    "mean over a 1-D axis": simple("ReduceMean", [(1, 6, 9)], (1, 6), [Q(0.1, 3)], Q(0.05, 0),
                                   axes=[2], keepdims=0),
    "softmax": simple("Softmax", [(1, 12)], (1, 12), [Q(0.15, 14)], Q(1 / 256, -128)),
    "softmax, steep": simple("Softmax", [(1, 10)], (1, 10), [Q(1.5, 0)], Q(1 / 256, -128)),
    "softmax, uint8, other scale": simple("Softmax", [(1, 5)], (1, 5), [U8], Q(0.005, 0, "uint8")),
    "softmax over channels": simple("Softmax", [(1, 4, 3, 3)], (1, 4, 3, 3), [Q(0.1, 0)],
                                    Q(1 / 256, -128), axis=1),
    "sigmoid": simple("Sigmoid", [(1, 256)], (1, 256), [Q(0.05, 3)], Q(1 / 256, -128)),
    "tanh": simple("Tanh", [(1, 256)], (1, 256), [Q(0.03, 3)], Q(1 / 128, 0)),
    "hard swish": simple("HardSwish", [(1, 256)], (1, 256), [Q(0.05, 3)], Q(0.04, -100)),
    "leaky relu": simple("LeakyRelu", [(1, 256)], (1, 256), [Q(0.05, 3)], Q(0.05, -100), alpha=0.1),
    "requantization": simple("Identity", [(1, 256)], (1, 256), [Q(0.05, 3)], Q(0.07, -10)),
    "concat": simple("Concat", [(1, 2, 3), (1, 4, 3)], (1, 6, 3), [Q(0.1, 5), Q(0.05, 1)],
                     Q(0.1, 5), axis=1),
    "transpose": simple("Transpose", [(2, 3, 4)], (4, 2, 3), [Q()], Q(), perm=[2, 0, 1]),
}  # fmt: skip


def inputs_for(graph: Graph, kind: str) -> dict[str, Array]:
    rng = np.random.default_rng(SEED)
    values = {name: random_values(graph.tensors[name], rng) for name in graph.inputs}
    if kind == "extremes":
        for name, array in values.items():
            low, high = graph.tensors[name].dtype.limits
            values[name] = np.where(array % 2 == 0, low, high).astype(array.dtype)
    for name, array in values.items():  # every stored value where there is room for all
        if array.size == 256 and kind == "random":
            values[name] = np.arange(256, dtype=np.uint8).view(array.dtype).reshape(array.shape)
    return values


@pytest.mark.parametrize("kind", ["random", "extremes"])
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_the_meaning_is_onnxruntimes(case: str, kind: str, tmp_path: Path) -> None:
    model = CASES[case]()
    graph = optimized(read_model(model, tmp_path))
    inputs = inputs_for(graph, kind)

    ours = run(graph, inputs)["y"].astype(np.int64)

    theirs = run_onnxruntime(model, inputs)["y"].astype(np.int64)
    assert not [n.op for n in graph.nodes if n.op in FLOAT_OPS], "a float is left"
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() <= 0.001 + 2 / ours.size  # the least that one tie can make


def check(case: str, target: str, on: str, folder: Path) -> None:
    """The C for `target`, run on another, gives the bytes of the reference."""
    graph = optimized(read_model(CASES[case](), folder))
    samples = [inputs_for(graph, kind) for kind in ("random", "extremes")]
    assert_c_computes_the_meaning(graph, samples, target, on)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_the_c_computes_the_meaning(case: str, target: str, tmp_path: Path) -> None:
    check(case, target, "host", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_the_core_computes_the_meaning(case: str, target: str, tmp_path: Path) -> None:
    check(case, target, target, tmp_path)
