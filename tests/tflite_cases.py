"""Every TensorFlow Lite operator once or more, with its meaning in NumPy."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.tflite_files import T, constant
from tests.tflite_meanings import (
    convolved,
    depthwise,
    lstm,
    pooled,
    resized,
    sigmoid,
    softmax,
    transposed_convolution,
)
from tinyc.compiler.graph import Array

RNG = np.random.default_rng(0)
RELU, RELU_N1_TO_1, RELU6 = 1, 2, 3
SAME, VALID = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One operator on activations of these shapes, then these constants.

    means      its result, from the values of all inputs
    order      where the activations and constants stand among the inputs, None where one is left
               out; as they come when there is no order
    values     of the activations; None: any, normally distributed
    quantized  whether the stored forms are compared too: the operator has an integer meaning
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


def conv_fields(stride: int = 1, padding: int = SAME, act: int = 0, **more: int) -> dict[str, int]:
    return {"Padding": padding, "StrideH": stride, "StrideW": stride,
            "FusedActivationFunction": act, **more}  # fmt: skip


def pool_fields(size: tuple[int, int], stride: int, padding: int) -> dict[str, int]:
    return {"FilterHeight": size[0], "FilterWidth": size[1], **conv_fields(stride, padding)}


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

STATEFUL = {  # tests/test_tflite_svdf.py and test_tflite_variables.py have them
    "ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "SVDF", "VAR_HANDLE",
}  # fmt: skip
