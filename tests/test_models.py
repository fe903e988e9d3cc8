"""The real models: the same answers on every core, the arena, flash, accuracy, determinism."""

from operator import attrgetter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import tinyc
from bench.answers import accuracy, deviation, outputs_of
from bench.costs import (
    MOST_SLOWDOWN,
    MUST_AIM,
    MUST_ARENA,
    MUST_BALANCED,
    OF_M4,
    OTHER_CORES,
    RESNET,
    measure_cost,
    most_flash_bytes,
)
from bench.models import BY_NAME, MODELS, SHARED, TINY, RealModel
from bench.ram import LIMITS, MOST_STACK
from bench.ram import MOST_SLOWDOWN as MOST_RAM_SLOWDOWN
from tests.conftest import NEEDS_MODELS
from tests.harness import run_c
from tinyc.autotune.choice import Optimize
from tinyc.compiler.graph import Array
from tinyc.compiler.interpreter import run
from tinyc.compiler.pipeline import read_graph
from tinyc.targets import load_target
from tinyc.targets.emulator.disassembly import disassemble_float_instructions
from tinyc.targets.firmware import Io
from tinyc.targets.objects import undefined_symbols
from tinyc.targets.toolchain import build, find_compiler

pytestmark = [NEEDS_MODELS, pytest.mark.slow]
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
LABELLED = [m for m in MODELS if m.correct]
FLOATS = [m for m in MODELS if not m.quantized]
NAME = attrgetter("name")
SLOW_FLOATS = ("cortex-m0plus", "rv32imc")


def assert_same(model: RealModel, found: Array, wanted: Array) -> None:
    """The same bytes of an int8 model, the same floats up to rounding."""
    if model.quantized:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("model", MODELS, ids=NAME)
@pytest.mark.parametrize("core", CORES)
def test_a_core_answers_like_the_host(model: RealModel, core: str) -> None:
    count = 2 if model.quantized or core not in SLOW_FLOATS else 1

    host, device = (outputs_of(model.name, target, count) for target in ("host", core))

    assert_same(model, device, host)


@pytest.mark.parametrize("model", MODELS, ids=NAME)
def test_the_c_computes_what_the_graph_means(model: RealModel) -> None:
    graph = read_graph(model.path, load_target("host"))
    (given,), (wanted,) = graph.inputs, graph.outputs
    samples = model.samples(2)

    means = [
        run(graph, {given: x.reshape(graph.tensors[given].shape)})[wanted].reshape(-1)
        for x in samples
    ]

    assert_same(model, outputs_of(model.name, "host", 2), np.stack(means))


@pytest.mark.parametrize("model", LABELLED, ids=NAME)
def test_accuracy_stays_within_half_a_point(model: RealModel) -> None:
    ours, _, count = accuracy(model.name)

    assert ours >= model.correct - 0.005 * count


@pytest.mark.parametrize("model", FLOATS, ids=NAME)
def test_float_models_agree_with_onnxruntime(model: RealModel) -> None:
    assert deviation(model.name) < 1e-5


@pytest.mark.parametrize("mode", ["latency", "balanced"])
@pytest.mark.parametrize("model", TINY, ids=NAME)
def test_costs_keep_below_their_limits(model: RealModel, mode: Optimize) -> None:
    cost = measure_cost(model.name, "cortex-m4", mode)

    must, _ = MUST_AIM[model.name, mode]
    assert cost.cycles <= must * 1e6
    assert mode != "balanced" or cost.cycles <= MUST_BALANCED[model.name] * 1e6
    assert cost.flash_bytes <= most_flash_bytes(model.name, mode)
    assert cost.stack_bytes <= 600
    assert mode != "balanced" or cost.arena_bytes <= MUST_ARENA[model.name]


@pytest.mark.parametrize(("name", "io"), LIMITS)
def test_ram_takes_the_least_arena_and_not_much_longer(name: str, io: Io) -> None:
    small, fast = (measure_cost(name, "cortex-m4", mode, io) for mode in ("ram", "latency"))

    assert small.arena_bytes <= LIMITS[name, io].must
    assert small.cycles <= MOST_RAM_SLOWDOWN * fast.cycles
    assert small.stack_bytes <= MOST_STACK


@pytest.mark.parametrize("model", TINY, ids=NAME)
@pytest.mark.parametrize("mode", get_args(Optimize))
def test_every_mode_answers_the_same_bytes(model: RealModel, mode: Optimize) -> None:
    artifact = tinyc.compile(model.path, "cortex-m4", io="arena", optimize=mode)
    (port,) = artifact.report.inputs
    samples = model.samples(2).reshape(2, *port.shape)

    result = tinyc.run(artifact, {port.name: samples})

    (values,) = result.outputs.values()
    assert_same(model, values.reshape(2, -1), outputs_of(model.name, "host", 2))


@pytest.mark.parametrize("limit", [60_000, 34_000, 20_000, 13_500])
def test_the_fastest_plan_within_a_limit_of_ram(limit: int) -> None:
    path = BY_NAME[RESNET].path
    artifact = tinyc.compile(path, "cortex-m4", io="arena", max_ram=limit)

    assert artifact.report.arena_bytes <= limit


def test_a_limit_that_no_plan_keeps_names_the_least() -> None:
    with pytest.raises(tinyc.CompileError, match="out-of-ram") as error:
        tinyc.compile(BY_NAME[RESNET].path, "cortex-m4", io="arena", max_ram=4_000)

    assert "the smallest arena that was found" in str(error.value)
    assert "the peak is at" in str(error.value)


@pytest.mark.parametrize("model", TINY, ids=NAME)
def test_size_takes_the_least_flash_and_not_much_longer(model: RealModel) -> None:
    size, balanced, latency = (
        measure_cost(model.name, "cortex-m4", mode) for mode in ("size", "balanced", "latency")
    )

    assert size.flash_bytes <= min(balanced.flash_bytes, latency.flash_bytes)
    assert size.cycles <= MOST_SLOWDOWN * balanced.cycles


@pytest.mark.parametrize("model", TINY, ids=NAME)
@pytest.mark.parametrize("core", [*OF_M4, "cortex-m0plus", "rv32imc"])
def test_cycles_of_other_cores_keep_below_their_limits(model: RealModel, core: str) -> None:
    cost = measure_cost(model.name, core)

    if core in OF_M4:  # two decimals are what a factor like 1.0 can be held against
        assert round(cost.cycles / measure_cost(model.name, "cortex-m4").cycles, 2) <= OF_M4[core]
    else:
        assert cost.cycles <= OTHER_CORES[core, model.name][0] * 1e6


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("model", TINY, ids=NAME)
def test_int8_models_need_no_floats_and_no_library(
    model: RealModel, core: str, tmp_path: Path
) -> None:
    artifact, target = tinyc.compile(model.path, core), load_target(core)

    objects = build(find_compiler(target), target, artifact.files, tmp_path)

    own = f"{artifact.name}_"
    needed = {s for s in undefined_symbols(objects) if not s.startswith(own)}
    assert needed <= {"memcpy", "memset"}
    assert not disassemble_float_instructions(objects, target)


@pytest.mark.parametrize("model", TINY, ids=NAME)
def test_two_compilations_give_the_same_bytes(model: RealModel) -> None:
    first, second = (tinyc.compile(model.path, "cortex-m4") for _ in range(2))

    assert first.files == second.files


def test_int8_io_takes_the_quantization_off_the_interface() -> None:
    model = BY_NAME["digits_cnn_int8_qdq_ort"]
    artifact = tinyc.compile(model.path, "host", io_dtype="int8")
    (given,), (wanted,) = artifact.report.inputs, artifact.report.outputs
    assert (given.dtype, wanted.dtype, artifact.report.float_nodes) == ("int8", "int8", ())
    assert given.quant and wanted.quant
    images = model.samples(16)
    stored = np.rint(images / given.quant.scale[0]) + given.quant.zero_point[0]

    result = tinyc.run(artifact, {given.name: np.clip(stored, -128, 127).astype(np.int8)})

    steps = result.outputs[wanted.name].astype(np.float32) - wanted.quant.zero_point[0]
    real = steps * np.float32(wanted.quant.scale[0])
    np.testing.assert_array_equal(real, outputs_of(model.name, "host", 16))


@pytest.mark.parametrize("core", ["host", "cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("name", ["iris_rf", "iris_rf_zipmap"])
def test_a_forest_decides_as_onnxruntime_does(name: str, core: str) -> None:
    graph = read_graph(SHARED / "models" / f"{name}.onnx", load_target(core))
    label, shares = graph.outputs
    with np.load(SHARED / "data" / "iris_rf_eval.npz") as file:
        x, labels, proba = (file[k] for k in ("x_f32", "ort_label", "ort_proba"))

    answers = run_c(graph, [{"X": row.reshape(1, -1)} for row in x], core)

    np.testing.assert_array_equal(np.concatenate([a[label] for a in answers]), labels)
    np.testing.assert_allclose(np.concatenate([a[shares] for a in answers]), proba, 1e-6)
