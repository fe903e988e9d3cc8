"""The model without some channels: weights, biases, factors and shapes are cut."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from tinyc.compiler.graph import Array
from tinyc.pruning.channels import Channels, input_axis, is_depthwise
from tinyc.quantization.float_model import FloatModel


def without_channels(model: FloatModel, channels: Channels, removed: frozenset[int]) -> FloatModel:
    """The model whose `removed` channels are gone; what reads them reads the others.

    model  as `channels` was found in, or one of the same nodes with other constants
    """
    cut = _Cut(model, channels, removed)
    constants: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.nodes:
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        for position, array in cut.constants(node).items():
            name = node.input[position]
            if len(model.readers(name)) > 1 or name in constants:
                name = f"{node.name}/{name}"
            changed.input[position] = name
            constants[name] = array
        cut.regroup(changed, node)
        nodes.append(changed)
    return model.with_constants(constants).with_nodes(nodes)


def sliced(
    channels: Channels, tensor: str, array: Array, removed: frozenset[int], skipped: int = 1
) -> Array:
    """Values [samples, *shape] of a tensor without the removed channels."""
    axis, numbers = channels.along(tensor)
    kept = ~np.isin(numbers, list(removed))
    return array if kept.all() else np.compress(kept, array, axis + skipped)


class _Cut:
    """What changes in each node."""

    def __init__(self, model: FloatModel, channels: Channels, removed: frozenset[int]) -> None:
        self.model, self.channels, self.removed = model, channels, list(removed)

    def kept(self, tensor: str) -> tuple[int, Array]:
        axis, numbers = self.channels.along(tensor)
        return axis, ~np.isin(numbers, self.removed)

    def constants(self, node: onnx.NodeProto) -> dict[int, Array]:
        """New constants by the position of the operand."""
        known = {
            i: self.model.constants[n]
            for i, n in enumerate(node.input)
            if n in self.model.constants
        }
        if not known or node.output[0] not in self.channels.numbers:
            return {}
        axis, outputs = self.kept(node.output[0])
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and 1 in known:
            return self._layer(node, known, outputs)
        if node.op_type == "Reshape" and not outputs.all():
            target = known[1].copy()
            if target[axis] > 0:
                target[axis] = outputs.sum()
            return {1: target}
        rank = self.channels.numbers[node.output[0]].ndim
        cut: dict[int, Array] = {}
        for position, array in known.items():
            own = axis - (rank - array.ndim)
            if not outputs.all() and own >= 0 and array.shape[own] == outputs.size > 1:
                cut[position] = np.compress(outputs, array, own)
        return cut

    def _layer(
        self, node: onnx.NodeProto, known: dict[int, Array], outputs: Array
    ) -> dict[int, Array]:
        source = node.input[0]
        inputs = self._inputs(node)
        weights = known[1]
        into, out = _weight_axes(node)
        cut: dict[int, Array] = {}
        depthwise = is_depthwise(node, self.channels.numbers[source].shape[1])
        if outputs.size == weights.shape[out] and not outputs.all():
            weights = np.compress(outputs, weights, out)
        if inputs.size == weights.shape[into] and not inputs.all() and not depthwise:
            weights = np.compress(inputs, weights, into)
        if weights is not known[1]:
            cut[1] = weights
        if 2 in known and known[2].shape[-1:] == outputs.shape and not outputs.all():
            cut[2] = np.compress(outputs, known[2], known[2].ndim - 1)
        return cut

    def _inputs(self, node: onnx.NodeProto) -> Array:
        numbers = self.channels.numbers[node.input[0]]
        axis = input_axis(node)
        along = np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)[:, 0]
        return np.asarray(~np.isin(along, self.removed))

    def regroup(self, changed: onnx.NodeProto, node: onnx.NodeProto) -> None:
        """As many groups of a depthwise convolution as there are channels now."""
        numbers = self.channels.numbers.get(node.input[0] if node.input else "")
        if numbers is None or numbers.ndim < 3 or not is_depthwise(node, numbers.shape[1]):
            return
        count = int(self._inputs(node).sum())
        kept = [a for a in changed.attribute if a.name != "group"]
        del changed.attribute[:]
        changed.attribute.extend([*kept, helper.make_attribute("group", count)])


def _weight_axes(node: onnx.NodeProto) -> Sequence[int]:
    """The axes of a layer's weights along its inputs and its outputs."""
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return (1, 0) if node.op_type == "Conv" or transposed else (0, 1)
