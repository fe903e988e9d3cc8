"""Quantize: halves to the even step, ends and what is no number, without a call of math.h."""

from pathlib import Path

import numpy as np
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c
from tinyc.compiler.graph import Graph
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.targets import load_target

VALUES = np.array(
    [
        0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, -0.49999997, 126.5, 127.5, -128.5, -129.5,
        131071.5, 131072.5, -131072.5, 4194303.5, 8388609.0, 12582912.0, -12582912.0, 3e38, -3e38,
        np.inf, -np.inf, 0.0, -0.0, 1e-45,
    ],
    np.float32,
)  # fmt: skip


def quantizing(folder: Path, scale: float, dtype: str) -> Graph:
    constants = {"s": np.array(scale, np.float32), "z": np.array(3, dtype)}
    nodes = [make_node("QuantizeLinear", ["x", "s", "z"], ["y"])]
    shape = (1, len(VALUES))
    types = {"x": ("float32", shape)}, {"y": (dtype, shape)}
    return optimized(read_model(onnx_model(nodes, *types, constants, opset=21), folder))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_every_kind_of_value(dtype: str, scale: float, tmp_path: Path) -> None:
    (computed,) = run_c(quantizing(tmp_path, scale, dtype), [{"x": VALUES[None]}])

    with np.errstate(over="ignore"):
        steps = np.rint(VALUES / np.float32(scale)).astype(np.float64) + 3
    limits = np.iinfo(dtype)
    assert computed["y"].reshape(-1).tolist() == np.clip(steps, limits.min, limits.max).tolist()


def test_what_is_no_number_is_the_least(tmp_path: Path) -> None:
    nothing = np.full((1, len(VALUES)), np.nan, np.float32)

    (computed,) = run_c(quantizing(tmp_path, 1.0, "int8"), [{"x": nothing}])

    assert set(computed["y"].reshape(-1).tolist()) == {-128}


def test_no_function_of_math_is_called(tmp_path: Path) -> None:
    program = plan_program(quantizing(tmp_path, 0.3, "int8"), load_target("cortex-m4"))
    text = emit_artifact(program).files["model.c"]

    source = text if isinstance(text, str) else text.decode()
    assert "tinyc_nearest(" in source and "rintf" not in source and "fmaxf" not in source
