"""What a user's mistake prints: a code, what is wrong, where, what to do; never a traceback."""

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from tests.harness import onnx_model
from tests.refusals import DATA, MODEL, refused
from tinyc.compiler.cli import main


def test_unknown_target(capsys) -> None:
    assert refused(capsys, "compile", MODEL, "--target", "cortex-m44") == (
        "error[unknown-target]: no target is named 'cortex-m44'; the nearest is 'cortex-m4'\n"
        "  --> --target cortex-m44\n"
        "  help: use one of: cortex-m0plus, cortex-m3, cortex-m33, cortex-m4, cortex-m7, host, "
        "rv32imac, rv32imafc, rv32imc; or the path of a TOML file\n"
    )


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("io", "caller, arena, rows"),
        ("io_dtype", "model, int8, int16"),
        ("optimize", "latency, balanced, size, ram"),
        ("weights", "c, incbin, bin"),
        ("tree_features", "model, int16"),
    ],
)
def test_unknown_option_in_python(option: str, known: str) -> None:
    with pytest.raises(tinyc.CompileError) as error:
        tinyc.compile(MODEL, "host", **{option: "int4"})

    assert str(error.value) == (
        "error[wrong-option]: there is no 'int4'\n"
        f"  --> option {option}\n"
        f"  help: use one of: {known}"
    )


def dense(n: int) -> onnx.ModelProto:
    constants = {"w": np.ones((n, n), np.float32)}
    nodes = [make_node("MatMul", ["x", "w"], ["y"], name="big")]
    return onnx_model(nodes, {"x": ("float32", (1, n))}, {"y": ("float32", (1, n))}, constants)


TARGET = """\
isa = "host"
features = []
alignment = 4
emulator = ""
timing = ""
cycles_per_mac_limit = 0.0
cflags = []

[[regions]]
name = "flash"
kind = "flash"
origin = 0
bytes = 10000

[[regions]]
name = "sram"
kind = "ram"
origin = 0x20000000
bytes = 1000

[[compilers]]
name = "gcc"
flags = []
"""


def test_weights_larger_than_the_flash(capsys, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TARGET)
    path = tmp_path / "m.onnx"
    onnx.save(dense(64), str(path))

    text = refused(capsys, "compile", path, "--target", tmp_path / "tiny.toml")

    assert text == (
        "error[out-of-flash]: the weights need 16384 bytes of flash, "
        "6384 more than the 10000 of tiny\n"
        "  --> model 'm'\n"
        "  help: allow more with --max-flash, choose a target with more flash, quantize the model "
        "to int8, or keep the weights in external flash with --weights bin\n"
    )


def test_arena_larger_than_the_ram(capsys, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TARGET)
    nodes = [make_node("Relu", ["x"], ["a"], name="one"), make_node("Softmax", ["a"], ["y"])]
    model = onnx_model(nodes, {"x": ("float32", (1, 400))}, {"y": ("float32", (1, 400))})
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))

    text = refused(
        capsys, "compile", path, "--target", tmp_path / "tiny.toml", "-o", tmp_path / "o"
    )

    assert text == (
        "error[out-of-ram]: the smallest arena that was found needs 1600 bytes of RAM, "
        "600 more than the 1000 of tiny\n"
        "  --> the peak is at one, Softmax_1\n"
        "  help: allow more with --max-ram, choose a target with more RAM, or make the input "
        "smaller\n"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": np.zeros((2, 1, 8, 8))}, "the model needs float32, the data is float64"),
        ({"x": np.zeros((2, 1, 7, 8), np.float32)}, "the data has the shape [2, 1, 7, 8]"),
        ({"z": np.zeros((2, 3), np.float32)}, "the data has no arrays for the model's inputs"),
        ({"x": np.zeros((0, 1, 8, 8), np.float32)}, "the data has the shape [0, 1, 8, 8]"),
    ],
)
def test_wrong_data(capsys, tmp_path: Path, arrays: dict[str, np.ndarray], expected: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)

    text = refused(capsys, "run", MODEL, "--target", "host", "--input", tmp_path / "d.npz")

    assert text.startswith("error[wrong-input]") and expected in text


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_data_that_is_no_npz(capsys, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "d.npz"
    if content is not None:
        path.write_bytes(content)

    text = refused(capsys, "run", MODEL, "--target", "host", "--input", path)

    assert text.startswith("error[bad-data]: the data cannot be read")


def test_output_folder_that_is_a_file(capsys, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    text = refused(capsys, "compile", MODEL, "--target", "host", "-o", tmp_path / "out")

    assert text.startswith("error[cannot-write]: the output folder cannot be written")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_leaves_nothing(capsys, tmp_path: Path, monkeypatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    text = refused(capsys, "compile", MODEL, "--target", "host", "-o", tmp_path / "out")

    assert "No space left on device" in text
    assert not list(tmp_path.iterdir())


def test_a_missing_compiler_is_named(capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")

    text = refused(
        capsys, "run", MODEL, "--target", "cortex-m4", "--input", DATA, "--limit", "1",
        "--compiler", "arm-none-eabi-gcc",
    )  # fmt: skip

    assert text.startswith("error[compiler-missing]") and "gcc-arm-none-eabi" in text


def test_the_readme_lists_every_code() -> None:
    root = Path(__file__).parent.parent
    folders = ("compiler", "passes", "targets", "autotune", "quantization", "pruning")
    sources = [p for f in folders for p in (root / f).rglob("*.py")]
    calls = (
        r"(?:CompileError|guarded|raise_error)\(\s*(?:lambda.*?,\s*)?\"([a-z0-9]+(?:-[a-z0-9]+)+)\""
    )
    raised = {c for p in sources for c in re.findall(calls, p.read_text(), re.DOTALL)}

    listed = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", (root / "README.md").read_text()))

    assert raised and raised - {"no-batch"} <= listed  # that one is caught where it is raised


def test_json_errors_are_json(capsys) -> None:
    assert main(["compile", str(MODEL), "--target", "nothing", "--json"]) == 1

    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unknown-target"


def test_tuning_for_a_machine_without_cycles(capsys) -> None:
    assert refused(capsys, "tune", MODEL, "--target", "host") == (
        "error[not-emulated]: 'host' runs on this machine, where no cycles are counted\n"
        "  --> --target host\n"
        "  help: tune for an emulated core: see `tinyc targets`\n"
    )


def test_tuning_without_xgboost(capsys, monkeypatch) -> None:
    monkeypatch.setattr("tinyc.autotune.cost_model.find_spec", lambda name: None)

    assert refused(capsys, "tune", MODEL, "--target", "cortex-m4") == (
        "error[tuner-missing]: tuning needs the package xgboost\n"
        "  --> not installed: xgboost\n"
        "  help: run: pip install 'tinyc[tune]' (or xgboost-cpu, which is smaller)\n"
    )


@pytest.mark.slow
def test_tuning_on_a_cluster_that_is_not_there(capsys) -> None:
    arguments = ("tune", MODEL, "--target", "cortex-m4", "--cluster", "tcp://127.0.0.1:9")

    text = refused(capsys, *arguments)

    assert text.startswith("error[cluster-missing]: no Dask scheduler answers: ")
    assert "--> --cluster tcp://127.0.0.1:9" in text and "help: start `dask scheduler`" in text


def test_records_that_are_no_records(capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "tinyc-records.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)

    text = refused(capsys, "compile", MODEL, "--target", "cortex-m4", "-o", tmp_path / "out")

    assert text == (
        "error[bad-records]: the line is not a record of `tinyc tune`: 'schedule'\n"
        "  --> tinyc-records.jsonl, line 1\n"
        "  help: remove the line, or the file, and tune again\n"
    )
