"""Layers with weights, seen as products of matrices: rows of inputs times rows of weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from tinyc.compiler.graph import Array
from tinyc.quantization.float_model import FloatModel, attribute

RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True, slots=True)
class Layer:
    """A node and its constant operands.

    weights  names of the weights; the axis of their output channels, along which scales vary
    bias     name of the bias; "" where it has none, or one that is no int32 row (recurrent)
    """

    node: onnx.NodeProto
    weights: tuple[str, ...]
    axis: int
    bias: str

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def input(self) -> str:
        return str(self.node.input[0])

    @property
    def output(self) -> str:
        """The first result; of recurrent layers that which is read (folding.py)."""
        return next(str(name) for name in self.node.output if name)

    @property
    def is_product(self) -> bool:
        """Whether `rows` and `matrix` say what it computes."""
        return bool(self.bias) and self.node.op_type in ("Conv", "Gemm") and self.axis == 0


def layers_of(model: FloatModel) -> tuple[Layer, ...]:
    """The nodes with weights, in execution order."""
    found = (_layer(model, node) for node in model.nodes)
    return tuple(layer for layer in found if layer is not None)


def _layer(model: FloatModel, node: onnx.NodeProto) -> Layer | None:
    constants: Mapping[str, Array] = model.constants
    names = tuple(node.input)
    if node.op_type in RECURRENT and names[1] in constants and names[2] in constants:
        return Layer(node, names[1:3], 1, "")
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or names[1] not in constants:
        return None
    bias = names[2] if len(names) > 2 and names[2] in constants else ""
    if node.op_type == "ConvTranspose":
        return Layer(node, names[1:2], 1, bias)
    if node.op_type == "MatMul":
        return Layer(node, names[1:2], constants[names[1]].ndim - 1, "")
    if node.op_type == "Gemm" and not attribute(node, "transB", 0):
        return Layer(node, names[1:2], 1, bias)
    return Layer(node, names[1:2], 0, bias)


def matrix(layer: Layer, weights: Array) -> Array:
    """[groups, outputs of a group, products of an output]."""
    groups = int(attribute(layer.node, "group", 1))
    return weights.reshape(groups, weights.shape[0] // groups, -1)


def rows(layer: Layer, weights: Array, x: Array, positions: Array) -> Array:
    """The inputs of some outputs: [groups, positions, products of an output].

    x          [samples, 1, ...]
    positions  [n, 1 + axes]: sample, and place of the output in each spatial axis
    """
    if layer.node.op_type == "Gemm":
        return np.asarray(x[positions[:, 0], 0][None])
    kernel = weights.shape[2:]
    strides, dilations, begins = geometry(layer.node, x.shape[3:], kernel)
    groups = int(attribute(layer.node, "group", 1))
    taps = np.indices(kernel).reshape(len(kernel), -1).T
    places = positions[:, None, 1:] * strides - begins + taps[None] * dilations
    inside: Array = np.all((places >= 0) & (places < np.array(x.shape[3:])), axis=-1)
    clipped = np.clip(places, 0, np.array(x.shape[3:]) - 1)
    channels_last = np.moveaxis(x[:, 0], 1, -1)
    index = (positions[:, :1], *np.moveaxis(clipped, -1, 0))
    taken = channels_last[index] * np.expand_dims(inside, -1).astype(x.dtype)  # [n, taps, channels]
    split = taken.reshape(len(positions), len(taps), groups, -1)
    return np.ascontiguousarray(split.transpose(2, 0, 3, 1).reshape(groups, len(positions), -1))


def results(layer: Layer, y: Array, positions: Array, groups: int) -> Array:
    """Outputs at `positions`: [groups, positions, outputs of a group]."""
    if layer.node.op_type == "Gemm":
        taken = y[positions[:, 0], 0]
    else:
        index = (positions[:, 0], *np.moveaxis(positions[:, 1:], -1, 0))
        taken = np.moveaxis(y[:, 0], 1, -1)[index]
    return np.asarray(taken.reshape(len(positions), groups, -1).transpose(1, 0, 2))


def some_positions(layer: Layer, y: Array, most: int, seed: int) -> Array:
    """Places of outputs [samples, 1, channels, ...], drawn evenly where there are too many."""
    sizes = y.shape[:1] if layer.node.op_type == "Gemm" else (y.shape[0], *y.shape[3:])
    total = int(np.prod(sizes))
    chosen = np.arange(total)
    if total > most:
        chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    return np.stack(np.unravel_index(chosen, sizes), -1)


def geometry(
    node: onnx.NodeProto, sizes: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    """Strides, dilations, and padding at the beginning of each axis."""
    axes = len(kernel)
    strides = np.array(attribute(node, "strides", [1] * axes))
    dilations = np.array(attribute(node, "dilations", [1] * axes))
    begins = np.array(attribute(node, "pads", [0] * 2 * axes))[:axes]
    auto = attribute(node, "auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        outputs = -(-np.array(sizes) // strides)
        spans = (np.array(kernel) - 1) * dilations + 1
        whole = np.maximum((outputs - 1) * strides + spans - np.array(sizes), 0)
        begins = whole // 2 if auto == b"SAME_UPPER" else -(-whole // 2)
    elif auto == b"VALID":
        begins = np.zeros(axes, np.int64)
    return strides, dilations, begins
