"""With --io rows the caller hands in the input row by row: same outputs, no whole input in RAM."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinyc
from tests.harness import (
    HOST,
    random_constant,
    random_inputs,
    run_planned,
    stored,
)
from tests.test_overlap import add, chain
from tinyc.compiler.graph import DType, Graph, Node, QParams, verify
from tinyc.compiler.interpreter import run
from tinyc.compiler.memory_map import map_of
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.planning import plan_program
from tinyc.compiler.program import Program
from tinyc.passes.fusions import fusions_of
from tinyc.passes.input_rows import STATE, push_rows
from tinyc.passes.memory_check import check_plan
from tinyc.targets import load_target

DIGITS = Path(__file__).parent.parent / "examples" / "digits" / "digits_cnn_int8_qdq_ort.onnx"
TARGETS = ["host", "cortex-m4", "cortex-m0plus", "rv32imc"]


def conv(
    height: int, width: int, channels: int, size: int, stride: int, pads: tuple[int, int, int, int]
) -> Graph:
    """One convolution of int8, `size` x `size`, and one of 1x1 that reads its rows."""
    x = stored("x", (1, height, width, channels), QParams((0.05,), (-128,)))
    tensors, nodes, last = {"x": x}, [], "x"
    for i, (side, attrs) in enumerate(
        ((size, Conv2DAttrs((stride, stride), pads)), (1, Conv2DAttrs((1, 1), (0, 0, 0, 0))))
    ):
        shape = (4, side, side, tensors[last].shape[3])
        add(tensors, random_constant(f"w{i}", shape, DType.INT8, i, QParams((0.01,))), i, 4)
        inputs = (last, f"w{i}", f"b{i}")
        ((shape, _),) = OPS["Conv2D"].infer(tuple(tensors[n] for n in inputs), attrs)
        tensors[f"r{i}"] = stored(f"r{i}", shape, QParams((0.4,), (-3,)))
        nodes.append(Node(f"n{i}", "Conv2D", inputs, (f"r{i}",), attrs, (f"n{i}",)))
        last = f"r{i}"
    return Graph("model", ("x",), (last,), tuple(nodes), tensors)


def planned(graph: Graph, target: str, fusion: int = -1) -> Program:
    """Of a graph that takes rows."""
    machine = load_target(target)
    streams = fusions_of(graph, machine, "rows")[fusion].streams
    return plan_program(graph, machine, "rows", streams=streams)


def assert_computes_the_meaning(graph: Graph, program: Program, target: str) -> None:
    samples = [random_inputs(graph, seed) for seed in range(2)]

    computed = run_planned(program, samples, target)

    (name,) = graph.outputs
    for inputs, outputs in zip(samples, computed, strict=True):
        np.testing.assert_array_equal(outputs[name], run(graph, inputs)[name])


SHAPES = {
    "3x3": conv(9, 7, 3, 3, 1, (1, 1, 1, 1)),
    "one channel, one column": conv(6, 1, 1, 1, 1, (0, 0, 0, 0)),
    "two rows": conv(2, 5, 3, 2, 1, (1, 0, 0, 1)),
    "odd row bytes, stride 2": conv(11, 5, 1, 3, 2, (1, 1, 1, 1)),
    "rows that nobody reads": conv(11, 6, 2, 2, 4, (0, 0, 0, 0)),
    "stride over kernel": conv(10, 5, 3, 1, 3, (0, 0, 0, 0)),
    "padding above only": conv(7, 6, 3, 3, 1, (2, 1, 0, 1)),
    "padding below only": conv(7, 6, 3, 4, 2, (0, 1, 3, 1)),
    "kernel over input": conv(3, 4, 2, 5, 1, (2, 2, 2, 2)),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_give_what_the_whole_gives(shape: str, target: str) -> None:
    graph = push_rows(SHAPES[shape], load_target(target))
    verify(graph)

    program = planned(graph, target)

    assert program.steps[0].pushed and program.plan.windows
    assert_computes_the_meaning(graph, program, target)


@pytest.mark.sampled
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(24))
def test_random_chains_compute_the_meaning(seed: int, target: str) -> None:
    graph = chain(seed)
    try:
        graph = push_rows(graph, load_target(target))
    except tinyc.CompileError:
        pytest.skip("the first layer does not work by rows")

    for fusion in {0, -1}:
        assert_computes_the_meaning(graph, planned(graph, target, fusion), target)


@pytest.mark.parametrize("seed", range(24))
def test_every_fusion_takes_the_rows_first(seed: int) -> None:
    try:
        graph = push_rows(chain(seed), HOST)
    except tinyc.CompileError:
        pytest.skip("the first layer does not work by rows")

    fusions = fusions_of(graph, HOST, "rows")

    sizes = [fusion.bytes for fusion in fusions]
    assert sizes == sorted(set(sizes), reverse=True)
    (rows,) = (node.name for node in graph.nodes if node.op == "InputRows")
    for fusion in fusions:
        assert fusion.streams[0][0] == rows
        last = max(i for i, n in enumerate(graph.nodes) if graph.nodes[0].output in n.inputs)
        assert graph.nodes[last].name in fusion.streams[0]


def test_the_memory_map_names_what_is_remembered() -> None:
    program = planned(push_rows(SHAPES["3x3"], HOST), "host")

    areas = {area.name: area.kind for area in map_of(program).areas}

    assert areas["remembered between rows"] == "tensor" and areas["x_window"] == "window"


def test_the_checker_sees_a_state_that_is_overwritten() -> None:
    program = planned(push_rows(SHAPES["3x3"], HOST), "host")
    offsets = {**program.plan.offsets}
    offsets[STATE] = offsets[program.graph.outputs[0]]
    plan = replace(program.plan, offsets=offsets)

    with pytest.raises(AssertionError, match="overwritten"):
        check_plan(plan, program.stages, program.steps, program.storages, HOST.alignment)
