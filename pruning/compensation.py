"""What is left takes over: the weights of every layer fitted to the results it had before."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import onnx

from tinyc.compiler.graph import Array
from tinyc.pruning.channels import Channels
from tinyc.pruning.surgery import sliced
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.layers import Layer, layers_of, matrix, results, rows, some_positions

MOST_ROWS = 24_576  # places of a layer's results that it is fitted at
LEAST_ROWS, ROWS_PER_PRODUCT = 4_096, 40  # more are of no use to a few weights
RIDGE = 1e-2  # of the mean of the diagonal: how far weights leave the ones they had
SWEEPS = 4  # in which targets below zero follow the layer, where a Relu cuts them off


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What a layer shall give.

    wanted   results of the whole model, without the removed channels
    beside   what the pruned model adds to the layer's results before they are compared
    clipped  whether only what is above zero counts
    """

    wanted: Array
    beside: Array | None
    clipped: bool


def compensated(
    execution: Execution, channels: Channels, removed: frozenset[int], values: Values,
    only: Iterable[str] | None = None, most: int = MOST_ROWS,
) -> FloatModel:  # fmt: skip
    """The pruned model of `execution` with weights that give what the whole model gave.

    values  of all tensors of the whole model
    only    names of the layers that are fitted; None: all
    most    places of a layer's results that it is fitted at
    """
    model = execution.model
    known = {v.name: values[v.name] for v in model.inputs}
    names = None if only is None else set(only)
    for layer in layers_of(model):
        if not layer.is_product or (names is not None and layer.name not in names):
            continue
        target = target_of(model, layer, channels, removed, values)
        needed = [layer.input] + ([] if target is None else [target])
        found = replace(execution, model=model).run(known, needed)
        known[layer.input] = found[layer.input]
        beside = None if target is None else found[target]
        goal = _goal(model, layer, channels, removed, values, beside)
        weights, bias = _fitted(model, layer, found[layer.input], goal, most)
        model = model.with_constants({layer.weights[0]: weights, layer.bias: bias})
    return model


def target_of(
    model: FloatModel, layer: Layer, channels: Channels, removed: frozenset[int], values: Values
) -> str | None:
    """The tensor that an Add adds to the layer's results, where it is known before them."""
    add = model.only_reader(layer.output)
    if add is None or add.op_type != "Add" or len(set(add.input)) != 2:
        return None
    (other,) = (n for n in add.input if n != layer.output)
    if other in model.constants or values[other].shape != values[layer.output].shape:
        return None
    return other if _position(model, other) < _position(model, layer.output) else None


def _position(model: FloatModel, tensor: str) -> int:
    return next((i for i, n in enumerate(model.nodes) if tensor in n.output), -1)


def _goal(
    model: FloatModel, layer: Layer, channels: Channels, removed: frozenset[int], values: Values,
    beside: Array | None,
) -> Target:  # fmt: skip
    add = model.only_reader(layer.output) if beside is not None else None
    tensor = layer.output if add is None else str(add.output[0])
    reader = model.only_reader(tensor)
    wanted = sliced(channels, tensor, values[tensor], removed)
    return Target(wanted, beside, reader is not None and _clips(model, reader))


def _clips(model: FloatModel, reader: onnx.NodeProto) -> bool:
    """Whether negative values become zero."""
    if reader.op_type == "Clip" and len(reader.input) > 1:
        low = model.constants.get(reader.input[1])
        return low is not None and float(low) == 0.0
    return bool(reader.op_type == "Relu")


def _fitted(
    model: FloatModel, layer: Layer, given: Array, goal: Target, most: int
) -> tuple[Array, Array]:
    """Weights and bias by least squares with a ridge around those of before."""
    weights, bias = model.constants[layer.weights[0]], model.constants[layer.bias]
    before = matrix(layer, weights)
    enough = min(most, max(LEAST_ROWS, ROWS_PER_PRODUCT * before.shape[2]))
    positions = some_positions(layer, goal.wanted, enough, seed=0)
    x = rows(layer, weights, given, positions)
    y = results(layer, goal.wanted, positions, len(before))
    start = bias.reshape(len(before), 1, -1)
    if goal.beside is not None:
        beside = results(layer, goal.beside, positions, len(before))
    else:
        beside = np.zeros((1, 1, 1), np.float32)
    fit = Ridge.of(x, before)
    found, row = before, start
    for _ in range(SWEEPS if goal.clipped else 1):
        wanted = y
        if goal.clipped:
            made = x @ found.astype(np.float32).transpose(0, 2, 1) + row.astype(np.float32) + beside
            wanted = np.where((y < 0) & (made < 0), made, y)
        found, row = fit.solved(wanted - beside)
    return found.reshape(weights.shape).astype(np.float32), row.reshape(bias.shape).astype(
        np.float32
    )


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A least squares problem: centred inputs [groups, rows, products], their Gram matrix, and
    the weights of before [groups, outputs, products] with their results."""

    x: Array
    mean: Array
    gram: Array
    before: Array
    made: Array

    @classmethod
    def of(cls, x: Array, before: Array) -> "Ridge":
        mean = x.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        centred = x - mean
        gram = (centred.transpose(0, 2, 1) @ centred).astype(np.float64) / x.shape[1]
        diagonal = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
        added = np.maximum(diagonal * RIDGE, 1e-12)
        gram += added[:, None, None] * np.eye(gram.shape[1])
        return cls(centred, mean, gram, before, centred @ before.transpose(0, 2, 1))

    def solved(self, y: Array) -> tuple[Array, Array]:
        """Weights [groups, outputs, products] and bias [groups, 1, outputs]."""
        mean = y.mean(axis=1, keepdims=True, dtype=np.float64)
        rest = (y - mean.astype(np.float32)) - self.made
        right = (self.x.transpose(0, 2, 1) @ rest).astype(np.float64) / y.shape[1]
        found = self.before + np.linalg.solve(self.gram, right).transpose(0, 2, 1)
        return found, mean - self.mean @ found.transpose(0, 2, 1)
