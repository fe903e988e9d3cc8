"""The wheel ships every folder of the packages; imports of the public module are lazy."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
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
    code = (
        "import sys, tinyc, tinyc.compiler.cli\n"
        "heavy = {'tvm', 'onnx', 'onnxruntime', 'numpy', 'unicorn', 'networkx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
