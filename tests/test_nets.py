"""Networks of common shapes, and random ones, compute what they mean in every plan."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import get_args

import numpy as np
import pytest

from tests.harness import random_inputs, run_planned
from tests.nets import NETS
from tests.random_nets import random_net
from tinyc.autotune.choice import Optimize
from tinyc.autotune.records import known_records
from tinyc.compiler import planning
from tinyc.compiler.graph import Graph, verify
from tinyc.compiler.interpreter import run
from tinyc.compiler.planning import limits_of, plan_best, plan_program, task_of
from tinyc.compiler.program import Program
from tinyc.passes import memory_plan, placement_by_solver
from tinyc.passes.fusions import fusions_of
from tinyc.targets import load_target
from tinyc.targets.firmware import Io

MOST_FUSIONS = 3  # of a network that are built; the last one among them
CORES = ("cortex-m4", "cortex-m0plus", "rv32imc")


@pytest.fixture(autouse=True)
def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans have to be sound here, not the best ones."""
    monkeypatch.setattr(placement_by_solver, "MOST_EFFORT", 0.02)
    monkeypatch.setattr(memory_plan, "FEW_PLACED", 600)
    monkeypatch.setattr(memory_plan, "MANY_PLACED", 600)
    monkeypatch.setattr(planning, "MOST_COMPARED", 1)


def fused(graph: Graph, target: str, io: Io) -> Iterator[Program]:
    """Plans by the rule of thumb, from the one that streams most; not each one of many."""
    machine = load_target(target)
    fusions = fusions_of(graph, machine, io)[::-1]
    for fusion in fusions[:: -(-len(fusions) // MOST_FUSIONS)]:
        yield plan_program(graph, machine, io, streams=fusion.streams)


def most_fused(graph: Graph, target: str, io: Io) -> Iterator[Program]:
    return islice(fused(graph, target, io), 1)


def optimized(graph: Graph, target: str, io: Io) -> Iterator[Program]:
    """The plan of every mode; one, where several modes agree."""
    machine = load_target(target)
    task = task_of(graph, machine, io, known_records(machine), limits_of(machine))
    found = []
    for mode in get_args(Optimize):
        program, choice = plan_best(task, mode)
        if (choice.schedules, program.plan) not in found:
            found.append((choice.schedules, program.plan))
            yield program


def check(graph: Graph, programs: Iterator[Program], target: str) -> None:
    """All compute the same as the interpreter; the planning has proved the plans."""
    inputs = random_inputs(graph)
    meant = run(graph, inputs)
    for program in programs:
        (computed,) = run_planned(program, [inputs], target)
        for name, value in meant.items():
            np.testing.assert_array_equal(computed[name], value)


@pytest.mark.sampled
@pytest.mark.parametrize("io", ("caller", "arena"))
@pytest.mark.parametrize("name", NETS)
def test_a_network_streams_as_far_as_it_may(name: str, io: Io) -> None:
    graph = NETS[name]()

    check(graph, fused(graph, "host", io), "host")


@pytest.mark.sampled
@pytest.mark.parametrize("target", CORES)
@pytest.mark.parametrize("name", NETS)
def test_a_network_streams_most_on_every_core(name: str, target: str) -> None:
    graph = NETS[name]()

    check(graph, most_fused(graph, target, "caller"), target)


@pytest.mark.sampled
@pytest.mark.parametrize("io", ("caller", "arena"))
@pytest.mark.parametrize("name", NETS)
def test_all_modes_of_a_network_agree(name: str, io: Io) -> None:
    graph = NETS[name]()

    check(graph, optimized(graph, "cortex-m4", io), "cortex-m4")


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(24))
def test_all_plans_of_a_random_network_agree(seed: int) -> None:
    graph, target = random_net(seed), CORES[0 if seed % 4 else 1 + seed % 8 // 4]
    verify(graph)
    io: Io = "arena" if seed % 2 else "caller"

    check(graph, chain(optimized(graph, target, io), most_fused(graph, target, io)), target)
