"""The blocks for RISC-V cores: every schedule gives the bytes of the meaning, on the core as well
as by the plain C twins.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.harness import optimized, read_model, run_c
from tests.qdq import Q, Weights
from tests.test_nibble_winograd import with_nibbles
from tests.test_quantized_ops import conv, inputs_for, matmul
from tinyc.compiler.graph import Array, DType, Graph, Node
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of, schedules_of
from tinyc.targets import load_target
from tinyc.targets.intrinsics.riscv_gemm import MOST_ABSOLUTE, within_halfwords

pytestmark = pytest.mark.sampled

TARGET = load_target("rv32imc")
LAYERS = ("Conv2D", "DepthwiseConv2D", "Dense")
BLOCKS = {"lanes", "winograd-scalar", "nibble-winograd-scalar", "rows", "pairs"}


def extreme(shape: tuple[int, ...]) -> Weights:
    """Weights of +-127 and -128 only: every group of products leaves 16 bits."""
    values = np.random.default_rng(3).choice([127, -127, -128], shape).astype(np.int8)
    scales = np.geomspace(1e-4, 2e-2, shape[0]).astype(np.float32)
    return Weights(values, scales, 0, 0)


WIDE_Q = Q(0.05, -128)
CASES: dict[str, Callable[[], onnx.ModelProto]] = {
    "1x1": conv((1, 8, 5, 7), (6, 8, 1, 1), (1, 6, 5, 7), relu=True),
    "1x1, one pixel": conv((1, 3, 1, 1), (2, 3, 1, 1), (1, 2, 1, 1)),
    "1x1, odd inputs, stride": conv((1, 7, 6, 5), (2, 7, 1, 1), (1, 2, 3, 3), strides=[2, 2]),
    "1x1, odd outputs": conv((1, 4, 3, 5), (5, 4, 1, 1), (1, 5, 3, 5)),
    "3x3, odd outputs": conv((1, 8, 5, 6), (7, 8, 3, 3), (1, 7, 5, 6), pads=[1] * 4),
    "1x1, extreme weights": conv((1, 16, 3, 7), (4, 16, 1, 1), (1, 4, 3, 7), weights=extreme((4, 16, 1, 1)),
                                 out=Q(1.0, 127)),
    "3x3": conv((1, 8, 7, 6), (8, 8, 3, 3), (1, 8, 7, 6), pads=[1] * 4),
    "3x3, no padding": conv((1, 9, 7, 6), (4, 9, 3, 3), (1, 4, 5, 4), with_bias=False),
    "3x3, unequal padding": conv((1, 10, 9, 11), (12, 10, 3, 3), (1, 12, 8, 11), pads=[0, 2, 1, 0],
                                 q_in=Q(0.05, 127), out=Q(0.3, 100)),
    "3x3 of one pixel": conv((1, 16, 1, 1), (4, 16, 3, 3), (1, 4, 1, 1), pads=[1] * 4, relu=True,
                             q_in=WIDE_Q, out=Q(0.3, -128)),
    "3x3, odd rows and columns": conv((1, 8, 13, 13), (8, 8, 3, 3), (1, 8, 13, 13), pads=[1] * 4),
    "3x3 of one column": conv((1, 8, 6, 1), (8, 8, 3, 3), (1, 8, 6, 1), pads=[1] * 4),
    "3x3, extreme weights": conv((1, 12, 4, 6), (4, 12, 3, 3), (1, 4, 4, 6), pads=[1] * 4,
                                 weights=extreme((4, 12, 3, 3)), out=Q(2.0, 0)),
    "3x3, stride 2": conv((1, 3, 15, 14), (8, 3, 3, 3), (1, 8, 8, 7), pads=[1, 0, 1, 1], strides=[2, 2]),
    "5x2, stride over kernel": conv((1, 4, 12, 16), (2, 4, 5, 2), (1, 2, 2, 6), strides=[6, 3]),
    "kernel over input": conv((1, 2, 2, 3), (4, 2, 5, 5), (1, 4, 2, 3), pads=[2] * 4),
    "1-D": conv((1, 3, 40), (4, 3, 5), (1, 4, 20), strides=[2], pads=[2, 2]),
    "depthwise": conv((1, 5, 6, 9), (5, 1, 3, 3), (1, 5, 6, 9), group=5, pads=[1] * 4, relu=True),
    "depthwise, one pixel": conv((1, 2, 1, 1), (2, 1, 3, 3), (1, 2, 1, 1), group=2, pads=[1] * 4,
                                 q_in=Q(0.05, 127)),
    "depthwise, no padding": conv((1, 4, 6, 4), (4, 1, 3, 3), (1, 4, 4, 2), group=4),
    "depthwise, one row": conv((1, 3, 1, 7), (3, 1, 3, 3), (1, 3, 1, 7), group=3, pads=[1] * 4),
    "depthwise, one column": conv((1, 3, 7, 1), (3, 1, 3, 3), (1, 3, 7, 1), group=3, pads=[1] * 4),
    "depthwise, right padding": conv((1, 3, 4, 4), (3, 1, 3, 3), (1, 3, 3, 3), group=3, pads=[0, 0, 1, 1]),
    "depthwise, left padding": conv((1, 3, 4, 4), (3, 1, 3, 3), (1, 3, 3, 3), group=3, pads=[1, 1, 0, 0]),
    "depthwise, stride 2": conv((1, 8, 7, 7), (8, 1, 3, 3), (1, 8, 4, 4), group=8, pads=[1] * 4,
                                strides=[2, 2], q_in=WIDE_Q),
    "depthwise, stride 2, even": conv((1, 4, 12, 10), (4, 1, 3, 3), (1, 4, 6, 5), group=4,
                                      pads=[0, 0, 1, 1], strides=[2, 2]),
    "depthwise, stride 2, unpadded": conv((1, 4, 8, 8), (4, 1, 3, 3), (1, 4, 3, 3), group=4,
                                          strides=[2, 2]),
    "depthwise, extreme weights": conv((1, 4, 5, 5), (4, 1, 3, 3), (1, 4, 5, 5), group=4, pads=[1] * 4,
                                       weights=extreme((4, 1, 3, 3)), out=Q(0.5, -128)),
    "dense": matmul(256, 16),
    "dense, odd channels": matmul(360, 13, axis=1),
    "dense, whole words only": matmul(1028, 5),
    "dense, many products": matmul(4096, 4),
}  # fmt: skip


def layer_of(graph: Graph) -> Node:
    return next(node for node in graph.nodes if node.op in LAYERS)


def check(case: str, on: str, folder: Path) -> None:
    check_graph(optimized(read_model(CASES[case](), folder)), on)


def check_graph(graph: Graph, on: str) -> None:
    samples = [inputs_for(graph, kind) for kind in ("random", "extremes")]
    node = layer_of(graph)
    tried = set()
    for schedule in schedules_of(OPS[node.op].algorithms, call_of(graph, node), TARGET):
        if schedule.algorithm in BLOCKS:
            tried.add(schedule.algorithm)
            computed = run_c(graph, samples, TARGET.name, on, {node.name: schedule})
            for inputs, outputs in zip(samples, computed, strict=True):
                np.testing.assert_array_equal(outputs["y"], run(graph, inputs)["y"], str(schedule))
    assert tried, "no block suits the case"


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_every_schedule_of_the_twins_gives_the_same_bytes(case: str, tmp_path: Path) -> None:
    check(case, "host", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_every_schedule_gives_the_same_bytes_on_the_core(case: str, tmp_path: Path) -> None:
    check(case, TARGET.name, tmp_path)


NIBBLES = {
    "3x3": ("int4", 0), "3x3, no padding": ("int4", 7), "3x3, unequal padding": ("uint4", 3),
    "3x3, odd outputs": ("int4", -8), "3x3 of one pixel": ("uint4", 0),
}  # fmt: skip


@pytest.mark.parametrize("on", ["host", pytest.param("rv32imc", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("case", "dtype", "zero"), [(n, *form) for n, form in NIBBLES.items()])
def test_weights_of_4_bits(case: str, dtype: str, zero: int, on: str, tmp_path: Path) -> None:
    graph = optimized(read_model(CASES[case](), tmp_path))
    check_graph(with_nibbles(graph, DType(dtype), zero), on)


@pytest.mark.parametrize("group", [4, 8])
def test_weights_stay_within_halfwords(group: int) -> None:
    weights: Array = np.random.default_rng(1).integers(-128, 128, (6, 64))
    weights[0], weights[1] = -128, 127

    kept = within_halfwords(weights, group)

    assert np.abs(kept.reshape(6, -1, group)).sum(axis=2).max() <= MOST_ABSOLUTE
    extra = weights - kept
    assert np.abs(extra).max() <= 128 and (np.sign(extra) * np.sign(weights) >= 0).all()
