"""Channels go where no result can change, and only there."""

from collections.abc import Callable

import numpy as np
import pytest

from tests import channel_graphs as graphs
from tests import pass_graphs
from tests.harness import HOST, random_inputs, stored
from tinyc.compiler.graph import Array, DType, Graph, constant, verify
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.passes.channel_ranges import channel_ranges
from tinyc.passes.dead_channels import remove_dead_channels

CHANNELS: list[tuple[Callable[[], Graph], dict[str, int]]] = [
    (graphs.channels_that_never_change, {"a": 6, "d": 6}),
    (graphs.constants_before_padding, {"a": 11, "d": 11}),  # one is the zero point
    (graphs.readers_that_share_constants, {"a": 4}),
    (graphs.chain_of_all_kinds, {"a": 4, "p": 4, "m": 4, "t": 4, "s": 4, "d": 4, "e": 1, "c": 5}),
    (graphs.added_branches, {"a": 3, "r": 3, "s": 3}),
    (graphs.fused_residual, {"a": 3, "s": 3}),
    (graphs.unused_behind_a_flattening, {"a": 4, "f": 16, "h": 5}),
    (graphs.float_chain, {"a": 5, "t": 5, "d": 5}),
    (graphs.negative_sums, {"a": 5, "h": 3}),
]


def inputs_of(graph: Graph) -> list[dict[str, Array]]:
    """Random values, and the ends of integers."""
    samples = [random_inputs(graph, seed) for seed in range(3)]
    (name,) = graph.inputs
    if graph.tensors[name].dtype == DType.INT8:
        ends = np.where(samples[0][name] % 2 == 0, -128, 127)
        samples += [{name: v.astype(np.int8)} for v in (ends, np.full_like(ends, -128))]
    return samples


@pytest.mark.parametrize(("build", "left"), CHANNELS, ids=lambda v: getattr(v, "__name__", ""))
def test_what_is_left(build: Callable[[], Graph], left: dict[str, int]) -> None:
    after = remove_dead_channels(build(), HOST)

    verify(after)
    assert {name: after.tensors[name].shape[-1] for name in left} == left


@pytest.mark.parametrize("build", [b for b, _ in CHANNELS], ids=lambda b: b.__name__)
def test_results_stay_the_same_bits(build: Callable[[], Graph]) -> None:
    graph = build()
    after = remove_dead_channels(graph, HOST)

    for sample in inputs_of(graph):
        (expected,), (found,) = run(graph, sample).values(), run(after, sample).values()
        np.testing.assert_array_equal(found, expected)


def random_chain(seed: int) -> Graph:
    """Convolutions of which some channels have few weights or none, some biases saturate."""
    rng = np.random.default_rng(seed)
    x = stored("x", (1, 5, 5, 3), pass_graphs.X_QUANT)
    constants, steps, last, channels = [], [], "x", 3
    for i in range(4):
        outputs, depthwise = int(rng.integers(2, 9)), bool(rng.integers(2)) and i > 0
        if depthwise:
            outputs = channels
        shape = (3, 3, channels) if depthwise else (outputs, 1, 1, channels)
        weights = rng.integers(-127, 128, shape)
        weights[rng.random(shape) < 0.3] = 0
        weights[(..., rng.random(channels) < 0.2) if depthwise else rng.random(outputs) < 0.3] = 0
        bias = rng.integers(-40000, 40000, outputs) * (rng.random(outputs) < 0.6)
        constants += [constant(f"w{i}", weights, DType.INT8, graphs.ONE)]
        constants += [constant(f"b{i}", bias, DType.INT32)]
        pads = graphs.SAME if depthwise and rng.integers(2) else (0, 0, 0, 0)
        attrs = (
            DepthwiseConv2DAttrs(pads=graphs.SAME, clamp=graphs.RELU)
            if depthwise
            else Conv2DAttrs(pads=pads, clamp=graphs.RELU)
        )
        op = "DepthwiseConv2D" if depthwise else "Conv2D"
        steps.append((f"t{i}", op, [last, f"w{i}", f"b{i}"], attrs))
        last, channels = f"t{i}", outputs
    quants = {f"t{i}": graphs.LOW if rng.integers(2) else graphs.Y_QUANT for i in range(4)}
    return pass_graphs.graph_of(x, constants, steps, quants)


@pytest.mark.parametrize("seed", range(60))
def test_random_chains_stay_the_same_bits(seed: int) -> None:
    graph = random_chain(seed)
    after = remove_dead_channels(graph, HOST)

    for sample in inputs_of(graph):
        (expected,), (found,) = run(graph, sample).values(), run(after, sample).values()
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(60))
def test_no_value_leaves_its_range(seed: int) -> None:
    graph = random_chain(seed)
    ranges = channel_ranges(graph)
    (name,) = graph.outputs

    for sample in inputs_of(graph):
        values = run(graph, sample)[name]
        assert (values >= ranges[name].low).all() and (values <= ranges[name].high).all()


def test_random_chains_lose_channels() -> None:
    chains = [random_chain(seed) for seed in range(60)]

    assert sum(bool(remove_dead_channels(graph, HOST).notes) for graph in chains) > 20
