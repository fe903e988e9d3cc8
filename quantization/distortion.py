"""How much a change of tensors disturbs the model's output: what every choice is judged by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.float_model import FloatModel, names_read
from tinyc.quantization.grids import Grid
from tinyc.quantization.points import Point

SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "HardSigmoid")


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The float values on some samples, and the tensors that are compared with them."""

    execution: Execution
    values: Values
    compared: tuple[str, ...]

    def of_grid(self, point: Point, grid: Grid) -> float:
        """Distortion when the tensors of `point` alone are rounded to `grid`."""
        model = self.execution.model
        first = point.tensors[:1] if _all_from_first(model, point) else point.tensors
        return self.of_values({n: grid.rounded(self.values[n]) for n in first})

    def of_weights(self, output: str, weights: Values) -> float:
        """Distortion when the layer that writes `output` alone has other weights."""
        model = self.execution.model.with_constants(weights)
        upstream = _upstream(model, self.values, {output: self.values[output]})
        given = {name: array for name, array in upstream.items() if name != output}
        other = replace(self.execution, model=model)
        return self.between(other.run(given, self.compared))

    def of_values(self, changed: Values) -> float:
        """Distortion when some tensors have other values."""
        given = _upstream(self.execution.model, self.values, changed) | dict(changed)
        return self.between(self.execution.run(given, self.compared))

    def between(self, outputs: Values) -> float:
        """Distortion of the compared tensors."""
        return distortion(self.values, outputs, self.compared)


def judge_of(execution: Execution, values: Values) -> Judge:
    return Judge(execution, values, compared_tensors(execution.model))


def compared_tensors(model: FloatModel) -> tuple[str, ...]:
    """The outputs; what a softmax or sigmoid at the end squashes, before it does."""
    names: list[str] = []
    for output in model.outputs:
        producer = model.producer(output.name)
        squashed = producer is not None and producer.op_type in SQUASHING
        names.append(producer.input[0] if producer is not None and squashed else output.name)
    return tuple(dict.fromkeys(names))


def distortion(real: Values, found: Values, names: Iterable[str]) -> float:
    """Mean squared error relative to the variance of the real values; the mean over tensors."""
    parts = [_relative(real[name], found[name]) for name in names]
    return float(np.mean(parts))


def decibels(relative: float) -> float:
    """Signal-to-noise ratio of a distortion."""
    return float(-10 * np.log10(max(relative, 1e-12)))


def _relative(real: Array, found: Array) -> float:
    error = np.mean((found.astype(np.float64) - real) ** 2)
    return float(error / max(float(real.var(dtype=np.float64)), 1e-30))


def _all_from_first(model: FloatModel, point: Point) -> bool:
    """Whether rounding the first tensor rounds all: the others are moved from it."""
    known = {point.tensors[0], *model.constants}
    for node in model.nodes:
        if all(n in known for n in node.input if n):
            known.update(node.output)
    return all(name in known for name in point.tensors)


def _upstream(model: FloatModel, values: Values, changed: Mapping[str, Array]) -> dict[str, Array]:
    """The values that do not depend on what changed."""
    touched = set(changed)
    for node in model.nodes:
        if touched.intersection(names_read(node)):
            touched.update(node.output)
    return {name: array for name, array in values.items() if name not in touched}
