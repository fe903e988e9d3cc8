"""The quantized model as a standard file: QuantizeLinear and DequantizeLinear around real nodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np
import onnx
from onnx import helper

from tinyc.compiler.graph import Array
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import Grid, Quantization, StoredWeights
from tinyc.quantization.layers import Layer, layers_of

STORED = {"int4": ml_dtypes.int4, "int8": np.int8, "int16": np.int16}
LEAST_OPSETS = {"int4": 21, "int8": 13, "int16": 21}


def with_qdq(model: FloatModel, quantization: Quantization) -> FloatModel:
    """The model whose tensors are rounded as `quantization` says.

    Weights and biases are int8 (or int4) and int32 constants behind a DequantizeLinear.
    """
    writer = _Writer(model, quantization)
    nodes: list[onnx.NodeProto] = []
    for value in model.inputs:
        nodes += writer.rounding(value.name)
    stored = {layer.name: layer for layer in layers_of(model) if _is_stored(layer, quantization)}
    for node in model.nodes:
        if node.name in stored:
            nodes += writer.weights(stored[node.name])
        nodes += writer.constants_of(node)
        nodes.append(writer.rewired(node))
        for name in node.output:
            nodes += writer.rounding(name)
    changed = model.with_constants(writer.constants).with_nodes(nodes)
    dtypes = {g.dtype for g in quantization.grids.values()}
    dtypes |= {w.dtype for w in quantization.weights.values()}
    opset = max((model.domains.get("", 13), *(LEAST_OPSETS[d] for d in dtypes)))
    return replace(changed, domains={**changed.domains, "": opset})


def rounded_name(model: FloatModel, grids: Mapping[str, Grid], tensor: str) -> str:
    """The name in `with_qdq` of what the readers of a tensor read."""
    is_output = any(v.name == tensor for v in model.outputs)
    return tensor if is_output or tensor not in grids else f"{tensor}/rounded"


def bias_scales(grid: Grid, weights: StoredWeights, count: int) -> Array:
    """Scales of a bias that is added to the raw sums."""
    scale = weights.scale.reshape(-1) * np.float32(grid.scale)
    return np.tile(scale, count // scale.size).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Writer:
    """Nodes to add; `constants` and `names` collect what they read, and what replaces a tensor."""

    model: FloatModel
    quantization: Quantization
    constants: dict[str, Array] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def rounding(self, tensor: str) -> Iterator[onnx.NodeProto]:
        """Quantize and Dequantize behind a tensor; an output keeps its name."""
        grid = self.quantization.grids.get(tensor)
        if grid is None or tensor in self.model.constants:
            return
        real, stored, rounded = tensor, f"{tensor}/stored", f"{tensor}/rounded"
        if any(v.name == tensor for v in self.model.outputs):
            real, rounded = f"{tensor}/real", tensor
        self.names[tensor] = rounded
        parameters = self._parameters(tensor, grid)
        yield helper.make_node(
            "QuantizeLinear", [real, *parameters], [stored], f"{tensor}/quantize"
        )
        yield helper.make_node(
            "DequantizeLinear", [stored, *parameters], [rounded], f"{tensor}/dequantize"
        )

    def weights(self, layer: Layer) -> Iterator[onnx.NodeProto]:
        """Dequantized weights of a layer, and its bias where the input has a grid."""
        for name in layer.weights:
            yield from self._stored(name, self.quantization.weights[name])
        grid = self.quantization.grids.get(layer.input)
        if not layer.bias or grid is None:
            return
        bias = self.model.constants[layer.bias]
        weights = self.quantization.weights[layer.weights[0]]
        scales = bias_scales(grid, weights, bias.size)
        stored = np.rint(bias.reshape(-1).astype(np.float64) / scales)
        limit = 2**31 - 1
        integers = np.clip(stored, -limit, limit).astype(np.int32)
        if weights.axis is None:
            scales = scales[0]
        name = f"{layer.name}/{layer.bias}"
        yield from self._dequantized(name, integers, scales, None if weights.axis is None else 0)
        self.names[name] = f"{name}/rounded"

    def constants_of(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Constant operands that have a grid."""
        for name in node.input:
            grid = self.quantization.grids.get(name)
            if grid is None or name not in self.model.constants or name in self.names:
                continue
            stored = np.rint(self.model.constants[name] / np.float32(grid.scale)) + grid.zero_point
            integers = np.clip(stored, -128, 127).astype(np.int8)
            self.constants[f"{name}/stored"] = integers
            self.names[name] = f"{name}/rounded"
            yield helper.make_node(
                "DequantizeLinear",
                [f"{name}/stored", *self._parameters(name, grid)],
                [f"{name}/rounded"],
                f"{name}/dequantize",
            )

    def rewired(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The node reading what is rounded."""
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        for position, name in enumerate(node.input):
            own = f"{node.name}/{name}"
            changed.input[position] = self.names.get(own, self.names.get(name, name))
        outputs = {v.name for v in self.model.outputs}
        for position, name in enumerate(node.output):
            if name in outputs and name in self.quantization.grids:
                changed.output[position] = f"{name}/real"
        return changed

    def _stored(self, name: str, weights: StoredWeights) -> Iterator[onnx.NodeProto]:
        if name in self.names:
            return
        integers = weights.stored.astype(STORED[weights.dtype])
        yield from self._dequantized(name, integers, weights.scale, weights.axis)
        self.names[name] = f"{name}/rounded"

    def _dequantized(
        self, name: str, integers: Array, scales: Array, axis: int | None
    ) -> Iterator[onnx.NodeProto]:
        scale = np.asarray(scales, np.float32).reshape(() if axis is None else (-1,))
        self.constants[f"{name}/stored"] = integers
        self.constants[f"{name}/scale"] = scale
        self.constants[f"{name}/zero"] = np.zeros(scale.shape, integers.dtype)
        yield helper.make_node(
            "DequantizeLinear",
            [f"{name}/stored", f"{name}/scale", f"{name}/zero"],
            [f"{name}/rounded"],
            f"{name}/dequantize",
            **({} if axis is None else {"axis": axis}),
        )

    def _parameters(self, tensor: str, grid: Grid) -> tuple[str, str]:
        names = f"{tensor}/scale", f"{tensor}/zero_point"
        self.constants[names[0]] = np.array(grid.scale, np.float32)
        self.constants[names[1]] = np.array(grid.zero_point, STORED[grid.dtype])
        return names


def _is_stored(layer: Layer, quantization: Quantization) -> bool:
    return all(name in quantization.weights for name in layer.weights)
