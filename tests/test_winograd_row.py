"""Winograd's convolution by rows gives the bytes of the reference; the cases of the other forms."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.harness import random_inputs
from tests.test_winograd import EMPTY, M4, SAME, beside, check, convolution, strided
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType, Graph, QParams, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.conv2d import ALGORITHMS
from tinyc.compiler.ops.op import call_of, rule_of_thumb
from tinyc.compiler.ops.residual import Residual
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.compiler.running import run_artifact

pytestmark = pytest.mark.sampled

ONE, TWO = (Schedule("winograd-row", rows=tiles) for tiles in (1, 2))  # tiles of a pass
MACHINES = ["host", "cortex-m4"]


@pytest.mark.parametrize("schedule", [ONE, TWO])
@pytest.mark.parametrize("on", MACHINES)
@pytest.mark.parametrize("channels", [3, 4])
def test_every_size(channels: int, on: str, schedule: Schedule) -> None:
    graph = EMPTY
    for height, width in zip((1, 2, 3, 4, 5, 1, 2, 3, 6), range(4, 13), strict=True):
        graph = beside(graph, (height, width, channels), 8)
    check(graph, schedule, on)


@pytest.mark.parametrize("schedule", [ONE, TWO])
@pytest.mark.parametrize("on", MACHINES)
@pytest.mark.parametrize("channels", [3, 8])
def test_every_padding(channels: int, on: str, schedule: Schedule) -> None:
    """On all sides; with the lowest and highest values everywhere."""
    graph = EMPTY
    for i, pads in enumerate(
        ((0, 0, 0, 0), (2, 2, 2, 2), (0, 2, 1, 0), (1, 0, 2, 2), (2, 1, 0, 1))
    ):
        shape, zero = (5 + i, 7 + i, channels), (-128, 127, 3)[i % 3]
        graph = beside(graph, shape, 10, strided(1, pads), x_zero=zero, extreme=i % 2 == 0)
    graph = beside(graph, (1, 2, channels), 9, strided(1, (2, 2, 2, 2)), x_zero=127)
    check(graph, schedule, on)


@pytest.mark.parametrize("schedule", [ONE, TWO])
@pytest.mark.parametrize("on", MACHINES)
def test_every_number_of_channels(on: str, schedule: Schedule) -> None:
    graph = EMPTY
    for channels in (1, 2, 3, 5, 16, 72, 268):
        graph = beside(graph, (3, 6, channels), 8 + channels % 5, x_zero=127)
    check(graph, schedule, on)


@pytest.mark.parametrize("schedule", [ONE, TWO])
@pytest.mark.parametrize("unroll", [1, 3, 200])
def test_every_turn(unroll: int, schedule: Schedule) -> None:
    graph = beside(beside(EMPTY, (4, 9, 24), 8), (1, 4, 268), 9)
    check(graph, replace(schedule, unroll=unroll), "cortex-m4")


@pytest.mark.parametrize("schedule", [ONE, TWO])
@pytest.mark.parametrize("on", MACHINES)
def test_every_clamp(on: str, schedule: Schedule) -> None:
    graph = EMPTY
    clamps = (Clamp(0.0), Clamp(-1.0, 2.0), Clamp(0.0, 6.0))
    for clamp, zero in itertools.product(clamps, (-128, 0, 127)):
        graph = beside(graph, (3, 7, 4), 9, replace(SAME, clamp=clamp), y_zero=zero)
    check(graph, schedule, on)


@pytest.mark.parametrize("schedule", [ONE, TWO])
@pytest.mark.parametrize("on", MACHINES)
def test_layers_overlap_and_add(on: str, schedule: Schedule) -> None:
    """A chain whose tensors share memory, rows of outputs over rows of dying inputs."""
    residual = Residual(DType.INT8, QParams((0.06,), (-5,)), Clamp(0.0))
    graph = beside(EMPTY, (13, 10, 8), 8)
    for i, added in enumerate((residual, None, residual)):
        graph = convolution(graph, f"y{i}", f"y{i + 1}", 8, replace(SAME, residual=added))
    plan = plan_program(graph, M4, schedules={n.name: schedule for n in graph.nodes}).plan

    def meet(one: str, other: str) -> bool:
        (low, low_name), (high, _) = sorted((plan.offsets[name], name) for name in (one, other))
        return high < low + graph.tensors[low_name].bytes

    assert meet("y0", "y1") or meet("y1", "y2")
    check(graph, schedule, on)


@pytest.mark.parametrize("schedule", [ONE, TWO])
def test_rows_on_their_own(schedule: Schedule) -> None:
    """The last one first: none writes into another one's row."""
    graph = beside(EMPTY, (7, 13, 4), 8)
    program = plan_program(graph, M4, schedules={"y0": schedule})
    (kernel,) = program.kernels.values()
    artifact, inputs = emit_artifact(program), random_inputs(graph)

    def pieces(call: re.Match[str]) -> str:
        return "".join(f"{call[1]}, {row}, {row + 1});" for row in reversed(range(7)))

    source = re.sub(r"(conv2d_3x3\(.*), 0, \d+\);", pieces, artifact.files["model.c"])
    result = run_artifact(
        replace(artifact, files={**artifact.files, "model.c": source}), M4, inputs
    )

    assert source != artifact.files["model.c"] and kernel.band == 1
    np.testing.assert_array_equal(result.outputs["y0"][0], run(graph, inputs)["y0"][0])


def test_what_does_not_suit() -> None:
    def suits(graph: Graph) -> bool:
        (node,) = graph.nodes
        return ALGORITHMS["winograd-row"].suits(call_of(graph, node), M4)

    def changed(graph: Graph, tensor: Tensor) -> Graph:
        return replace(graph, tensors={**graph.tensors, tensor.name: tensor})

    def with_bias(size: int) -> Graph:
        values = np.array([size, 0, 0, 0])
        return changed(good, constant("y0_b", values, DType.INT32))

    good = beside(EMPTY, (1, 4, 4), 4)
    largest = ((1 << 31) - 1) // 24

    assert suits(good)
    assert suits(with_bias(largest - 2 * 128 * 127 * 36)) and not suits(with_bias(largest))
    assert not suits(changed(good, replace(good.tensors["x0"], dtype=DType.UINT8)))
    assert not suits(beside(EMPTY, (8, 8, 4), 3))
    assert not suits(beside(EMPTY, (8, 3, 4), 4))
    assert not suits(beside(EMPTY, (4, 4, 456), 4))
    assert not suits(beside(EMPTY, (8, 8, 4), 4, strided(2)))
    assert not suits(beside(EMPTY, (8, 8, 4), 4, replace(SAME, pads=(0, 3, 0, 0))))


@pytest.mark.parametrize("on", MACHINES)
@pytest.mark.parametrize("schedule", [ONE, TWO])
def test_large_sums(on: str, schedule: Schedule) -> None:
    """As large as they may be, of either sign: 24 times an accumulator just fits."""
    graph = beside(EMPTY, (3, 8, 4), 8, extreme=True)
    size = ((1 << 31) - 1) // 24 - 2 * 128 * 127 * 36
    bias = constant("y0_b", np.array([size, -size, size - 1, 1 - size] * 2), DType.INT32)
    quant = QParams((2.0**-22,) * 4 + (2.0**-21,) * 4, (0,) * 8, 0)
    weights = replace(graph.tensors["y0_w"], quant=quant)
    tensors = {**graph.tensors, bias.name: bias, weights.name: weights}
    check(replace(graph, tensors=tensors), schedule, on)


def test_few_channels() -> None:
    """Are computed two tiles at a time, whatever is wanted."""
    graph = EMPTY
    for channels in (4, 5, 7):
        graph = beside(graph, (3, 9, 4), channels)
    for on in MACHINES:
        check(graph, ONE, on)


def test_schedules_differ() -> None:
    graph = beside(EMPTY, (16, 16, 32), 32)
    call, algorithm = call_of(graph, graph.nodes[0]), ALGORITHMS["winograd-row"]

    kernels = [algorithm.kernel(call, M4, choice) for choice in algorithm.space(call, M4)]

    assert len(kernels) == 4
    assert len({(k.scratch_bytes, tuple(m.name for m in k.microkernels)) for k in kernels}) == 4


def test_never_the_rule_of_thumb() -> None:
    """Another algorithm before it in the table suits whatever it suits."""
    for shape in ((1, 4, 455), (8, 8, 4)):
        graph = beside(EMPTY, shape, 4)
        call = call_of(graph, graph.nodes[0])
        assert ALGORITHMS["winograd-row"].suits(call, M4)
        assert rule_of_thumb(ALGORITHMS, call, M4) == "gemm-blocks"
