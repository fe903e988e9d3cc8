"""More samples than there are: mixtures of two, and images mirrored and shifted.

The whole model says what is right for them, as for any sample.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tinyc.compiler.graph import Array

AUGMENTATIONS = ("mix", "flip", "shift")
MIXED = 0.4  # parameter of the beta distribution that shares come from
SHIFTED = 0.1  # of an image's sides, at the most


def augmented(
    inputs: Mapping[str, Array], names: Sequence[str], copies: int, seed: int = 0
) -> dict[str, Array]:
    """The samples, and `copies` times as many changed ones: [samples, *shape of the input]."""
    random = np.random.default_rng(seed)
    parts = {name: [array] for name, array in inputs.items()}
    for _ in range(copies if names else 0):
        count = len(next(iter(inputs.values())))
        other = random.permutation(count)
        share = random.beta(MIXED, MIXED, count)
        share = np.maximum(share, 1 - share)
        for name, array in inputs.items():
            new = array
            if array.ndim == 5 and ("flip" in names or "shift" in names):
                new = np.stack([_moved(x, names, random) for x in array])
            if "mix" in names and array.dtype.kind == "f":
                own = share.reshape(-1, *(1,) * (array.ndim - 1))
                new = (own * new + (1 - own) * new[other]).astype(array.dtype)
            parts[name].append(new)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _moved(x: Array, names: Sequence[str], random: np.random.Generator) -> Array:
    """An image [1, c, h, w] or [1, h, w, c], mirrored by chance and shifted by a few pixels."""
    first = 1 if x.shape[3] <= 4 < x.shape[1] else 2
    rows, columns = x.shape[first : first + 2]
    if "flip" in names and random.random() < 0.5:
        x = np.flip(x, first + 1)
    if "shift" not in names:
        return x
    for axis, size in ((first, rows), (first + 1, columns)):
        most = int(size * SHIFTED)
        places = np.clip(np.arange(size) + random.integers(-most, most + 1), 0, size - 1)
        x = np.take(x, places, axis)
    return x
