"""Operators over spatial axes, of any rank: all cases of a family in one program, against
onnxruntime; what is quantized, bit for bit against its meaning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, random_inputs, read_model, run_c, run_onnxruntime
from tests.qdq import Q
from tests.spatial_cases import FAMILIES, Case, case, floats, ints, reals, resize
from tinyc.compiler.errors import CompileError
from tinyc.compiler.interpreter import run


def model_of(cases: Mapping[str, Case]) -> onnx.ModelProto:
    """All cases beside each other; the output of each has its name."""
    nodes, inputs, constants = [], {}, {}
    for number, (name, (op, operands, attributes)) in enumerate(cases.items()):
        names = []
        for position, operand in enumerate(operands):
            names.append("" if operand is None else f"v{number}_{position}")
            if isinstance(operand, tuple):
                inputs[names[-1]] = ("float32", operand)
            elif operand is not None:
                constants[names[-1]] = operand
        nodes.append(make_node(op, names, [name], name=name, **attributes))
    return _with_outputs(onnx_model(nodes, inputs, {}, constants, 20), list(cases))


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_c_computes_what_onnxruntime_does(family: str, target: str, tmp_path: Path) -> None:
    model = model_of(FAMILIES[family])
    graph = optimized(read_model(model, tmp_path))
    inputs = random_inputs(graph)

    (computed,) = run_c(graph, [inputs], target)

    meaning = run(graph, inputs)
    for name, expected in run_onnxruntime(model, inputs).items():
        assert computed[name].shape == expected.shape, name
        for values in (computed, meaning):
            np.testing.assert_allclose(values[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_where_maxima_lie_and_back(tmp_path: Path) -> None:
    """Also of int8, by columns, and equal values: the first one counts."""
    window = {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [0, 1, 1, 1]}
    nodes = [
        make_node("MaxPool", ["x"], ["a", "a at"], **window),
        make_node("MaxPool", ["x"], ["b", "b at"], storage_order=1, **window),
        make_node("MaxPool", ["i"], ["c", "c at"], kernel_shape=[2], strides=[2]),
        make_node("MaxPool", ["x"], ["d", "d at"], kernel_shape=[2, 2], strides=[2, 2]),
        make_node("MaxUnpool", ["d", "d at"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    given = {"x": ("float32", (2, 2, 4, 6)), "i": ("int8", (1, 3, 8))}
    names = [n for node in nodes for n in node.output if n != "b at"]
    model = _with_outputs(onnx_model(nodes, given, {}, {}, 13), names)
    graph = optimized(read_model(model, tmp_path))
    inputs = random_inputs(graph)
    inputs["x"] = np.rint(inputs["x"])

    (computed,) = run_c(graph, [inputs])

    for name, expected in run_onnxruntime(model, inputs).items():
        np.testing.assert_array_equal(computed[name], expected, err_msg=name)


def test_maxima_are_counted_by_columns(tmp_path: Path) -> None:
    node = make_node("MaxPool", ["x"], ["y", "at"], kernel_shape=[2, 2], storage_order=1)
    model = _with_outputs(onnx_model([node], {"x": ("float32", (1, 1, 3, 3))}, {}), ["at"])
    graph = optimized(read_model(model, tmp_path))
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)

    (computed,) = run_c(graph, [{"x": x}])

    np.testing.assert_array_equal(computed["at"].reshape(-1), [4, 7, 5, 8])


def test_old_resizes(tmp_path: Path) -> None:
    for opset, op, mode in ((7, "Upsample", "nearest"), (9, "Upsample", "linear"), (10, "Resize", "nearest"),
                            (10, "Resize", "linear")):  # fmt: skip
        scales = [1.0, 1.0, 2.0, 1.5 if op == "Upsample" else 0.6]
        attributes = {"scales": scales} if opset < 9 else {}
        constants = {} if opset < 9 else {"s": reals(*scales)}
        node = make_node(op, ["x", *constants], ["y"], mode=mode, **attributes)
        model = onnx_model([node], {"x": ("float32", (1, 2, 3, 5))}, {"y": ("float32", (1, 2, 6, int(5 * scales[3])))}, constants, opset)  # fmt: skip
        graph = optimized(read_model(model, tmp_path))
        inputs = random_inputs(graph)

        (computed,) = run_c(graph, [inputs])

        expected = run_onnxruntime(model, inputs)["y"]
        np.testing.assert_allclose(computed["y"], expected, rtol=1e-5, atol=1e-5)


WEIGHT_AXES = {"Conv": 0, "ConvTranspose": 1}
SAME = Q(0.05, 3)
QUANTIZED: dict[str, tuple[Case, Q]] = {
    "3-D": (case("Conv", (1, 3, 4, 3, 4), (5, 3, 2, 3, 2), pads=[1, 0, 0, 0, 1, 1]), Q(0.4, -5)),
    "3-D, groups": (case("Conv", (1, 4, 4, 3, 4), (4, 2, 2, 2, 2), group=2), Q(0.3, 20)),
    "transposed": (case("ConvTranspose", (1, 5, 4, 3), (5, 6, 3, 3), strides=[2, 2], pads=[1] * 4,
                        output_padding=[1, 1]), Q(0.3, -5)),
    "transposed 2x2": (case("ConvTranspose", (1, 8, 3, 5), (8, 5, 2, 2), strides=[2, 2]), Q(0.3, 0)),
    "transposed, groups": (case("ConvTranspose", (1, 4, 3, 3), (4, 3, 3, 2), group=2, strides=[2, 1]),
                           Q(0.2, 127)),
    "transposed 1-D": (case("ConvTranspose", (1, 4, 6), (4, 3, 4), strides=[2], pads=[1, 1]), Q(0.3, 9)),
    "average 3-D": (case("AveragePool", (1, 2, 4, 5, 4), kernel_shape=[2, 3, 2], pads=[1, 1, 0, 0, 1, 1]),
                    Q(0.0371, -7)),
    "max 3-D": (case("MaxPool", (1, 2, 4, 5, 4), kernel_shape=[2, 3, 2]), SAME),
    "nearest": (resize((1, 3, 4, 5), reals(1, 1, 2, 2)), SAME),
    "linear": (resize((1, 3, 4, 5), reals(1, 1, 2, 2), mode="linear"), SAME),
    "linear, other scale": (resize((1, 2, 4, 5), None, ints(1, 2, 7, 3), mode="linear"), Q(0.0473, -9)),
    "cubic": (resize((1, 2, 4, 5), reals(1, 1, 2, 1.6), mode="cubic"), Q(0.06, 3)),
    "linear, 3 axes": (resize((1, 1, 3, 2, 4), reals(1, 1, 2, 4, 2), mode="linear"), Q(0.05, 3)),
    "linear, channels last": (resize((1, 4, 5, 6), None, ints(1, 7, 9, 6), mode="linear"), Q(0.0473, -9)),
    "linear, much smaller": (resize((1, 2, 11, 17), None, ints(1, 2, 4, 3), mode="linear"), Q(0.06, -128)),
    "linear 1-D": (resize((1, 3, 7), None, ints(1, 3, 12), mode="linear"), Q(0.07, 127)),
}  # fmt: skip


def quantized_model() -> onnx.ModelProto:
    """Stored x -> Dequantize -> op -> Quantize, for every case; weights have scales of channels."""
    nodes, inputs, constants = [], {}, {"x_scale": reals(0.05).reshape(()), "x_zero": np.int8(3)}
    rng = np.random.default_rng(4)
    for number, (name, ((op, operands, attributes), q)) in enumerate(QUANTIZED.items()):
        stem = f"v{number}"
        inputs[stem] = ("int8", operands[0])
        nodes.append(make_node("DequantizeLinear", [stem, "x_scale", "x_zero"], [f"{stem}_real"]))
        names = [f"{stem}_real"]
        if op in WEIGHT_AXES:
            axis = WEIGHT_AXES[op]
            channels = operands[1][axis]
            constants[f"{stem}_w"] = rng.integers(-127, 128, operands[1]).astype(np.int8)
            constants[f"{stem}_ws"] = rng.uniform(0.001, 0.02, channels).astype(np.float32)
            constants[f"{stem}_wz"] = np.zeros(channels, np.int8)
            every = [f"{stem}_w", f"{stem}_ws", f"{stem}_wz"]
            nodes.append(make_node("DequantizeLinear", every, [f"{stem}_wr"], axis=axis))
            names.append(f"{stem}_wr")
            total = channels * attributes.get("group", 1) if op == "ConvTranspose" else channels
            constants[f"{stem}_b"] = rng.normal(size=total).astype(np.float32)
            names.append(f"{stem}_b")
        else:
            for position, operand in enumerate(operands[1:]):
                names.append("" if operand is None else f"{stem}_c{position}")
                if operand is not None:
                    constants[names[-1]] = operand
        nodes.append(make_node(op, names, [f"{stem}_y"], name=name, **attributes))
        constants[f"{stem}_s"], constants[f"{stem}_z"] = (
            np.array(q.scale, np.float32), np.array(q.zero_point, np.int8),
        )  # fmt: skip
        nodes.append(make_node("QuantizeLinear", [f"{stem}_y", f"{stem}_s", f"{stem}_z"], [name]))
    constants = {n: np.asarray(v) for n, v in constants.items()}
    return _with_outputs(onnx_model(nodes, inputs, {}, constants, 20), list(QUANTIZED))


@pytest.mark.parametrize(
    "target", [pytest.param("host", marks=pytest.mark.slow), "cortex-m4", "cortex-m0plus"]
)
def test_quantized_operators_compute_their_meaning(target: str, tmp_path: Path) -> None:
    model = quantized_model()
    graph = optimized(read_model(model, tmp_path))
    random = random_inputs(graph)
    extremes = {n: np.where(a % 2 == 0, -128, 127).astype(a.dtype) for n, a in random.items()}
    samples = [random, extremes]

    computed = run_c(graph, samples, target)

    assert not [n.name for n in graph.nodes if n.op in ("Quantize", "Dequantize")], (
        "a float is left"
    )
    for inputs, outputs in zip(samples, computed, strict=True):
        meaning, theirs = run(graph, inputs), run_onnxruntime(model, inputs)
        for name in QUANTIZED:
            np.testing.assert_array_equal(outputs[name], meaning[name], err_msg=name)
            far = np.abs(meaning[name].astype(int) - theirs[name].astype(int))
            assert far.max() <= 1, f"{name}: {far.max()} steps"
            ties = 0.1 if QUANTIZED[name][0][0] == "Resize" else 0.03  # sixteenths tie often
            assert (far > 0).mean() <= ties, f"{name}: {(far > 0).mean()} differ"


def decoder() -> onnx.ModelProto:
    """An int8 U-Net in small: down by a pool, up by a ConvTranspose, a skip, up by a Resize."""
    nodes, constants = [], {"s": np.float32(0.05), "z": np.int8(2), "up": reals(1, 1, 2, 2)}
    rng = np.random.default_rng(6)

    def layer(op: str, x: str, y: str, shape: tuple[int, ...] = (), **attributes: Any) -> None:
        names = [x] if op != "Resize" else [x, "", "up"]
        if shape:
            axis = WEIGHT_AXES[op]
            constants[f"{y}_w"] = rng.integers(-127, 128, shape).astype(np.int8)
            constants[f"{y}_s"] = rng.uniform(0.001, 0.01, shape[axis]).astype(np.float32)
            constants[f"{y}_z"] = np.zeros(shape[axis], np.int8)
            every = [f"{y}_w", f"{y}_s", f"{y}_z"]
            nodes.append(make_node("DequantizeLinear", every, [f"{y}_r"], axis=axis))
            names.append(f"{y}_r")
        stored = [f"{y}_y", "s", "z"]
        nodes.append(
            make_node(op, names if op != "Concat" else x.split(), stored[:1], **attributes)
        )
        nodes.append(make_node("QuantizeLinear", stored, [f"{y}_q"]))
        nodes.append(make_node("DequantizeLinear", [f"{y}_q", "s", "z"], [y]))

    nodes.append(make_node("DequantizeLinear", ["x", "s", "z"], ["a"]))
    layer("Conv", "a", "b", (4, 2, 3, 3), pads=[1] * 4)
    layer("MaxPool", "b", "c", kernel_shape=[2, 2], strides=[2, 2])
    layer("ConvTranspose", "c", "d", (4, 3, 2, 2), strides=[2, 2])
    layer("Concat", "b d", "e", axis=1)
    layer("Resize", "e", "f", mode="linear")
    layer("Resize", "f", "g", mode="nearest")
    layer("Conv", "g", "h", (2, 7, 1, 1))
    values = {n: np.asarray(v) for n, v in constants.items()}
    return onnx_model(
        nodes, {"x": ("int8", (1, 2, 6, 4))}, {"h_q": ("int8", (1, 2, 24, 16))}, values
    )


def test_an_int8_decoder_computes_with_integers_only(tmp_path: Path) -> None:
    graph = optimized(read_model(decoder(), tmp_path))
    inputs = random_inputs(graph)

    (computed,) = run_c(graph, [inputs])

    assert [n.op for n in graph.nodes] == [
        "Transpose", "Conv2D", "MaxPool2D", "Conv2D", "Interleave", "Reshape", "Concat", "Resize",
        "Resize", "Conv2D", "Transpose",
    ]  # fmt: skip
    assert not any(t.dtype.is_float for t in graph.tensors.values())
    np.testing.assert_array_equal(computed["h_q"], run(graph, inputs)["h_q"])


def test_a_decoder_has_no_transposes_inside(tmp_path: Path) -> None:
    """Conv, a Resize and a ConvTranspose keep channels last between them; batchnorm is folded."""
    nodes = [
        make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        make_node("Resize", ["a", "", "s"], ["b"], mode="linear"),
        make_node("ConvTranspose", ["b", "u"], ["c"], strides=[2, 2]),
        make_node("BatchNormalization", ["c", "g", "g", "g", "v"], ["d"]),
        make_node("Relu", ["d"], ["y"]),
    ]
    constants = {"w": floats(4, 2, 3, 3), "u": floats(4, 3, 2, 2), "s": reals(1, 1, 2, 2),
                 "g": floats(3), "v": np.abs(floats(3))}  # fmt: skip
    model = onnx_model(
        nodes, {"x": ("float32", (1, 2, 4, 4))}, {"y": ("float32", (1, 3, 16, 16))}, constants
    )

    graph = optimized(read_model(model, tmp_path))

    assert [n.op for n in graph.nodes] == [
        "Transpose",
        "Conv2D",
        "Resize",
        "Conv2D",
        "Interleave",
        "Reshape",
        "Transpose",
    ]


@pytest.mark.parametrize(
    ("node", "shapes", "message"),
    [
        (make_node("Resize", ["x", "", "z"], ["y"], name="n"), {"x": (1, 1, 4)}, "run time"),
        (make_node("ConvTranspose", ["x", "z"], ["y"], name="n"), {"x": (1, 2, 4, 4)}, "weights"),
        (make_node("GridSample", ["x", "z"], ["y"], name="n"), {"x": (1, 2, 4, 4)}, "a grid"),
    ],
)
def test_what_does_not_fit_is_refused(node, shapes, message, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = {n: ("float32", s) for n, s in {**shapes, "z": (3,)}.items()}
    model = onnx_model([node], given, {"y": ("float32", (1,))}, {}, 20)

    with pytest.raises(CompileError, match=message):
        read_model(model, tmp_path)
