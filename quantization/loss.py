"""What a quantized model loses, in percent: expected wrong answers, or noise."""

import math

import numpy as np

from tinyc.compiler.graph import Array, Shape
from tinyc.quantization.distortion import Judge, distortion
from tinyc.quantization.execution import Values
from tinyc.quantization.float_model import FloatModel

CLOSE = 0.25  # of the samples, whose answers are the closest
CLASSIFYING = ("ArgMax", "HardSigmoid", "LogSoftmax", "Sigmoid", "Softmax")  # at the end
LEAST_LOST = 0.25  # of the answers that turn: a few close ones may be right by chance


def loss_of(judge: Judge, found: Values, scores: Array, labels: Array | None) -> float:
    """Points of accuracy that a classifier is expected to lose, else noise in % of the signal.

    A hundred samples cannot show a loss of half a point as answers that change. So the error of
    scores is measured on them, and how often answers are so close that it turns them: the leads of
    the best over the second class are taken as evenly spread among the closest quarter.

    found   of the compared tensors, on the samples of the judge
    scores  of the float model's first compared tensor, on all samples
    labels  right answers of all samples: an answer that turns may as well become right. None:
            every turned answer counts
    """
    if not is_classifier(judge.execution.model, scores.shape[1:], labels):
        return 100 * distortion(judge.values, found, judge.compared)
    name = judge.compared[0]
    real, ours, every = (_classes(v) for v in (judge.values[name], found[name], scores))
    error = _lead(ours - real, np.argsort(-real, axis=1))
    order = np.argsort(-every, axis=1)
    leads = _lead(every, order)
    noise = float(np.sqrt(np.mean(error**2)))
    closest = np.argsort(leads)[: max(math.ceil(len(leads) * CLOSE), 1)]
    density = len(closest) / len(leads) / max(float(leads[closest].max()), 1e-30)
    turned = min(density * noise / math.sqrt(2 * math.pi), 0.5)
    if labels is not None and labels.shape == leads.shape:
        right, second = (float(np.mean(order[closest, i] == labels[closest])) for i in (0, 1))
        turned *= max(right - second, LEAST_LOST)
    return 100 * turned


def is_classifier(model: FloatModel, shape: Shape, labels: Array | None) -> bool:
    """Whether the first output tells one class: a row of scores, with labels or squashed.

    shape  of the scores: maps and sequences of them, as of a segmentation, are no row
    """
    producer = model.producer(model.outputs[0].name)
    chooses = producer is not None and producer.op_type in CLASSIFYING
    is_row = sum(size != 1 for size in shape) <= 1
    return is_row and (chooses or labels is not None)


def label_warnings(labels: Array | None, shape: Shape) -> list[str]:
    """What is doubtful about labels of a model whose first output has this shape."""
    classes = math.prod(shape)
    if labels is None or classes < 2 or (0 <= labels.min() and labels.max() < classes):
        return []
    return [
        f"labels are from {labels.min()} to {labels.max()}, and the model's scores are those of 0 "
        f"to {classes - 1}: number the classes by their places"
    ]


def _classes(scores: Array) -> Array:
    """[samples, classes]; of a single score the sign says which of two classes, 1 above 0."""
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    return np.concatenate([np.zeros_like(flat), flat], axis=1) if flat.shape[1] == 1 else flat


def _lead(scores: Array, order: Array) -> Array:
    """The first class of `order` against the second, for each sample."""
    rows = np.arange(len(scores))
    return np.asarray(scores[rows, order[:, 0]] - scores[rows, order[:, 1]])
