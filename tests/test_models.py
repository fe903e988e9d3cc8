"""The real models: the same answers on every core, the arena, flash, accuracy, determinism."""

import numpy as np
import pytest

import tinyc
from bench.measure import MUST_ARENA, TFLM, accuracy, deviation, outputs_of
from bench.models import BY_NAME, MODELS, TINY, RealModel
from tests.conftest import NEEDS_MODELS
from tinyc.compiler.interpreter import run
from tinyc.compiler.pipeline import read_graph
from tinyc.targets import load_target
from tinyc.targets.emulator.disassembly import disassemble_float_instructions
from tinyc.targets.objects import undefined_symbols
from tinyc.targets.toolchain import build, find_compiler

pytestmark = [NEEDS_MODELS, pytest.mark.slow]
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
LABELLED = [m for m in MODELS if m.correct]
SLOW_FLOATS = ("cortex-m0plus", "rv32imc")


def ids(models: object) -> list[str]:
    return [m.name for m in models]  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", MODELS, ids=ids(MODELS))
@pytest.mark.parametrize("core", CORES)
def test_a_core_answers_like_the_host(model: RealModel, core: str) -> None:
    count = 2 if model.quantized or core not in SLOW_FLOATS else 1

    host, device = (outputs_of(model.name, target, count) for target in ("host", core))

    if model.quantized:
        np.testing.assert_array_equal(device, host)
    else:
        np.testing.assert_allclose(device, host, rtol=1e-5, atol=1e-5 * np.abs(host).max())


@pytest.mark.parametrize("model", MODELS, ids=ids(MODELS))
def test_the_c_computes_what_the_graph_means(model: RealModel) -> None:
    graph = read_graph(model.path, load_target("host"))
    (given,), (wanted,) = graph.inputs, graph.outputs
    samples = model.samples(2)

    means = [
        run(graph, {given: x.reshape(graph.tensors[given].shape)})[wanted].reshape(-1)
        for x in samples
    ]

    computed = outputs_of(model.name, "host", 2)
    if model.quantized:
        np.testing.assert_array_equal(computed, means)
    else:
        np.testing.assert_allclose(computed, means, rtol=1e-5, atol=1e-5 * np.abs(means).max())


@pytest.mark.parametrize("model", LABELLED, ids=ids(LABELLED))
def test_accuracy_stays_within_half_a_point(model: RealModel) -> None:
    ours, _, count = accuracy(model.name)

    assert ours >= model.correct - 0.005 * count


FLOATS = [m for m in MODELS if not m.quantized]


@pytest.mark.parametrize("model", FLOATS, ids=ids(FLOATS))
def test_float_models_agree_with_onnxruntime(model: RealModel) -> None:
    assert deviation(model.name) < 1e-5


@pytest.mark.parametrize("model", TINY, ids=ids(TINY))
def test_costs_keep_below_their_limits(model: RealModel) -> None:
    artifact = tinyc.compile(model.path, "cortex-m4", io="arena")
    (port,) = artifact.report.inputs

    result = tinyc.run(artifact, {port.name: model.samples(1).reshape(1, *port.shape)})

    cycles, _, flash = TFLM[model.name]
    assert artifact.report.arena_bytes <= MUST_ARENA[model.name]
    assert result.cycles is not None and result.cycles <= cycles
    assert result.text_bytes + result.rodata_bytes <= flash - 25_600
    assert result.stack_bytes is not None and result.stack_bytes <= 600


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("model", [m for m in TINY], ids=ids(TINY))
def test_int8_models_need_no_floats_and_no_library(model: RealModel, core: str, tmp_path) -> None:
    artifact, target = tinyc.compile(model.path, core), load_target(core)

    objects = build(find_compiler(target), target, artifact.files, tmp_path)

    own = {f"{artifact.name}_"}
    needed = {s for s in undefined_symbols(objects) if not s.startswith(tuple(own))}
    assert needed <= {"memcpy", "memset"}
    assert not disassemble_float_instructions(objects, target)


@pytest.mark.parametrize("model", TINY, ids=ids(TINY))
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

    real = (
        result.outputs[wanted.name].astype(np.float32) - wanted.quant.zero_point[0]
    ) * np.float32(wanted.quant.scale[0])
    np.testing.assert_array_equal(real, outputs_of(model.name, "host", 16))
