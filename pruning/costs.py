"""What a pruned model would take as int8 on a target: the cycles of its layers' kernels, by blocks.

The whole model is quantized in the plainest way, since shapes alone decide, and each layer takes
the least cycles on record (or estimated) for its workload: what tinyc's planner counts with. A
layer with fewer channels takes as many times fewer as it has products in whole blocks of 4 x 4
channels, which is how kernels loop: that is smooth, where the records of other shapes are not.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tinyc.autotune.options import options_of
from tinyc.autotune.records import known_records
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.ops.workload import workload
from tinyc.compiler.pipeline import read_graph
from tinyc.pruning.channels import Channels, is_depthwise
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.fitting import Formats, fitted
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import grid_of
from tinyc.quantization.layers import Layer, layers_of
from tinyc.quantization.points import points_of
from tinyc.quantization.quantize import NEAREST
from tinyc.targets import Target

BLOCK = 4  # channels that kernels compute together
UNKNOWN = 3.0  # cycles of a multiply-accumulate where no kernel matches; a guess


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Cycles of each layer of the whole model, by name."""

    layers: tuple[Layer, ...]
    channels: Channels
    whole: Mapping[str, float]

    def cycles(self, removed: frozenset[int] = frozenset()) -> float:
        """Cycles of all layers without some channels."""
        return sum(self.whole[layer.name] * self._share(layer, removed) for layer in self.layers)

    def _share(self, layer: Layer, removed: frozenset[int]) -> float:
        sides = [layer.output]
        if not is_depthwise(layer.node, self.channels.numbers[layer.input].shape[1]):
            sides.append(layer.input)
        share = 1.0
        for tensor in sides:
            _, numbers = self.channels.along(tensor)
            left = int((~np.isin(numbers, list(removed))).sum())
            share *= -(-left // BLOCK) / -(-len(numbers) // BLOCK)
        return share


def costs_of(execution: Execution, samples: Values, channels: Channels, target: Target) -> Costs:
    """What the layers of a model take on `target`; a few samples are enough."""
    found = _kernel_cycles(int8(execution, samples), target)
    layers = tuple(x for x in layers_of(execution.model) if x.output in channels.numbers)
    whole = {}
    for layer in layers:
        weights = execution.model.constants[layer.weights[0]]
        outputs = channels.numbers[layer.output].size
        macs = weights.size * outputs / max(weights.shape[layer.axis], 1)
        whole[layer.name] = found.get((weights.size, outputs), UNKNOWN * macs)
    return Costs(layers, channels, whole)


def _kernel_cycles(model: FloatModel, target: Target) -> dict[tuple[int, int], float]:
    """The least cycles of kernels, by the sizes of their weights and results."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(model.to_proto(), str(file))
        graph = read_graph(file, target)
    calls: dict[str, Call] = {}
    for node in graph.nodes:
        call = call_of(graph, node)
        if OPS[node.op].algorithms and len(call.inputs) > 1 and call.inputs[1].data is not None:
            calls[workload(call)] = call
    options = options_of(calls, target, known_records(target))
    return {
        (call.inputs[1].elements, call.output.elements): min(o.cycles for o in options[text])
        for text, call in calls.items()
    }


def int8(execution: Execution, samples: Values) -> FloatModel:
    """Every range from two samples, every weight rounded to the nearest."""
    few = {name: array[:2] for name, array in samples.items()}
    tensors = [name for point in points_of(execution.model) for name in point.tensors]
    values = execution.run(few, tensors)
    grids = {n: grid_of(float(a.min()), float(a.max())) for n, a in values.items()}
    return fitted(execution, {**values, **few}, grids, NEAREST, Formats()).qdq()
