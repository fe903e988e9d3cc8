"""What a model may give back, and tensors without elements."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import firmware_of, onnx_model
from tinyc.compiler.graph import Array
from tinyc.compiler.options import Options
from tinyc.compiler.pipeline import compile_model
from tinyc.targets import load_target
from tinyc.targets.firmware import Io
from tinyc.targets.runner import run_program

X = np.array([[1.5, -2.0, 0.25]], np.float32)


def outputs_of(model: onnx.ModelProto, inputs: list[Array], folder: Path, io: Io) -> list[Array]:
    path, target = folder / "model.onnx", load_target("host")
    onnx.save(model, str(path))
    artifact = compile_model(path, target, Options(io=io))
    data = tuple(np.ascontiguousarray(array).tobytes() for array in inputs)
    (results,) = run_program(firmware_of(artifact), target, [data]).outputs
    ports = artifact.report.outputs
    return [
        np.frombuffer(b, p.dtype.value).reshape(p.shape)
        for b, p in zip(results, ports, strict=True)
    ]


@pytest.mark.parametrize("io", ["caller", "arena"])
def test_outputs_that_nothing_computes(io: Io, tmp_path: Path) -> None:
    """An input, a constant, one value twice, a shape, and what a node leaves unused."""
    model = onnx_model(
        [
            make_node("Identity", ["x"], ["same"]),
            make_node("Identity", ["k"], ["constant"]),
            make_node("Neg", ["x"], ["once"]),
            make_node("Identity", ["once"], ["again"]),
            make_node("Shape", ["x"], ["shape"]),
            make_node("Dropout", ["x"], ["kept", "mask"]),
            make_node("Exp", ["x"], ["nobody"]),
        ],
        {"x": ("float32", (1, 3))},
        {
            "x": ("float32", (1, 3)), "same": ("float32", (1, 3)), "constant": ("int64", (2,)),
            "once": ("float32", (1, 3)), "again": ("float32", (1, 3)), "shape": ("int64", (2,)),
            "mask": ("bool", (1, 3)),
        },
        {"k": np.array([7, -8])},
    )  # fmt: skip

    results = outputs_of(model, [X], tmp_path, io)

    expected = [X, X, np.array([7, -8]), -X, -X, np.array([1, 3]), np.ones((1, 3), bool)]
    for computed, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(computed, wanted)


@pytest.mark.parametrize("io", ["caller", "arena"])
def test_tensors_without_elements(io: Io, tmp_path: Path) -> None:
    """As input, between nodes and as output; what they are joined with is all there is."""
    model = onnx_model(
        [
            make_node("Relu", ["nothing"], ["still"]),
            make_node("Concat", ["still", "x", "still"], ["y"], axis=0),
            make_node("Transpose", ["nothing"], ["t"]),
            make_node("MatMul", ["still", "w"], ["product"]),
            make_node("MatMul", ["t", "still"], ["sums"]),
        ],
        {"nothing": ("float32", (0, 3)), "x": ("float32", (1, 3))},
        {
            "y": ("float32", (1, 3)), "still": ("float32", (0, 3)), "product": ("float32", (0, 2)),
            "sums": ("float32", (3, 3)),
        },
        {"w": np.ones((3, 2), np.float32)},
    )  # fmt: skip

    y, still, product, sums = outputs_of(model, [np.zeros((0, 3), np.float32), X], tmp_path, io)

    np.testing.assert_array_equal(y, X)
    assert (still.shape, product.shape) == ((0, 3), (0, 2))
    np.testing.assert_array_equal(sums, np.zeros((3, 3)))


def test_a_model_without_inputs_gives_its_constants(tmp_path: Path) -> None:
    model = onnx_model(
        [make_node("Range", ["a", "b", "c"], ["y"])], {}, {"y": ("int32", (4,))},
        {name: np.array(n, np.int32) for name, n in (("a", 5), ("b", -6), ("c", -3))},
    )  # fmt: skip

    (y,) = outputs_of(model, [], tmp_path, "caller")

    assert y.tolist() == [5, 2, -1, -4]
