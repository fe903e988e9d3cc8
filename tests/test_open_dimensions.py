"""Dimensions that a model leaves open: set by name, or taken as declared."""

from pathlib import Path

import onnx
import pytest
from onnx.helper import (
    make_node,
)

import tinyc.compiler.api as tinyc
from tests.harness import onnx_model
from tinyc.compiler.errors import CompileError
from tinyc.compiler.onnx_import.reading import read_onnx


def open_model(folder: Path) -> Path:
    model = onnx_model(
        [make_node("Shape", ["a"], ["s"]), make_node("Expand", ["b", "s"], ["y"])],
        {"a": ("float32", ("batch", "n")), "b": ("float32", (1, "n"))},
        {"y": ("float32", ("batch", "n"))},
    )
    onnx.save(model, str(folder / "open.onnx"))
    return folder / "open.onnx"


def test_a_dimension_is_set_wherever_it_stands(tmp_path: Path) -> None:
    graph = read_onnx(open_model(tmp_path), dims={"batch": 3, "n": 5})

    assert [graph.tensors[n].shape for n in ("a", "b", "y")] == [(3, 5), (1, 5), (3, 5)]
    assert not graph.notes


def test_a_dimension_that_the_model_does_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as refused:
        tinyc.compile(open_model(tmp_path), "host", dims={"m": 3})

    assert refused.value.code == "unknown-dimension"
    assert refused.value.help == "its open dimensions are: 'batch', 'n'"


def test_every_verb_that_takes_shapes_takes_dimensions(tmp_path: Path) -> None:
    model, dims = open_model(tmp_path), {"batch": 2, "n": 3}

    artifact = tinyc.compile(model, "host", dims=dims)
    plans = tinyc.plan(model, "cortex-m4", dims=dims)
    bundle = tinyc.compile_bundle([model], "host", dims=dims)

    assert artifact.report.outputs[0].shape == (2, 3)
    assert bundle.artifacts[0].report.outputs[0].shape == (2, 3)
    assert plans.points
