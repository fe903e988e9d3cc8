"""TensorFlow Lite files: every operator against NumPy, whole models against their ONNX twins."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import tinyc
from bench.models import BY_NAME, SHARED
from tests.conftest import NEEDS_MODELS
from tests.harness import HOST, optimized, run_c, run_onnxruntime
from tests.tflite_files import Operation, T, constant, tflite_file
from tinyc.compiler.cli import main
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph, Node
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.pipeline import read_graph
from tinyc.compiler.tflite_import.operators import READERS

RNG = np.random.default_rng(0)
RELU, RELU_N1_TO_1, RELU6 = 1, 2, 3
SAME, VALID = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One operator on activations of these shapes, then these constants.

    means   its result, from the values of all inputs
    order   where the activations and constants stand among the inputs, None where one is left
            out; as they come when there is no order
    values  of the activations; None: any, normally distributed
    exact   whether the int8 form is compared too: the operator has an integer meaning
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    means: Callable[..., Any]
    constants: tuple[T, ...] = ()
    options: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    order: tuple[int | None, ...] | None = None
    values: tuple[Array, ...] | None = None
    dtype: str = "float32"
    quantized: bool = True


def weights(*shape: int) -> T:
    return T("w", shape, "float32", RNG.normal(size=shape).astype(np.float32))


def windows(x: Array, size: Sequence[int], stride: int, dilation: int, same: bool, fill: float):
    """[n, h, w, kh, kw, c] of x [n, h, w, c], padded as SAME pads: more at the end."""
    pads = []
    for n, k in zip(x.shape[1:3], size, strict=True):
        reach = (k - 1) * dilation + 1
        total = max((-(-n // stride) - 1) * stride + reach - n, 0) if same else 0
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    reach = [(k - 1) * dilation + 1 for k in size]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    view = view[:, ::stride, ::stride, :, ::dilation, ::dilation]
    return view.transpose(0, 1, 2, 4, 5, 3)


def convolved(x, w, b, stride=1, dilation=1, same=True, groups=1):
    seen = windows(x, w.shape[1:3], stride, dilation, same, 0.0)
    parts = np.split(seen, groups, axis=-1)
    filters = np.split(w, groups, axis=0)
    sums = [np.einsum("nhwyxc,oyxc->nhwo", p, f) for p, f in zip(parts, filters, strict=True)]
    return np.concatenate(sums, axis=-1) + b


def depthwise(x, w, b, stride=1, same=True):
    seen = windows(x, w.shape[1:3], stride, 1, same, 0.0)
    many = w.shape[3] // x.shape[3]
    return (
        np.einsum("nhwyxc,yxcm->nhwcm", seen, w[0].reshape(*w.shape[1:3], -1, many)).reshape(
            *seen.shape[:3], -1
        )
        + b
    )


def pooled(x, size, stride, same, function):
    seen = windows(x, size, stride, 1, same, np.nan)
    return function(seen, axis=(3, 4))


def transposed_convolution(shape, w, x, stride, same):
    """Every input spreads the weights over the output, whose border is cut off."""
    whole = [(n - 1) * stride + k for n, k in zip(x.shape[1:3], w.shape[1:3], strict=True)]
    y = np.zeros((x.shape[0], *whole, w.shape[0]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            spread = np.einsum("nc,oyxc->nyxo", x[:, i, j], w)
            at = slice(i * stride, i * stride + w.shape[1])
            y[:, at, j * stride : j * stride + w.shape[2]] += spread
    cut = [max(n - m, 0) // 2 if same else 0 for n, m in zip(whole, shape[1:3], strict=True)]
    return y[:, cut[0] : cut[0] + shape[1], cut[1] : cut[1] + shape[2]]


def resized(x, size, corners, centers, linear):
    """TensorFlow Lite's own coordinates, along height and width."""
    y = x
    for axis, n in zip((1, 2), size, strict=True):
        old = x.shape[axis]
        scale = (old - 1) / (n - 1) if corners and n > 1 else old / n
        at = (np.arange(n) + 0.5 * bool(centers)) * scale
        if linear:
            at = np.maximum(at - 0.5 * bool(centers), 0)
            low = np.minimum(np.floor(at), old - 1).astype(int)
            high = np.minimum(low + 1, old - 1)
            part = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
            y = np.take(y, low, axis) * (1 - part) + np.take(y, high, axis) * part
        else:
            at = np.floor(at + 0.5) if corners else np.floor(at)
            y = np.take(y, np.minimum(at, old - 1).astype(int), axis)
    return y


def conv_fields(stride: int = 1, padding: int = SAME, act: int = 0, **more: int) -> dict[str, int]:
    return {"Padding": padding, "StrideH": stride, "StrideW": stride,
            "FusedActivationFunction": act, **more}  # fmt: skip


def pool_fields(size: tuple[int, int], stride: int, padding: int) -> dict[str, int]:
    return {"FilterHeight": size[0], "FilterWidth": size[1], **conv_fields(stride, padding)}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, *parts):
    """Gates input, forget, cell, output; inputs are left out where `parts` has None."""
    w, r, b = parts[:4], parts[4:8], parts[11:15]
    h = c = np.zeros((x.shape[0], b[0].size))
    states = []
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ w[k].T + h @ r[k].T + b[k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, 1)


def lstm_constants(inputs: int, hidden: int) -> tuple[T, ...]:
    shapes = [(hidden, inputs)] * 4 + [(hidden, hidden)] * 4 + [(hidden,)] * 4
    return tuple(
        T(f"p{i}", s, "float32", RNG.normal(size=s).astype(np.float32))
        for i, s in enumerate(shapes)
    )


LSTM_ORDER = (0, *range(1, 9), None, None, None, *range(9, 13), *(None,) * 4)


X4, BIAS = (1, 5, 6, 4), T("b", (6,), "float32", RNG.normal(size=6).astype(np.float32))
POSITIVE = (np.abs(RNG.normal(size=(2, 7))).astype(np.float32) + 0.1,)
W_CONV = weights(6, 3, 2, 4)
W_GROUPS = weights(6, 3, 3, 2)
W_DEPTH = weights(1, 3, 3, 4)
W_MULTIPLIED = weights(1, 2, 3, 6)
B_DEPTH = T("b", (4,), "float32", RNG.normal(size=4).astype(np.float32))
W_DENSE = weights(6, 7)
W_TRANSPOSED = weights(3, 3, 3, 4)
W_FACTOR = weights(7, 5)
SLOPE = weights(1, 1, 7)


def unary(kind, means, values=None, **more) -> Case:
    return Case(kind, ((2, 7),), means, values=values, **more)


def binary(kind, means, options="", second=(1, 7), **more) -> Case:
    return Case(kind, ((3, 2, 7), second), means, options=options, **more)


def axes(*values: int) -> T:
    return constant("axes", values)


# fmt: off
CASES = (
    Case("UNIDIRECTIONAL_SEQUENCE_LSTM", ((2, 3, 4),), lstm, lstm_constants(4, 5),
         "UnidirectionalSequenceLSTMOptions", {"FusedActivationFunction": 4, "CellClip": 10.0},
         order=LSTM_ORDER),
    Case("CONV_2D", (X4,), lambda x, w, b: convolved(x, w, b, 2), (W_CONV, BIAS),
         "Conv2DOptions", conv_fields(2)),
    Case("CONV_2D", (X4,), lambda x, w, b: np.maximum(convolved(x, w, b, 1, 2, False), 0),
         (W_CONV, BIAS), "Conv2DOptions",
         conv_fields(1, VALID, RELU, DilationHFactor=2, DilationWFactor=2)),
    Case("CONV_2D", (X4,), lambda x, w, b: np.clip(convolved(x, w, b, 1, 2), 0, 6),
         (W_CONV, BIAS), "Conv2DOptions",
         conv_fields(1, SAME, RELU6, DilationHFactor=2, DilationWFactor=2)),
    Case("CONV_2D", (X4,), lambda x, w, b: convolved(x, w, b, groups=2), (W_GROUPS, BIAS),
         "Conv2DOptions", conv_fields()),
    Case("DEPTHWISE_CONV_2D", (X4,), lambda x, w, b: depthwise(x, w, b, 2), (W_DEPTH, B_DEPTH),
         "DepthwiseConv2DOptions", conv_fields(2, DepthMultiplier=1)),
    Case("DEPTHWISE_CONV_2D", ((1, 4, 5, 2),), lambda x, w, b: depthwise(x, w, b),
         (W_MULTIPLIED, BIAS), "DepthwiseConv2DOptions", conv_fields(DepthMultiplier=3)),
    Case("DEPTHWISE_CONV_2D", ((1, 4, 5, 1),), lambda x, w, b: depthwise(x, w, b, same=False),
         (W_MULTIPLIED, BIAS), "DepthwiseConv2DOptions", conv_fields(padding=VALID)),
    Case("TRANSPOSE_CONV", ((1, 3, 4, 4),),
         lambda s, w, x: transposed_convolution(s, w, x, 2, True),
         (constant("size", [1, 6, 8, 3]), W_TRANSPOSED), "TransposeConvOptions", conv_fields(2),
         order=(1, 2, 0)),
    Case("TRANSPOSE_CONV", ((1, 3, 4, 4),),
         lambda s, w, x: transposed_convolution(s, w, x, 2, False),
         (constant("size", [1, 7, 9, 3]), W_TRANSPOSED), "TransposeConvOptions",
         conv_fields(2, VALID), order=(1, 2, 0)),
    Case("AVERAGE_POOL_2D", (X4,), lambda x: pooled(x, (3, 2), 2, True, np.nanmean), (),
         "Pool2DOptions", pool_fields((3, 2), 2, SAME)),
    Case("AVERAGE_POOL_2D", (X4,), lambda x: pooled(x, (5, 6), 1, False, np.nanmean), (),
         "Pool2DOptions", pool_fields((5, 6), 1, VALID)),
    Case("MAX_POOL_2D", (X4,), lambda x: pooled(x, (2, 3), 2, True, np.nanmax), (),
         "Pool2DOptions", pool_fields((2, 3), 2, SAME)),
    Case("L2_POOL_2D", (X4,), lambda x: np.sqrt(pooled(x * x, (2, 2), 2, False, np.mean)), (),
         "Pool2DOptions", pool_fields((2, 2), 2, VALID), quantized=False),
    Case("FULLY_CONNECTED", ((2, 7),), lambda x, w, b: np.maximum(x @ w.T + b, 0),
         (W_DENSE, BIAS), "FullyConnectedOptions", {"FusedActivationFunction": RELU}),
    Case("FULLY_CONNECTED", ((2, 3, 7),), lambda x, w: (x @ w.T).reshape(6, 6), (W_DENSE,),
         "FullyConnectedOptions", {}),
    Case("FULLY_CONNECTED", ((2, 3, 7),), lambda x, w, b: x @ w.T + b, (W_DENSE, BIAS),
         "FullyConnectedOptions", {"KeepNumDims": True}),
    Case("BATCH_MATMUL", ((2, 3, 7), (2, 5, 7)), lambda a, b: a @ b.swapaxes(1, 2), (),
         "BatchMatMulOptions", {"AdjY": True}),
    Case("BATCH_MATMUL", ((2, 3, 7),), lambda a, b: a @ b, (W_FACTOR,), "BatchMatMulOptions"),
    Case("RESIZE_NEAREST_NEIGHBOR", (X4,), lambda x, s: resized(x, s, 0, 0, False),
         (constant("s", [10, 9]),), "ResizeNearestNeighborOptions", {}),
    Case("RESIZE_NEAREST_NEIGHBOR", (X4,), lambda x, s: resized(x, s, 0, 1, False),
         (constant("s", [7, 3]),), "ResizeNearestNeighborOptions", {"HalfPixelCenters": True}),
    Case("RESIZE_BILINEAR", (X4,), lambda x, s: resized(x, s, 0, 0, True),
         (constant("s", [10, 9]),), "ResizeBilinearOptions", {}),
    Case("RESIZE_BILINEAR", (X4,), lambda x, s: resized(x, s, 0, 1, True),
         (constant("s", [7, 12]),), "ResizeBilinearOptions", {"HalfPixelCenters": True}),
    Case("RESIZE_BILINEAR", (X4,), lambda x, s: resized(x, s, 1, 0, True),
         (constant("s", [9, 11]),), "ResizeBilinearOptions", {"AlignCorners": True}),
    Case("SOFTMAX", ((2, 7),), softmax, (), "SoftmaxOptions", {"Beta": 1.0}),
    Case("SOFTMAX", ((2, 7),), lambda x: softmax(2 * x), (), "SoftmaxOptions", {"Beta": 2.0},
         quantized=False),
    Case("LOG_SOFTMAX", ((2, 7),), lambda x: np.log(softmax(x)), (), quantized=False),
    Case("L2_NORMALIZATION", ((2, 7),), lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
         (), "L2NormOptions", quantized=False),
    unary("RELU", lambda x: np.maximum(x, 0)),
    unary("RELU6", lambda x: np.clip(4 * x, 0, 6) / 4, (RNG.normal(size=(2, 7)).astype("f"),),
          quantized=False),
    unary("RELU_N1_TO_1", lambda x: np.clip(x, -1, 1)),
    unary("RELU_0_TO_1", lambda x: np.clip(x, 0, 1)),
    unary("LEAKY_RELU", lambda x: np.where(x > 0, x, 0.2 * x), options="LeakyReluOptions",
          fields={"Alpha": 0.2}),
    unary("ELU", lambda x: np.where(x > 0, x, np.expm1(x))),
    unary("LOGISTIC", sigmoid),
    unary("TANH", np.tanh),
    unary("HARD_SWISH", lambda x: x * np.clip(x + 3, 0, 6) / 6),
    unary("GELU", lambda x: np.array([v * (1 + math.erf(v / 2**.5)) / 2 for v in x.flat]).reshape(2, 7),
          options="GeluOptions", fields={"Approximate": False}, quantized=False),
    unary("EXP", np.exp),
    unary("LOG", np.log, POSITIVE, quantized=False),
    unary("SQRT", np.sqrt, POSITIVE, quantized=False),
    unary("RSQRT", lambda x: 1 / np.sqrt(x), POSITIVE, quantized=False),
    unary("SQUARE", np.square, quantized=False),
    unary("ABS", np.abs),
    unary("NEG", np.negative),
    unary("CEIL", np.ceil, quantized=False),
    unary("FLOOR", np.floor, quantized=False),
    unary("ROUND", np.rint, quantized=False),
    unary("SIN", np.sin),
    unary("COS", np.cos),
    unary("SIGN", np.sign, quantized=False),
    Case("PRELU", ((1, 2, 7),), lambda x, a: np.where(x > 0, x, a * x), (SLOPE,), quantized=False),
    unary("ZEROS_LIKE", np.zeros_like),
    binary("ADD", lambda a, b: np.maximum(a + b, 0), "AddOptions",
           fields={"FusedActivationFunction": RELU}),
    binary("ADD", np.add, second=()),
    binary("SUB", lambda a, b: np.clip(a - b, -1, 1), "SubOptions",
           fields={"FusedActivationFunction": RELU_N1_TO_1}),
    binary("MUL", np.multiply),
    binary("DIV", np.divide, values=(RNG.normal(size=(3, 2, 7)).astype("f"), POSITIVE[0][:1]),
           quantized=False),
    binary("MAXIMUM", np.maximum),
    binary("MINIMUM", np.minimum),
    binary("POW", np.power, values=(POSITIVE[0].reshape(1, 2, 7).repeat(3, 0), POSITIVE[0][:1]),
           quantized=False),
    binary("SQUARED_DIFFERENCE", lambda a, b: (a - b) ** 2, quantized=False),
    binary("FLOOR_DIV", np.floor_divide, quantized=False),
    binary("FLOOR_MOD", np.mod, quantized=False),
    binary("ADD_N", np.add),
    binary("LESS", np.less, quantized=False),
    binary("GREATER", np.greater, quantized=False),
    binary("LESS_EQUAL", np.less_equal, quantized=False),
    binary("GREATER_EQUAL", np.greater_equal, quantized=False),
    binary("EQUAL", np.equal, quantized=False),
    binary("NOT_EQUAL", np.not_equal, quantized=False),
    Case("MEAN", (X4,), lambda x, a: x.mean((1, 2)), (axes(1, 2),), "ReducerOptions", {}),
    Case("MEAN", (X4,), lambda x, a: x.mean(-1, keepdims=True), (axes(-1),), "ReducerOptions",
         {"KeepDims": True}),
    Case("SUM", (X4,), lambda x, a: x.sum((1, 3)), (axes(1, 3),), "ReducerOptions"),
    Case("REDUCE_MAX", (X4,), lambda x, a: x.max(2), (constant("axes", 2),), "ReducerOptions"),
    Case("REDUCE_MIN", (X4,), lambda x, a: x.min(1), (axes(1),), "ReducerOptions"),
    Case("REDUCE_PROD", ((2, 3),), lambda x, a: x.prod(1), (axes(1),), "ReducerOptions",
         quantized=False),
    Case("RESHAPE", (X4,), lambda x, s: x.reshape(2, 60), (constant("s", [-1, 60]),)),
    Case("RESHAPE", (X4,), lambda x: x.reshape(60, 2), (), "ReshapeOptions",
         {"NewShape": [60, 2]}),
    Case("SQUEEZE", ((1, 3, 1, 4),), lambda x: x[:, :, 0], (), "SqueezeOptions",
         {"SqueezeDims": [2]}),
    Case("SQUEEZE", ((1, 3, 1, 4),), np.squeeze, (), "SqueezeOptions"),
    Case("EXPAND_DIMS", ((3, 4),), lambda x, a: x[:, None], (constant("a", 1),)),
    Case("TRANSPOSE", (X4,), lambda x, p: x.transpose(p), (constant("p", [0, 3, 1, 2]),)),
    Case("CONCATENATION", ((1, 2, 3), (1, 4, 3)), lambda a, b: np.concatenate([a, b], 1), (),
         "ConcatenationOptions", {"Axis": 1}),
    Case("CONCATENATION", ((2, 3), (2, 4)), lambda a, b: np.maximum(np.concatenate([a, b], 1), 0),
         (), "ConcatenationOptions", {"Axis": -1, "FusedActivationFunction": RELU}),
    Case("PACK", ((2, 3), (2, 3)), lambda a, b: np.stack([a, b], -1), (), "PackOptions",
         {"Axis": -1, "ValuesCount": 2}),
    Case("UNPACK", ((2, 3),), lambda x: (x[:, 0], x[:, 1], x[:, 2]), (), "UnpackOptions",
         {"Axis": 1, "Num": 3}),
    Case("SPLIT", ((2, 6),), lambda a, x: np.split(x, 3, 1), (constant("a", 1),), "SplitOptions",
         {"NumSplits": 3}, order=(1, 0)),
    Case("SPLIT_V", ((2, 6),), lambda x, s, a: np.split(x, [2, 5], 1),
         (constant("s", [2, -1, 1]), constant("a", 1)), "SplitVOptions", {"NumSplits": 3}),
    Case("SLICE", (X4,), lambda x, b, s: x[:, 1:3, 2:], (constant("b", [0, 1, 2, 0]),
         constant("s", [-1, 2, -1, -1]))),
    Case("STRIDED_SLICE", (X4,), lambda x, b, e, s: x[:, 4:1:-2, 1:], (
         constant("b", [0, 4, 1]), constant("e", [0, 1, 0]), constant("s", [1, -2, 1])),
         "StridedSliceOptions", {"BeginMask": 1, "EndMask": 5}),
    Case("STRIDED_SLICE", (X4,), lambda x, b, e, s: x[..., None, -1, 2], (
         constant("b", [0, 0, -1, 2]), constant("e", [0, 0, 0, 3]), constant("s", [1, 1, 1, 1])),
         "StridedSliceOptions", {"EllipsisMask": 1, "NewAxisMask": 2, "ShrinkAxisMask": 12}),
    Case("STRIDED_SLICE", (X4,), lambda x, b, e, s: x[:, ::-1], (
         constant("b", [0, 0]), constant("e", [0, 0]), constant("s", [1, -1])),
         "StridedSliceOptions", {"BeginMask": 3, "EndMask": 3}),
    Case("GATHER", (X4,), lambda x, i: x[:, :, [3, 0, 0]], (constant("i", [3, 0, 0]),),
         "GatherOptions", {"Axis": 2}),
    Case("PAD", (X4,), lambda x, p: np.pad(x, p), (
         constant("p", [[0, 0], [1, 0], [0, 2], [0, 0]]),)),
    Case("PADV2", ((2, 3),), lambda x, p, v: np.pad(x, p, constant_values=0.5), (
         constant("p", [[0, 1], [1, 0]]), constant("v", 0.5, "float32")), quantized=False),
    Case("MIRROR_PAD", ((2, 4),), lambda x, p: np.pad(x, p, "reflect"), (
         constant("p", [[0, 1], [2, 3]]),), "MirrorPadOptions", {"Mode": 0}),
    Case("TILE", ((2, 3),), lambda x, r: np.tile(x, r), (constant("r", [2, 3]),)),
    Case("BROADCAST_TO", ((1, 3),), lambda x, s: np.broadcast_to(x, s), (
         constant("s", [4, 2, 3]),)),
    Case("REVERSE_V2", (X4,), lambda x, a: x[:, ::-1, :, ::-1], (axes(1, 3),)),
    Case("SPACE_TO_DEPTH", ((1, 4, 6, 3),), lambda x: x.reshape(1, 2, 2, 3, 2, 3).transpose(
         0, 1, 3, 2, 4, 5).reshape(1, 2, 3, 12), (), "SpaceToDepthOptions", {"BlockSize": 2}),
    Case("DEPTH_TO_SPACE", ((1, 2, 3, 12),), lambda x: x.reshape(1, 2, 3, 2, 2, 3).transpose(
         0, 1, 3, 2, 4, 5).reshape(1, 4, 6, 3), (), "DepthToSpaceOptions", {"BlockSize": 2}),
    Case("SPACE_TO_BATCH_ND", ((1, 3, 6, 2),),
         lambda x, b, p: np.stack([np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[0, i::2, j::3]
                                   for i in range(2) for j in range(3)]),
         (constant("b", [2, 3]), constant("p", [[1, 0], [0, 0]]))),
    Case("BATCH_TO_SPACE_ND", ((4, 2, 3, 2),), lambda x, b, c: x.reshape(2, 2, 1, 2, 3, 2)
         .transpose(2, 3, 0, 4, 1, 5).reshape(1, 4, 6, 2)[:, 1:, :5],
         (constant("b", [2, 2]), constant("c", [[1, 0], [0, 1]]))),
    Case("SELECT_V2", ((2, 7), (2, 7)), lambda c, a, b: np.where(c, a, b), (
         constant("c", [[True, False, True, True, False, False, True]], "bool"),), order=(2, 0, 1),
         quantized=False),
    Case("ARG_MAX", ((2, 7),), lambda x, a: x.argmax(1).astype(np.int32), (constant("a", 1),),
         "ArgMaxOptions", {"OutputType": 2}),
    Case("ARG_MIN", ((2, 7),), lambda x, a: x.argmin(0), (constant("a", 0),), "ArgMinOptions",
         {"OutputType": 4}),
    Case("CONV_3D", ((1, 3, 4, 5, 2),), lambda x, w: np.einsum("ndhwczyx,zyxco->ndhwo", np.lib
         .stride_tricks.sliding_window_view(x, (2, 2, 3), axis=(1, 2, 3))[:, :, ::2, ::1], w),
         (weights(2, 2, 3, 2, 4),), "Conv3DOptions", {"Padding": VALID, "StrideD": 1, "StrideH": 2,
         "StrideW": 1}, quantized=False),
    Case("LOCAL_RESPONSE_NORMALIZATION", ((1, 2, 3, 6),), lambda x: x * (1.5 + 0.3 * np.stack(
         [np.square(x[..., max(c - 2, 0) : c + 3]).sum(-1) for c in range(6)], -1)) ** -0.75, (),
         "LocalResponseNormalizationOptions", {"Radius": 2, "Bias": 1.5, "Alpha": 0.3,
         "Beta": 0.75}, quantized=False),
    Case("QUANTIZE", ((2, 7),), lambda x: x),
    Case("DEQUANTIZE", (), lambda x: x, (T("h", (2, 3), "float16", np.array([[1, 2, 3], [4, 5, .5]],
         np.float16)),), quantized=False),
    Case("EMBEDDING_LOOKUP", (), lambda i, w: w[i], (constant("i", [2, 0]), W_DENSE),
         quantized=False),
    Case("FILL", (), lambda s, v: np.full(s, v), (constant("s", [2, 3]),
         constant("v", 1.5, "float32")), quantized=False),
    Case("GATHER_ND", (X4,), lambda x, i: x[[0, 0], [4, 1]], (constant("i", [[0, 4], [0, 1]]),)),
    Case("ONE_HOT", (), lambda i, d, on, off: np.eye(4, dtype=np.float64)[i] * 2 + 0.5, (
         constant("i", [3, 0]), constant("d", 4), constant("on", 2.5, "float32"),
         constant("off", 0.5, "float32")), "OneHotOptions", {"Axis": -1}, quantized=False),
    Case("RANGE", (), lambda a, b, c: np.arange(a, b, c, np.int32), (constant("a", 2),
         constant("b", 9), constant("c", 3)), quantized=False),
    Case("RANK", (X4,), lambda x: np.array(4, np.int32), quantized=False),
    Case("SHAPE", (X4,), lambda x: np.array(X4, np.int32), quantized=False),
    Case("SELECT", ((2, 7), (2, 7)), lambda c, a, b: np.where(c[:, None], a, b), (
         constant("c", [True, False], "bool"),), order=(2, 0, 1), quantized=False),
    Case("LOGICAL_OR", ((2, 3),), lambda a, b: a | b, (constant("b", [True, False, True], "bool"),),
         dtype="bool", quantized=False),
    Case("REDUCE_ALL", ((2, 3),), lambda x, a: x.all(1), (axes(1),), "ReducerOptions",
         dtype="bool", quantized=False),
    Case("CUMSUM", ((2, 7),), lambda x, a: x.cumsum(1), (constant("a", 1),), "CumsumOptions",
         quantized=False),
    Case("CAST", ((2, 7),), lambda x: x.astype(np.int32), (), "CastOptions", quantized=False),
    Case("TOPK_V2", ((2, 7),), lambda x, k: (-np.sort(-x)[:, :3],
         np.argsort(-x)[:, :3].astype(np.int32)), (constant("k", 3),), quantized=False),
    Case("LOGICAL_AND", ((2, 3),), lambda a, b: a & b, (constant("b", [True, False, True], "bool"),),
         dtype="bool", quantized=False),
    Case("LOGICAL_NOT", ((2, 3),), lambda a: ~a, dtype="bool", quantized=False),
    Case("REDUCE_ANY", ((2, 3),), lambda x, a: x.any(1), (axes(1),), "ReducerOptions",
         dtype="bool", quantized=False),
    Case("FLOOR_DIV", ((2, 3), (2, 3)), np.floor_divide, dtype="int32", quantized=False, values=(
         np.array([[7, -7, 7], [-7, 6, 0]], np.int32),
         np.array([[2, 2, -2], [-2, 3, 5]], np.int32))),
    Case("FLOOR_MOD", ((2, 3), (2, 3)), np.mod, dtype="int32", quantized=False, values=(
         np.array([[7, -7, 7], [-7, 6, 0]], np.int32),
         np.array([[2, 2, -2], [-2, 3, 5]], np.int32))),
)
# fmt: on


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """Cases side by side in one file, with one sample and the results that NumPy gives."""

    content: bytes
    sample: dict[str, Array]
    results: dict[str, Array]


def written(cases: Sequence[Case], stored: str = "") -> Written:
    """stored: the type of activations, "int8" or "int16"; "": floats."""
    tensors: list[T] = []
    operations, sample, results = [], {}, {}
    for number, case in enumerate(cases):
        rng = np.random.default_rng(number)
        given = case.values or tuple(values_of(case.dtype, shape, rng) for shape in case.shapes)
        own = [T(f"x{i}", v.shape, str(v.dtype), v) for i, v in enumerate(given)]
        parts = [*own, *case.constants]
        if stored:
            parts = quantized_parts(case.kind, parts, stored)
        parts = [replace(t, name=f"c{number}_{t.name}") for t in parts]
        activations = parts[: len(given)]
        sample |= {t.name: t.data for t in activations if t.data is not None}
        ordered = [None if i is None else parts[i] for i in case.order or range(len(parts))]
        found = case.means(*(None if t is None else reals(t) for t in ordered))
        made = [result(f"c{number}_y{i}", np.asarray(v), case, stored)
                for i, v in enumerate(found if isinstance(found, tuple | list) else (found,))]  # fmt: skip
        results |= {t.name: v for t, v in made}
        tensors += [replace(t, data=None) for t in activations]
        tensors += [*parts[len(given) :], *(t for t, _ in made)]
        names = tuple("" if t is None else t.name for t in ordered)
        outputs = tuple(t.name for t, _ in made)
        operations.append(Operation(case.kind, names, outputs, case.options, case.fields))
    content = tflite_file(tensors, operations, list(sample), list(results))
    return Written(content, sample, results)


def values_of(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    values = np.asarray(rng.normal(size=shape))
    return values > 0 if dtype == "bool" else values.astype(dtype)


STATEFUL = {  # tests/test_tflite_states.py has them
    "ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "SVDF", "VAR_HANDLE",
}  # fmt: skip
OF_ONE_SCALE = ("MAXIMUM", "MINIMUM")  # as TensorFlow Lite demands for them
COMMON = {"int8": (0.02, 5), "int16": (0.0001, 0)}


def quantized_parts(kind: str, parts: list[T], dtype: str) -> list[T]:
    """The same in 8 or 16 bits, with weights of 8 that have a scale for each output channel."""
    stored = []
    for part in parts:
        data, axis = part.data, {"CONV_2D": 0, "TRANSPOSE_CONV": 0, "DEPTHWISE_CONV_2D": 3}
        if data is None or data.dtype != np.float32:
            stored.append(part)
        elif part.name == "w" and kind in axis:
            others = tuple(i for i in range(4) if i != axis[kind])
            scale = np.abs(data).max(others) / 127
            shape = [-1 if i == axis[kind] else 1 for i in range(4)]
            values = np.rint(data / scale.reshape(shape)).astype(np.int8)
            stored.append(replace(part, data=values, dtype="int8", scale=tuple(scale.tolist()),
                                  axis=axis[kind]))  # fmt: skip
        elif part.name == "b":
            scale = np.float32(stored[0].scale[0]) * np.array(stored[1].scale, np.float32)
            scale = np.broadcast_to(scale, data.shape)
            wide = "int64" if dtype == "int16" else "int32"
            values = np.rint(data / scale).astype(wide)
            stored.append(replace(part, data=values, dtype=wide, scale=tuple(scale.tolist())))
        else:
            own = "int8" if part.name == "w" else dtype
            scale, zero = COMMON[own] if kind in OF_ONE_SCALE else scale_of(data, own)
            stored.append(replace(part, data=steps(data, scale, zero, own), dtype=own,
                                  scale=(scale,), zero=(zero,)))  # fmt: skip
    return stored


def scale_of(values: Array, dtype: str) -> tuple[float, int]:
    """A scale and a zero point that reach over the values; of int16 it is 0."""
    if dtype == "int16":
        return float(np.float32(np.abs(values).max(initial=0) / 32767 or 1.0)), 0
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = float(np.float32((high - low) / 255 or 1.0))
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def steps(values: Array, scale: float, zero: int, dtype: str) -> Array:
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(values / scale) + zero, limits.min, limits.max), dtype)


def reals(tensor: T) -> Array:
    assert tensor.data is not None
    if not tensor.scale:
        wide = tensor.data.dtype == np.float32
        return tensor.data.astype(np.float64) if wide else tensor.data
    shape = [-1 if i == tensor.axis else 1 for i in range(tensor.data.ndim)]
    scale = np.array(tensor.scale, np.float64)
    scale = scale.reshape(shape) if scale.size > 1 else scale[0]
    return (tensor.data.astype(np.int64) - tensor.zero[0]) * scale


def result(name: str, values: Array, case: Case, dtype: str) -> tuple[T, Array]:
    if values.dtype.kind != "f":
        return T(name, values.shape, str(values.dtype)), values
    if not dtype:
        return T(name, values.shape, "float32"), values
    scale, zero = COMMON[dtype] if case.kind in OF_ONE_SCALE else scale_of(values, dtype)
    stored = T(name, values.shape, dtype, scale=(scale,), zero=(zero,))
    return stored, steps(values, scale, zero, dtype)


def assert_close(case: str, found: Array, wanted: Array) -> None:
    assert found.shape == wanted.shape, case
    if wanted.dtype in (np.int8, np.int16):
        assert np.abs(found.astype(int) - wanted).max(initial=0) <= 1, case
    elif wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, err_msg=case)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=case)


def test_every_operator_has_a_case() -> None:
    assert {case.kind for case in CASES} | STATEFUL == set(READERS)


@pytest.mark.parametrize("stored", ["", "int8"])  # onnxruntime has no ArgMax and pools of int16
def test_operators_mean_what_numpy_computes(stored: str, tmp_path: Path) -> None:
    """The reading alone: onnxruntime computes the ONNX form of all operators in one file."""
    cases = [c for c in CASES if c.quantized or not stored]
    file, path = written(cases, stored), tmp_path / "m.tflite"
    path.write_bytes(file.content)

    found = run_onnxruntime(load_model(path), file.sample)

    for name, wanted in file.results.items():
        assert_close(f"{cases[int(name[1 : name.index('_')])].kind} {name}", found[name], wanted)


@pytest.mark.parametrize("stored", ["", "int8", "int16"])
@pytest.mark.parametrize("target", ["host", pytest.param("cortex-m4", marks=pytest.mark.slow)])
def test_operators_compute_what_numpy_does(stored: str, target: str, tmp_path: Path) -> None:
    cases = [c for c in CASES if c.quantized or not stored]
    file, path = written(cases, stored), tmp_path / "m.tflite"
    path.write_bytes(file.content)

    (found,) = run_c(optimized(read_onnx(path)), [file.sample], target)

    for name, wanted in file.results.items():
        kind = cases[int(name[1 : name.index("_")])].kind
        assert_close(f"{kind} {name}", found[name].reshape(wanted.shape), wanted)


# CONCATENATION of several scales with an activation; the cells of an LSTM are floats.
FLOAT_STAYS = frozenset(["CONCATENATION", "UNIDIRECTIONAL_SEQUENCE_LSTM"])


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.quantized and c.kind not in FLOAT_STAYS],
    ids=lambda c: c.kind,
)  # fmt: skip
def test_a_quantized_operator_leaves_no_float(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(written([case], "int8").content)

    graph = optimized(read_onnx(path))

    assert [t.name for t in graph.tensors.values() if t.dtype.is_float] == []


def test_old_files_are_of_uint8(tmp_path: Path) -> None:
    """Weights and activations with a zero point, as converters before 2020 wrote them."""
    w = RNG.integers(0, 256, (4, 7)).astype(np.uint8)
    b = RNG.integers(-900, 900, 4).astype(np.int32)
    tensors = (
        T("x", (1, 7), "uint8", None, (0.05,), (131,)),
        T("w", (4, 7), "uint8", w, (0.02,), (120,)),
        T("b", (4,), "int32", b, (0.05 * 0.02,)),
        T("y", (1, 4), "uint8", None, (0.1,), (101,)),
    )
    dense = Operation("FULLY_CONNECTED", ("x", "w", "b"), ("y",), "FullyConnectedOptions")
    x = RNG.integers(0, 256, (1, 7)).astype(np.uint8)

    (found,) = run_c(optimized(graph_of(tmp_path, tensors, dense)), [{"x": x}])

    real = ((x.astype(int) - 131) @ (w.astype(int) - 120).T + b) * 0.05 * 0.02
    wanted = np.clip(np.rint(real / 0.1) + 101, 0, 255)
    assert np.abs(found["y"].astype(int) - wanted).max() <= 1


def graph_of(folder: Path, tensors: Sequence[T], *operations: Operation) -> Graph:
    """The imported graph of a model from `x` to `y`."""
    path = folder / "m.tflite"
    path.write_bytes(tflite_file(tensors, operations, ["x"], ["y"]))
    return read_onnx(path)


@pytest.mark.parametrize(("dtype", "scale"), [("int8", 0.02), ("int4", 0.1), ("float16", 0)])
def test_weights_alone_may_be_small(dtype: str, scale: float, tmp_path: Path) -> None:
    """Dynamic range and float16 quantization: the weights are dequantized at compile time."""
    values = RNG.integers(-7, 8, (3, 5)).astype(np.int8)
    real, stored = values * (scale or 1), values.astype("float16" if dtype == "float16" else "i1")
    if dtype == "int4":
        nibbles = np.append(values.reshape(-1) & 15, 0).astype(np.uint8)
        stored = nibbles[::2] | nibbles[1::2] << 4
    tensors = [
        T("x", (1, 5)), T("w", (3, 5), dtype, stored, (scale,) if scale else ()),
        T("wide", (3, 5)), T("y", (1, 3)),
    ]  # fmt: skip
    widen = Operation("DEQUANTIZE", ("w",), ("wide",))
    dense = Operation("FULLY_CONNECTED", ("x", "wide", ""), ("y",), "FullyConnectedOptions")
    if dtype != "float16":
        dense = replace(dense, inputs=("x", "w", ""))
    x = RNG.normal(size=(1, 5)).astype(np.float32)

    graph = optimized(graph_of(tmp_path, tensors, widen, dense))

    (found,) = run_c(graph, [{"x": x}])
    assert_close(dtype, found["y"], (x @ real.T.astype(np.float32)))
    assert [n.op for n in graph.nodes] == ["Dense"]


def test_an_open_batch_is_taken_as_one_and_shapes_are_computed(tmp_path: Path) -> None:
    """What Keras writes for Flatten: RESHAPE to [SHAPE(x)[0], 12]."""
    tensors = [
        T("x", (1, 3, 4), open=(0,)), T("shape", (3,), "int32"), T("batch", (), "int32"),
        constant("b", [0]), constant("e", [1]), constant("s", [1]), constant("rest", 12),
        T("wanted", (2,), "int32"), T("y", (1, 12), open=(0,)),
    ]  # fmt: skip
    operations = (
        Operation("SHAPE", ("x",), ("shape",), "ShapeOptions", {"OutType": 2}),
        Operation("STRIDED_SLICE", ("shape", "b", "e", "s"), ("batch",), "StridedSliceOptions",
                  {"ShrinkAxisMask": 1}),
        Operation("PACK", ("batch", "rest"), ("wanted",), "PackOptions", {"ValuesCount": 2}),
        Operation("RESHAPE", ("x", "wanted"), ("y",)),
    )  # fmt: skip

    graph = graph_of(tmp_path, tensors, *operations)

    assert graph.tensors["y"].shape == (1, 12)
    assert [n.op for n in graph.nodes] == ["Reshape"]
    assert graph.notes == ("dimension '?' of input 'x' is taken as 1",)
    larger = read_onnx(tmp_path / "m.tflite", {"x": (5, 3, 4)})
    assert larger.tensors["y"].shape == (5, 12)


def test_names_need_not_be_unique(tmp_path: Path) -> None:
    tensors = [T("x", (1, 3)), T("inner_1", (1, 3)), T("inner_2", (1, 3)), T("y", (1, 3))]
    operations = [
        Operation("NEG", ("x",), ("inner_1",)), Operation("EXP", ("inner_1",), ("inner_2",)),
        Operation("NEG", ("inner_2",), ("y",)),
    ]  # fmt: skip
    path = tmp_path / "m.tflite"
    content = tflite_file(tensors, operations, ["x"], ["y"])
    path.write_bytes(content.replace(b"inner_2", b"inner_1"))
    x = RNG.normal(size=(1, 3)).astype(np.float32)

    (found,) = run_c(read_onnx(path), [{"x": x}])

    assert_close("names", found["y"], -np.exp(-x))


def refusal(folder: Path, tensors: Sequence[T], *operations: Operation) -> CompileError:
    with pytest.raises(CompileError) as error:
        graph_of(folder, tensors, *operations)
    return error.value


def test_unknown_operators_are_named_all_at_once(tmp_path: Path) -> None:
    tensors = [T("x", (1, 3)), T("a", (1, 3)), T("y", (1, 3))]
    operations = Operation("RFFT2D", ("x",), ("a",)), Operation("MyOwn", ("a",), ("y",))

    error = refusal(tmp_path, tensors, *operations)

    assert str(error) == (
        "error[unsupported-op]: 2 nodes have operators that are not supported\n"
        "  --> node 'RFFT2D_0' (RFFT2D), node 'CUSTOM MyOwn_1' (CUSTOM MyOwn)\n"
        "  help: express them by other operators; `tinyc ops` lists those that are supported"
    )


def test_strings_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, [T("x", (3,), "string"), T("y", (3,))],
                    Operation("CAST", ("x",), ("y",)))  # fmt: skip

    assert "the element type string is not supported" in str(error)


def test_parameters_that_are_computed_are_refused(tmp_path: Path) -> None:
    tensors = [T("x", (1, 3)), T("axes", (1,), "int32"), T("y", (1,))]
    operations = (
        Operation("CAST", ("x",), ("axes",)), Operation("MEAN", ("x", "axes"), ("y",)),
    )  # fmt: skip

    error = refusal(tmp_path, tensors, *operations)

    assert error.message == "input 1 is computed at run time, it must be a constant"


def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, [T("x", (1, 3)), T("y", (1, 4))], Operation("TANH", ("x",), ("y",)))

    assert error.code == "bad-model"
    assert error.message.startswith("the operators do not give what the file says")


@pytest.mark.parametrize("part", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(part: float, tmp_path: Path) -> None:
    path, content = tmp_path / "m.tflite", written(CASES[:4]).content
    path.write_bytes(content[: int(part * len(content))])

    with pytest.raises(CompileError) as error:
        read_onnx(path)

    assert error.value.code in ("bad-model", "not-onnx")


def test_every_verb_takes_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    case = next(c for c in CASES if c.kind == "FULLY_CONNECTED")
    file, path, data = written([case], "int8"), tmp_path / "m.tflite", tmp_path / "d.npz"
    path.write_bytes(file.content)
    np.savez(data, **{n: x[None] for n, x in file.sample.items()})
    verbs = (
        f"compile -o {tmp_path / 'out'}", f"run --input {data}", f"verify --data {data}", "plan",
        f"profile --input {data}", f"tune --records {tmp_path / 'r.jsonl'} --trials 1 --jobs 1",
    )  # fmt: skip

    for verb in verbs:
        name, *options = verb.split()
        assert main([name, str(path), "--target", "cortex-m4", *options]) == 0, verb
    assert "FULLY_CONNECTED_0" in capsys.readouterr().out


TWINS = ("dscnn_kws_int8", "fcae_toycar_int8", "hello_world_int8", "mobilenetv1_vww_int8",
         "resnet8_cifar10_int8")  # fmt: skip


def paths_of(model: str) -> tuple[Path, Path]:
    return SHARED / "reference_tflite" / f"{model}.tflite", BY_NAME[f"{model}_qdq"].path


def described(graph: Graph, node: Node) -> str:
    """A node without names: what it does to which constants."""
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs)]
    kinds = [(t.shape, t.dtype, t.quant) for t in tensors]
    held = [crc32(t.data.tobytes()) for t in tensors if t.data is not None]
    return f"{node.op} {node.attrs} {kinds} {held}"


@pytest.mark.parametrize("model", TWINS[:4])  # the branches of ResNet8 are in another order
@NEEDS_MODELS
def test_a_file_becomes_the_graph_of_its_onnx_twin(model: str) -> None:
    """The same operators with the same attributes and constants, but for names."""
    lite, twin = (read_graph(path, HOST) for path in paths_of(model))

    assert [described(lite, n) for n in lite.nodes] == [described(twin, n) for n in twin.nodes]


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[pytest.mark.slow] * (m != "hello_world_int8")) for m in TWINS]
)
@NEEDS_MODELS
def test_a_file_answers_the_bytes_of_its_onnx_twin(model: str) -> None:
    folder, count = BY_NAME[f"{model}_qdq"], 8
    answers = []
    for path in paths_of(model):
        artifact = tinyc.compile(path, "host")
        (port,) = artifact.report.inputs
        samples = folder.samples(count).reshape(count, *port.shape)
        (values,) = tinyc.run(artifact, {port.name: samples}).outputs.values()
        answers.append(values.reshape(count, -1))

    np.testing.assert_array_equal(*answers)
