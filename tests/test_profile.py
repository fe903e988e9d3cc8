"""Profiles: each layer's cycles are its own, also where layers share code, and all add up."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from tests.harness import onnx_model
from tests.test_emulator import job_for
from tinyc.compiler.cli import main
from tinyc.compiler.errors import CompileError
from tinyc.compiler.pipeline import compile_program
from tinyc.compiler.profiling import random_inputs
from tinyc.compiler.running import calls_of_layers, cycles_by_layer
from tinyc.targets import load_target
from tinyc.targets.emulator.worker import Emulation, emulate

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODEL, DATA = EXAMPLE / "digits_cnn_int8_qdq_ort.onnx", EXAMPLE / "digits.npz"
CORES = ["cortex-m0plus", "cortex-m4", "cortex-m7", "rv32imc"]

WORK = """
__attribute__((noinline)) static uint32_t step(uint32_t v) { return v * 3u + (v >> 5); }
__attribute__((noinline, noipa)) static void work(uint32_t n, uint32_t *y) {
  while (n-- > 0u) { *y = step(*y); }
}
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  (void)arena;
"""
AROUND = {"main", "bench_begin", "bench_end", "t_run"}


def calls_of(core: str, times: list[int], folder: Path) -> Emulation:
    """A run function that calls the same function again and again; `x` is zero."""
    folder.mkdir()
    lines = [f"  work(x[0] + {n}u, &y[{i}]);\n" for i, n in enumerate(times)]
    return emulate(job_for(core, f"{WORK}{''.join(lines)}  y[3] += 1u;\n}}\n", folder))


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m33", "rv32imc"])
def test_calls_of_one_function_are_told_apart(core: str, tmp_path: Path) -> None:
    together = calls_of(core, [7, 500, 30], tmp_path / "all")

    for position, n in enumerate((7, 500, 30)):
        alone = calls_of(core, [n], tmp_path / str(n))
        call = together.calls[position]
        assert {name for name in call if name not in AROUND} == {"work", "step"}
        assert call["work"] == alone.functions["work"]
        assert call["step"] == alone.functions["step"]
        assert call["step"].calls == n


@pytest.mark.parametrize("core", CORES)
def test_calls_add_up_to_the_whole(core: str, tmp_path: Path) -> None:
    run = calls_of(core, [3, 40, 5], tmp_path / "all")

    for name in ("work", "step"):
        parts = [call[name] for call in run.calls if name in call]
        whole = run.functions[name]
        assert sum(p.instructions for p in parts) == whole.instructions
        assert sum(p.calls for p in parts) == whole.calls
        rounding = 2 if core == "cortex-m7" else 0  # its mispredictions are a rate
        assert abs(sum(p.cycles for p in parts) - whole.cycles) <= rounding


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of equal code, and a tensor that lives during both."""
    random = np.random.default_rng(0)
    constants = {f"w{i}": random.normal(size=(16, 16)).astype(np.float32) for i in range(2)}
    nodes = [
        make_node("Sigmoid", ["x"], ["a"]),
        make_node("MatMul", ["a", "w0"], ["b"], name="first"),
        make_node("MatMul", ["b", "w1"], ["c"], name="second"),
        make_node("Add", ["a", "c"], ["y"]),
    ]
    shape = ("float32", (1, 16))
    path = tmp_path_factory.mktemp("twins") / "twins.onnx"
    onnx.save(onnx_model(nodes, {"x": shape}, {"y": shape}, constants), str(path))
    return path


def test_layers_that_share_a_function_have_cycles_of_their_own(twins: Path) -> None:
    profile = tinyc.profile(twins, "cortex-m4")

    first, second = profile.layers[1:3]
    assert first.function == second.function
    assert first.cycles == second.cycles > 16 * 16
    assert abs(first.code_bytes - second.code_bytes) <= 1  # one function, shared
    assert first.limit_share is None  # the limit is that of 8-bit products


def test_gcc_makes_no_copies_of_a_shared_function(twins: Path) -> None:
    artifact = tinyc.compile(twins, "cortex-m4")

    run = tinyc.run(artifact, {"x": np.ones((1, 16), np.float32)})

    first, second = calls_of_layers(artifact, run)[1:3]
    assert artifact.report.layers[1].function in first
    assert set(first) == set(second)


def test_ram_of_a_layer_is_what_the_arena_holds_then(twins: Path) -> None:
    profile = tinyc.profile(twins, "cortex-m4")

    bytes_of_a_tensor = 16 * 4  # x and y are the caller's
    tensors = [layer.ram_bytes // bytes_of_a_tensor for layer in profile.layers]
    assert tensors == [1, 2, 3, 2]
    assert profile.arena_bytes == 3 * bytes_of_a_tensor


@pytest.mark.parametrize("core", CORES)
def test_layers_and_the_rest_add_up(core: str) -> None:
    artifact = tinyc.compile(MODEL, core)
    samples = np.load(DATA)["x"][:1]
    profile = tinyc.profile(MODEL, core, {"x": samples}, clock_hz=1e6)
    run = tinyc.run(artifact, {"x": samples})

    assert profile.cycles == run.cycles
    assert cycles_by_layer(artifact, run) == tuple(layer.cycles for layer in profile.layers)
    rest = run.cycles_by_function[f"{artifact.name}_run"]
    assert 0 <= profile.rest_cycles - rest < 60  # main, and the first mark
    assert sum(layer.cycles for layer in profile.layers) + profile.rest_cycles == profile.cycles
    code = sum(layer.code_bytes for layer in profile.layers)
    assert code + profile.rest_code_bytes == profile.code_bytes and profile.rest_code_bytes > 0
    assert max(layer.ram_bytes for layer in profile.layers) <= profile.arena_bytes
    assert abs(sum(layer.share for layer in profile.layers) - 1) < 0.01
    assert profile.time_ms == profile.cycles / 1000


def test_every_layer_runs_its_own_function() -> None:
    artifact = tinyc.compile(MODEL, "cortex-m4")

    run = tinyc.run(artifact, {"x": np.load(DATA)["x"][:1]})

    for layer, call in zip(artifact.report.layers, calls_of_layers(artifact, run), strict=True):
        assert layer.function in {symbol.partition(".")[0] for symbol in call}


@pytest.mark.parametrize("core", CORES)
def test_only_winograd_which_multiplies_less_beats_the_limit_of_a_core(core: str) -> None:
    layers = [x for x in tinyc.profile(MODEL, core).layers if x.limit_share is not None]

    assert len(layers) == 4
    for layer in layers:
        most = 4 if "winograd" in layer.kernel else 1  # F(4x4,3x3): 36 products for 144
        assert layer.limit_share is not None and 0 < layer.limit_share < most


def test_random_data_covers_the_range_of_the_input() -> None:
    program, artifact = compile_program(MODEL, load_target("host"))
    ports = artifact.report.inputs

    first, again, other = (random_inputs(program.graph, ports, seed)["x"] for seed in (0, 0, 1))

    (quantize,) = (n for n in program.graph.nodes if n.op == "Quantize")
    quant = program.graph.tensors[quantize.output].quant
    assert quant is not None
    width = 255 * quant.scale[0]
    assert 0.8 * width < np.ptp(first) <= width
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_profile_in_json_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["profile", str(MODEL), "--target", "cortex-m4", "--json", "--sort", "cycles"]
    assert main([*arguments, "--clock", "120MHz", "--seed", "3"]) == 0

    profile = json.loads(capsys.readouterr().out)
    cycles = [layer["cycles"] for layer in profile["layers"]]
    assert cycles == sorted(cycles, reverse=True)
    assert sum(cycles) + profile["rest_cycles"] == profile["cycles"]
    assert {layer["step"] for layer in profile["layers"]} == set(range(len(cycles)))
    assert profile["time_ms"] == pytest.approx(profile["cycles"] / 120e3)
    assert "measured in the emulator" in profile["measured"] and "seed 3" in profile["data"]
    assert profile["stack_bytes"] > 0 and profile["cycles_per_mac_limit"] == 0.5
    conv = next(layer for layer in profile["layers"] if layer["op"] == "Conv2D")
    assert conv["limit_share"] == pytest.approx(0.5 / conv["cycles_per_mac"])
    keys = {"kernel", "schedule", "share", "ram_bytes", "scratch_bytes", "table_bytes"}
    assert keys <= set(conv)


def test_profile_as_text_names_layers_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["profile", str(MODEL), "--target", "cortex-m4", "--input", str(DATA)]
    assert main([*arguments, "--clock", "64 MHz"]) == 0

    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if "Conv2D" in line]
    kernels = ("gemm", "winograd")
    assert len(rows) == 2 and all("%" in row for row in rows)
    assert all(any(kernel in row for kernel in kernels) for row in rows)
    assert "█" in rows[1] and "run function" in text
    for row in ("cycles", "time", "limit", "stack", "arena", "flash", "data"):
        assert f"\n{row} " in text
    assert "measured in the emulator" in text and "the first sample given" in text
    assert "64 MHz" in text and "\x1b" not in text


@pytest.mark.parametrize("clock", ["fast", "120", "0MHz", "-5MHz", "12mHz"])
def test_a_clock_without_a_unit_is_wrong_usage(
    clock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["profile", str(MODEL), "--target", "cortex-m4", f"--clock={clock}"])

    assert stop.value.code == 2
    assert "is not a frequency as in 120MHz" in " ".join(capsys.readouterr().err.split())


def test_a_target_without_a_cycle_model_is_refused() -> None:
    with pytest.raises(CompileError) as error:
        tinyc.profile(MODEL, "host")

    assert str(error.value) == (
        "error[not-emulated]: there is no cycle model of the target 'host'\n"
        "  --> --target host\n"
        "  help: profile on an emulated core, as in --target cortex-m4; `tinyc targets` lists them"
    )


def test_data_of_another_shape_is_refused() -> None:
    with pytest.raises(CompileError, match="shape"):
        tinyc.profile(MODEL, "cortex-m4", {"x": np.zeros((1, 1, 9, 9), np.float32)})
