"""Means over the image behind a convolution are pools, whose kernels they then get."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, random_inputs, read_model, run_c
from tests.qdq import Q, qdq_model
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run

WEIGHTS: Array = np.random.default_rng(0).normal(size=(6, 3, 3, 3)).astype(np.float32)


def behind_convolution(folder: Path, y: tuple[int, ...], **attributes: Any) -> Graph:
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("ReduceMean", ["c"], ["y"], **attributes),
    ]
    ports = {"x": ("float32", (1, 3, 7, 6))}, {"y": ("float32", y)}
    return read_model(onnx_model(nodes, *ports, {"w": WEIGHTS}), folder)


@pytest.mark.parametrize(
    ("y", "attributes"),
    [
        ((1, 6), {"axes": [2, 3], "keepdims": 0}),
        ((1, 6, 1, 1), {"axes": [-1, -2]}),
    ],
)
def test_a_mean_over_the_image_is_a_pool(
    y: tuple[int, ...], attributes: dict[str, Any], tmp_path: Path
) -> None:
    imported = behind_convolution(tmp_path, y, **attributes)
    graph = optimized(imported)
    inputs = random_inputs(graph)

    assert "AveragePool2D" in {n.op for n in graph.nodes} >= {"Conv2D"}
    assert "Reduce" not in {n.op for n in graph.nodes}
    (computed,) = run_c(graph, [inputs])
    np.testing.assert_allclose(computed["y"], run(imported, inputs)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("y", "axes"), [((1, 1, 5, 4), [1]), ((1, 6, 1, 4), [2]), ((1, 1, 1, 1), [1, 2, 3])]
)
def test_other_means_stay(y: tuple[int, ...], axes: list[int], tmp_path: Path) -> None:
    graph = optimized(behind_convolution(tmp_path, y, axes=axes))
    assert "AveragePool2D" not in {n.op for n in graph.nodes}


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_stored_integers_are_what_a_mean_gives(target: str, tmp_path: Path) -> None:
    proto = qdq_model("ReduceMean", [(1, 5, 7, 6)], Q(0.03, -9), (1, 6), [Q(0.05, 7)], [],
                      opset=13, axes=[1, 2], keepdims=0)  # fmt: skip
    imported = read_model(proto, tmp_path)
    graph = optimized(imported)
    inputs = random_inputs(graph)

    assert [n.op for n in graph.nodes if n.op != "Reshape"] == ["AveragePool2D"]
    x = (inputs["x0"].astype(np.float64) - 7) * np.float32(0.05)
    exact = np.clip(x.mean(axis=(1, 2)) / np.float32(0.03) - 9, -128, 127)
    (computed,) = run_c(graph, [inputs], target)
    assert np.abs(computed["y"] - exact).max() <= 0.51
