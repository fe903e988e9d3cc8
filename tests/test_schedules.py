"""Schedules choose how a kernel computes, never what; equal workloads are equal values."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.harness import optimized, read_model, run_c
from tests.test_float_kernels import CASES as FLOAT_CASES
from tests.test_float_kernels import graph_of as float_layer
from tests.test_quantized_ops import CASES, inputs_for
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS, conv2d, dense, depthwise_conv2d, kernel_of
from tinyc.compiler.ops.op import Call, call_of, schedules_of
from tinyc.compiler.ops.workload import workload
from tinyc.targets import Target, load_target

ALGORITHMS = {
    "conv 3x3": conv2d.ALGORITHMS,
    "depthwise 3x3": depthwise_conv2d.ALGORITHMS,
    "matmul": dense.ALGORITHMS,
}
OTHER_TYPES = (  # tests/test_float_kernels.py, test_stored_weights.py, test_halfword_blocks.py
    "float", "packed", "gemm-smlad16", "halfword-",
)  # fmt: skip
CHOICES = [
    (case, name)
    for case, algorithms in ALGORITHMS.items()
    for name in algorithms
    if not name.startswith(OTHER_TYPES)
]
LAYERS = ("Conv2D", "DepthwiseConv2D", "Dense")
BLOCKS = [(1, 1, 1), (1, 4, 2), (4, 2, 4), (3, 3, 1)]


def graph_of(case: str, folder: Path) -> Graph:
    return optimized(read_model(CASES[case](), folder))


def scheduled(graph: Graph, schedule: Schedule) -> dict[str, Schedule]:
    return {node.name: schedule for node in graph.nodes if node.op in LAYERS}


@pytest.mark.parametrize(("case", "algorithm"), CHOICES)
def test_every_algorithm_gives_the_same_bytes(case: str, algorithm: str, tmp_path: Path) -> None:
    graph = graph_of(case, tmp_path)
    inputs = inputs_for(graph, "random")

    schedules = scheduled(graph, Schedule(algorithm))
    (computed,) = run_c(graph, [inputs], "cortex-m4", "host", schedules)

    np.testing.assert_array_equal(computed["y"], run(graph, inputs)["y"])


@pytest.mark.parametrize(("rows", "columns", "unroll"), BLOCKS)
def test_every_block_gives_the_same_bytes(
    rows: int, columns: int, unroll: int, tmp_path: Path
) -> None:
    graph = graph_of("conv 1x1, odd channels", tmp_path)
    inputs = inputs_for(graph, "random")

    schedules = scheduled(graph, Schedule("gemm", rows, columns, unroll))
    (computed,) = run_c(graph, [inputs], "host", "host", schedules)

    np.testing.assert_array_equal(computed["y"], run(graph, inputs)["y"])


@pytest.mark.parametrize("case", ["conv 1x1", "conv 3x3", "depthwise 3x3"])
def test_the_band_is_known_before_the_kernel_is_built(case: str, tmp_path: Path) -> None:
    graph, target = graph_of(case, tmp_path), load_target("cortex-m4")
    calls = [call_of(graph, node) for node in graph.nodes if node.op in LAYERS]

    assert check_bands(calls, target) > 0


def test_bands_of_float_layers_are_known_too() -> None:
    target = load_target("cortex-m7")
    graphs = [float_layer(FLOAT_CASES[name]) for name in ("conv 1x1", "conv 3x3, inside")]
    calls = [call_of(graph, node) for graph in graphs for node in graph.nodes if node.op in LAYERS]

    assert check_bands(calls, target) > 0


def check_bands(calls: Sequence[Call], target: Target) -> int:
    """Of all schedules whose band is known without the kernel; how many those are."""
    count = 0
    for call in calls:
        algorithms = OPS[call.node.op].algorithms
        for schedule in schedules_of(algorithms, call, target):
            known = algorithms[schedule.algorithm].band
            if known is not None:
                assert known(call, schedule) == kernel_of(call, target, schedule).band, schedule
                count += 1
    return count


def test_equal_workloads_are_equal_texts(tmp_path: Path) -> None:
    graphs = [graph_of(case, tmp_path) for case in ("conv 3x3", "conv 3x3", "conv 1x1")]

    one, same, other = (
        workload(call_of(g, next(n for n in g.nodes if n.op == "Conv2D"))) for g in graphs
    )

    assert one == same != other
    assert one == (
        "Conv2D int8[1,7,6,4] const int8[8,3,3,4] const int32[8] -> int8[1,7,6,8] pads=1,1,1,1"
    )
