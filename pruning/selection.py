"""Which channels of a group may go: those whose loss the others make good best.

The error that is left when a layer's inputs S are removed and its other weights are fitted anew is
trace(W_S' [inv(G)]_SS^-1 W_S), G the Gram matrix of the inputs: Hassibi and Stork, Second order
derivatives for network pruning: Optimal Brain Surgeon, NIPS 1992, here for blocks of weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.pruning.channels import Channels, Group
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.layers import Layer, matrix, results, rows, some_positions

MOST_ROWS = 8_192
DAMPING = 1e-3  # of the mean of the diagonal


@dataclass(slots=True, eq=False)
class Reading:
    """A layer that reads a group: what it costs it to lose channels.

    weights   [products, outputs], changed as channels go
    inverse   of the Gram matrix of the inputs
    products  of each channel: positions in both
    scale     of the error: 1 / variance of the layer's results
    """

    weights: Array
    inverse: Array
    products: dict[int, Array]
    scale: float

    def cost(self, channel: int) -> float:
        taken = self.products.get(channel)
        if taken is None:
            return 0.0
        w, block = self.weights[taken], self.inverse[np.ix_(taken, taken)]
        return float(np.einsum("io,io->", w, np.linalg.solve(block, w))) * self.scale

    def remove(self, channel: int) -> None:
        taken = self.products.pop(channel, None)
        if taken is None:
            return
        across = self.inverse[:, taken]
        solved = np.linalg.inv(self.inverse[np.ix_(taken, taken)])
        self.weights = self.weights - across @ (solved @ self.weights[taken])
        self.inverse = self.inverse - across @ solved @ across.T
        self.weights[taken] = 0.0


def reading_of(model: FloatModel, layer: Layer, numbers: Array, x: Array, y: Array) -> Reading:
    """How `layer` reads channels.

    numbers  of its input's channels; x, y its inputs and results [samples, 1, channels, ...]
    """
    weights = model.constants[layer.weights[0]]
    positions = some_positions(layer, y, MOST_ROWS, seed=0)
    given = rows(layer, weights, x, positions)[0].astype(np.float32)
    given = given - given.mean(axis=0)
    gram = (given.T @ given).astype(np.float64) / len(given)
    gram += max(np.trace(gram) / len(gram) * DAMPING, 1e-12) * np.eye(len(gram))
    taps = len(gram) // len(numbers)
    products = {
        int(n): (np.flatnonzero(numbers == n)[:, None] * taps + np.arange(taps)).reshape(-1)
        for n in np.unique(numbers)
    }
    spread = float(results(layer, y, positions, 1).var(axis=1).mean())
    real = matrix(layer, weights)[0].T.astype(np.float64)
    return Reading(real, np.linalg.inv(gram), products, 1 / max(spread * real.shape[1], 1e-30))


def least_missed(readings: Sequence[Reading], classes: Sequence[int], count: int) -> list[int]:
    """The `count` channels to remove, one after the other the one that is missed least."""
    left, gone = list(classes), list[int]()
    for _ in range(count):
        costs = [sum(r.cost(c) for r in readings) for c in left]
        chosen = left.pop(int(np.argmin(costs)))
        gone.append(chosen)
        for reading in readings:
            reading.remove(chosen)
    return gone


def readings_of(
    model: FloatModel, layers: Mapping[str, Layer], channels: Channels, group: Group,
    removed: frozenset[int], values: Mapping[str, Array],
) -> list[Reading]:  # fmt: skip
    """The layers that read what is left of a group; `values` of the pruned model."""
    found: list[Reading] = []
    for name in group.consumers:
        layer = layers[name]
        _, numbers = channels.along(layer.input)
        left = numbers[~np.isin(numbers, list(removed))]
        found.append(reading_of(model, layer, left, values[layer.input], values[layer.output]))
    return found
