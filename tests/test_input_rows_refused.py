"""Models whose input cannot be handed in row by row."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from tests.harness import HOST, onnx_model
from tests.test_input_rows import SHAPES
from tinyc.compiler.graph import Node
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.passes.input_rows import push_rows


def refusal(model: onnx.ModelProto, folder: Path) -> str:
    onnx.save(model, str(folder / "m.onnx"))
    with pytest.raises(tinyc.CompileError) as error:
        tinyc.compile(folder / "m.onnx", "host", io="rows")
    assert error.value.code == "cannot-push-rows"
    return str(error.value)


def test_a_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    kind = ("float32", (1, 4, 4, 2))
    model = onnx_model([make_node("Add", ["a", "b"], ["y"])], {"a": kind, "b": kind}, {"y": kind})

    assert refusal(model, tmp_path) == (
        "error[cannot-push-rows]: the model has 2 inputs, and only one can be handed in by rows\n"
        "  --> inputs 'a', 'b'\n"
        "  help: use --io arena or --io caller"
    )


def test_a_layer_that_needs_the_whole_input_is_refused(tmp_path: Path) -> None:
    model = onnx_model(
        [make_node("Softmax", ["x"], ["y"], name="first", axis=1)],
        {"x": ("float32", (1, 4, 4, 2))},
        {"y": ("float32", (1, 4, 4, 2))},
    )

    assert refusal(model, tmp_path) == (
        "error[cannot-push-rows]: Softmax needs the whole input before it can begin\n"
        "  --> node 'first'\n"
        "  help: use --io arena, or begin the model with convolutions or pools of several rows"
    )


def test_a_vector_is_refused(tmp_path: Path) -> None:
    model = onnx_model(
        [make_node("Gemm", ["x", "w"], ["y"], name="first")],
        {"x": ("float32", (1, 4))},
        {"y": ("float32", (1, 3))},
        {"w": np.ones((4, 3), np.float32)},
    )

    assert "Dense needs the whole input before it can begin\n  --> node 'first'" in refusal(
        model, tmp_path
    )


def test_a_layer_between_two_that_read_the_input_is_refused() -> None:
    graph = SHAPES["3x3"]
    softmax = Node("between", "Softmax", ("r1",), ("s",), SoftmaxAttrs(3))
    again = Node("again", "Conv2D", ("x", "w0", "b0"), ("r2",), graph.nodes[0].attrs)
    join = Node("join", "Add", ("s", "r2"), ("y",), BinaryAttrs())
    tensors = {n: replace(graph.tensors["r0"], name=n) for n in ("s", "r2", "y")}
    deep = replace(graph, outputs=("y",)).with_nodes(
        [*graph.nodes, softmax, again, join], tensors.values()
    )

    with pytest.raises(tinyc.CompileError) as error:
        push_rows(deep, HOST)

    assert error.value.where == "node 'between'"


def test_an_input_that_is_read_in_two_shapes_is_refused(tmp_path: Path) -> None:
    model = onnx_model(
        [
            make_node("MaxPool", ["x"], ["p"], kernel_shape=[3, 3], pads=[1] * 4),
            make_node("Add", ["p", "x"], ["y"], name="again"),
        ],
        {"x": ("float32", (1, 1, 6, 6))},
        {"y": ("float32", (1, 1, 6, 6))},
    )

    assert "Add needs the whole input before it can begin\n  --> node 'again'" in refusal(
        model, tmp_path
    )


def test_planes_of_channels_are_refused(tmp_path: Path) -> None:
    model = onnx_model(
        [make_node("Mul", ["x", "s"], ["m"]), make_node("Conv", ["m", "w"], ["y"])],
        {"x": ("float32", (1, 3, 8, 6))},
        {"y": ("float32", (1, 4, 6, 4))},
        {"w": np.ones((4, 3, 3, 3), np.float32), "s": np.ones((3, 1, 1), np.float32) * 2},
    )

    assert "Transpose needs the whole input before it can begin" in refusal(model, tmp_path)
