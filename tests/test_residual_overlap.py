"""Results that lie over the rows of their residual that are added already."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from tests.harness import random_constant, random_inputs, stored
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType, Graph, Node, QParams, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.ops.residual import Residual
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.compiler.running import run_artifact
from tinyc.targets import Target, load_target

pytestmark = pytest.mark.sampled

HEIGHT, CHANNELS = 6, 8


def conv_graph(
    width: int, kernel: int, residual: float = 0.04, result: float = 0.06, own: float = 0.05
) -> Graph:
    """A convolution with a residual: the scales of that, of the sum and of its own result."""
    x = stored("x", (1, HEIGHT, width, CHANNELS), QParams((0.05,), (3,)))
    r = stored("r", (1, HEIGHT, width, CHANNELS), QParams((residual,), (-2,)))
    scales = QParams((0.01,) * CHANNELS, (0,) * CHANNELS, 0)
    w = random_constant("w", (CHANNELS, kernel, kernel, CHANNELS), DType.INT8, 1, scales)
    b = constant("b", np.random.default_rng(0).integers(-1000, 1000, CHANNELS), DType.INT32)
    y = stored("y", (1, HEIGHT, width, CHANNELS), QParams((result,), (1,)))
    added = Residual(DType.INT8, QParams((own,), (0,)), NO_CLAMP)
    attrs = Conv2DAttrs((1, 1), (kernel // 2,) * 4, (1, 1), 1, NO_CLAMP, added)
    node = Node("n", "Conv2D", ("x", "w", "b", "r"), ("y",), attrs, ("n",))
    return Graph("model", ("x", "r"), ("y",), (node,), {t.name: t for t in (x, r, w, b, y)})


def blocks_of(call: Call, target: Target) -> list[Schedule]:
    """Of every algorithm, a schedule for each number of pixels that a block may have."""
    found = []
    for name, algorithm in OPS["Conv2D"].algorithms.items():
        if algorithm.suits(call, target):
            schedules = sorted(algorithm.space(call, target), key=lambda s: s.rows)
            sizes = groupby(schedules, lambda s: s.rows)
            found += [replace(next(same), algorithm=name) for _, same in sizes]
    return found


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_blocks_longer_than_a_row(core: str, kernel: int, width: int) -> None:
    """A block writes results of later rows before it adds the residual of its first pixel."""
    target, graph = load_target(core), conv_graph(width, kernel)
    inputs = random_inputs(graph)
    expected = run(graph, inputs)["y"]

    for schedule in blocks_of(call_of(graph, graph.nodes[0]), target):
        artifact = emit_artifact(plan_program(graph, target, "arena", {"n": schedule}))
        found = run_artifact(artifact, target, inputs).outputs["y"]
        np.testing.assert_array_equal(found.reshape(expected.shape), expected, str(schedule))
