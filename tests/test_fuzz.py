"""Broken files give an error message or a compilation: never a traceback, a hang, or 2 GiB."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def check(seed: int, count: int, kind: str = "onnx") -> None:
    command = [sys.executable, "-m", "tests.fuzz_worker", str(seed), str(count), kind]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)

    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["crashes"] == []
    assert result["compiled"] + result["refused"] == count
    assert result["compiled"] > 0 and result["refused"] > 0
    assert result["peak_bytes"] < 2 << 30


def test_mutants_are_refused_or_compiled() -> None:
    check(seed=0, count=40)


@pytest.mark.slow
def test_a_hundred_mutants_of_tflite_files_are_refused_or_compiled() -> None:
    check(seed=0, count=100, kind="tflite")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 7))
def test_thousands_of_mutants_are_refused_or_compiled(seed: int) -> None:
    check(seed, count=500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
def test_a_thousand_mutants_of_tflite_files_are_refused_or_compiled(seed: int) -> None:
    check(seed, count=500, kind="tflite")
