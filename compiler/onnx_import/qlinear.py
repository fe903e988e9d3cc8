"""QLinear operators: the operator on reals between a DequantizeLinear and a QuantizeLinear."""

from collections.abc import Callable

import numpy as np

from tinyc.compiler.graph import DType, QParams, Tensor, elements
from tinyc.compiler.onnx_import.arithmetic import choice
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.linear import general_product, matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.movement import concatenation
from tinyc.compiler.onnx_import.pools import average_pool, global_average_pool
from tinyc.compiler.onnx_import.quantized import (
    dequantize,
    known_parameters,
    parameters,
    real,
    stored,
    with_axis,
)
from tinyc.compiler.onnx_import.spatial import convolution, first_channels, last_channels
from tinyc.compiler.onnx_import.spelled_quantization import cast
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

Unary = Callable[[Builder, ModelNode, Tensor], Tensor]


def read_qlinear_conv(build: Builder, node: ModelNode) -> Tensor:
    along_outputs = with_axis(node, 0)
    x, w = real(build, node, 0), real(build, along_outputs, 3)
    bias = _bias(build, along_outputs, 8, (1, 4))

    def compute(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
        return convolution(build, node, x, w, bias)

    return stored(build, node, in_its_layout(compute)(build, node, x), 6)


def _bias(
    build: Builder, node: ModelNode, at: int, scales_at: tuple[int, int], factor: float = 1.0
) -> Tensor | None:
    """The reals of the int32 bias, whose scale is the product of two others and `factor`."""
    bias = build.optional(node, at)
    if bias is None:
        return None
    if not all(known_parameters(build, node, i) for i in scales_at):
        factors = [build.operand(node, i) for i in scales_at]
        scale = build.binary(node, "Mul", factors[0], factors[1])
        return build.binary(node, "Mul", cast(build, node, bias, DType.FLOAT32), scale)
    x_scale, w_scales = (
        parameters(build, node, build.operand(node, i - 1), i).scale for i in scales_at
    )
    scales = tuple(float(np.float32(s * x_scale[0] * factor)) for s in w_scales)
    axis = None if len(scales) == 1 else 0
    if axis is not None and bias.shape != (len(scales),):
        node.malformed(f"a bias {list(bias.shape)} for {len(scales)} output channels")
    return dequantize(build, node, bias, QParams(scales, (0,) * len(scales), axis))


def read_qlinear_matmul(build: Builder, node: ModelNode) -> Tensor:
    a, b = real(build, with_axis(node, -2), 0), real(build, with_axis(node, -1), 3)
    return stored(build, node, matrix_product(build, node, a, b), 6)


def read_qgemm(build: Builder, node: ModelNode) -> Tensor:
    """Gemm whose C is int32; without an output scale the result is real."""
    outputs_axis = 0 if node.integer("transB", 0) else 1
    along_outputs = with_axis(node, outputs_axis)
    a, b = real(build, node, 0), real(build, along_outputs, 3)
    bias = _bias(build, along_outputs, 6, (1, 4), node.real("alpha", 1.0))
    y = general_product(build, node, a, b, bias)
    return y if build.optional(node, 7) is None else stored(build, node, y, 7)


def qlinear_binary(op: str) -> Callable[[Builder, ModelNode], Tensor]:
    """The reader of QLinearAdd or QLinearMul."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        a, b = real(build, node, 0), real(build, node, 3)
        return stored(build, node, build.binary(node, op, a, b), 6)

    return read


def qlinear_unary(compute: Unary) -> Callable[[Builder, ModelNode], Tensor]:
    """The reader of a QLinear operator of one operand, by what it does with the reals."""
    return lambda build, node: stored(build, node, compute(build, node, real(build, node, 0)), 3)


def function(name: str, **defaults: float) -> Unary:
    """A function whose parameters are attributes with these defaults."""

    def compute(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
        values = tuple(node.real(key, value) for key, value in defaults.items())
        return build.add(node, "Unary", (x,), UnaryAttrs(name, values))

    return compute


def in_its_layout(compute: Unary) -> Unary:
    """What expects channels first, of reals whose channels are last where the node says so."""

    def turned(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
        if not node.integer("channels_last", 0):
            return compute(build, node, x)
        if len(x.shape) < 3:
            node.malformed(f"the input {list(x.shape)} has no spatial axis")
        return last_channels(build, node, compute(build, node, first_channels(build, node, x)))

    return turned


def softmax(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    """Along one axis; as before opset 13, all axes from it on are one."""
    axis = positive_axis(node, node.integer("axis", -1), len(x.shape))
    if node.integer("opset", 13) >= 13:
        return build.add(node, "Softmax", (x,), SoftmaxAttrs(axis))
    rows = build.reshaped(node, x, (elements(x.shape[:axis]), elements(x.shape[axis:])))
    y = build.add(node, "Softmax", (rows,), SoftmaxAttrs(1))
    return build.reshaped(node, y, x.shape)


def read_qlinear_concat(build: Builder, node: ModelNode) -> Tensor:
    if len(node.inputs) < 5 or (len(node.inputs) - 2) % 3:
        node.malformed(f"it has {len(node.inputs)} inputs")
    parts = tuple(real(build, node, at) for at in range(2, len(node.inputs), 3))
    return stored(build, node, concatenation(build, node, parts), 0)


def read_qlinear_where(build: Builder, node: ModelNode) -> Tensor:
    condition, a, b = build.operand(node, 0), real(build, node, 1), real(build, node, 4)
    return stored(build, node, choice(build, node, condition, a, b), 7)


average = in_its_layout(average_pool)
global_average = in_its_layout(global_average_pool)
