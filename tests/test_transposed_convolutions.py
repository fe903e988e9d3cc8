"""A ConvTranspose by its phases computes what it did: the same bytes, floats within 1e-5."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import HOST, onnx_model, random_inputs, read_model, run_c
from tinyc.compiler.graph import DType, Graph
from tinyc.compiler.interpreter import run
from tinyc.passes import FLOAT_PASSES, INT8_PASSES, run_passes, transposed_convolutions
from tinyc.passes.transposed_convolutions import split_transposed_convolutions
from tinyc.targets import load_target

Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]  # x, weights, attributes
CASES: dict[str, Case] = {
    "1x1": ((1, 4, 3, 5), (4, 3, 1, 1), {}),
    "1x1, stride 2": ((1, 4, 3, 5), (4, 3, 1, 1), {"strides": [2, 2]}),
    "2x2, stride 2": ((1, 8, 3, 5), (8, 4, 2, 2), {"strides": [2, 2]}),
    "2x2, cut": ((1, 8, 3, 5), (8, 5, 2, 2), {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    "3x3": ((1, 4, 5, 3), (4, 5, 3, 3), {"pads": [1, 1, 1, 1]}),
    "3x3, output padding": ((1, 4, 5, 3), (4, 5, 3, 3), {
        "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "3x3, odd output": ((1, 4, 5, 3), (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "3x3, stride 3 and 1": ((1, 4, 2, 6), (4, 3, 3, 3), {"strides": [3, 1], "pads": [0, 1, 2, 1]}),
    "4x4": ((1, 8, 7, 9), (8, 4, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "4x4 of few": ((1, 8, 2, 2), (8, 4, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "4x4 of one": ((1, 8, 1, 1), (8, 4, 4, 4), {}),
    "5x3, asymmetric": ((1, 3, 4, 5), (3, 2, 5, 3), {"strides": [2, 3], "pads": [3, 0, 1, 2]}),
    "stride over kernel": ((1, 4, 3, 4), (4, 3, 2, 2), {"strides": [3, 4]}),
    "stride over kernel, padded": ((1, 4, 3, 4), (4, 3, 2, 1), {
        "strides": [4, 2], "pads": [1, 0, 0, 0], "output_padding": [3, 1]}),
    "dilated": ((1, 2, 4, 4), (2, 2, 3, 2), {
        "strides": [3, 2], "dilations": [2, 3], "pads": [1, 2, 0, 1]}),
    "dilated as the stride": ((1, 4, 4, 5), (4, 3, 2, 2), {"strides": [2, 2], "dilations": [2, 2]}),
    "much cut off": ((1, 2, 6, 6), (2, 3, 3, 3), {"strides": [2, 2], "pads": [5, 4, 4, 6]}),
    "output shape": ((1, 3, 3, 3), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [8, 8]}),
    "same": ((1, 3, 3, 4), (3, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "two images": ((2, 4, 3, 3), (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "1-D": ((1, 4, 7), (4, 3, 4), {"strides": [4]}),
    "1-D, padded": ((1, 4, 7), (4, 3, 5), {"strides": [3], "pads": [2, 1]}),
    "a row": ((1, 4, 1, 7), (4, 3, 1, 4), {"strides": [1, 2], "pads": [0, 1, 0, 1]}),
}  # fmt: skip


def model(floats: bool, stored: DType = DType.INT8) -> onnx.ModelProto:
    """All cases side by side, each followed by a Relu; weights have a scale for each channel."""
    rng = np.random.default_rng(5)
    nodes, inputs, outputs = [], {}, {}
    values: dict[str, Any] = {"s": np.float32(0.05), "z": np.array(3, stored.value)}
    values |= {
        "t": np.float32(0.3),
        "u": np.array(-3 if stored == DType.INT8 else 99, stored.value),
    }
    low, high = stored.limits
    for number, (shape, kernel, attributes) in enumerate(CASES.values()):
        x, w, y, channels = f"x{number}", f"w{number}", f"y{number}", kernel[1]
        inputs[x] = ("float32" if floats else str(stored), shape)
        outputs[y] = ("float32" if floats else str(stored), (None,))
        bias = [f"b{number}"] if number % 3 else []
        for name in bias:
            values[name] = rng.normal(size=channels).astype(np.float32)
        if floats:
            values[w] = rng.normal(size=kernel).astype(np.float32)
            nodes.append(make_node("ConvTranspose", [x, w, *bias], [f"{y}c"], **attributes))
            nodes.append(make_node("Relu", [f"{y}c"], [y]))
            continue
        values[w] = rng.integers(low + 1, high + 1, kernel).astype(stored.value)
        values[f"{w}s"] = rng.uniform(0.001, 0.02, channels).astype(np.float32)
        zeros = np.zeros(channels) if stored == DType.INT8 else rng.integers(90, 160, channels)
        values[f"{w}z"] = zeros.astype(stored.value)
        nodes += [
            make_node("DequantizeLinear", [x, "s", "z"], [f"{x}r"]),
            make_node("DequantizeLinear", [w, f"{w}s", f"{w}z"], [f"{w}r"], axis=1),
            make_node("ConvTranspose", [f"{x}r", f"{w}r", *bias], [f"{y}c"], **attributes),
            make_node("Relu", [f"{y}c"], [f"{y}r"]),
            make_node("QuantizeLinear", [f"{y}r", "t", "u"], [y]),
        ]
    return onnx_model(nodes, inputs, outputs, {n: np.asarray(v) for n, v in values.items()}, 20)


def both(proto: onnx.ModelProto, folder: Path) -> tuple[Graph, Graph]:
    """The optimized graph without the pass, and with it."""
    graph = run_passes(read_model(proto, folder), HOST, FLOAT_PASSES)
    others = tuple(p for p in INT8_PASSES if p is not split_transposed_convolutions)
    return run_passes(graph, HOST, others), run_passes(graph, HOST, INT8_PASSES)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it costs."""
    monkeypatch.setattr(transposed_convolutions, "gain", lambda target, floats: 1e9)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("target", "parts"), [("host", 1), ("host", 16), ("cortex-m4", 4)])
@pytest.mark.parametrize("kind", ["int8", "uint8", "float32"])
def test_phases_compute_what_the_whole_does(
    kind: str, target: str, parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transposed_convolutions, "MOST_PARTS", parts)
    floats = kind == "float32"
    whole, split = both(model(floats, DType.INT8 if floats else DType(kind)), tmp_path)
    assert {n.op for n in whole.nodes} >= {"ConvTranspose"}
    assert not any(n.op == "ConvTranspose" for n in split.nodes)
    inputs = random_inputs(whole)
    if not floats:
        inputs = {n: np.where(a % 3 == 0, np.iinfo(a.dtype).min, a) for n, a in inputs.items()}

    (computed,) = run_c(split, [inputs], target)

    meant, alike = run(whole, inputs), run(split, inputs)
    for number, name in enumerate(CASES):
        y = f"y{number}"
        if floats:
            np.testing.assert_allclose(computed[y], meant[y], rtol=1e-5, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(alike[y], meant[y], rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(computed[y], meant[y], err_msg=name)
            np.testing.assert_array_equal(alike[y], meant[y], err_msg=name)


def one(shape: tuple[int, ...], kernel: tuple[int, ...], folder: Path, **attributes: Any) -> Graph:
    """The graph of one layer of floats after all passes."""
    rng = np.random.default_rng(2)
    node = make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    weights = {"w": rng.normal(size=kernel).astype(np.float32)}
    given, wanted = {"x": ("float32", shape)}, {"y": ("float32", (None,))}
    return both(onnx_model([node], given, wanted, weights), folder)[1]


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((16, 8, 2, 2), {"strides": [4, 4]}),  # most of 16 phases have no weight
        ((16, 8, 3, 3), {"strides": [2, 2], "dilations": [2, 3]}),
        ((16, 1, 4, 4), {"strides": [2, 2], "group": 16}),
    ],
)
def test_what_would_not_pay_stays(kernel: Any, attributes: Any, tmp_path: Path) -> None:
    ops = [n.op for n in one((1, 16, 6, 6), kernel, tmp_path, **attributes).nodes]

    assert "ConvTranspose" in ops and "Conv2D" not in ops


def test_without_fast_convolutions_floats_stay() -> None:
    assert transposed_convolutions.gain(load_target("cortex-m0plus"), True) == 0
    assert transposed_convolutions.gain(load_target("cortex-m0plus"), False) > 1


def test_an_exact_kernel_is_one_convolution(tmp_path: Path) -> None:
    graph = one((1, 16, 8, 8), (16, 8, 2, 2), tmp_path, strides=[2, 2])

    assert [n.op for n in graph.nodes][1:4] == ["Conv2D", "Interleave", "Reshape"]


def test_other_kernels_are_one_a_phase(tmp_path: Path) -> None:
    graph = one((1, 16, 8, 8), (16, 8, 3, 3), tmp_path, strides=[2, 2], pads=[1] * 4,
                output_padding=[1, 1])  # fmt: skip
    kernels = [graph.tensors[n.inputs[1]].shape[1:3] for n in graph.nodes if n.op == "Conv2D"]

    assert kernels == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_along_one_axis_nothing_is_copied(tmp_path: Path) -> None:
    graph = one((1, 16, 9), (16, 8, 4), tmp_path, strides=[4])

    assert not any(n.op in ("Interleave", "ConvTranspose") for n in graph.nodes)


def test_it_streams(tmp_path: Path) -> None:
    """A row of phases at a time: neither they nor the image's other rows need to be there."""
    graph = one((1, 16, 8, 8), (16, 8, 4, 4), tmp_path, strides=[2, 2], pads=[1] * 4)
    streamed = [n.name for n in graph.nodes if n.op in ("Conv2D", "Interleave")]
    inputs = random_inputs(graph)

    (computed,) = run_c(graph, [inputs], streams=[streamed])

    np.testing.assert_allclose(computed["y"], run(graph, inputs)["y"], rtol=1e-5, atol=1e-5)
