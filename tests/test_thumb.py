"""The Thumb-1 algorithms give the bytes of the reference: their assembly and their C twins."""

from pathlib import Path

import numpy as np
import pytest

from tests.harness import optimized, read_model, run_c
from tests.qdq import Q, Weights
from tests.test_quantized_ops import CASES, conv, inputs_for, matmul
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Graph, Node
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of, rule_of_thumb, schedules_of
from tinyc.targets import load_target
from tinyc.targets.firmware import Port, Program
from tinyc.targets.intrinsics.thumb_gemm import pack
from tinyc.targets.runner import run_program

pytestmark = pytest.mark.sampled

M0 = load_target("cortex-m0plus")
ALGORITHM = {"Conv2D": "gemm-pairs", "Dense": "gemm-pairs", "DepthwiseConv2D": "pairs"}
EXTREMES = np.array([127, -127, 127, -127, 127, 127, -128], np.int8)


def full_range(shape: tuple[int, ...]) -> Weights:
    """Weights of +-127, a few of -128, no two of which stand together."""
    values = np.resize(EXTREMES, shape)
    return Weights(values, np.geomspace(1e-5, 2e-3, shape[0]).astype(np.float32), 0, 0)


def mixed(shape: tuple[int, ...]) -> Weights:
    """Small weights, that quads take, but for channels 0, 3, 6, ..."""
    values = np.random.default_rng(4).integers(-63, 64, shape).astype(np.int8)
    values[::3] = np.resize(EXTREMES, values[::3].shape)
    return Weights(values, np.full(shape[0], 0.001, np.float32), 0, 0)


SUITED = {
    **{
        name: CASES[name]
        for name in (
            *("conv 1x1", "conv 1x1, odd channels", "conv 1x1, stride 2", "conv 3x3"),
            *("conv 3x3, no padding", "conv, one input channel", "conv, stride over kernel"),
            *("conv, unequal padding", "conv, kernel over input", "conv, dilation"),
            *("conv, same upper", "conv, lowest zero point", "conv, highest zero point"),
            *("conv, one weight scale", "conv, scales over 2^20", "conv 1-D"),
            *("conv of many products", "conv 1x1 of five pixels", "matmul", "matmul, odd"),
            *("matmul, 4096 products", "depthwise 3x3", "depthwise, stride 2"),
            *("depthwise, odd rows and columns", "depthwise, no padding"),
            *("depthwise, stride 2, unequal", "depthwise, odd channels"),
        )
    },
    "one channel of one": CASES["conv 1x1 of one pixel"],
    "one output channel": CASES["conv, one output channel"],
    "two channels of one": conv((1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 1, 1)),
    "quads": conv((1, 24, 3, 5), (9, 24, 3, 3), (1, 9, 3, 5), weights=mixed((9, 24, 3, 3)),
                  pads=[1] * 4),
    "1x1, three channels, 17 pixels": conv((1, 12, 1, 17), (3, 12, 1, 1), (1, 3, 1, 17)),
    "3x3, full range": conv(
        (1, 8, 5, 6), (5, 8, 3, 3), (1, 5, 5, 6), weights=full_range((5, 8, 3, 3)),
        q_in=Q(0.05, -128), pads=[1] * 4,
    ),
    "3x3, stride 2, odd channels": conv((1, 3, 7, 9), (4, 3, 3, 3), (1, 4, 3, 4), strides=[2, 2]),
    "3x3, bounds": conv((1, 4, 5, 5), (4, 4, 3, 3), (1, 4, 3, 3), out=Q(0.3, -50), relu=True),
    "dense, three groups": matmul(12, 5),
    "depthwise, two channels": conv((1, 2, 5, 7), (2, 1, 3, 3), (1, 2, 5, 7), group=2,
                                    pads=[1] * 4),
    "depthwise, one column": conv((1, 4, 5, 3), (4, 1, 3, 3), (1, 4, 3, 1), group=4),
    "depthwise, one row": conv((1, 4, 1, 5), (4, 1, 3, 3), (1, 4, 1, 5), group=4, pads=[1] * 4),
    "depthwise, wide padding": conv((1, 3, 4, 4), (3, 1, 3, 3), (1, 3, 7, 6), group=3,
                                    pads=[3, 2, 2, 2]),
    "depthwise, full range": conv(
        (1, 6, 7, 6), (6, 1, 3, 3), (1, 6, 7, 6), weights=full_range((6, 1, 3, 3)), group=6,
        pads=[1] * 4, q_in=Q(0.05, 127), relu=True,
    ),
}  # fmt: skip


def layer_of(graph: Graph) -> Node:
    (node,) = (n for n in graph.nodes if n.op in ALGORITHM)
    return node


@pytest.mark.parametrize("on", ["host", "cortex-m0plus"])
@pytest.mark.parametrize("case", SUITED, ids=list(SUITED))
def test_schedules_give_the_same_bytes(case: str, on: str, tmp_path: Path) -> None:
    graph = optimized(read_model(SUITED[case](), tmp_path))
    node = layer_of(graph)
    samples = [inputs_for(graph, kind) for kind in ("random", "extremes")]
    schedules = schedules_of(OPS[node.op].algorithms, call_of(graph, node), M0)
    tried = [s for s in schedules if s.algorithm == ALGORITHM.get(node.op)]

    assert rule_of_thumb(OPS[node.op].algorithms, call_of(graph, node), M0) == tried[0].algorithm
    others = tried[1:-1:3] if on == "host" else ()
    for schedule in (Schedule(), tried[-1], *others):
        computed = run_c(graph, samples, "cortex-m0plus", on, {node.name: schedule})
        for inputs, outputs in zip(samples, computed, strict=True):
            np.testing.assert_array_equal(outputs["y"], run(graph, inputs)["y"])


def lowest(shape: tuple[int, ...]) -> Weights:
    values: Array = np.full(shape, -128, np.int8)
    return Weights(values, np.full(shape[0], 0.001, np.float32), 0, 0)


UNSUITED = {
    "pairs of -128": conv((1, 4, 5, 5), (4, 4, 3, 3), (1, 4, 3, 3), weights=lowest((4, 4, 3, 3))),
    "depthwise of -128": conv(
        (1, 4, 5, 5), (4, 1, 3, 3), (1, 4, 3, 3), weights=lowest((4, 1, 3, 3)), group=4
    ),
    "groups": CASES["conv, groups"],
    "uint8": CASES["conv, uint8"],
    "asymmetric weights": CASES["conv, asymmetric weights"],
    "wide scale": CASES["conv, scale over a half"],
    "multiplier": CASES["depthwise, multiplier 2"],
}


@pytest.mark.parametrize("case", UNSUITED, ids=list(UNSUITED))
def test_other_layers_are_left_to_plain_c(case: str, tmp_path: Path) -> None:
    graph = optimized(read_model(UNSUITED[case](), tmp_path))
    node = layer_of(graph)
    inputs = inputs_for(graph, "extremes")

    chosen = rule_of_thumb(OPS[node.op].algorithms, call_of(graph, node), M0)
    (computed,) = run_c(graph, [inputs], "cortex-m0plus", "cortex-m0plus")

    assert chosen != ALGORITHM[node.op]
    np.testing.assert_array_equal(computed["y"], run(graph, inputs)["y"])


PACKING = """\
#include "pack.h"
#include <string.h>
{text}
void pack_run(pack_arena *arena, const int8_t x[24], uint32_t y[40]) {{
  (void)arena;
  for (int32_t offset = 0; offset < 4; ++offset) {{
    tinyc_pack_pairs(&x[offset], 5, &y[10 * offset]);
  }}
}}
"""
PACK_HEADER = """\
#include <stdint.h>
typedef struct {
  uint8_t bytes[4];
} pack_arena;
void pack_run(pack_arena *arena, const int8_t x[24], uint32_t y[40]);
"""


@pytest.mark.parametrize("on", ["host", "cortex-m0plus"])
def test_values_are_packed_from_any_address(on: str) -> None:
    sources = {"pack.h": PACK_HEADER, "pack.c": PACKING.format(text=pack().text)}
    ports = Port("x", "int8_t", 24), Port("y", "uint32_t", 160)
    x = np.random.default_rng(3).integers(-128, 128, 24).astype(np.int8)

    result = run_program(
        Program("pack", sources, ports[:1], ports[1:], "caller"), load_target(on), [(x.tobytes(),)]
    )

    groups = np.stack([x[i : i + 20] for i in range(4)]).reshape(-1, 4).astype(np.int64)
    expected = groups[:, :2] + (groups[:, 2:] << 16)
    computed = np.frombuffer(result.outputs[0][0], np.uint32)
    np.testing.assert_array_equal(computed, expected.reshape(-1).astype(np.uint32))
