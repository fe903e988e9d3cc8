"""Weights as integers, layer after layer, each against what the float layer gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.bias_correction import corrected_bias
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import Grid, Quantization, StoredWeights
from tinyc.quantization.layers import Layer, layers_of, matrix, results, rows, some_positions
from tinyc.quantization.qdq import rounded_name, with_qdq
from tinyc.quantization.rounding import adapted, compensated
from tinyc.quantization.weights import nearest, weight_scales

MOST_ROWS = 16_384  # of a layer's inputs; more change nothing that is measured
ROWS_FOR_PRODUCT = 24  # rows for each weight of an output, at the least


@dataclass(frozen=True, slots=True)
class Method:
    """How weights become integers: what is done beyond rounding to the nearest.

    correct     the mean error goes into the bias
    adapt       weights are rounded one after the other, by least squares
    compensate  weights make good the errors of the layers before
    """

    correct: bool = True
    adapt: bool = True
    compensate: bool = True

    def __str__(self) -> str:
        parts = ["adaptive rounding" if self.adapt else "nearest"]
        parts += ["compensated"] * self.compensate + ["bias corrected"] * self.correct
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Formats:
    """How each layer's weights are stored: a name of grids.LIMITS, or "float32" as they are."""

    default: str = "int8"
    by_layer: Mapping[str, str] = field(default_factory=dict)
    per_tensor: bool = False

    def of(self, layer: Layer) -> str:
        return self.by_layer.get(layer.name, self.default)

    def axis(self, layer: Layer) -> int | None:
        return None if self.per_tensor else layer.axis


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A model whose biases are corrected, and its grids and integers."""

    model: FloatModel
    quantization: Quantization

    def qdq(self) -> FloatModel:
        return with_qdq(self.model, self.quantization)


Watch = Callable[[str], None]


def fitted(
    execution: Execution, values: Values, grids: Mapping[str, Grid], method: Method,
    formats: Formats, watch: Watch = lambda layer: None,
) -> Fitted:  # fmt: skip
    """Integers for the weights of all layers; those that layers share are the first one's.

    values  of every tensor of the float model, on the samples that layers are fitted to
    """
    model = execution.model
    done = Quantization(grids, {})
    known = {v.name: values[v.name] for v in model.inputs}
    for layer in layers_of(model):
        if formats.of(layer) == "float32" or all(name in done.weights for name in layer.weights):
            continue
        if layer.is_product:
            name = rounded_name(model, grids, layer.input)
            part = replace(execution, model=with_qdq(model, done))
            known |= part.run(known, [name])
            stored, bias = _fitted_layer(model, layer, known[name], values, grids, method, formats)
            model = model.with_constants({layer.bias: bias})
        else:
            stored = _nearest_layer(model, layer, grids, formats)
        done = replace(done, weights={**done.weights, **stored})
        watch(layer.name)
    return Fitted(model, done)


def _nearest_layer(
    model: FloatModel, layer: Layer, grids: Mapping[str, Grid], formats: Formats
) -> dict[str, StoredWeights]:
    """Rounded to the nearest: layers that are no plain product."""
    dtype, axis = formats.of(layer), formats.axis(layer)
    stored: dict[str, StoredWeights] = {}
    for name in layer.weights:
        weights = model.constants[name]
        bias = model.constants[layer.bias] if layer.bias else None
        scale = weight_scales(weights, axis, dtype, bias, grids.get(layer.input))
        stored[name] = nearest(weights, scale, axis, dtype)
    return stored


def _fitted_layer(
    model: FloatModel, layer: Layer, given: Array, values: Values, grids: Mapping[str, Grid],
    method: Method, formats: Formats,
) -> tuple[dict[str, StoredWeights], Array]:  # fmt: skip
    """Integers of a product's weights, and its bias."""
    (name,) = layer.weights
    dtype, axis = formats.of(layer), formats.axis(layer)
    weights, bias = model.constants[name], model.constants[layer.bias]
    scale = weight_scales(weights, axis, dtype, bias, grids.get(layer.input))
    if not (method.correct or method.adapt):
        return {name: nearest(weights, scale, axis, dtype)}, bias
    real = matrix(layer, weights)
    most = max(MOST_ROWS, ROWS_FOR_PRODUCT * real.shape[2])
    if len(real) > 1:
        most = max(MOST_ROWS * 4 // len(real), ROWS_FOR_PRODUCT * real.shape[2] * 4)
    positions = some_positions(layer, values[layer.output], most, seed=0)
    x = rows(layer, weights, given, positions)
    y = results(layer, values[layer.output], positions, len(real))
    wanted = compensated(real, x, y) if method.compensate else real
    if method.adapt:
        whole = np.broadcast_to(scale, (len(weights),)).reshape(real.shape[:2])
        integers = adapted(wanted, x, whole, dtype).reshape(weights.shape)
        stored = StoredWeights(integers, scale, axis, dtype)
    else:
        stored = nearest(wanted.reshape(weights.shape), scale, axis, dtype)
    if method.correct:
        bias = corrected_bias(matrix(layer, stored.real), x, y).reshape(bias.shape)
    return {name: stored}, bias
