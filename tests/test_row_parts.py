"""Kernels with a row range compute the same bytes in parts, as what streams calls them."""

import numpy as np
import pytest

from tests import test_conv_blocks, test_depthwise, test_float_kernels, test_pooling
from tests.harness import random_inputs
from tests.row_parts import Variant, odd_parts, parts_of, run_parts
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType, Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS, kernel_of
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.op import call_of, schedules_of
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

MACHINES = (
    ("cortex-m4", "cortex-m4"),
    ("cortex-m4", "host"),
    ("cortex-m0plus", "cortex-m0plus"),
    ("rv32imc", "rv32imc"),
)
CONVOLUTIONS = {
    "conv 1x1": ((5, 5, 8, 1, 1, Conv2DAttrs()), 6),
    "conv 3x3": ((7, 6, 8, 3, 3, Conv2DAttrs(pads=(1, 1, 1, 1))), 8),
    "conv 3x3, stride 2": ((9, 9, 3, 3, 3, Conv2DAttrs((2, 2), (0, 1, 1, 0))), 5),
}
GRAPHS: dict[str, Graph] = {
    **{name: test_conv_blocks.conv(w, oc) for name, (w, oc) in CONVOLUTIONS.items()},
    "conv 3x3, added": test_conv_blocks.conv(CONVOLUTIONS["conv 3x3"][0], 8, residual=True),
    **{
        f"depthwise {name}": test_depthwise.graph_of(*test_depthwise.CASES[name])
        for name in ("odd", "stride 2", "stride 2, below and right", "asymmetric padding", "5x5")
    },
    **{
        f"{op} {name}": test_pooling.graph_of(op, *test_pooling.CASES[name], DType.INT8)
        for op in test_pooling.ALGORITHMS
        for name in ("borders", "asymmetric")
    },
    **{
        f"float {name}": test_float_kernels.graph_of(test_float_kernels.CASES[name])
        for name in ("conv 1x1", "conv 3x3", "winograd", "depthwise", "depthwise, stride 2")
    },
}


@pytest.mark.parametrize(("target", "on"), MACHINES)
@pytest.mark.parametrize("case", GRAPHS)
def test_parts_give_the_same_bytes(case: str, target: str, on: str) -> None:
    graph, machine = GRAPHS[case], load_target(target)
    (node,) = graph.nodes
    call = call_of(graph, node)
    inputs = random_inputs(graph)
    expected = run(graph, inputs)["y"]

    every = schedules_of(OPS[node.op].algorithms, call, machine)
    variants: list[Variant] = []
    for schedule in {s.algorithm: s for s in every}.values():
        kernel = kernel_of(call, machine, schedule)
        assert kernel.rows == expected.shape[1]
        variants.append((schedule, parts_of(kernel.rows, 1)))
        variants.append((Schedule(schedule.algorithm), odd_parts(kernel.rows)))
    (computed,) = run_parts(graph, [inputs], target, on, variants)

    for y, variant in zip(computed, variants, strict=True):
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(y, expected, f"{variant}")
