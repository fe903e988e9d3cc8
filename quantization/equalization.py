"""Channels scaled so that one grid suits all of them: y / s by one layer, x * s by the next.

Relu, pools and sums of two keep factors above zero, so the model computes what it did.

Sources: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
ICCV 2019; Xiao et al., SmoothQuant, ICML 2023 (the balance of activations and weights).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from tinyc.compiler.graph import Array
from tinyc.quantization.execution import Values
from tinyc.quantization.float_model import FloatModel, attribute
from tinyc.quantization.layers import Layer, layers_of

PASSING = frozenset({
    "Add", "AveragePool", "Dropout", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity",
    "LeakyRelu", "MaxPool", "Relu", "Reshape",
})  # fmt: skip
LARGEST = 2.0**14  # factor between channels: far below what float32 loses


@dataclass(slots=True)
class Chain:
    """Tensors whose channels are scaled alike, and the layers that write and read them.

    pinned    whether something else reads or writes them
    repeat    elements of a tensor's last axis that belong to one channel, by tensor
    scalings  nodes that write them with a constant factor for each channel, computed with reals
    """

    channels: int
    repeat: dict[str, int]
    writers: list[Layer]
    readers: list[Layer]
    pinned: bool = False
    scalings: list[onnx.NodeProto] = field(default_factory=list)


def equalized(
    model: FloatModel, values: Values, balance: float, weight_ranges: bool = False,
    floating: Iterable[str] = (),
) -> FloatModel:  # fmt: skip
    """The same function, with factors s[c] = a[c]**balance / w[c]**(1 - balance).

    a  the largest activation of channel c, or with `weight_ranges` the largest weight that makes it
    w  the largest weight that reads channel c

    floating  tensors that stay real
    """
    constants = dict(model.constants)
    for chain in chains_of(model, values, floating):
        if chain.pinned or not (chain.writers or chain.scalings) or not chain.readers:
            continue
        read = np.max([_read_weights(layer, constants, chain) for layer in chain.readers], axis=0)
        made = np.max(
            [_written_weights(layer, constants) for layer in chain.writers]
            if weight_ranges and chain.writers
            else [_largest(values[name], chain.repeat[name]) for name in _measured(model, chain)],
            axis=0,
        )
        factors = _factors(made, read, balance)
        for layer in chain.writers:
            _scale_outputs(layer, constants, 1 / factors)
        for node in chain.scalings:
            up = factors if node.op_type == "Div" else 1 / factors
            constant = constants[node.input[1]]
            constants[node.input[1]] = (constant * up.reshape(constant.shape)).astype(np.float32)
        for layer in chain.readers:
            _scale_inputs(layer, constants, factors, chain)
    return model.with_constants(constants)


def chains_of(model: FloatModel, values: Values, floating: Iterable[str] = ()) -> list[Chain]:
    """All chains of a model; a tensor is in one at the most."""
    layers = {layer.name: layer for layer in layers_of(model)}
    real = frozenset(floating)
    by_tensor: dict[str, Chain] = {}
    chains: list[Chain] = []
    shared = {n for x in layers.values() for n in x.weights if len(model.readers(n)) > 1}

    def chain(tensor: str) -> Chain:
        if tensor not in by_tensor:
            shape = values[tensor].shape[1:]
            channels = shape[1] if len(shape) > 2 else shape[-1]
            by_tensor[tensor] = Chain(channels, {tensor: 1}, [], [])
            chains.append(by_tensor[tensor])
        return by_tensor[tensor]

    def pin(tensor: str) -> None:
        if tensor in values:
            chain(tensor).pinned = True

    def join(tensor: str, into: str, repeat: int) -> None:
        first, second = chain(into), chain(tensor)
        if first is second:
            return
        merged = {n: r * repeat for n, r in second.repeat.items()}
        first.repeat |= merged
        first.writers += second.writers
        first.readers += second.readers
        first.scalings += second.scalings
        first.pinned |= second.pinned or (second.channels != first.channels * repeat)
        by_tensor.update(dict.fromkeys(second.repeat, first))
        chains.remove(second)

    for value in (*model.inputs, *model.outputs):
        pin(value.name)
    for node in model.nodes:
        layer = layers.get(node.name)
        given, result = node.input[0], node.output[0]
        if layer is not None and _is_scalable(layer) and not shared.intersection(layer.weights):
            chain(given).readers.append(layer)
            chain(result).writers.append(layer)
            continue
        if given in real and _scales_channels(model, node, values):
            pin(given)
            chain(result).scalings.append(node)
            continue
        repeat = _repeat(model, node, values)
        if repeat is None:
            for name in (*node.input, *node.output):
                pin(name)
            continue
        join(result, given, repeat)
        for other in node.input[1:] if node.op_type == "Add" else ():
            join(other, given, 1)
    return chains


def _scales_channels(model: FloatModel, node: onnx.NodeProto, values: Values) -> bool:
    """Whether the second operand is a factor (or divisor) of each channel, and of nothing else."""
    constant = model.constants.get(node.input[1]) if node.op_type in ("Mul", "Div") else None
    if constant is None or len(model.readers(node.input[1])) > 1:
        return False
    shape = values[node.output[0]].shape[1:]
    axis = 1 if len(shape) > 2 else len(shape) - 1
    full = (1,) * (len(shape) - constant.ndim) + constant.shape
    return full == tuple(size if i == axis else 1 for i, size in enumerate(shape))


def _repeat(model: FloatModel, node: onnx.NodeProto, values: Values) -> int | None:
    """Elements of the result for one channel; None where factors do not pass."""
    if node.op_type == "ReduceMean":
        return 1 if _is_global_pool(model, node, values) else None
    if node.op_type not in PASSING or any(n not in values for n in (node.input[0], node.output[0])):
        return None
    before, after = (values[n].shape[1:] for n in (node.input[0], node.output[0]))
    if node.op_type == "Add":
        same = all(n in values and values[n].shape[1:] == after for n in node.input)
        return 1 if same else None
    if node.op_type not in ("Flatten", "Reshape") or before == after:
        return 1 if len(before) >= 2 else None
    if len(before) < 3 or after[0] != 1 or before[0] != 1 or len(after) != 2:
        return None
    return int(after[1] // before[1])


def _is_global_pool(model: FloatModel, node: onnx.NodeProto, values: Values) -> bool:
    """Whether a mean goes over all spatial axes, and no other."""
    rank = values[node.input[0]].ndim - 1 if node.input[0] in values else 0
    axes = attribute(node, "axes", [])
    if len(node.input) > 1 and node.input[1] in model.constants:
        axes = model.constants[node.input[1]].reshape(-1).tolist()
    return rank > 2 and {int(a) % rank for a in axes} == set(range(2, rank))


def _is_scalable(layer: Layer) -> bool:
    return layer.is_product


def _measured(model: FloatModel, chain: Chain) -> list[str]:
    """The tensors of a chain that are rounded: not those that a clamp alone reads."""

    def is_inside(name: str) -> bool:
        reader = model.only_reader(name)
        return reader is not None and reader.op_type == "Relu"

    return [n for n in chain.repeat if not is_inside(n)] or list(chain.repeat)


def _largest(x: Array, repeat: int) -> Array:
    """The largest magnitude of each channel."""
    if x.ndim > 3:
        return np.asarray(np.abs(x).max(axis=(0, 1, *range(3, x.ndim))))
    return np.asarray(np.abs(x).reshape(-1, x.shape[-1] // repeat, repeat).max(axis=(0, 2)))


def _factors(made: Array, read: Array, balance: float) -> Array:
    alive = (made > 0) & (read > 0)
    if not alive.any():
        return np.ones(len(made))
    factors = np.ones(len(made))
    factors[alive] = made[alive] ** balance / read[alive] ** (1 - balance)
    middle = float(np.exp(np.mean(np.log(factors[alive]))))
    factors[alive] /= middle
    return np.clip(factors, 1 / LARGEST, LARGEST)


def _read_weights(layer: Layer, constants: Mapping[str, Array], chain: Chain) -> Array:
    """The largest weight that reads each channel, relative to the largest of its output."""
    weights = constants[layer.weights[0]].astype(np.float64)
    flat = np.abs(weights).reshape(len(weights), -1)
    relative = np.abs(weights) / np.maximum(flat.max(axis=1), 1e-30).reshape(
        -1, *(1,) * (weights.ndim - 1)
    )
    if layer.node.op_type == "Gemm":
        columns = relative.max(axis=0)
        return np.asarray(columns.reshape(chain.channels, -1).max(axis=1))
    groups = int(attribute(layer.node, "group", 1))
    split = relative.reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
    return np.asarray(split.max(axis=(1, 3)).reshape(-1))


def _written_weights(layer: Layer, constants: Mapping[str, Array]) -> Array:
    weights = constants[layer.weights[0]]
    return np.asarray(np.abs(weights).reshape(len(weights), -1).max(axis=1), np.float64)


def _scale_outputs(layer: Layer, constants: dict[str, Array], factors: Array) -> None:
    weights, bias = constants[layer.weights[0]], constants[layer.bias]
    along = factors.reshape(-1, *(1,) * (weights.ndim - 1))
    constants[layer.weights[0]] = (weights * along).astype(np.float32)
    constants[layer.bias] = (bias * factors).astype(np.float32)


def _scale_inputs(layer: Layer, constants: dict[str, Array], factors: Array, chain: Chain) -> None:
    weights = constants[layer.weights[0]]
    if layer.node.op_type == "Gemm":
        along = np.repeat(factors, weights.shape[1] // chain.channels)[None]
        constants[layer.weights[0]] = (weights * along).astype(np.float32)
        return
    groups = int(attribute(layer.node, "group", 1))
    split = weights.reshape(groups, -1, *weights.shape[1:])
    along = factors.reshape(groups, 1, weights.shape[1], *(1,) * (weights.ndim - 2))
    constants[layer.weights[0]] = (split * along).reshape(weights.shape).astype(np.float32)
