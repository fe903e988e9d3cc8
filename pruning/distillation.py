"""All layers of the pruned model fitted together to the tensors of the whole model.

Least squares fits a layer at a time; here slopes run back through the model, and Adam (Kingma and
Ba, ICLR 2015) follows them. Labels are not needed: the whole model says what is right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.pruning.augmentation import augmented
from tinyc.pruning.channels import Channels
from tinyc.pruning.derivatives import forwards
from tinyc.pruning.surgery import sliced
from tinyc.quantization.distortion import compared_tensors
from tinyc.quantization.execution import Execution, Values, nodes_between
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.layers import layers_of

BATCH = 20
MOMENTS = (0.9, 0.99)
LEAST = 1e-4  # size of a tensor's values, for the steps of biases that are zero
TINY = np.float32(1e-12)


@dataclass(frozen=True, slots=True)
class Course:
    """How long is fitted and how fast.

    epochs   each with newly changed samples
    rate     of a step, relative to the mean size of a layer's weights
    inner    weight of all tensors inside together, against the outputs
    augment  how samples are changed, and how many changed ones there are for each
    """

    epochs: int = 20
    rate: float = 0.002
    inner: float = 1.0
    augment: tuple[str, ...] = ()
    copies: int = 3


def distilled(
    whole: Execution, model: FloatModel, channels: Channels, removed: frozenset[int],
    inputs: Values, course: Course, watch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> FloatModel:  # fmt: skip
    """The pruned model with weights that give the tensors of the whole one.

    inputs  of the models, [samples, 1, ...]
    """
    outputs = compared_tensors(model)
    nodes = nodes_between(model, inputs, outputs)
    inside = {x.input for x in layers_of(model) if x.input not in inputs}
    inside = {n for n in inside if n not in outputs and any(n in node.output for node in nodes)}
    layers = [layer for layer in layers_of(model) if layer.is_product]
    adam = Adam({n: model.constants[n] for x in layers for n in (*x.weights, x.bias)})
    random, step = np.random.default_rng(0), 0
    for epoch in range(course.epochs):
        given = augmented(inputs, course.augment, course.copies, seed=epoch)
        wanted = whole.run(given, [*inside, *outputs])
        goals = {n: _flat(sliced(channels, n, a, removed)) for n, a in wanted.items()}
        batch = {n: _flat(a) for n, a in given.items()}
        parts = {n: 1 / max(float(goal.var()), 1e-12) for n, goal in goals.items()}
        parts |= {n: parts[n] * course.inner / len(inside) for n in inside}
        count, missed = len(next(iter(batch.values()))), 0.0
        batches = -(-count // BATCH)
        for chosen in np.array_split(random.permutation(count), batches):
            constants = {**model.constants, **adam.weights}
            tape = forwards(nodes, constants, {n: a[chosen] for n, a in batch.items()})
            slopes: dict[str, Array] = {}
            for n, goal in goals.items():
                error = tape.values[n] - goal[chosen]
                missed += parts[n] * float((error**2).mean()) / batches
                slopes[n] = error * np.float32(2 * parts[n] / error.size)
            step += 1
            pace = course.rate * _pace(step / (course.epochs * batches))
            adam.follow(tape.slopes(slopes, frozenset(adam.weights)), pace)
        watch(epoch, missed)
    return model.with_constants(adam.weights)


def _pace(done: float) -> float:
    """Slow at the beginning, and down to nothing at the end."""
    return float(min(done / 0.05, 1.0) * 0.5 * (1 + np.cos(np.pi * done)))


class Adam:
    """Weights that follow slopes; a step is relative to the size of the tensor's values."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights = {n: w.astype(np.float32) for n, w in weights.items()}
        self._sizes = {n: np.float32(np.abs(w).mean() + LEAST) for n, w in weights.items()}
        self._means = {n: np.zeros_like(w) for n, w in self.weights.items()}
        self._squares = {n: np.zeros_like(w) for n, w in self.weights.items()}
        self._steps = 0

    def follow(self, slopes: Mapping[str, Array], pace: float) -> None:
        self._steps += 1
        corrections = [np.float32(1 - m**self._steps) for m in MOMENTS]
        for name, slope in slopes.items():
            mean, square = self._means[name], self._squares[name]
            mean += np.float32(1 - MOMENTS[0]) * (slope - mean)
            square += np.float32(1 - MOMENTS[1]) * (slope**2 - square)
            step = (mean / corrections[0]) / (np.sqrt(square / corrections[1]) + TINY)
            self.weights[name] = self.weights[name] - np.float32(pace) * self._sizes[name] * step


def _flat(array: Array) -> Array:
    """Samples of one each as one batch."""
    return np.ascontiguousarray(array.reshape(-1, *array.shape[2:]), np.float32)
