"""Winograd's convolutions give the bytes of the reference: exact for every stored value."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.harness import random_constant, random_inputs, run_c, stored
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, QParams, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.conv2d import ALGORITHMS, Conv2DAttrs, infer
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.residual import Residual
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.compiler.running import run_artifact
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

M4 = load_target("cortex-m4")
EMPTY = Graph("model", (), (), (), {})
CHOICES = [
    (algorithm, weights, stride)
    for algorithm, stride in (("winograd-2", 1), ("winograd-4", 1), ("winograd-4", 2))
    for weights in ("flash", "scratch")
]


def strided(stride: int, pads: tuple[int, int, int, int] = (1, 1, 1, 1)) -> Conv2DAttrs:
    return Conv2DAttrs((stride, stride), pads)


SAME = strided(1)


def scales(channels: int) -> QParams:
    """Far apart: multipliers with few low zero bits and with many."""
    return QParams(tuple(0.02 * 2.0 ** -(3 * i % 13) for i in range(channels)), (0,) * channels, 0)


def convolution(
    graph: Graph, x: str, y: str, outputs: int, attrs: Conv2DAttrs = SAME, *,
    y_zero: int = -5, extreme: bool = False,
) -> Graph:  # fmt: skip
    """`graph` with y = conv(x), whose weights are 127 or -127 when `extreme`."""
    shape, quant = (outputs, 3, 3, graph.tensors[x].shape[3]), scales(outputs)
    weights = random_constant(f"{y}_w", shape, DType.INT8, len(graph.nodes), quant)
    assert weights.data is not None
    if extreme:
        values = np.where(weights.data < 0, -127, 127)
        weights = constant(weights.name, values, weights.dtype, quant)
    bias = constant(f"{y}_b", np.arange(outputs) * 1000 - 3000, DType.INT32)
    inputs = [graph.tensors[x], weights, bias]
    ((y_shape, _),) = infer(tuple(inputs), attrs)
    if attrs.residual is not None:
        inputs.append(stored(f"{y}_r", y_shape, QParams((0.07,), (9,))))
    output = stored(y, y_shape, QParams((0.06,), (y_zero,)))
    node = Node(y, "Conv2D", tuple(t.name for t in inputs), (y,), attrs, (y,))
    return replace(
        graph,
        inputs=(*graph.inputs, *(t.name for t in inputs[3:])),
        outputs=(*(name for name in graph.outputs if name != x), y),
        nodes=(*graph.nodes, node),
        tensors={**graph.tensors, **{t.name: t for t in (*inputs, output)}},
    )


def beside(
    graph: Graph, shape: tuple[int, int, int], outputs: int, attrs: Conv2DAttrs = SAME, *,
    x_zero: int = 3, y_zero: int = -5, extreme: bool = False,
) -> Graph:  # fmt: skip
    """`graph` with one more convolution, of an input of its own: many cases are one program."""
    x = stored(f"x{len(graph.nodes)}", (1, *shape), QParams((0.05,), (x_zero,)))
    tensors = {**graph.tensors, x.name: x}
    graph = replace(graph, inputs=(*graph.inputs, x.name), tensors=tensors)
    y = f"y{len(graph.nodes)}"
    return convolution(graph, x.name, y, outputs, attrs, y_zero=y_zero, extreme=extreme)


def samples(graph: Graph) -> list[dict[str, Array]]:
    """Random inputs, and such of -128 and 127 only."""
    inputs = random_inputs(graph)
    return [inputs, {k: np.where(v < 0, -128, 127).astype(np.int8) for k, v in inputs.items()}]


def check(graph: Graph, schedule: Schedule, on: str) -> None:
    given, schedules = samples(graph), {node.name: schedule for node in graph.nodes}
    for node in graph.nodes:
        assert ALGORITHMS[schedule.algorithm].suits(call_of(graph, node), M4)

    computed = run_c(graph, given, "cortex-m4", on, schedules)

    for got, inputs in zip(computed, given, strict=True):
        wanted = run(graph, inputs)
        for name in graph.outputs:
            np.testing.assert_array_equal(got[name], wanted[name])


@pytest.mark.parametrize(("algorithm", "weights", "stride"), CHOICES)
@pytest.mark.parametrize("height", range(4, 10))
def test_every_size(height: int, algorithm: str, weights: str, stride: int) -> None:
    """Of the output; with stride 2 the input is even or odd."""
    graph, attrs = EMPTY, strided(stride)
    for width in range(int(algorithm[-1]), 10):
        shape = tuple(stride * size - size % stride for size in (height, width))
        graph = beside(graph, (*shape, 4), 2, attrs)

    check(graph, Schedule(algorithm, weights=weights), "host")


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("tiles", [1, 4, 16])
@pytest.mark.parametrize(("algorithm", "weights", "stride"), CHOICES)
def test_every_number_of_tiles(
    algorithm: str, weights: str, stride: int, tiles: int, on: str
) -> None:
    attrs = strided(stride, (0, 2, 2, 1))
    graph = beside(EMPTY, (11 * stride, 14 * stride, 12), 6, attrs, x_zero=-128, extreme=True)
    check(graph, Schedule(algorithm, rows=tiles, weights=weights), on)


@pytest.mark.parametrize(("algorithm", "weights", "stride"), CHOICES)
def test_every_number_of_channels(algorithm: str, weights: str, stride: int) -> None:
    graph = EMPTY
    for channels in (1, 2, 3, 5, 16, 72, 268):
        shape, outputs = (5 * stride, 6 * stride, channels), 2 + channels % 4
        graph = beside(graph, shape, outputs, strided(stride), x_zero=127)
    check(graph, Schedule(algorithm, weights=weights), "cortex-m4")


@pytest.mark.parametrize("unroll", [1, 3])
@pytest.mark.parametrize(("algorithm", "weights", "stride"), CHOICES)
def test_every_turn(algorithm: str, weights: str, stride: int, unroll: int) -> None:
    graph = beside(EMPTY, (4 * stride, 4 * stride, 24), 4, strided(stride))
    check(graph, Schedule(algorithm, unroll=unroll, weights=weights), "cortex-m4")


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize("algorithm", ["winograd-2", "winograd-4"])
def test_every_clamp(algorithm: str, on: str) -> None:
    graph = EMPTY
    clamps = (Clamp(0.0), Clamp(-1.0, 2.0), Clamp(0.0, 6.0))
    for clamp, zero in itertools.product(clamps, (-128, 0, 127)):
        graph = beside(graph, (6, 7, 4), 6, replace(SAME, clamp=clamp), y_zero=zero)
    check(graph, Schedule(algorithm), on)


@pytest.mark.parametrize("on", ["host", "cortex-m4"])
@pytest.mark.parametrize(("algorithm", "weights", "stride"), CHOICES)
def test_layers_overlap_and_add(algorithm: str, weights: str, stride: int, on: str) -> None:
    """A chain whose tensors share memory, rows of outputs over rows of dying inputs."""
    residual = Residual(DType.INT8, QParams((0.06,), (-5,)), Clamp(0.0))
    graph = beside(EMPTY, (13 * stride, 10 * stride, 8), 8)
    for i, attrs in enumerate((strided(stride), SAME, SAME)):
        attrs = replace(attrs, residual=residual if i % 2 == 0 else None)
        graph = convolution(graph, f"y{i}", f"y{i + 1}", 8, attrs)
    schedule = Schedule(algorithm, weights=weights)
    plan = plan_program(graph, M4, schedules={n.name: schedule for n in graph.nodes}).plan

    def meet(one: str, other: str) -> bool:
        (low, low_name), (high, _) = sorted((plan.offsets[name], name) for name in (one, other))
        return high < low + graph.tensors[low_name].bytes

    assert meet("y0", "y1") or meet("y1", "y2")
    check(graph, schedule, on)


@pytest.mark.parametrize(("algorithm", "weights", "stride"), CHOICES)
@pytest.mark.parametrize("height", [7, 9])
def test_rows_in_pieces(height: int, algorithm: str, weights: str, stride: int) -> None:
    """Bands on their own, the last one first: none writes into another one's rows."""
    graph = beside(EMPTY, (height * stride, 13 * stride, 4), 4, strided(stride))
    program = plan_program(graph, M4, schedules={"y0": Schedule(algorithm, weights=weights)})
    (kernel,) = program.kernels.values()
    artifact = emit_artifact(program)
    inputs = random_inputs(graph)

    def pieces(call: re.Match[str]) -> str:
        bounds = [*range(0, height, kernel.band), height]
        calls = [f"{call[1]}, {a}, {b});" for a, b in itertools.pairwise(bounds)]
        return "".join(reversed(calls))

    source = re.sub(r"(conv2d_3x3\(.*), 0, \d+\);", pieces, artifact.files["model.c"])
    result = run_artifact(
        replace(artifact, files={**artifact.files, "model.c": source}), M4, inputs
    )

    assert source != artifact.files["model.c"] and kernel.band < height
    np.testing.assert_array_equal(result.outputs["y0"][0], run(graph, inputs)["y0"][0])


def test_what_does_not_suit() -> None:
    def suits(graph: Graph) -> bool:
        (node,) = graph.nodes
        return ALGORITHMS["winograd-4"].suits(call_of(graph, node), M4)

    def changed(graph: Graph, tensor: Tensor) -> Graph:
        return replace(graph, tensors={**graph.tensors, tensor.name: tensor})

    good = beside(EMPTY, (8, 8, 4), 4)
    large = np.array([1 << 25, 0, 0, 0])

    assert suits(good)
    assert not suits(changed(good, constant("y0_b", large, DType.INT32)))
    assert not suits(changed(good, replace(good.tensors["y0"], quant=QParams((0.001,), (0,)))))
    assert not suits(changed(good, replace(good.tensors["x0"], dtype=DType.UINT8)))
    assert not suits(beside(EMPTY, (8, 8, 4), 1))
    assert not suits(beside(EMPTY, (3, 8, 4), 4))
    assert not suits(beside(EMPTY, (8, 8, 4), 4, replace(SAME, strides=(2, 1))))
    assert not suits(beside(EMPTY, (8, 8, 4), 4, replace(SAME, pads=(3, 0, 0, 0))))


def test_schedules_differ() -> None:
    graph = beside(EMPTY, (16, 16, 32), 32)
    call = call_of(graph, graph.nodes[0])

    choices = list(ALGORITHMS["winograd-4"].space(call, M4))
    kernels = [ALGORITHMS["winograd-4"].kernel(call, M4, choice) for choice in choices]

    assert len(choices) == 12
    assert len({(k.scratch_bytes, tuple(m.name for m in k.microkernels)) for k in kernels}) == 12
