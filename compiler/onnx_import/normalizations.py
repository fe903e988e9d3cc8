"""Normalizations over a batch, a layer, a group, an instance, neighbours or a norm."""

import math

import numpy as np

from tinyc.compiler.graph import Shape, Tensor
from tinyc.compiler.onnx_import.axes import positive_axes, positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.local_response import LocalResponseAttrs
from tinyc.compiler.ops.normalize import NormalizeAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

EPSILON = 1e-5  # where the attribute is left out


def read_batch_normalization(build: Builder, node: ModelNode) -> Tensor | tuple[Tensor, ...]:
    """y = x * a + b with a = scale / sqrt(variance + epsilon), b = shift - mean * a."""
    x = build.operand(node, 0)
    parameters = [build.operand(node, i) for i in range(1, 5)]
    if len(x.shape) < 2 or any(p.shape != x.shape[1:2] for p in parameters):
        node.malformed("scale, shift, mean and variance do not have one value for each channel")
    if not node.integer("spatial", 1):
        node.refuse("statistics for each place (spatial = 0) are not supported")
    if node.integer("training_mode", 0):
        return _trained(build, node, x, parameters)
    if any(node.outputs[1:]):
        node.refuse("further outputs are not supported", "export the model for inference")
    values = [build.real_constant(p) for p in parameters]
    if any(v is None for v in values):
        return _scaled(build, node, x, parameters)
    scale, shift, mean, variance = (np.asarray(v, np.float64) for v in values)
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + node.real("epsilon", EPSILON))
        offset = shift - mean * factor
    shape = _channels(x)
    a = build.constant(f"{node.name}/factor", factor.reshape(shape), x.dtype)
    b = build.constant(f"{node.name}/offset", offset.reshape(shape), x.dtype)
    return build.binary(node, "Add", build.binary(node, "Mul", x, a), b)


def _channels(x: Tensor) -> Shape:
    """The shape of one value for each channel, for broadcasting to x [n, c, ...]."""
    return (x.shape[1], *(1,) * (len(x.shape) - 2))


def _number(build: Builder, node: ModelNode, value: float, like: Tensor) -> Tensor:
    return build.constant(f"{node.name}/number", np.array(value, like.dtype.value), like.dtype)


def _scaled(build: Builder, node: ModelNode, x: Tensor, parameters: list[Tensor]) -> Tensor:
    """The same, from parameters that are computed at run time."""
    scale, shift, mean, variance = parameters
    epsilon = _number(build, node, node.real("epsilon", EPSILON), variance)
    spread = build.binary(node, "Add", variance, epsilon)
    deviation = build.add(node, "Unary", (spread,), UnaryAttrs("sqrt"))
    factor = build.binary(node, "Div", scale, deviation)
    offset = build.binary(node, "Sub", shift, build.binary(node, "Mul", mean, factor))
    a, b = (build.reshaped(node, t, _channels(x)) for t in (factor, offset))
    return build.binary(node, "Add", build.binary(node, "Mul", x, a), b)


def _trained(
    build: Builder, node: ModelNode, x: Tensor, parameters: list[Tensor]
) -> tuple[Tensor, ...]:
    """Normalized by the statistics of the batch itself; and those, mixed into the running ones."""
    scale, shift, *running = parameters
    axes = (0, *range(2, len(x.shape)))
    affine = [build.reshaped(node, t, _channels(x)) for t in (scale, shift)]
    attrs = NormalizeAttrs("variance", axes, node.real("epsilon", EPSILON))
    y = build.add(node, "Normalize", (x, *affine), attrs)
    if not any(node.outputs[1:]):
        return (y,)
    mean = build.add(node, "Reduce", (x,), ReduceAttrs("mean", axes))
    centred = build.binary(node, "Sub", x, mean)
    square = build.binary(node, "Mul", centred, centred)
    variance = build.add(node, "Reduce", (square,), ReduceAttrs("mean", axes))
    momentum = node.real("momentum", 0.9)
    results = [y]
    for before, new in zip(running, (mean, variance), strict=True):
        old = build.binary(node, "Mul", before, _number(build, node, momentum, before))
        flat = build.reshaped(node, new, before.shape)
        now = build.binary(node, "Mul", flat, _number(build, node, 1 - momentum, before))
        results.append(build.binary(node, "Add", old, now))
    return tuple(results)


def read_layer_normalization(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    return _of_layer(build, node, "variance")


def read_rms_normalization(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    return _of_layer(build, node, "square")


def _of_layer(build: Builder, node: ModelNode, measure: str) -> tuple[Tensor, ...]:
    """Over the last axes; scale and shift broadcast to x."""
    x, shift = build.operand(node, 0), build.optional(node, 2)
    rank = len(x.shape)
    axes = tuple(range(positive_axis(node, node.integer("axis", -1), rank), rank))
    operands = (x, build.operand(node, 1), *(() if shift is None else (shift,)))
    for tensor in operands[1:]:
        _check_broadcast(node, tensor, x)
    attrs = NormalizeAttrs(measure, axes, node.real("epsilon", EPSILON), any(node.outputs[1:]))
    return build.add_all(node, "Normalize", operands, attrs)


def read_skip_layer_normalization(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    return _of_sum(build, node, "variance", (2, 3), 4)


def read_skip_rms_normalization(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    return _of_sum(build, node, "square", (2,), 3)


def _of_sum(
    build: Builder, node: ModelNode, measure: str, affine: tuple[int, ...], bias_at: int
) -> tuple[Tensor, ...]:
    """Over the last axis of two inputs and maybe a bias together; the sum is a further output."""
    if any(node.outputs[1:3]):
        node.refuse("the statistics as outputs are not supported")
    total = build.binary(node, "Add", build.operand(node, 0), build.operand(node, 1))
    bias = build.optional(node, bias_at)
    total = total if bias is None else build.binary(node, "Add", total, bias)
    given = [t for t in (build.optional(node, i) for i in affine) if t is not None]
    for tensor in given:
        _check_broadcast(node, tensor, total)
    attrs = NormalizeAttrs(measure, (len(total.shape) - 1,), node.real("epsilon", 1e-12))
    y = build.add(node, "Normalize", (total, *given), attrs)
    return y, y, y, total


def _check_broadcast(node: ModelNode, tensor: Tensor, x: Tensor) -> None:
    pairs = zip(tensor.shape[::-1], x.shape[::-1], strict=False)
    if len(tensor.shape) > len(x.shape) or any(n not in (1, m) for n, m in pairs):
        node.malformed(f"{list(tensor.shape)} does not fit the input {list(x.shape)}")


def read_instance_normalization(build: Builder, node: ModelNode) -> Tensor:
    x, scale, shift = (build.operand(node, i) for i in range(3))
    if len(x.shape) < 3 or any(t.shape != x.shape[1:2] for t in (scale, shift)):
        node.malformed("scale and shift do not have one value for each channel")
    affine = tuple(build.reshaped(node, t, _channels(x)) for t in (scale, shift))
    axes = tuple(range(2, len(x.shape)))
    attrs = NormalizeAttrs("variance", axes, node.real("epsilon", EPSILON))
    return build.add(node, "Normalize", (x, *affine), attrs)


def read_group_normalization(build: Builder, node: ModelNode) -> Tensor:
    x, scale, shift = (build.operand(node, i) for i in range(3))
    groups = node.integer("num_groups", 0)
    if len(x.shape) < 2 or groups < 1 or x.shape[1] % groups:
        node.malformed(f"{groups} groups for an input {list(x.shape)}")
    n, channels = x.shape[:2]
    if any(t.shape != (channels,) for t in (scale, shift)):
        node.malformed("scale and shift do not have one value for each channel")
    inner = math.prod(x.shape[2:])
    image = build.reshaped(node, x, (n, groups, channels // groups, inner))
    affine = tuple(build.reshaped(node, t, (groups, channels // groups, 1)) for t in (scale, shift))
    attrs = NormalizeAttrs("variance", (2, 3), node.real("epsilon", EPSILON))
    return build.reshaped(node, build.add(node, "Normalize", (image, *affine), attrs), x.shape)


def read_mean_variance_normalization(build: Builder, node: ModelNode) -> Tensor:
    """The standard adds 1e-9 to the deviation: its square does that to one of zero."""
    x = build.operand(node, 0)
    axes = tuple(sorted(positive_axes(node, node.integers("axes") or (0, 2, 3), len(x.shape))))
    return build.add(node, "Normalize", (x,), NormalizeAttrs("variance", axes, 1e-18))


def read_lp_normalization(build: Builder, node: ModelNode) -> Tensor:
    x, order = build.operand(node, 0), node.integer("p", 2)
    if order not in (1, 2):
        node.malformed(f"p is {order}, it must be 1 or 2")
    axis = positive_axis(node, node.integer("axis", -1), len(x.shape))
    return build.add(node, "Normalize", (x,), NormalizeAttrs(f"l{order}", (axis,)))


def read_local_response(build: Builder, node: ModelNode) -> Tensor:
    x, size = build.operand(node, 0), node.integer("size", 0)
    if len(x.shape) < 2 or size < 1:
        node.malformed(f"{size} neighbours in an input {list(x.shape)}")
    alpha, beta, bias = (
        node.real(name, value) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    attrs = LocalResponseAttrs(1, size, alpha, beta, bias)
    return build.add(node, "LocalResponse", (x,), attrs)
