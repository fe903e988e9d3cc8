"""The wheel ships every folder of the packages; what is heavy is loaded where it is used."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "examples/digits/digits_cnn_int8_qdq_ort.onnx"
FOLDERS = ("compiler", "passes", "targets", "autotune", "quantization", "pruning", "tinyc")


def test_every_folder_is_listed() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    holding_files = {
        p.parent
        for f in FOLDERS
        for p in (ROOT / f).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    names = {".".join(p.relative_to(ROOT).parts) for p in holding_files}

    listed = {name.removeprefix("tinyc.") for name in config["packages"]}

    assert names == listed


def test_every_kind_of_data_file_is_shipped() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = {pattern.removeprefix("*") for pattern in config["package-data"]["*"]}
    suffixes = {
        p.suffix or p.name
        for f in FOLDERS
        for p in (ROOT / f).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".py"
    }

    assert {s if s != ".typed" else "py.typed" for s in suffixes} <= patterns


def test_the_command_starts_without_the_heavy_packages() -> None:
    loaded = modules_after("import tinyc, tinyc.compiler.cli")

    assert loaded.isdisjoint({"tvm", "onnx", "onnxruntime", "numpy", "unicorn", "networkx"})


def test_a_graph_is_read_and_optimised_without_tvm() -> None:
    loaded = modules_after(
        "from pathlib import Path\n"
        "from tinyc.compiler.pipeline import read_graph\n"
        "from tinyc.targets import load_target\n"
        f"read_graph(Path({str(MODEL)!r}), load_target('cortex-m4'))"
    )

    assert "tinyc.compiler.ops" in loaded and "tvm" not in loaded


def test_a_chain_of_int8_layers_is_compiled_without_what_other_models_and_verbs_need(
    tmp_path: Path,
) -> None:
    arguments = ["compile", str(MODEL), "--target", "cortex-m4", "-o", str(tmp_path / "out")]

    loaded = modules_after(f"from tinyc.compiler.cli import main\nassert main({arguments}) == 0")

    others = {"xgboost", "onnxruntime", "unicorn", "distributed", "ortools", "pandas", "networkx"}
    unused = {"jinja2", "onnx.reference", "tvm.relax.frontend.onnx", "tflite"}
    ours = {"tinyc.autotune.tuner", "tinyc.quantization.api", "tinyc.pruning.api"}
    assert "tvm" in loaded and loaded.isdisjoint(others | unused | ours)


def modules_after(code: str) -> set[str]:
    """What is loaded in a process of its own that runs `code`."""
    code += "\nimport sys; print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())
