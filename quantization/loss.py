"""What a quantized model loses, in percent: expected wrong answers, or noise."""

import math

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.distortion import SQUASHING, Judge, distortion
from tinyc.quantization.execution import Values
from tinyc.quantization.float_model import FloatModel

LEAST_NOISE = 1e-9  # of the largest score: below that nothing changes


def loss_of(judge: Judge, found: Values, scores: Array, labels: Array | None) -> float:
    """Points of accuracy that a classifier is expected to lose, else noise in % of the signal.

    A few dozen samples cannot show a loss of half a point as answers that change. So the error of
    scores is measured on some of them, and how likely it is to turn each sample's answer.

    found   of the compared tensors, on the samples of the judge
    scores  of the float model's first compared tensor, on all samples
    labels  answers of all samples that are right; only these can be lost. None: every answer counts
    """
    if not is_classifier(judge.execution.model, labels):
        return 100 * distortion(judge.values, found, judge.compared)
    name = judge.compared[0]
    real, ours, every = (_classes(v) for v in (judge.values[name], found[name], scores))
    error = _lead(ours - real, np.argsort(-real, axis=1))
    order = np.argsort(-every, axis=1)
    noise = max(float(np.sqrt(np.mean(error**2))), LEAST_NOISE * float(np.abs(every).max()))
    leads = _lead(every, order)
    turned = np.array([0.5 * math.erfc(lead / (noise * math.sqrt(2))) for lead in leads])
    if labels is not None and labels.shape == leads.shape:
        turned = turned * (order[:, 0] == labels)
    return float(100 * turned.mean())


def is_classifier(model: FloatModel, labels: Array | None) -> bool:
    """Whether the first output holds scores of classes: it is squashed, or there are labels."""
    producer = model.producer(model.outputs[0].name)
    squashed = producer is not None and producer.op_type in SQUASHING
    return squashed or (labels is not None and labels.dtype.kind in "iub")


def _classes(scores: Array) -> Array:
    """[samples, classes]; of a single score the sign says which of two classes, 1 above 0."""
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    return np.concatenate([np.zeros_like(flat), flat], axis=1) if flat.shape[1] == 1 else flat


def _lead(scores: Array, order: Array) -> Array:
    """The first class of `order` against the second, for each sample."""
    rows = np.arange(len(scores))
    return np.asarray(scores[rows, order[:, 0]] - scores[rows, order[:, 1]])
