"""How much a change of tensors disturbs the model's output: what every choice is judged by."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from tinyc.compiler.graph import Array
from tinyc.quantization.execution import Execution, Values, real_tensors
from tinyc.quantization.float_model import FloatModel, attribute, names_read
from tinyc.quantization.grids import Grid
from tinyc.quantization.points import Point

SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "HardSigmoid")
# Beyond these, results are within half a step of 0 or 1 (-1 or 1) on their grid (points.FIXED).
LARGEST_LOGIT, LARGEST_TANH = math.log(2 * 255 - 1), math.atanh(1 - 1 / (2 * 127))


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The float values on some samples, and the tensors that are compared with them."""

    execution: Execution
    values: Values
    compared: tuple[str, ...]

    def of_grid(self, point: Point, grid: Grid) -> float:
        """Distortion when the tensors of `point` alone are rounded to `grid`."""
        return self.of_grids(point, (grid,))

    def of_grids(self, point: Point, grids: Sequence[Grid]) -> float:
        """The same where the samples take turns of grids."""
        model = self.execution.model
        first = point.tensors[:1] if _all_from_first(model, point) else point.tensors
        changed = {n: _rounded_in_turns(self.values[n], grids) for n in first}
        if all(n in self.compared and len(model.readers(n)) < 2 for n in changed):
            return self.seen(changed)  # all else stays
        return self.of_values(changed)

    def seen(self, changed: Values) -> float:
        """Distortion of tensors among the compared, as far as the outputs tell values apart."""
        model = self.execution.model
        real, found = (
            {n: without_shift(model, n, told_apart(model, n, v[n])) for n in changed}
            for v in (self.values, changed)
        )
        return distortion(real, found, changed)

    def of_weights(self, node: onnx.NodeProto, weights: Values) -> float:
        """Distortion when a layer alone has other weights."""
        model = self.execution.model.with_constants(weights)
        given = _upstream(model, self.values, node.output)
        other = replace(self.execution, model=model)
        return self.between(other.run(given, self.compared))

    def of_values(self, changed: Values) -> float:
        """Distortion when some tensors have other values."""
        given = _upstream(self.execution.model, self.values, changed) | dict(changed)
        return self.between(self.execution.run(given, self.compared))

    def told_apart(self, tensor: str, x: Array) -> Array:
        return told_apart(self.execution.model, tensor, x)

    def between(self, outputs: Values) -> float:
        """Distortion of the compared tensors."""
        return distortion(self.values, outputs, self.compared)


def judge_of(execution: Execution, values: Values) -> Judge:
    return Judge(execution, values, compared_tensors(execution.model))


def compared_tensors(model: FloatModel) -> tuple[str, ...]:
    """The outputs; what a softmax or sigmoid at the end squashes, before it does.

    Of an output of integers, as ArgMax gives them, the reals that it comes of.
    """
    names: list[str] = []
    for output in model.outputs:
        name = output.name if output.dtype == np.float32 else _real_before(model, output.name)
        producer = model.producer(name)
        squashed = producer is not None and producer.op_type in SQUASHING
        names.append(producer.input[0] if producer is not None and squashed else name)
    return tuple(name for name in dict.fromkeys(names) if name)


def _real_before(model: FloatModel, tensor: str) -> str:
    """The reals that a tensor of integers comes of, by the first inputs; "": there are none."""
    real = frozenset(real_tensors(model))
    while tensor and tensor not in real:
        producer = model.producer(tensor)
        given = () if producer is None else producer.input
        tensor = next((name for name in given if name not in model.constants), "")
    return tensor


def told_apart(model: FloatModel, tensor: str, x: Array) -> Array:
    """The values of a tensor without what changes no rounded result of the squashing behind it.

    A sigmoid above 6.2 is within half a step of 1, a tanh above 3.1 too; shares of a softmax are
    within half a step of 0 where values are far enough below the largest, even if all of them are.
    """
    reader = model.only_reader(tensor)
    match reader.op_type if reader is not None else "":
        case "Sigmoid":
            return np.asarray(np.clip(x, -LARGEST_LOGIT, LARGEST_LOGIT))
        case "Tanh":
            return np.asarray(np.clip(x, -LARGEST_TANH, LARGEST_TANH))
        case "Softmax":
            axis = _softmax_axis(reader, x)
            lowest = LARGEST_LOGIT + np.log(x.shape[axis])
            return np.asarray(np.maximum(x, x.max(axis=axis, keepdims=True) - lowest))
    return x


def without_shift(model: FloatModel, tensor: str, x: Array) -> Array:
    """Values less their mean where a softmax reads them, which it does not see."""
    reader = model.only_reader(tensor)
    if reader is None or reader.op_type != "Softmax":
        return x
    return np.asarray(x - x.mean(axis=_softmax_axis(reader, x), keepdims=True))


def _softmax_axis(node: onnx.NodeProto, x: Array) -> int:
    """Of values with the samples before all other axes."""
    axis = int(attribute(node, "axis", -1))
    return axis + 1 if axis >= 0 else x.ndim + axis


def distortion(real: Values, found: Values, names: Iterable[str]) -> float:
    """Mean squared error relative to the variance of the real values; the mean over tensors."""
    parts = [_relative(real[name], found[name]) for name in names]
    return float(np.mean(parts))


def decibels(relative: float) -> float:
    """Signal-to-noise ratio of a distortion."""
    return float(-10 * np.log10(max(relative, 1e-12)))


def _rounded_in_turns(x: Array, grids: Sequence[Grid]) -> Array:
    rounded = np.empty(x.shape, np.float32)
    for turn, grid in enumerate(grids):
        rounded[turn :: len(grids)] = grid.rounded(x[turn :: len(grids)])
    return rounded


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


def _upstream(model: FloatModel, values: Values, changed: Iterable[str]) -> dict[str, Array]:
    """The values that are not among what changed, and do not depend on it."""
    touched = set(changed)
    for node in model.nodes:
        if touched.intersection(names_read(node)):
            touched.update(node.output)
    return {name: array for name, array in values.items() if name not in touched}
