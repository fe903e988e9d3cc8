"""What a quantization did: by tensor how well it is kept, and what hurts the output most."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.costs import Cost
from tinyc.quantization.distortion import Judge, decibels, distortion, judge_of, told_apart
from tinyc.quantization.execution import Values
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import BYTES, Grid
from tinyc.quantization.layers import Layer, layers_of
from tinyc.quantization.loss import label_warnings
from tinyc.quantization.points import CLAMPS, Point
from tinyc.quantization.qdq import rounded_name
from tinyc.quantization.quantize import Quantized
from tinyc.quantization.ranges import some_of
from tinyc.quantization.samples import Samples
from tinyc.quantization.shared_scales import plain_sums, sums_of

REPORTED_SAMPLES = 32  # on which each layer's own share of the noise is measured
BARS = 48  # of a histogram
MOST_HURTING = 3
FLOATING = "8 bits fit only its scaled values, or layers that compute with floats alone read it"


@dataclass(frozen=True, slots=True)
class Row:
    """A quantized tensor and the layer that writes it.

    snr_db        of the tensor in the quantized model against the float one, all errors together
    activation_db, weights_db  of the output, when this tensor, or these weights, alone are rounded
    noise_share   of the sum of all that single roundings do to the output
    clipped       share of the values beyond the range
    histogram     counts of values over the range of float values
    """

    tensor: str
    node: str
    op: str
    dtype: str
    method: str
    low: float
    high: float
    scale: float
    zero_point: int
    least: float
    most: float
    clipped: float
    snr_db: float
    activation_db: float
    weights_db: float | None
    noise_share: float
    weights_dtype: str
    weights_bytes: int
    elements: int
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mixture:
    """What was chosen and why.

    loss   in percent on held-out samples: of int8 alone, and of the mix
    notes  a sentence for each change
    cost   on the target; None without one
    """

    int8_loss: float
    loss: float
    notes: tuple[str, ...]
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """Of a whole model.

    output_db     signal-to-noise ratio of the outputs (before a softmax) on the samples
    judges        other samples, on which answers are compared; 0: those that calibrated
    accuracy      share of right answers, float and quantized; None without labels
    same_answers  share of the samples with the same answer
    tried         what was tried, and its output_db on samples that the weights were not fitted to
    floating      tensors that stay real
    plain_sums    sums that share scales with their operands, and how
    mixture       the formats other than int8; None where no budget asked for any
    """

    model: str
    samples: int
    output_db: float
    judges: int
    float_accuracy: float | None
    accuracy: float | None
    same_answers: float
    weights: str
    balance: float | None
    tried: Mapping[str, float]
    floating: tuple[str, ...]
    float_bytes: int
    stored_bytes: int
    rows: tuple[Row, ...]
    hurting: tuple[str, ...]
    warnings: tuple[str, ...]
    plain_sums: tuple[str, ...]
    mixture: Mixture | None = None

    @property
    def judged_by(self) -> str:
        """On which samples answers were compared."""
        if self.judges:
            return f"on {self.judges} samples given for that"
        return "on the calibration samples, to which it was fitted"


def report_of(quantized: Quantized, judging: Samples | None = None) -> QuantizationReport:
    """Run the quantized model on the samples, and each rounding alone on some of them.

    judging  samples for which answers are compared, in place of those that calibrated
    """
    prepared = quantized.prepared
    model, values, ranges = prepared.model, prepared.values, quantized.ranges
    found = _rounded_values(quantized)
    judge = judge_of(prepared.execution, {n: a[:REPORTED_SAMPLES] for n, a in values.items()})
    layers = {layer.output: layer for layer in layers_of(model)}
    noise = {
        point.name: _noise(judge, quantized, point, layers) for point in quantized.ranges.points
    }
    whole = max(sum(a + (w or 0.0) for a, w in noise.values()), 1e-12)
    rows = tuple(
        _row(quantized, point, layers, noise[point.name], whole, found)
        for point in quantized.ranges.points
    )
    judges = prepared.samples if judging is None else judging
    real, ours = _answers_of(quantized, judges)
    stored = quantized.fitted.quantization.weights
    float_bytes = sum(c.nbytes for c in model.constants.values())
    saved = sum(w.stored.size * (4 - BYTES[w.dtype]) for w in stored.values())
    return QuantizationReport(
        model=model.name,
        samples=prepared.samples.count,
        output_db=decibels(
            judge_of(prepared.execution, values).seen({n: found[n] for n in judge.compared})
        ),
        judges=0 if judging is None else judging.count,
        float_accuracy=_accuracy(real, judges.labels),
        accuracy=_accuracy(ours, judges.labels),
        same_answers=float(np.mean(real == ours)),
        weights=str(quantized.method),
        balance=quantized.balance,
        tried=quantized.tried,
        floating=quantized.floating,
        float_bytes=float_bytes,
        stored_bytes=int(float_bytes - saved),
        rows=rows,
        hurting=_hurting(rows),
        warnings=(*prepared.warnings, *label_warnings(judges.labels, model.outputs[0].shape)),
        plain_sums=plain_sums(sums_of(model, ranges.points, values), ranges.grids),
    )


def _rounded_values(quantized: Quantized) -> dict[str, Array]:
    """The values of the quantized model, by the name of the float tensor."""
    prepared, fitted = quantized.prepared, quantized.fitted
    grids = fitted.quantization.grids
    judge = judge_of(prepared.execution, prepared.values)
    tensors = [n for p in quantized.ranges.points for n in p.tensors]
    tensors += [*judge.compared, *(v.name for v in prepared.model.outputs)]
    names = {n: rounded_name(prepared.model, grids, n) for n in tensors}
    execution = replace(prepared.execution, model=fitted.qdq())
    found = execution.run(prepared.samples.inputs, names.values())
    return {tensor: found[name] for tensor, name in names.items()}


def _noise(
    judge: Judge, quantized: Quantized, point: Point, layers: Mapping[str, Layer]
) -> tuple[float, float | None]:
    """Distortion of the output by rounding a point alone, and the weights that write it alone."""
    grid = quantized.ranges.by_point[point.name].grid
    activation = judge.of_grid(point, grid)
    layer = _layer_of(quantized, point, layers)
    if layer is None:
        return activation, None
    stored = quantized.fitted.quantization.weights
    weights = {n: stored[n].real for n in layer.weights if n in stored}
    if not weights:
        return activation, None
    return activation, judge.of_weights(layer.node, weights)


def _layer_of(quantized: Quantized, point: Point, layers: Mapping[str, Layer]) -> Layer | None:
    """The layer whose result, perhaps clamped, is the point."""
    if point.name in layers:
        return layers[point.name]
    producer = quantized.prepared.model.producer(point.name)
    if producer is None or producer.op_type not in CLAMPS:
        return None
    return layers.get(producer.input[0])


def _row(
    quantized: Quantized, point: Point, layers: Mapping[str, Layer],
    noise: tuple[float, float | None], whole: float, found: Values,
) -> Row:  # fmt: skip
    model, values = quantized.prepared.model, quantized.prepared.values
    chosen, x = quantized.ranges.by_point[point.name], values[point.name]
    layer, producer = _layer_of(quantized, point, layers), model.producer(point.name)
    node = layer.node if layer is not None else producer
    stored = quantized.fitted.quantization.weights
    own = [stored[n] for n in layer.weights if n in stored] if layer is not None else []
    few = some_of(x)
    counts, _ = np.histogram(few, BARS)
    return Row(
        tensor=point.name,
        node=node.name if node is not None else "",
        op=node.op_type if node is not None else "input",
        dtype=chosen.grid.dtype,
        method=chosen.origin,
        low=chosen.grid.low,
        high=chosen.grid.high,
        scale=chosen.grid.scale,
        zero_point=chosen.grid.zero_point,
        least=float(x.min()),
        most=float(x.max()),
        clipped=_clipped(told_apart(model, point.name, x), chosen.grid),
        snr_db=decibels(_distortion_of(model, point.name, values, found)),
        activation_db=decibels(noise[0]),
        weights_db=None if noise[1] is None else decibels(noise[1]),
        noise_share=(noise[0] + (noise[1] or 0.0)) / whole,
        weights_dtype=own[0].dtype if own else "",
        weights_bytes=int(sum(w.stored.size * BYTES[w.dtype] for w in own)),
        elements=int(x[0].size),
        histogram=tuple(int(c) for c in counts),
    )


def _distortion_of(model: FloatModel, tensor: str, real: Values, found: Values) -> float:
    """Of a tensor, as far as what reads it tells values apart."""
    first, second = ({tensor: told_apart(model, tensor, v[tensor])} for v in (real, found))
    return distortion(first, second, (tensor,))


def _clipped(x: Array, grid: Grid) -> float:
    """Share of values that are more than a step beyond the grid."""
    step = grid.scale * 1.001  # a softmax's 1 is a step beyond, and no loss
    return float(np.mean((x < grid.low - step) | (x > grid.high + step)))


def _hurting(rows: tuple[Row, ...]) -> tuple[str, ...]:
    """The rows with the most noise, and what would take it away."""
    worst = sorted(rows, key=lambda row: -row.noise_share)[:MOST_HURTING]
    return tuple(_remedy(row) for row in worst if row.noise_share > 0)


def _remedy(row: Row) -> str:
    activation_hurts = row.weights_db is None or row.activation_db <= row.weights_db
    left = -10 * np.log10(max(1 - row.noise_share, 1e-3))
    if activation_hurts:
        cost = f"int16 would take {row.elements:,} B of RAM more"
    else:
        cost = f"float weights would take {row.weights_bytes * 3:,} B of flash more"
    what = "the tensor's 8 bits" if activation_hurts else "the weights' 8 bits"
    return (
        f"'{row.node or row.tensor}' ({row.op}) makes {row.noise_share:.0%} of the noise, most by "
        f"{what}: {cost}, and gain about {left:.1f} dB"
    )


def _answers_of(quantized: Quantized, samples: Samples) -> tuple[Array, Array]:
    """Of the float and of the quantized model."""
    real = quantized.prepared.execution
    output = real.model.outputs[0].name
    runs = real, replace(real, model=quantized.model)
    first, second = (_answers(run.run(samples.inputs, [output])[output]) for run in runs)
    return first, second


def _answers(output: Array) -> Array:
    """The class of each sample; integers, as ArgMax gives them, are answers themselves."""
    flat = output.reshape(len(output), -1)
    if flat.dtype.kind in "iu":
        return flat[:, 0] if flat.shape[1] == 1 else flat
    return np.asarray(flat.argmax(axis=1) if flat.shape[1] > 1 else flat[:, 0] > 0.5)


def _accuracy(answers: Array, labels: Array | None) -> float | None:
    if labels is None or labels.shape != answers.shape:
        return None
    return float(np.mean(answers == labels))
