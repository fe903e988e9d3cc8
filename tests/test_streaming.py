"""Layers that stream row by row compute what the graph means, in less memory."""

import numpy as np
import pytest

from tests.harness import random_inputs, run_planned
from tests.test_overlap import chain
from tinyc.compiler.graph import Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.planning import plan_program
from tinyc.passes.fusions import fusions_of
from tinyc.targets import load_target


def streams_of(graph: Graph, rng: np.random.Generator) -> list[list[str]]:
    """Neighbours that can stream, cut at random places."""
    streams: list[list[str]] = [[]]
    for node in graph.nodes:
        call = call_of(graph, node)
        if OPS[node.op].windows(call) is None or rng.integers(0, 5) == 0:
            streams.append([])
        if OPS[node.op].windows(call) is not None and call.output.shape[1] > 1:
            streams[-1].append(node.name)
        else:
            streams.append([])
    return [stream for stream in streams if len(stream) > 1]


@pytest.mark.sampled
@pytest.mark.parametrize("target", ["host", "cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("seed", range(24))
def test_streams_compute_the_meaning(seed: int, target: str) -> None:
    graph = chain(seed)
    inputs = random_inputs(graph, seed)
    streams = streams_of(graph, np.random.default_rng(seed))
    program = plan_program(graph, load_target(target), "caller", streams=streams)

    (computed,) = run_planned(program, [inputs], target)

    (name,) = graph.outputs
    np.testing.assert_array_equal(computed[name], run(graph, inputs)[name])


@pytest.mark.parametrize("seed", range(24))
def test_each_next_fusion_needs_less(seed: int) -> None:
    graph, target = chain(seed), load_target("cortex-m4")

    fusions = fusions_of(graph, target, "arena")

    assert not fusions[0].streams
    sizes = [fusion.bytes for fusion in fusions]
    assert sizes == sorted(set(sizes), reverse=True)
    for fusion in fusions:
        names = [name for stream in fusion.streams for name in stream]
        assert set(names) == set(fusion.layers) and len(names) == len(set(names))
