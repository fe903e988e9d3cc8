"""Sums of scales that are powers of two apart: no multiplications, and the integers of the rule."""

from dataclasses import replace

import numpy as np
import pytest

from tests.harness import random_inputs, run_c, stored
from tests.test_residual_overlap import blocks_of, conv_graph
from tinyc.compiler.graph import Array, Graph, Node, QParams
from tinyc.compiler.interpreter import run
from tinyc.compiler.kernels.sums import sum_of
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.sum_scales import in_steps, sum_scales
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.compiler.running import run_artifact
from tinyc.targets import load_target

SCALE = 0.05  # of results
EVERY = np.arange(-128, 128, dtype=np.int8)
PAIRS = {n: m.reshape(-1) for n, m in zip("ab", np.meshgrid(EVERY, EVERY), strict=True)}
FACTORS = ((1, 1), (2, 1), (1, 2), (0.5, 1), (1, 0.5), (4, 1), (2, 2), (0.5, 2), (0.5, 0.5))
# Zero points of a, b and y, with the clamps that a Relu or Clip behind the sum makes.
GRIDS = (
    ((3, -128, -128), NO_CLAMP), ((-3, 36, -128), NO_CLAMP), ((0, 0, 0), NO_CLAMP),
    ((127, 127, 127), NO_CLAMP), ((-128, -128, 127), NO_CLAMP), ((-5, 7, 1), Clamp(low=0.0)),
    ((0, -128, 0), Clamp(high=3.0)), ((100, 20, -10), Clamp(-1.0, 1.0)),
)  # fmt: skip


def sum_graph(
    op: str, factors: tuple[float, float], zeros: tuple[int, int, int], clamp: Clamp, elements: int
) -> Graph:
    tensors = [
        stored(name, (elements,), QParams((SCALE * factor,), (zero,)))
        for name, factor, zero in zip("aby", (*factors, 1), zeros, strict=True)
    ]
    node = Node("n", op, ("a", "b"), ("y",), BinaryAttrs(clamp))
    return Graph("model", ("a", "b"), ("y",), (node,), {t.name: t for t in tensors})


def together(graphs: list[Graph]) -> Graph:
    """Graphs of one node as one graph; their names get numbers."""
    nodes, tensors = [], {}
    for i, graph in enumerate(graphs):
        (node,) = graph.nodes
        inputs = tuple(f"{n}{i}" for n in node.inputs)
        nodes.append(replace(node, name=f"n{i}", inputs=inputs, outputs=(f"y{i}",)))
        tensors |= {f"{n}{i}": replace(t, name=f"{n}{i}") for n, t in graph.tensors.items()}
    reads = tuple(n for node in nodes for n in node.inputs)
    return Graph("model", reads, tuple(n.outputs[0] for n in nodes), tuple(nodes), tensors)


def meaning(op: str, factors, zeros, clamp: Clamp, inputs: dict[str, Array]) -> Array:
    """Of the reals, which float64 has exactly in steps of the result; half rounded up."""
    a, b = (
        factor * (inputs[n].astype(np.float64) - zero)
        for n, factor, zero in zip("ab", factors, zeros[:2], strict=True)
    )
    real = np.floor((a - b if op == "Sub" else a + b) + 0.5)
    low, high = (bound / SCALE for bound in (clamp.low, clamp.high))  # whole numbers of steps
    return np.asarray(np.clip(np.clip(real, low, high) + zeros[2], -128, 127).astype(np.int8))


@pytest.mark.sampled
@pytest.mark.parametrize("op", ["Add", "Sub"])
@pytest.mark.parametrize("factors", FACTORS)
def test_all_pairs_become_what_the_rule_says(op: str, factors: tuple[float, float]) -> None:
    """The 65,536 pairs, less three: the last bytes are no whole word."""
    pairs = {n: m[:-3] for n, m in PAIRS.items()}
    graphs = [sum_graph(op, factors, *grids, pairs["a"].size) for grids in GRIDS]
    expected = [meaning(op, factors, *grids, pairs) for grids in GRIDS]
    graph = together(graphs)
    inputs = {name: pairs[name[0]] for name in graph.inputs}

    for i, one in enumerate(graphs):
        np.testing.assert_array_equal(run(one, pairs)["y"], expected[i])
    for target, on in (("cortex-m4", "cortex-m4"), ("cortex-m4", "host"), ("rv32imc", "host")):
        (found,) = run_c(graph, [inputs], target, on)
        for i, wanted in enumerate(expected):
            np.testing.assert_array_equal(found[f"y{i}"], wanted, f"{target}, {on}, {GRIDS[i]}")


@pytest.mark.parametrize("elements", [1, 3, 4, 7, 15, 16, 17, 37])
def test_every_length_is_whole(elements: int) -> None:
    graph = sum_graph("Add", (2, 1), (3, -128, -128), NO_CLAMP, elements)
    inputs = random_inputs(graph)

    (found,) = run_c(graph, [inputs], "cortex-m4")

    np.testing.assert_array_equal(found["y"], run(graph, inputs)["y"])


@pytest.mark.parametrize(
    ("factors", "zeros", "plain"),
    [((1, 1), (3, -128, -128), True), ((2, 0.5), (3, 4, 5), True), ((8, 1), (3, 4, 5), False),
     ((1.5, 1), (3, 4, 5), False), ((0.25, 1), (3, 4, 5), False), ((1e-9, 1), (3, 4, 5), False),
     ((1, 1), (-128, -128, -128), False)],
)  # fmt: skip
def test_which_sums_multiply_nothing(factors, zeros, plain: bool) -> None:
    graph = sum_graph("Add", factors, zeros, NO_CLAMP, 8)
    call = call_of(graph, graph.nodes[0])
    scales, kernel = sum_scales(call), sum_of(call, load_target("cortex-m4"))
    assert scales is not None and kernel is not None

    assert (in_steps(scales) is not None) == plain
    assert kernel.microkernel.name.startswith("tinyc_lane_") == plain


def test_a_plain_sum_takes_less_than_two_thirds_of_the_cycles() -> None:
    inputs = {n: m[:2048] for n, m in PAIRS.items()}
    for core in ("cortex-m0plus", "cortex-m4"):
        plain, other = (
            cycles(sum_graph("Add", factors, (3, -100, -128), NO_CLAMP, 2048), core, inputs)
            for factors in ((2, 1), (2.01, 1))
        )
        assert plain < 0.66 * other


def cycles(graph: Graph, core: str, inputs: dict[str, Array]) -> int:
    target = load_target(core)
    found = run_artifact(emit_artifact(plan_program(graph, target, "arena")), target, inputs).cycles
    assert found is not None
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_residuals_of_convolutions(core: str, kernel: int) -> None:
    """By every algorithm, the result where the residual was."""
    target = load_target(core)
    graph = conv_graph(5, kernel, residual=0.03, result=0.03, own=0.06)
    inputs = random_inputs(graph)
    expected = run(graph, inputs)["y"]

    for schedule in blocks_of(call_of(graph, graph.nodes[0]), target):
        program = plan_program(graph, target, "arena", {"n": schedule})
        found = run_artifact(emit_artifact(program), target, inputs).outputs["y"]
        np.testing.assert_array_equal(found.reshape(expected.shape), expected, str(schedule))
