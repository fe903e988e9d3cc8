"""Models as onnxruntime's optimizer saves them, and every operator of its own, against it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import make_node
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

import tinyc
from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tests.test_onnxruntime_quantizer import Samples, network
from tinyc.compiler.graph import Array

RNG = np.random.default_rng(11)
X = ("float32", (1, 6, 8))
SMALL = ("float32", (1, 5, 8))
IMAGE = ("float32", (1, 3, 7, 7))
LAST = ("float32", (1, 6, 6, 4))


def floats(*shape: int) -> Array:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


CONSTANTS: dict[str, Array] = {
    "b": floats(8), "wide": floats(8, 24), "bias": floats(24), "w": floats(4, 3, 3, 3),
    "c": floats(4), "g": floats(5, 8), "gb": floats(5), "words": floats(20, 8),
    "places": floats(9, 8), "kinds": floats(2, 8), "of heads": floats(1, 2, 6, 5),
    "q": RNG.integers(-99, 99, (8, 5)).astype(np.int8), "qs": np.array(0.01, np.float32),
    "qz": np.array(3, np.int8), "xs": np.array(0.05, np.float32), "xz": np.array(120, np.uint8),
    "ys": np.array(0.03, np.float32), "yz": np.array(110, np.uint8),
    "f": RNG.integers(-99, 99, (5, 4, 3, 3)).astype(np.int8), "fz": np.array(0, np.int8),
}  # fmt: skip
HEADS = {"num_heads": 2}
CASES: dict[str, tuple[str, dict[str, tuple[str, tuple[int, ...]]], str, dict[str, Any]]] = {
    "a gelu of a sum": ("BiasGelu", {"x": X}, "x b", {}),
    "a fast gelu": ("FastGelu", {"x": X}, "x", {}),
    "a fast gelu of a sum": ("FastGelu", {"x": X}, "x b", {}),
    "a quick gelu": ("QuickGelu", {"x": X}, "x", {"alpha": 1.5}),
    "a conv and a sum": (
        "FusedConv", {"x": IMAGE, "z": ("float32", (1, 4, 5, 5))}, "x w c z", {"activation": "Relu"}
    ),
    "a clipped conv": (
        "FusedConv", {"x": IMAGE}, "x w c", {"activation": "Clip", "activation_params": [-0.5, 0.7]}
    ),
    "a leaky conv": (
        "FusedConv", {"x": IMAGE}, "x w", {"activation": "LeakyRelu", "activation_params": [0.3]}
    ),
    "a leaky gemm": (
        "FusedGemm", {"x": ("float32", (1, 8))}, "x g gb",
        {"activation": "LeakyRelu", "activation_alpha": 0.3, "transB": 1, "alpha": 0.5},
    ),
    "a scaled product": ("FusedMatMul", {"x": X}, "x g", {"transB": 1, "alpha": 0.5}),
    "products of two": (
        "FusedMatMul", {"x": X, "y": X}, "x y", {"transA": 1, "alpha": 0.125}
    ),
    "attention": ("Attention", {"x": X}, "x wide bias", HEADS),
    "attention to the past": ("Attention", {"x": X}, "x wide bias", {**HEADS, "unidirectional": 1}),
    "attention by a mask": (
        "Attention", {"x": X, "m": ("int32", (1, 6))}, "x wide bias m", HEADS
    ),
    "attention by a length": (
        "Attention", {"x": X, "m": ("int32", (1,))}, "x wide bias m", HEADS
    ),
    "attention of three": (
        "MultiHeadAttention", {"x": X, "k": SMALL, "v": SMALL}, "x k v bias",
        {**HEADS, "scale": 0.3},
    ),
    "attention of three and a bias": (
        "MultiHeadAttention", {"x": X, "k": SMALL, "v": SMALL}, "x k v _ _ of+heads", HEADS
    ),
    "a triangle": ("Trilu", {"x": X}, "x", {"upper": 0}),
    "a quantized product": ("DynamicQuantizeMatMul", {"x": X}, "x q qs qz gb", {}),
}  # fmt: skip
OPTIMIZED = {op for op, *_ in CASES.values()} - {"DynamicQuantizeMatMul"}  # which has a body
OPTIMIZED |= {"EmbedLayerNormalization", "NhwcMaxPool", "QLinearConv"}


def model_of(name: str) -> onnx.ModelProto:
    op, given, names, attributes = CASES[name]
    inputs = ["" if n == "_" else n.replace("+", " ") for n in names.split()]
    node = make_node(op, inputs, ["out"], domain="com.microsoft", **attributes)
    used = {n: CONSTANTS[n] for n in inputs if n in CONSTANTS}
    domains = ["com.microsoft"]
    return without_shapes(
        onnx_model([node], given, {"out": ("float32", ())}, used, domains=domains)
    )


def without_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, whose outputs have a shape that is not said."""
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def inputs_of(model: onnx.ModelProto) -> dict[str, Array]:
    inputs = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        whole = value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT
        data = RNG.integers(1, 2 if shape[-1] == 6 else 5, shape) if whole else floats(*shape)
        inputs[value.name] = data.astype(np.int32) if whole else data
    return inputs


@pytest.mark.parametrize("name", CASES)
def test_every_operator(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    inputs = inputs_of(model)
    if name == "attention by a mask":
        inputs["m"][0, 4:] = 0

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [inputs])

    expected = run_onnxruntime(model, inputs)["out"]
    np.testing.assert_allclose(computed["out"].reshape(expected.shape), expected, atol=1e-5)


def embedding() -> onnx.ModelProto:
    names = ["ids", "kind", "words", "places", "kinds", "b", "b", "mask"]
    node = make_node("EmbedLayerNormalization", names, ["y", "n"], domain="com.microsoft")
    used = {n: CONSTANTS[n] for n in ("words", "places", "kinds", "b")}
    given = {n: ("int32", (1, 6)) for n in ("ids", "kind", "mask")}
    results = {"y": X, "n": ("int32", (1,))}
    return onnx_model([node], given, results, used, domains=["com.microsoft"])


def test_an_embedding_and_its_length(tmp_path: Path) -> None:
    model, inputs = embedding(), inputs_of(embedding())
    inputs["mask"][0, 4:] = 0
    inputs["ids"][0] = [1, 19, 0, 3, 7, 7]

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [inputs])

    expected = run_onnxruntime(model, inputs)
    np.testing.assert_allclose(computed["y"], expected["y"], atol=1e-5)
    assert computed["n"].tolist() == expected["n"].tolist() == [4]


@pytest.mark.parametrize(
    ("op", "names", "attributes"),
    [
        ("NhwcMaxPool", "s", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("QLinearConv", "s xs xz f qs fz ys yz", {"channels_last": 1, "pads": [1, 1, 0, 0]}),
        ("QLinearGlobalAveragePool", "s xs xz ys yz", {"channels_last": 1}),
    ],
)
def test_channels_that_are_last(op: str, names: str, attributes: dict[str, Any], tmp_path) -> None:
    ends = ["xs", "xz"] if op == "NhwcMaxPool" else ["ys", "yz"]
    nodes = [
        make_node("QuantizeLinear", ["x", "xs", "xz"], ["s"]),
        make_node(op, names.split(), ["o"], domain="com.microsoft", **attributes),
        make_node("DequantizeLinear", ["o", *ends], ["out"]),
    ]
    used = {n: CONSTANTS[n] for n in ("xs", "xz", "ys", "yz", "f", "qs", "fz")}
    output = {"out": ("float32", ())}
    model = onnx_model(nodes, {"x": LAST}, output, used, domains=["com.microsoft"])
    inputs = inputs_of(without_shapes(model))

    graph = optimized(read_model(model, tmp_path))
    (computed,) = run_c(graph, [inputs])

    expected = run_onnxruntime(model, inputs)["out"]
    np.testing.assert_allclose(computed["out"], expected, atol=0.031 if op[0] == "Q" else 0)
    assert "Transpose" not in [node.op for node in graph.nodes]


def saved(model: Path, result: Path, level: str) -> onnx.ModelProto:
    """What a session of onnxruntime writes as its optimized model."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    settings.optimized_model_filepath = str(result)
    onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    return onnx.load(str(result))


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_saved_session_computes_what_its_model_does(
    level: str, quantized: bool, tmp_path: Path
) -> None:
    source, plain = tmp_path / "model.onnx", tmp_path / "float.onnx"
    onnx.save(network(), str(plain if quantized else source))
    if quantized:
        quantize_static(
            str(plain), str(source), Samples(), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
        )  # fmt: skip
    sample, model = {"x": floats(1, 3, 8, 8)}, onnx.load(str(source))
    fused = saved(source, tmp_path / "saved.onnx", level)

    (expected,), (computed,) = (
        run_c(optimized(read_model(m, tmp_path)), [sample]) for m in (model, fused)
    )

    np.testing.assert_allclose(computed["y"], expected["y"], atol=2.01 / 256 if quantized else 1e-5)
    if not quantized:
        reference = run_onnxruntime(fused, sample)["y"]
        np.testing.assert_allclose(computed["y"], reference, atol=1e-5)


def test_layouts_of_one_processor_are_refused_with_the_way_out(tmp_path: Path) -> None:
    node = make_node("ReorderInput", ["x"], ["y"], name="r", domain="com.microsoft.nchwc")
    given = {"x": ("float32", (1, 8, 4, 4))}
    model = onnx_model([node], given, {"y": given["x"]}, domains=["com.microsoft.nchwc"])

    with pytest.raises(tinyc.CompileError) as error:
        read_model(model, tmp_path)

    assert error.value.code == "unsupported-op"
    assert "save the model with ORT_ENABLE_EXTENDED" in error.value.help


def test_a_simplified_layer_normalization(tmp_path: Path) -> None:
    """onnxruntime has it in ONNX's own domain, where ONNX has none."""
    node = make_node("SimplifiedLayerNormalization", ["x", "b"], ["out"], epsilon=0.01)
    model = onnx_model([node], {"x": X}, {"out": X}, {"b": CONSTANTS["b"]})
    inputs = inputs_of(model)

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [inputs])

    expected = run_onnxruntime(model, inputs)["out"]
    np.testing.assert_allclose(computed["out"], expected, atol=1e-5)
