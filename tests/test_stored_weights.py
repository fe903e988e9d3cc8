"""Weights that stay as small in flash as the model stores them: of 4 bits beside integer
activations, of 4 or 8 bits or float16 in layers of floats.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from tests.harness import (
    assert_c_computes_the_meaning,
    onnx_model,
    optimized,
    read_model,
    run_c,
    run_onnxruntime,
)
from tests.qdq import Q, Weights, qdq_model
from tinyc.compiler.graph import Array, DType, Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.planning import plan_program
from tinyc.targets import load_target

OPSET = 21
Q_IN, Q_OUT = Q(0.05, 3), Q(0.2, -5)


def weights(shape: tuple[int, ...], axis: int | None, dtype: str, zero: int = 0) -> Weights:
    """Over the whole range of the type; scales that differ by channel."""
    rng = np.random.default_rng(3)
    low, high = (int(f(ml_dtypes.iinfo(dtype))) for f in (lambda i: i.min, lambda i: i.max))
    scales = 0.02 * 2.0 ** rng.uniform(-3, 0, () if axis is None else shape[axis])
    stored = rng.integers(low, high + 1, shape).astype(dtype)
    return Weights(stored, np.asarray(scales, np.float32), zero, axis or 0)


def quantized(
    op: str, x: tuple[int, ...], w: Weights, y: tuple[int, ...], q_in: Q = Q_IN,
    out: Q = Q_OUT, biases: int = 3000, **options: Any,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    bias = np.random.default_rng(2).integers(-biases, biases + 1, y[1]).astype(np.int32)
    given = bias if biases else None
    return partial(qdq_model, op, [x], out, y, [q_in], [w], given, opset=OPSET, **options)


def conv(
    x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], dtype: str = "int4", zero: int = 0,
    **options: Any,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    axis = None if zero else 0
    return quantized("Conv", x, weights(w, axis, dtype, zero), y, **options)


INTEGER: dict[str, Callable[[], onnx.ModelProto]] = {
    "conv 3x3": conv((1, 3, 7, 6), (6, 3, 3, 3), (1, 6, 7, 6), pads=[1] * 4),
    "conv 1x1, whole words": conv((1, 16, 5, 5), (8, 16, 1, 1), (1, 8, 5, 5), relu=True),
    "conv 1x1, odd": conv((1, 7, 3, 3), (5, 7, 1, 1), (1, 5, 2, 2), strides=[2, 2]),
    "conv of one value": conv((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
    "conv, groups": conv((1, 6, 5, 5), (10, 3, 3, 3), (1, 10, 3, 3), group=2),
    "conv, two images": conv((2, 3, 4, 4), (4, 3, 3, 3), (2, 4, 2, 2)),
    "conv, uint4": conv((1, 3, 5, 5), (4, 3, 3, 3), (1, 4, 5, 5), "uint4", 8, pads=[1] * 4),
    "conv, uint4, other zero": conv((1, 3, 5, 5), (4, 3, 3, 3), (1, 4, 5, 5), "uint4", 3,
                                    pads=[1] * 4),
    "conv, int4, zero point": conv((1, 3, 5, 5), (4, 3, 3, 3), (1, 4, 5, 5), "int4", -8),
    "conv of uint8": conv((1, 3, 5, 5), (4, 3, 3, 3), (1, 4, 3, 3), q_in=Q(0.05, 130, "uint8"),
                          out=Q(0.2, 99, "uint8")),
    "conv of int16": conv((1, 3, 5, 5), (4, 3, 3, 3), (1, 4, 5, 5), pads=[1] * 4,
                          q_in=Q(0.0002, 0, "int16"), out=Q(0.0005, 0, "int16")),
    "depthwise": conv((1, 8, 6, 5), (8, 1, 3, 3), (1, 8, 6, 5), group=8, pads=[1] * 4),
    "matmul": quantized("MatMul", (1, 40), weights((40, 9), 1, "int4"), (1, 9), biases=0),
    "matmul, rows": quantized("MatMul", (3, 13), weights((13, 7), None, "uint4", 7), (3, 7),
                              biases=0),
}  # fmt: skip


def real(
    op: str, x: tuple[int, ...], shape: tuple[int, ...], y: tuple[int, ...], dtype: str,
    axis: int | None, zero: int = 0, bias: bool = True, **attributes: Any,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    """A float layer whose weights alone are stored."""

    def build() -> onnx.ModelProto:
        rng = np.random.default_rng(4)
        constants: dict[str, Array] = {}
        if dtype == "float16":
            constants["w"] = rng.normal(0, 0.1, shape).astype(np.float16)
            nodes = [onnx.helper.make_node("Cast", ["w"], ["wide"], to=onnx.TensorProto.FLOAT)]
        else:
            w = weights(shape, axis, dtype, zero)
            zeros = np.full(w.scale.shape, zero, dtype)
            constants |= {"w": w.values, "scale": w.scale, "zero": zeros}
            extra = {} if axis is None else {"axis": axis}
            names = ["w", "scale", "zero"]
            nodes = [onnx.helper.make_node("DequantizeLinear", names, ["wide"], **extra)]
        operands = ["x", "wide"]
        if bias:
            constants["b"] = rng.normal(0, 1, y[1]).astype(np.float32)
            operands.append("b")
        nodes.append(onnx.helper.make_node(op, operands, ["r"], **attributes))
        nodes.append(onnx.helper.make_node("Relu", ["r"], ["y"]))
        return onnx_model(nodes, {"x": ("float32", x)}, {"y": ("float32", y)}, constants, OPSET)

    return build


def real_conv(dtype: str, axis: int | None = 0, **options: Any) -> Callable[[], onnx.ModelProto]:
    return real(
        "Conv", (1, 11, 6, 5), (7, 11, 3, 3), (1, 7, 6, 5), dtype, axis, pads=[1] * 4, **options
    )


REAL: dict[str, Callable[[], onnx.ModelProto]] = {
    "conv of int8": real_conv("int8"),
    "conv of int8, one scale": real_conv("int8", None),
    "conv of uint8": real_conv("uint8", None, zero=117),
    "conv of int4": real_conv("int4"),
    "conv of uint4": real_conv("uint4", None, zero=9, bias=False),
    "conv of float16": real_conv("float16"),
    "conv 1x1 of int4": real("Conv", (1, 8, 3, 5), (5, 8, 1, 1), (1, 5, 3, 5), "int4", 0),
    "conv of int4, groups": real("Conv", (1, 4, 5, 5), (6, 2, 3, 3), (1, 6, 3, 3), "int4", 0,
                                  group=2),
    "depthwise of int8": real("Conv", (1, 8, 6, 5), (8, 1, 3, 3), (1, 8, 4, 3), "int8", 0,
                              group=8),
    "depthwise of int4": real("Conv", (1, 8, 6, 5), (8, 1, 3, 3), (1, 8, 4, 3), "int4", 0,
                              group=8),
    "depthwise of float16": real("Conv", (1, 64, 5, 5), (64, 1, 3, 3), (1, 64, 3, 3), "float16",
                                 None, group=64),
    "dense of int8": real("Gemm", (1, 40), (40, 9), (1, 9), "int8", 1),
    "dense of int4": real("Gemm", (1, 37), (5, 37), (1, 5), "int4", 0, transB=1),
    "dense of int4, rows": real("MatMul", (3, 24), (24, 9), (3, 9), "int4", 1, bias=False),
    "dense of float16": real("Gemm", (1, 60), (60, 9), (1, 9), "float16", None),
}  # fmt: skip


def inputs_for(graph: Graph, kind: str) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    values: dict[str, Array] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        if tensor.dtype == DType.FLOAT32:
            values[name] = rng.normal(0, 1, tensor.shape).astype(np.float32)
            continue
        low, high = tensor.dtype.limits
        array = rng.integers(low, high + 1, tensor.shape)
        array = np.where(array % 2 == 0, low, high) if kind == "extremes" else array
        values[name] = array.astype(tensor.dtype.value)
    return values


@pytest.mark.parametrize("case", INTEGER, ids=list(INTEGER))
def test_integers_mean_what_onnxruntime_computes(case: str, tmp_path: Path) -> None:
    model = INTEGER[case]()
    graph = optimized(read_model(model, tmp_path))
    for kind in ("random", "extremes"):
        inputs = inputs_for(graph, kind)

        ours = run(graph, inputs)["y"].astype(np.int64)

        theirs = run_onnxruntime(model, inputs)["y"].astype(np.int64)
        assert not [n.op for n in graph.nodes if n.op in ("Quantize", "Dequantize")]
        assert np.abs(ours - theirs).max() <= 1
        assert (ours != theirs).mean() <= 0.02 + 2 / ours.size


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", INTEGER, ids=list(INTEGER))
def test_the_c_of_integers_computes_the_meaning(case: str, target: str, tmp_path: Path) -> None:
    check_integers(case, target, "host", tmp_path)


def check_integers(case: str, target: str, on: str, folder: Path) -> None:
    graph = optimized(read_model(INTEGER[case](), folder))
    samples = [inputs_for(graph, kind) for kind in ("random", "extremes")]
    assert_c_computes_the_meaning(graph, samples, target, on)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", REAL, ids=list(REAL))
def test_the_c_of_floats_computes_what_onnxruntime_does(
    case: str, target: str, tmp_path: Path
) -> None:
    check_floats(case, target, "host", tmp_path)


def check_floats(case: str, target: str, on: str, folder: Path) -> None:
    model = {**REAL, **BLOCKED}[case]()
    graph = optimized(read_model(model, folder))
    inputs = inputs_for(graph, "random")

    (ours,) = run_c(graph, [inputs], target, on)

    theirs = run_onnxruntime(model, inputs)["y"]
    limit = 1e-5 * np.abs(theirs).max()
    np.testing.assert_allclose(ours["y"], theirs, rtol=0, atol=limit)
    np.testing.assert_allclose(run(graph, inputs)["y"], theirs, rtol=0, atol=limit)


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("case", ["conv 3x3", "matmul"])
def test_the_core_unpacks_integers(case: str, target: str, tmp_path: Path) -> None:
    check_integers(case, target, target, tmp_path)


@pytest.mark.parametrize("target", ["cortex-m4", "rv32imc"])
@pytest.mark.parametrize(
    "case", ["conv of int4", "dense of int8", "conv of float16", "4 bits", "uint8, bias"]
)
def test_the_core_converts_weights(case: str, target: str, tmp_path: Path) -> None:
    check_floats(case, target, target, tmp_path)


@pytest.mark.parametrize(
    ("case", "bits"), [("conv of int8", 8), ("conv of int4", 4), ("conv of float16", 16)]
)
def test_flash_holds_weights_as_the_model_stores_them(case: str, bits: int, tmp_path: Path) -> None:
    graph = optimized(read_model(REAL[case](), tmp_path))

    program = plan_program(graph, load_target("cortex-m4"))

    roles = ("weights", "stream")
    (table,) = (c for k in program.kernels.values() for c in k.constants if c.role in roles)
    channels, products, ends = 8, 99, 64  # one channel fills up a word; scale and bias of each
    assert table.array.nbytes * 8 <= channels * ((products + 7) * bits + ends)


def blocked(
    dtype: str, axis: int, block: int, zeros: bool, n: int = 9, k: int = 64, bias: bool = False,
    gemm: bool = False,
) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    """A product by weights that DequantizeLinear gives a scale for each block of."""

    def build() -> onnx.ModelProto:
        rng = np.random.default_rng(6)
        low, high = (int(f(ml_dtypes.iinfo(dtype))) for f in (lambda i: i.min, lambda i: i.max))
        shape, count = ((k, n), (k // block, n)) if axis == 0 else ((n, k), (n, k // block))
        constants: dict[str, Array] = {
            "w": rng.integers(low, high + 1, shape).astype(dtype),
            "scale": rng.uniform(0.01, 0.1, count).astype(np.float32),
        }
        if zeros:
            constants["zero"] = rng.integers(low, high + 1, count).astype(dtype)
        dequantize = onnx.helper.make_node(
            "DequantizeLinear", [*constants], ["wide"], axis=axis, block_size=block
        )
        constants["b"] = rng.normal(size=n).astype(np.float32)
        product = "Gemm" if gemm else "MatMul"
        operands = ["x", "wide", *(["b"] if gemm and bias else [])]
        transposed = {"transB": 1} if axis == 1 else {}
        nodes = [dequantize, onnx.helper.make_node(product, operands, ["r"], **transposed)]
        if bias and not gemm:
            nodes.append(onnx.helper.make_node("Add", ["r", "b"], ["s"]))
        nodes.append(onnx.helper.make_node("Relu", [nodes[-1].output[0]], ["y"]))
        kinds = {"x": ("float32", (3, k))}, {"y": ("float32", (3, n))}
        return onnx_model(nodes, *kinds, constants, OPSET)

    return build


def few_bits(bits: int, n: int, k: int, block: int, zeros: bool) -> Callable[[], onnx.ModelProto]:
    """onnxruntime's own operator; the last block of a row may not be full."""

    def build() -> onnx.ModelProto:
        rng, blocks = np.random.default_rng(7), -(-k // block)
        constants: dict[str, Array] = {
            "w": rng.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8),
            "s": rng.uniform(0.01, 0.1, n * blocks).astype(np.float32),
        }
        if zeros:
            width = -(-blocks * bits // 8)
            constants["z"] = rng.integers(0, 256, n * width).astype(np.uint8)
        node = onnx.helper.make_node(
            "MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft",
            N=n, K=k, bits=bits, block_size=block,
        )  # fmt: skip
        kinds = {"x": ("float32", (2, k))}, {"y": ("float32", (2, n))}
        return onnx_model([node], *kinds, constants, domains=["com.microsoft"])

    return build


BLOCKED: dict[str, Callable[[], onnx.ModelProto]] = {
    "int4": blocked("int4", 0, 16, zeros=False),
    "uint4, zero points, bias": blocked("uint4", 0, 32, zeros=True, bias=True),
    "uint4, no zero points": blocked("uint4", 0, 64, zeros=False),
    "int8": blocked("int8", 0, 16, zeros=True),
    "uint8, bias": blocked("uint8", 0, 32, zeros=True, bias=True),
    "gemm, bias": blocked("uint4", 1, 16, zeros=True, bias=True, gemm=True),
    "gemm of columns": blocked("int4", 0, 16, zeros=True, gemm=True),
    "4 bits": few_bits(4, 6, 128, 32, zeros=True),
    "4 bits, a block that is not full": few_bits(4, 6, 75, 16, zeros=True),
    "4 bits, no zero points": few_bits(4, 5, 32, 16, zeros=False),
    "2 bits": few_bits(2, 6, 64, 32, zeros=False),
    "8 bits": few_bits(8, 6, 50, 16, zeros=True),
}


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("case", BLOCKED)
def test_blocks_of_weights_stay_stored(case: str, target: str, tmp_path: Path) -> None:
    graph = optimized(read_model(BLOCKED[case](), tmp_path))

    assert [n.op for n in graph.nodes] == ["BlockDense"]
    check_floats(case, target, "host", tmp_path)


@pytest.mark.parametrize(("case", "bits"), [("int4", 4), ("4 bits", 4), ("int8", 8)])
def test_flash_holds_blocks_as_the_model_stores_them(case: str, bits: int, tmp_path: Path) -> None:
    graph = optimized(read_model(BLOCKED[case](), tmp_path))

    program = plan_program(graph, load_target("cortex-m4"))

    (kernel,) = program.kernels.values()
    table = next(c.array for c in kernel.constants if c.role == "weights")
    assert table.nbytes * 8 == graph.tensors[graph.nodes[0].inputs[1]].elements * bits


def test_blocks_that_no_kernel_reads_are_floats(tmp_path: Path) -> None:
    """Blocks of four."""
    graph = optimized(read_model(blocked("int4", 0, 4, zeros=True)(), tmp_path))

    assert [n.op for n in graph.nodes] == ["Dense"]
