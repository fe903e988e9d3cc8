"""The float model and its samples, ready to be quantized."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from tinyc.compiler.graph import Array
from tinyc.quantization.execution import Execution, Values, execution_of, real_tensors
from tinyc.quantization.float_model import FloatModel, attribute, read_float_model
from tinyc.quantization.folding import folded
from tinyc.quantization.layers import RECURRENT
from tinyc.quantization.options import Options
from tinyc.quantization.points import MOVING
from tinyc.quantization.samples import Data, Samples, read_samples, sample_warnings

MOST_BYTES = 1_000_000_000  # of float values that are kept
ELEMENTWISE = ("Add", "Div", "Mul", "Sub")


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A folded model, the samples, and the values of its inputs and real tensors on them.

    warnings  what is doubtful about the samples
    """

    execution: Execution
    samples: Samples
    values: Values
    warnings: tuple[str, ...]

    @property
    def model(self) -> FloatModel:
        return self.execution.model

    def part(self, chosen: Array) -> "Prepared":
        """Some of the samples."""
        values = {name: array[chosen] for name, array in self.values.items()}
        return replace(self, samples=self.samples.part(chosen), values=values)

    def with_model(self, model: FloatModel) -> "Prepared":
        """The same samples, run by another model of the same tensors."""
        execution = replace(self.execution, model=model)
        return replace(self, execution=execution, values=values_of(execution, self.samples.inputs))


def prepare(path: Path, data: Data, options: Options) -> Prepared:
    """Read a model and samples, fold the model, and run it."""
    model = read_float_model(path, options.input_shapes, options.dims)
    samples = read_samples(data, model.inputs, options.images)
    execution = execution_of(model, samples.inputs)
    first = samples.part(np.arange(1))
    shapes = execution.run(first.inputs, real_tensors(model))
    bytes_of_sample = sum(array.nbytes for array in shapes.values())
    used = _within(samples, MOST_BYTES // max(bytes_of_sample, 1))
    model = folded(model, {name: array.shape[1:] for name, array in shapes.items()})
    execution = replace(execution, model=model)
    values = values_of(execution, used.inputs)
    warnings = sample_warnings(used, {n: values[n] for n in real_tensors(model)})
    if used.count < samples.count:
        warnings.append(f"{used.count} of the {samples.count} samples are used, drawn evenly")
    return Prepared(execution, used, values, tuple(warnings))


def values_of(execution: Execution, inputs: Values) -> dict[str, Array]:
    """Of all inputs, integers among them, and of all real tensors."""
    return {**inputs, **execution.run(inputs, real_tensors(execution.model))}


def input_scaling(model: FloatModel) -> list[tuple[list[str], str]]:
    """Inputs that constants scale before anything else reads them.

    For each: the tensors before the last scaling, and its result.
    """
    found: list[tuple[list[str], str]] = []
    for value in model.inputs:
        tensor, passed, scaled = value.name, [value.name], 0
        while (node := model.only_reader(tensor)) is not None and len(node.output) == 1:
            constants = [n for n in node.input if n in model.constants]
            scales = node.op_type in ELEMENTWISE and len(constants) == 1
            if node.op_type == "Conv":
                scales = _is_scaling(model.constants.get(node.input[1]), node)
            if not scales and node.op_type not in MOVING:
                break
            tensor = node.output[0]
            passed.append(tensor)
            scaled = len(passed) - 1 if scales else scaled
        if scaled:
            found.append((passed[:scaled], passed[scaled]))
    return found


def recurrent_inputs(model: FloatModel) -> list[str]:
    """Inputs, and what is only moved from them, that recurrent layers alone read.

    Their kernels compute with reals: there is nothing to gain from rounding what they are given.
    """
    found: list[str] = []
    for value in model.inputs:
        moved = [value.name]
        for name in moved:
            moved += [n.output[0] for n in model.readers(name) if n.op_type in MOVING]
        ends = [n for name in moved for n in model.readers(name) if n.op_type not in MOVING]
        if ends and all(n.op_type in RECURRENT and n.input[0] in moved for n in ends):
            found += moved
    return found


def _is_scaling(weights: Array | None, node: onnx.NodeProto) -> bool:
    """Whether a convolution only scales its channels, as a normalization does."""
    if weights is None or weights.size != weights.shape[0]:
        return False
    return bool(attribute(node, "group", 1) == weights.shape[0])


def _within(samples: Samples, most: int) -> Samples:
    if samples.count <= most:
        return samples
    return samples.part(np.linspace(0, samples.count - 1, max(most, 1)).astype(np.int64))
