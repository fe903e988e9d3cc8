"""Float operators: the C against onnxruntime, over odd shapes and every attribute that matters."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, random_inputs, read_model, run_c, run_onnxruntime
from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.operators import READERS

RNG = np.random.default_rng(11)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


Case = tuple[str, dict[str, tuple[int, ...]], dict[str, Array], dict[str, Any], int]


def case(
    op: str, *shapes: tuple[int, ...], constants: list[Array] | None = None, opset: int = 20,
    **attributes: Any,
) -> Case:  # fmt: skip
    """One node: inputs x0, x1, ... of `shapes`, then the constants c0, c1, ..."""
    inputs = {f"x{i}": s for i, s in enumerate(shapes)}
    return op, inputs, {f"c{i}": c for i, c in enumerate(constants or [])}, attributes, opset


CASES: dict[str, Case] = {
    "conv": case("Conv", (1, 3, 7, 6), constants=[floats(4, 3, 3, 3), floats(4)], pads=[1, 0, 2, 1]),
    "conv, strides": case("Conv", (1, 3, 9, 8), constants=[floats(5, 3, 2, 3)], strides=[3, 2]),
    "conv, groups": case("Conv", (1, 4, 5, 5), constants=[floats(6, 2, 3, 3)], group=2),
    "conv, dilation": case("Conv", (1, 2, 9, 9), constants=[floats(3, 2, 3, 3)], dilations=[2, 3]),
    "conv 1x1": case("Conv", (1, 6, 3, 5), constants=[floats(7, 6, 1, 1), floats(7)]),
    "conv, batch": case("Conv", (2, 3, 5, 5), constants=[floats(4, 3, 3, 3)]),
    "conv 1-D": case("Conv", (1, 3, 17), constants=[floats(4, 3, 5), floats(4)], strides=[2], pads=[2, 2]),
    "conv, same lower": case("Conv", (1, 2, 6, 6), constants=[floats(3, 2, 2, 2)], auto_pad="SAME_LOWER"),
    "depthwise": case("Conv", (1, 6, 7, 5), constants=[floats(6, 1, 3, 3), floats(6)], group=6, pads=[1] * 4),
    "depthwise, multiplier": case("Conv", (1, 3, 5, 5), constants=[floats(6, 1, 3, 3)], group=3),
    "gemm": case("Gemm", (3, 4), constants=[floats(4, 5), floats(5)]),
    "gemm, scaled": case("Gemm", (3, 4), constants=[floats(5, 4), floats(5)], transB=1, alpha=0.5, beta=2.0),
    "gemm, turned": case("Gemm", (4, 3), constants=[floats(4, 5)], transA=1),
    "matmul": case("MatMul", (2, 3, 4), constants=[floats(4, 5)]),
    "matmul of activations": case("MatMul", (2, 1, 3, 4), (5, 4, 2)),
    "max pool": case("MaxPool", (1, 3, 7, 6), kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "max pool, ceil": case("MaxPool", (1, 2, 6, 6), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max pool, dilation": case("MaxPool", (1, 2, 7, 7), kernel_shape=[2, 2], dilations=[2, 2]),
    "max pool 1-D": case("MaxPool", (1, 3, 9), kernel_shape=[3], strides=[2]),
    "average pool": case("AveragePool", (1, 3, 7, 6), kernel_shape=[3, 3], pads=[1] * 4),
    "average pool, with padding": case("AveragePool", (1, 3, 6, 6), kernel_shape=[3, 3], pads=[1] * 4,
                                       count_include_pad=1),
    "average pool, ceil": case("AveragePool", (1, 2, 6, 6), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "global average": case("GlobalAveragePool", (1, 5, 3, 4)),
    "global max": case("GlobalMaxPool", (1, 5, 3, 4)),
    "add": case("Add", (2, 3, 4), (2, 3, 4)),
    "add, broadcast": case("Add", (2, 3, 4), (3, 1)),
    "sub": case("Sub", (2, 3), constants=[floats(1)]),
    "mul": case("Mul", (2, 3), constants=[floats(3)]),
    "div": case("Div", (2, 3), constants=[floats(2, 3) + np.float32(3)]),
    "min": case("Min", (2, 3), (3,), (2, 1)),
    "max": case("Max", (2, 3), (2, 3)),
    "sum": case("Sum", (2, 3), (2, 3), (3,)),
    "relu": case("Relu", (3, 5)),
    "clip": case("Clip", (3, 5), constants=[np.array(-0.5, np.float32), np.array(0.7, np.float32)]),
    "clip, attributes": case("Clip", (3, 5), opset=9, min=-0.5, max=0.25),
    "leaky relu": case("LeakyRelu", (3, 5), alpha=0.2),
    "prelu": case("PRelu", (3, 5), constants=[np.array([0.3], np.float32)]),
    "elu": case("Elu", (3, 5), alpha=1.5),
    "celu": case("Celu", (3, 5), alpha=1.5),
    "selu": case("Selu", (3, 5)),
    "hard sigmoid": case("HardSigmoid", (3, 5), alpha=0.3, beta=0.4),
    "thresholded relu": case("ThresholdedRelu", (3, 5), alpha=0.3),
    "gelu": case("Gelu", (3, 5)),
    "gelu, tanh": case("Gelu", (3, 5), approximate="tanh"),
    **{f"{name}": case(name, (3, 5)) for name in (
        "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Mish", "Neg", "Round", "Sigmoid", "Sign",
        "Sin", "Softplus", "Softsign", "Tanh", "Identity", "Reciprocal",
    )},
    "softmax": case("Softmax", (2, 5)),
    "softmax, axis 1": case("Softmax", (2, 5, 3), axis=1),
    "softmax, flat": case("Softmax", (2, 3, 4), opset=11),
    "log softmax": case("LogSoftmax", (2, 5)),
    "batch norm": case("BatchNormalization", (1, 4, 3, 3), constants=[
        floats(4), floats(4), floats(4), np.abs(floats(4)) + np.float32(0.5)]),
    "mean": case("ReduceMean", (2, 3, 4), opset=13, axes=[1, 2], keepdims=0),
    "mean, axes as input": case("ReduceMean", (1, 3, 4, 5), constants=[ints(2, 3)]),
    "reduce sum": case("ReduceSum", (2, 3, 4), constants=[ints(-1)], keepdims=0),
    "reduce max": case("ReduceMax", (2, 3, 4), opset=13, axes=[0]),
    "reduce min": case("ReduceMin", (2, 3, 4), opset=13),
    "reduce prod": case("ReduceProd", (2, 3, 2), opset=13, axes=[2]),
    "transpose": case("Transpose", (2, 3, 4), perm=[1, 2, 0]),
    "reshape": case("Reshape", (2, 3, 4), constants=[ints(0, -1)]),
    "flatten": case("Flatten", (2, 3, 4), axis=2),
    "squeeze": case("Squeeze", (1, 3, 1, 4), constants=[ints(0, 2)]),
    "unsqueeze": case("Unsqueeze", (3, 4), constants=[ints(0, -1)]),
    "concat": case("Concat", (2, 3), (2, 1), (2, 4), axis=1),
    "slice": case("Slice", (5, 6), constants=[ints(1, -1), ints(5, -7), ints(0, 1), ints(2, -2)]),
    "gather": case("Gather", (5, 6), constants=[np.array(2, np.int64)], axis=0),
    "pad": case("Pad", (2, 3), constants=[ints(1, 0, 2, 3), np.array(1.5, np.float32)]),
    "pad, edge": case("Pad", (2, 3), constants=[ints(1, 2, 2, 0)], mode="edge"),
    "pad, reflect": case("Pad", (3, 4), constants=[ints(2, 1, 1, 3)], mode="reflect"),
    "dropout": case("Dropout", (2, 3)),
    "depth to space": case("DepthToSpace", (1, 8, 2, 3), blocksize=2, mode="CRD"),
    "space to depth": case("SpaceToDepth", (1, 2, 4, 6), blocksize=2),
    "expand": case("Expand", (3, 1), constants=[ints(2, 1, 4)]),
    "tile": case("Tile", (2, 3), constants=[ints(2, 2)]),
    "mean of several": case("Mean", (2, 3), (2, 3), (3,)),
    "pow": case("Pow", (2, 3), constants=[np.array(3.0, np.float32)]),
    "prelu of channels": case("PRelu", (2, 3, 4), constants=[floats(3, 1)]),
    "gather, scattered": case("Gather", (5, 6), constants=[ints(4, 0, 3)], axis=1),
    "log": case("Log", (3, 5)),
    "sqrt": case("Sqrt", (3, 5)),
    "shrink": case("Shrink", (3, 5), bias=0.2, lambd=0.4),
}  # fmt: skip


def model_of(name: str) -> onnx.ModelProto:
    op, inputs, constants, attributes, opset = CASES[name]
    node = make_node(op, [*inputs, *constants], ["y"], name="node", **attributes)
    given = {n: ("float32", s) for n, s in inputs.items()}
    return onnx_model([node], given, {"y": ("float32", ())}, constants, opset)


def with_output_shape(model: onnx.ModelProto) -> onnx.ModelProto:
    """The output's shape as ONNX infers it."""
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name="y"))
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("name", CASES, ids=list(CASES))
def test_the_c_computes_what_onnxruntime_does(name: str, tmp_path: Path) -> None:
    model = with_output_shape(model_of(name))
    graph = optimized(read_model(model, tmp_path))
    inputs = random_inputs(graph)
    if CASES[name][0] in ("Log", "Sqrt"):
        inputs = {n: np.abs(x) for n, x in inputs.items()}

    (computed,) = run_c(graph, [inputs])

    expected = run_onnxruntime(model, inputs)["y"]
    assert computed["y"].shape == expected.shape
    np.testing.assert_allclose(computed["y"], expected, rtol=1e-5, atol=1e-5)


def test_every_operator_that_is_read_is_in_a_test() -> None:
    """As a word; test_reductions.py names the kinds of Reduce alone, test_classic.py reads files,
    and so does test_tflite_svdf.py for tinyc's own operators.
    """
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py"))
    names = [op.removeprefix("Reduce") for domain, op in READERS
             if domain not in ("ai.onnx.ml", "tinyc")]  # fmt: skip
    assert [name for name in names if not re.search(rf"\b{name}\b", tests)] == []
