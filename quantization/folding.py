"""Rewrites of the float model that change no result, and leave less to quantize."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from tinyc.compiler.graph import Array, Shape
from tinyc.quantization.float_model import FloatModel, attribute, names_read
from tinyc.quantization.layers import RECURRENT

AFFINE = ("Mul", "Add", "Sub", "Div", "BatchNormalization")


def folded(model: FloatModel, shapes: Mapping[str, Shape]) -> FloatModel:
    """Layers with a bias, without factors; what scales their results is in their weights.

    shapes  of tensors, by name
    """
    model = _without_unread_results(model)
    model = _with_plain_layers(model, shapes)
    model = _with_affine_in_layers(model, shapes)
    return _with_normalization_as_convolution(model, shapes)


def _without_unread_results(model: FloatModel) -> FloatModel:
    """Recurrent layers give only what is read: all steps, the last one, or the last cell state."""
    read = {name for node in model.nodes for name in names_read(node)}
    read |= {value.name for value in model.outputs}
    nodes: list[onnx.NodeProto] = []
    for node in model.nodes:
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        if node.op_type in RECURRENT and any(name in read for name in node.output):
            kept.output[:] = [name if name in read else "" for name in node.output]
        nodes.append(kept)
    return model.with_nodes(nodes)


def _with_plain_layers(model: FloatModel, shapes: Mapping[str, Shape]) -> FloatModel:
    """Products of a matrix and constants as Gemm, factors of a Gemm in its constants."""
    constants: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.nodes:
        weights = model.constants.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type in ("Conv", "ConvTranspose") and weights is not None:
            nodes.append(_with_bias(node, _outputs(node, weights), constants))
        elif node.op_type == "Gemm" and weights is not None:
            nodes.append(_plain_gemm(model, node, weights, constants))
        elif node.op_type == "MatMul" and weights is not None and weights.ndim == 2:
            flat = len(shapes.get(node.input[0], ())) == 2
            gemm = helper.make_node("Gemm", node.input, node.output, node.name)
            nodes.append(_plain_gemm(model, gemm, weights, constants) if flat else node)
        else:
            nodes.append(node)
    return model.with_constants(constants).with_nodes(nodes)


def _outputs(node: onnx.NodeProto, weights: Array) -> int:
    """Output channels of a convolution."""
    groups = int(attribute(node, "group", 1))
    return int(weights.shape[0] if node.op_type == "Conv" else weights.shape[1] * groups)


def _with_bias(node: onnx.NodeProto, count: int, constants: dict[str, Array]) -> onnx.NodeProto:
    """The layer with a bias of zeros where it had none."""
    if len(node.input) > 2 and node.input[2]:
        return node
    name = f"{node.name}/bias"
    constants[name] = np.zeros(count, np.float32)
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    del changed.input[2:]
    changed.input.append(name)
    return changed


def _plain_gemm(
    model: FloatModel, node: onnx.NodeProto, weights: Array, constants: dict[str, Array]
) -> onnx.NodeProto:
    """y = x @ w + b with w [inputs, outputs]; as it is where x is transposed or b is no row."""
    bias = model.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros((), np.float32)
    if attribute(node, "transA", 0) or bias is None:
        return node
    matrix = weights if attribute(node, "transB", 0) else weights.T
    if bias.size not in (1, matrix.shape[0]) or bias.shape[-1:] not in ((), (1,), (bias.size,)):
        return node
    row = np.broadcast_to(bias.reshape(-1), matrix.shape[:1]) * attribute(node, "beta", 1.0)
    scaled = matrix * np.float32(attribute(node, "alpha", 1.0))
    names = _weights_name(model, node), f"{node.name}/bias"
    constants |= dict(zip(names, (scaled, row.astype(np.float32)), strict=True))
    return helper.make_node("Gemm", [node.input[0], *names], node.output, node.name, transB=1)


def _weights_name(model: FloatModel, gemm: onnx.NodeProto) -> str:
    """A name of its own; one for all where layers share weights, and scale them alike."""
    if len(model.readers(gemm.input[1])) == 1:
        return f"{gemm.name}/weights"
    form = [str(attribute(gemm, name, 0)) for name in ("transB", "alpha")]
    return "/".join([gemm.input[1], *form, "weights"])


def _with_affine_in_layers(model: FloatModel, shapes: Mapping[str, Shape]) -> FloatModel:
    """Conv, Mul by a channel's constant -> Conv; also Add, Sub, Div, BatchNormalization."""
    for node in model.nodes:
        layer = next((p for n in node.input if (p := model.producer(n)) is not None), None)
        if node.op_type not in AFFINE or layer is None or layer.op_type not in ("Conv", "Gemm"):
            continue
        if model.only_reader(layer.output[0]) is not node or layer.input[1] not in model.constants:
            continue
        factors = _factors(model, node, shapes.get(layer.output[0], ()))
        weights, bias = (model.constants.get(n) for n in layer.input[1:3])
        if factors is None or weights is None or bias is None:
            continue
        if layer.op_type == "Gemm" and not attribute(layer, "transB", 0):
            continue
        merged = _scaled_layer(layer, node, weights, bias, factors)
        kept = [merged[0] if n is layer else n for n in model.nodes if n is not node]
        changed = model.with_constants(merged[1]).with_nodes(kept)
        return _with_affine_in_layers(changed, shapes)
    return model


def _scaled_layer(
    layer: onnx.NodeProto, node: onnx.NodeProto, weights: Array, bias: Array,
    factors: tuple[Array, Array],
) -> tuple[onnx.NodeProto, dict[str, Array]]:  # fmt: skip
    """The layer whose result is that of `node`, and its constants."""
    scale, shift = (np.broadcast_to(f, bias.shape) for f in factors)
    along = (-1, *(1 for _ in weights.shape[1:]))
    names = f"{node.name}/weights", f"{node.name}/bias"
    merged = onnx.NodeProto()
    merged.CopyFrom(layer)
    merged.input[1], merged.input[2] = names
    merged.output[0] = node.output[0]
    values = (weights * scale.reshape(along), bias * scale + shift)
    return merged, {n: v.astype(np.float32) for n, v in zip(names, values, strict=True)}


def _factors(model: FloatModel, node: onnx.NodeProto, shape: Shape) -> tuple[Array, Array] | None:
    """y = x * scale + shift of a channel; None where the constants are no value a channel."""
    if node.op_type == "BatchNormalization":
        return _normalization(model, node)
    constant = next((model.constants[n] for n in node.input if n in model.constants), None)
    if constant is None or len(shape) < 2 or constant.dtype != np.float32:
        return None
    first = node.input[0] in model.constants
    channels = shape[-1] if len(shape) == 2 else shape[1]
    full = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    axis = full.ndim - 1 if len(shape) == 2 else 1
    if full.size != 1 and (full.size != channels or full.shape[axis] != channels):
        return None
    values = np.broadcast_to(full.reshape(-1), (channels,)).astype(np.float64)
    one, zero = np.ones(1), np.zeros(1)
    match node.op_type:
        case "Mul":
            return values, zero
        case "Add":
            return one, values
        case "Sub":
            return (-one, values) if first else (one, -values)
        case "Div" if not first and values.all():
            return 1 / values, zero
    return None


def _normalization(model: FloatModel, node: onnx.NodeProto) -> tuple[Array, Array] | None:
    parts = [model.constants.get(n) for n in node.input[1:5]]
    if any(p is None for p in parts) or len(node.output) > 1:
        return None
    gain, shift, mean, variance = (np.asarray(p, np.float64) for p in parts)
    scale = gain / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, shift - mean * scale


def _with_normalization_as_convolution(
    model: FloatModel, shapes: Mapping[str, Shape]
) -> FloatModel:
    """BatchNormalization that no layer precedes -> depthwise Conv of one weight a channel."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    for node in model.nodes:
        rank = len(shapes.get(node.input[0], ())) if node.input else 0
        is_normalization = node.op_type == "BatchNormalization" and rank > 2
        factors = _normalization(model, node) if is_normalization else None
        if factors is None:
            nodes.append(node)
            continue
        scale, shift = (f.astype(np.float32) for f in factors)
        names = f"{node.name}/weights", f"{node.name}/bias"
        constants |= {names[0]: scale.reshape(-1, *(1,) * (rank - 1)), names[1]: shift}
        inputs = [node.input[0], *names]
        nodes.append(
            helper.make_node(
                "Conv", inputs, node.output, node.name,
                group=len(scale), kernel_shape=[1] * (rank - 2),
            )
        )  # fmt: skip
    return model.with_constants(constants).with_nodes(nodes)
