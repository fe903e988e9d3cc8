"""The command line: every verb, as people and as programs use it."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

import tinyc
from tinyc.compiler.cli import main
from tinyc.compiler.graph import Node
from tinyc.compiler.interface_data import stored_samples
from tinyc.compiler.options import CompileOptions, Options, options_of
from tinyc.compiler.reference_run import _reference_value

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODEL, DATA = str(EXAMPLE / "digits_cnn_int8_qdq_ort.onnx"), str(EXAMPLE / "digits.npz")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_compile_writes_the_files_of_the_design(capsys, tmp_path: Path) -> None:
    out = tmp_path / "out"

    text = run(
        capsys, "compile", MODEL, "--target", "cortex-m4", "-o", str(out), "--name", "digits"
    )

    written = {p.name for p in out.iterdir()}
    assert written == {"digits.h", "digits.c", "digits_weights.c", "tinyc.h", "report.json"}
    assert "arena" in text and "wrote digits.h" in text
    report = json.loads((out / "report.json").read_text())
    assert report["model"] == "digits" and report["target"] == "cortex-m4"
    assert f"#define DIGITS_ARENA_BYTES {report['arena_bytes']}u" in (out / "digits.h").read_text()
    layer = report["layers"][0]
    keys = {"name", "op", "function", "kernel", "macs", "weights_bytes", "scratch_bytes", "arena"}
    assert keys <= set(layer)


def test_compile_in_json_prints_the_report(capsys, tmp_path: Path) -> None:
    text = run(capsys, "compile", MODEL, "--target", "host", "-o", str(tmp_path / "o"), "--json")

    assert json.loads(text)["inputs"][0]["name"] == "x"


def test_dump_writes_the_graph_after_every_pass(capsys, tmp_path: Path) -> None:
    dump = tmp_path / "dump"

    run(
        capsys, "compile", MODEL, "--target", "host", "-o", str(tmp_path / "o"), "--dump", str(dump)
    )

    names = sorted(p.name for p in dump.iterdir())
    assert names[0] == "00-import.txt"
    assert any("absorb_quantization" in n for n in names)
    assert "Conv2D" in (dump / names[-1]).read_text()


def test_run_prints_predictions_and_costs(capsys) -> None:
    text = run(capsys, "run", MODEL, "--target", "cortex-m4", "--input", DATA, "--limit", "2")

    assert "largest: 1" in text and "largest: 3" in text
    assert "cycles" in text and "measured in the emulator" in text


def test_run_in_json_gives_outputs_and_cycles(capsys) -> None:
    text = run(
        capsys, "run", MODEL, "--target", "rv32imc", "--input", DATA, "--limit", "1", "--json"
    )

    result = json.loads(text)
    assert np.argmax(result["outputs"]["softmax"][0]) == 1
    assert result["cycles"] > 100_000 and result["stack_bytes"] < 600
    assert sum(row["cycles"] for row in result["cycles_by_layer"]) <= result["cycles"]


def test_verify_reports_both_accuracies(capsys) -> None:
    text = run(capsys, "verify", MODEL, "--target", "host", "--data", DATA)

    assert "540 samples on host" in text
    assert "accuracy     tinyc 98.70%, onnxruntime 98.70%" in text


def test_verify_in_json_names_the_node_where_answers_part(capsys, tmp_path: Path) -> None:
    text = run(capsys, "verify", MODEL, "--target", "host", "--data", DATA, "--json")

    result = json.loads(text)
    assert result["accuracy"] == pytest.approx(533 / 540)
    assert result["outputs"][0]["largest"] < 0.05
    assert result["parting"] is None or result["parting"]["node"]


def test_verify_takes_floats_and_stored_integers_for_an_int8_interface() -> None:
    x = np.load(DATA)["x"][:40]
    (port,) = tinyc.compile(MODEL, "host", io_dtype="int8").report.inputs

    of_floats = tinyc.verify(MODEL, "host", {"x": x}, io_dtype="int8")
    stored = stored_samples(x, port, x.dtype)
    of_stored = tinyc.verify(MODEL, "host", {"x": stored}, io_dtype="int8")

    assert stored.dtype == np.int8 and of_floats.outputs == of_stored.outputs
    assert of_stored.outputs[0].dtype == "int8" and of_stored.outputs[0].differing_share < 0.005


@pytest.mark.parametrize("verb", ["targets", "ops", "doctor"])
def test_listing_verbs_print_tables_and_json(capsys, verb: str) -> None:
    assert run(capsys, verb)
    assert json.loads(run(capsys, verb, "--json"))


def test_help_is_quick_and_shows_examples() -> None:
    code = "from tinyc.compiler.cli import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0
    assert "tinyc compile kws.onnx --target cortex-m4" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["compile", MODEL],
        ["compile", MODEL, "--target", "host", "--io", "stack"],
        ["compile", MODEL, "--target", "host", "--input-shape", "x"],
        ["compile", MODEL, "--target", "host", "--input-shape", "x=0,1"],
        ["run", MODEL, "--target", "host", "--input", DATA, "--limit", "0"],
        ["fly"],
    ],
)
def test_wrong_usage_ends_with_2(capsys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)

    assert end.value.code == 2
    assert "usage" in capsys.readouterr().err.lower()


def test_the_python_interface_does_the_same(tmp_path: Path) -> None:
    artifact = tinyc.compile(MODEL, target="cortex-m4", io="arena")
    artifact.write(tmp_path / "out")
    data = np.load(DATA)

    result = tinyc.run(artifact, {"x": data["x"][:2]})

    assert artifact.report.arena_bytes > 0 and (tmp_path / "out" / "report.json").exists()
    assert result.outputs["softmax"].shape == (2, 10)
    assert result.outputs["softmax"].argmax(axis=1).tolist() == data["y"][:2].tolist()
    assert tinyc.verify(MODEL, "host", DATA, limit=4).samples == 4


def test_what_is_compiled_is_what_is_verified() -> None:
    def cycles(**options: Any) -> int | None:
        return tinyc.verify(MODEL, "cortex-m4", DATA, limit=1, **options).cycles

    quick, small = cycles(optimize="latency"), cycles(optimize="ram")
    assert quick is not None and small is not None and quick < small
    with pytest.raises(tinyc.CompileError, match="RAM"):
        cycles(max_ram=100)


def test_keywords_are_the_options_and_none_means_the_default() -> None:
    of_the_quantizer = {"notes"}
    keywords = set(CompileOptions.__annotations__)
    assert keywords | of_the_quantizer == {field.name for field in fields(Options)}
    assert options_of({"dims": None, "io": "arena"}, CompileOptions) == Options(io="arena")


def test_keywords_of_another_verb_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword arguments: html"):
        tinyc.plan(MODEL, "cortex-m4", html=True)  # type: ignore[call-arg]


def test_layouts_of_one_shape_are_told_apart() -> None:
    """Where parting is looked for: as many channels as rows and columns."""
    theirs = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
    ours = theirs.transpose(0, 2, 3, 1).copy()
    made = make_node("Conv", ["x", "w"], ["y"])
    node = Node("conv", "Conv2D", ("x", "w"), ("y",), None, ("conv",))

    found = _reference_value(node, ours, {"conv": made}, {"y": theirs})

    assert found is not None and (found == ours).all()
