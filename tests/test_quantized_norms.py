"""Normalizations of stored integers: C equal to the meaning bit for bit, and near onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import (
    assert_c_computes_the_meaning,
    onnx_model,
    optimized,
    random_inputs,
    read_model,
    run_onnxruntime,
)
from tests.qdq import Q
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run

IN, U8 = Q(), Q(0.04, 120, "uint8")
OUT = Q(0.03, -4)


def norm(
    op: str, shape: tuple[int, ...], parameters: tuple[tuple[int, ...], ...], q: Q = IN,
    out: Q = OUT, spread: float = 0.3, stored: bool = False, **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """Stored x -> Dequantize -> op with constants of these shapes -> Quantize -> y.

    stored  the constants are int32, and dequantized
    """
    rng = np.random.default_rng(len(shape))
    constants: dict[str, Array] = {
        "x_scale": np.array(q.scale, np.float32), "x_zero": np.array(q.zero_point, q.dtype),
        "y_scale": np.array(out.scale, np.float32), "y_zero": np.array(out.zero_point, out.dtype),
    }  # fmt: skip
    nodes = [make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["a"])]
    for number, own in enumerate(parameters):
        values = rng.normal(1 - number, spread, own)
        constants[f"p{number}"] = values.astype(np.float32)
        if stored:
            constants[f"s{number}"] = np.rint(values * 2**16).astype(np.int32)
            constants[f"p{number}_scale"] = np.array(2**-16, np.float32)
            names = [f"s{number}", f"p{number}_scale"]
            nodes.append(make_node("DequantizeLinear", names, [f"p{number}"]))
            del constants[f"p{number}"]
    names = ["a", *(f"p{number}" for number in range(len(parameters)))]
    nodes += [
        make_node(op, names, ["b"], name="the_op", **attributes),
        make_node("QuantizeLinear", ["b", "y_scale", "y_zero"], ["y"]),
    ]
    opset = 23 if op == "RMSNormalization" else 17
    return onnx_model(nodes, {"x": (q.dtype, shape)}, {"y": (out.dtype, shape)}, constants, opset)


LAYER = "LayerNormalization"
CASES = {
    "layer of 64": norm(LAYER, (1, 10, 64), ((64,), (64,))),
    "layer of 768, large factors": norm(LAYER, (3, 768), ((768,), (768,)), out=Q(0.2, 9), spread=3),
    "layer, no shift": norm(LAYER, (2, 5, 7), ((7,),), Q(0.9, -128)),
    "layer over two axes": norm(LAYER, (4, 5, 7), ((5, 7), (5, 7)), axis=1),
    "layer, uint8": norm(LAYER, (8, 33), ((33,), (33,)), U8, Q(0.05, 128, "uint8")),
    "layer, epsilon counts": norm(LAYER, (6, 24), ((24,), (24,)), Q(0.001, 5), epsilon=0.01),
    "layer, stored factors": norm(LAYER, (4, 12), ((12,), (12,)), stored=True),
    "layer of two": norm(LAYER, (40, 2), ((2,), (2,))),
    "layer of one": norm(LAYER, (9, 1), ((1,), (1,))),
    "layer of 16384": norm(LAYER, (1, 16384), ((16384,), (16384,)), U8),
    "instance": norm("InstanceNormalization", (2, 3, 5, 4), ((3,), (3,))),
    "mean and variance": norm("MeanVarianceNormalization", (2, 3, 5, 4), ()),
    "root mean square": norm("RMSNormalization", (6, 48), ((48,),)),
    "root mean square, uint8": norm("RMSNormalization", (6, 48), ((48,),), U8),
}  # fmt: skip


def samples_for(graph: Graph) -> list[dict[str, Array]]:
    """Random values, extremes only, all the same, and one that stands alone."""
    random = random_inputs(graph)["x"]
    low, high = graph.tensors["x"].dtype.limits
    lone = np.full_like(random, high)
    lone[..., 0] = low
    every = (random, np.where(random % 2 == 0, low, high), np.full_like(random, low), lone,
             random // 40 + 7)  # fmt: skip
    return [{"x": x.astype(random.dtype)} for x in every]


def graph_of(case: str, folder: Path) -> Graph:
    graph = optimized(read_model(CASES[case], folder))
    assert [n.op for n in graph.nodes if "antize" in n.op] == [], "a float is left"
    assert [n.op for n in graph.nodes if n.op == "Normalize"] == ["Normalize"]
    return graph


@pytest.mark.parametrize("case", CASES)
def test_the_meaning_is_near_onnxruntimes(case: str, tmp_path: Path) -> None:
    graph = graph_of(case, tmp_path)
    for number, sample in enumerate(samples_for(graph)):
        if case == "mean and variance" and np.ptp(sample["x"]) == 0:
            continue  # without an epsilon, rounding of floats is all that is divided there
        ours = run(graph, sample)["y"].astype(int)
        far = np.abs(ours - run_onnxruntime(CASES[case], sample)["y"].astype(int))
        assert far.max() <= 1, f"sample {number}"
        assert (far > 0).mean() <= 0.001 + 2 / far.size, f"sample {number}"


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", CASES)
def test_the_c_computes_the_meaning(case: str, target: str, tmp_path: Path) -> None:
    graph = graph_of(case, tmp_path)
    assert_c_computes_the_meaning(graph, samples_for(graph), target, "host")


@pytest.mark.parametrize(
    "target",
    ["cortex-m4", *(pytest.param(t, marks=pytest.mark.slow) for t in ("cortex-m0plus", "rv32imc"))],
)
@pytest.mark.parametrize("case", ["layer of 64", "root mean square, uint8"])
def test_a_core_computes_the_meaning(case: str, target: str, tmp_path: Path) -> None:
    graph = graph_of(case, tmp_path)
    assert_c_computes_the_meaning(graph, samples_for(graph), target, target)
