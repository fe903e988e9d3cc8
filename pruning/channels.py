"""Which channels of a model stand and fall together, found by naming every element of its tensors.

Each output channel of a layer gets a number, and every tensor is followed element by element: a
Relu keeps the numbers, an Add makes two numbers one, a Flatten repeats them. What no rule follows
is fixed, and so is what the model's inputs and outputs hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx

from tinyc.compiler.graph import Array, Shape
from tinyc.quantization.execution import Execution
from tinyc.quantization.float_model import FloatModel, attribute

FIXED = 0  # the number of everything that has to stay
# One element in, one element out; constants beside it are one value, or one a channel.
UNARY = frozenset({
    "Abs", "Celu", "Clip", "Dropout", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Mish", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt",
    "Tanh", "ThresholdedRelu",
})  # fmt: skip
ELEMENTWISE = frozenset({"Add", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum"})
SPATIAL = frozenset({
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool", "Pad",
})  # fmt: skip
MOVED = frozenset({"Concat", "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that the same layers make: any of them may go, and takes its like along.

    classes    numbers of the channels
    producers  names of the layers that make them
    consumers  names of the layers that read them, through whatever lies between
    """

    classes: tuple[int, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """The numbers of all elements, by tensor, in the tensor's shape; and the groups."""

    numbers: Mapping[str, Array]
    groups: tuple[Group, ...]

    def along(self, tensor: str) -> tuple[int, Array]:
        """The axis along which the numbers vary (1 where none does), and the numbers there."""
        return varying_axis(self.numbers[tensor])

    def without(self, removed: frozenset[int]) -> "Channels":
        """The channels of the model that `removed` is cut from."""
        numbers = {}
        for tensor, whole in self.numbers.items():
            axis, along = self.along(tensor)
            kept = ~np.isin(along, list(removed))
            numbers[tensor] = whole if kept.all() else np.compress(kept, whole, axis)
        return replace(self, numbers=numbers)


def channels_of(model: FloatModel, shapes: Mapping[str, Shape]) -> Channels:
    """The channels of a model whose batch normalizations are folded.

    shapes  of all tensors
    """
    walk = _Walk(model, shapes)
    for value in model.inputs:
        walk.numbers[value.name] = np.zeros(value.shape, np.int64)
    for node in model.nodes:
        walk.follow(node)
    for output in model.outputs:
        walk.fix(walk.numbers[output.name])
    for name in walk.numbers:
        walk.fix_mixed(name)
    numbers = {name: walk.roots(array) for name, array in walk.numbers.items()}
    return Channels(numbers, _groups(model, walk, numbers))


def input_axis(node: onnx.NodeProto) -> int:
    """The axis of a layer's input that its weights sum over."""
    return 1 if node.op_type in ("Conv", "ConvTranspose") else -1


def varying_axis(numbers: Array) -> tuple[int, Array]:
    """The axis along which numbers vary, and the numbers there; the first where several do."""
    if not numbers.ndim:
        return 0, numbers.reshape(1)
    first = numbers[(0,) * numbers.ndim]
    if numbers.ndim < 2 or (numbers == first).all():
        axis = min(1, numbers.ndim - 1)
    else:
        differs = [(np.take(numbers, [0], a) != numbers).any() for a in range(numbers.ndim)]
        axis = differs.index(True)
    lead: Any = [0] * numbers.ndim
    lead[axis] = slice(None)
    return axis, np.asarray(numbers[tuple(lead)])


def is_depthwise(node: onnx.NodeProto, channels: int) -> bool:
    return node.op_type == "Conv" and channels > 1 and attribute(node, "group", 1) == channels


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """Numbers of tensors as far as they are known; `parent` joins numbers that are one."""

    model: FloatModel
    shapes: Mapping[str, Shape]
    numbers: dict[str, Array] = field(default_factory=dict)
    parent: list[int] = field(default_factory=lambda: [FIXED])
    made: dict[str, Array] = field(default_factory=dict)  # by layer: its outputs' new numbers

    def root(self, number: int) -> int:
        while self.parent[number] != number:
            number = self.parent[number]
        return number

    def roots(self, numbers: Array) -> Array:
        table = np.array([self.root(n) for n in range(len(self.parent))])
        return np.asarray(table[numbers])

    def join(self, one: Array, other: Array) -> None:
        pairs = np.unique(np.stack([one.reshape(-1), other.reshape(-1)]), axis=1)
        for a, b in pairs.T:
            low, high = sorted((self.root(int(a)), self.root(int(b))))
            self.parent[high] = low

    def fix(self, numbers: Array) -> None:
        self.join(numbers, np.zeros_like(numbers))

    def fix_mixed(self, tensor: str) -> None:
        """Fix what varies along several axes: no slice of the tensor would remove it."""
        numbers = self.roots(self.numbers[tensor])
        axis, along = varying_axis(numbers)
        shape = [-1 if i == axis else 1 for i in range(numbers.ndim)]
        if numbers.ndim and (numbers != along.reshape(shape)).any():
            self.fix(numbers)

    def follow(self, node: onnx.NodeProto) -> None:
        read = [n for n in node.input if n in self.numbers]
        found = self._followed(node, read)
        if found is None:
            for name in read:
                self.fix(self.numbers[name])
            for name in (n for n in node.output if n):
                self.numbers[name] = np.zeros(self.shapes.get(name, ()), np.int64)
            return
        self.numbers[node.output[0]] = found
        for name in node.output[1:]:  # the mask of a Dropout
            self.numbers[name] = np.zeros(self.shapes.get(name, ()), np.int64)

    def _followed(self, node: onnx.NodeProto, read: list[str]) -> Array | None:
        """Numbers of the first output; None where there is no rule."""
        output = self.shapes.get(node.output[0])
        if output is None or not read:
            return None
        x = self.numbers[read[0]]
        match node.op_type:
            case kind if kind in LAYERS:
                return self._layer(node, read, x, output)
            case kind if kind in UNARY and len(read) == 1:
                return x
            case kind if kind in ELEMENTWISE:
                return self._elementwise(read, output)
            case kind if kind in SPATIAL:
                return _by_channel(x, output)
            case "Resize" if len(node.input) < 4:
                return _by_channel(x, output)
            case "ReduceMean":
                return self._reduced(node, x, output)
            case kind if kind in MOVED and len(read) == len([n for n in node.input if n]) - (
                kind in ("Reshape", "Squeeze", "Unsqueeze") and len(node.input) > 1
            ):
                given = {n: self.numbers[n][None].astype(np.float32) for n in read}
                name = node.output[0]
                found = Execution(self.model).run(given, [name])[name][0]
                return np.asarray(found, np.int64)
        return None

    def _layer(
        self, node: onnx.NodeProto, read: list[str], x: Array, output: Shape
    ) -> Array | None:
        weights = self.model.constants.get(node.input[1])
        axis = input_axis(node)
        if len(read) != 1 or weights is None or attribute(node, "transA", 0):
            return None
        groups = attribute(node, "group", 1)
        along = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        if (along != along[:, :1]).any() or (node.op_type == "MatMul" and weights.ndim != 2):
            return None
        if is_depthwise(node, x.shape[1]):
            return _spread(np.repeat(along[:, 0], output[1] // x.shape[1]), 1, output)
        if groups != 1:
            return None
        count = output[axis]
        new = np.arange(len(self.parent), len(self.parent) + count)
        self.parent.extend(new.tolist())
        self.made[node.name] = new
        return _spread(new, axis, output)

    def _elementwise(self, read: list[str], output: Shape) -> Array | None:
        whole = [np.broadcast_to(self.numbers[n], output) for n in read]
        for other in whole[1:]:
            self.join(whole[0], other)
        return np.asarray(whole[0])

    def _reduced(self, node: onnx.NodeProto, x: Array, output: Shape) -> Array | None:
        """The mean over axes along which the numbers do not vary."""
        axes = attribute(node, "axes", None)
        if axes is None and len(node.input) > 1:
            axes = self.model.constants.get(node.input[1])
        if axes is None:
            return None
        taken = x
        for axis in sorted((int(a) % x.ndim for a in axes), reverse=True):
            if (np.take(x, [0], axis) != x).any():
                return None
            taken = np.take(taken, [0], axis)
        return taken.reshape(output)


def _spread(along: Array, axis: int, shape: Shape) -> Array:
    """Numbers along one axis, the same along all others."""
    lead = [1] * len(shape)
    lead[axis] = -1
    return np.asarray(np.broadcast_to(along.reshape(lead), shape))


def _by_channel(x: Array, output: Shape) -> Array | None:
    """The same numbers for other spatial sizes."""
    per_channel = x.reshape(*x.shape[:2], -1)
    if x.shape[:2] != output[:2] or (per_channel != per_channel[:, :, :1]).any():
        return None
    return _spread(per_channel[0, :, 0], 1, output)


def _groups(model: FloatModel, walk: _Walk, numbers: Mapping[str, Array]) -> tuple[Group, ...]:
    producers: dict[int, list[str]] = {}
    for layer, made in walk.made.items():
        for number in walk.roots(made):
            if number != FIXED and layer not in producers.setdefault(int(number), []):
                producers[int(number)].append(layer)
    classes: dict[tuple[str, ...], list[int]] = {}
    for number, layers in producers.items():
        classes.setdefault(tuple(layers), []).append(number)
    reads = {
        n.name: np.unique(numbers[n.input[0]])
        for n in model.nodes
        if n.op_type in LAYERS and n.input[0] in numbers and n.name in walk.made
    }
    return tuple(
        Group(tuple(found), layers, tuple(n for n, r in reads.items() if np.isin(found, r).any()))
        for layers, found in classes.items()
    )
