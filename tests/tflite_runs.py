""".tflite models that remember: written, run call after call, refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.harness import optimized, run_planned
from tests.tflite_files import Operation, T, tflite_file
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.planning import plan_program
from tinyc.targets import load_target


def generator() -> np.random.Generator:
    return np.random.default_rng(4)


def written(folder: Path, tensors: Sequence[T], *operations: Operation, **more: Any) -> Path:
    path = folder / "m.tflite"
    inputs = [t.name for t in tensors if t.name.startswith("x")]
    outputs = [t.name for t in tensors if t.name.startswith("y")]
    path.write_bytes(tflite_file(tensors, operations, inputs, outputs, **more))
    return path


def run_in_a_row(graph: Graph, runs: Sequence[Array], target: str) -> list[Array]:
    """The output `y` of every run, by C."""
    program = plan_program(optimized(graph), load_target(target))
    return [found["y"] for found in run_planned(program, [{"x": x} for x in runs], target)]


TARGETS = pytest.mark.parametrize("target", ["host", "cortex-m4"])


def refusal(path: Path) -> str:
    with pytest.raises(CompileError) as error:
        read_onnx(path)
    return error.value.message
