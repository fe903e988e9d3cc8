"""More samples than there are: mixtures of two, and images mirrored, shifted, lit, and pasted.

The whole model says what is right for them, as for any sample.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array

AUGMENTATIONS = ("mix", "flip", "shift", "light", "cut")
OF_TWO = ("mix", "cut")  # samples that are of no one class any more
MIXED = 0.4  # parameter of the beta distribution that shares come from
SHIFTED = 0.1  # of an image's sides, at the most
LIT = 0.15  # deviation of the contrast, and half of it for each colour and for the brightness
PASTED = (0.3, 0.8)  # sides of the part that comes from another image


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
        if "cut" in names:  # then half of the images are not mixed
            share[random.random(count) < 0.5] = 1.0
        for name, array in inputs.items():
            new = _changed(array, names, random) if array.ndim == 5 else array
            if "mix" in names and array.dtype.kind == "f":
                own = share.reshape(-1, *(1,) * (array.ndim - 1))
                mixed = (own * new + (1 - own) * new[other]).astype(array.dtype)
            else:
                mixed = new
            if "cut" in names and array.ndim == 5:
                places = np.flatnonzero(share == 1.0) if "mix" in names else np.arange(count)
                mixed = _pasted(mixed, new[other], places, random)
            parts[name].append(mixed)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _changed(images: Array, names: Sequence[str], random: np.random.Generator) -> Array:
    """Each image by itself: [samples, 1, ...]."""
    if "flip" in names or "shift" in names:
        images = np.stack([_moved(x, names, random) for x in images])
    if "light" in names and images.dtype.kind == "f":
        images = _lit(images, random)
    return images


def _rows_axis(image: Array) -> int:
    """The first spatial axis of [1, c, h, w] or [1, h, w, c]."""
    return 1 if image.shape[3] <= 4 < image.shape[1] else 2


def _moved(x: Array, names: Sequence[str], random: np.random.Generator) -> Array:
    """An image mirrored by chance and shifted by a few pixels."""
    first = _rows_axis(x)
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


def _lit(images: Array, random: np.random.Generator) -> Array:
    """Other contrast, colours and brightness, within the range that the images have."""
    low, high = float(images.min()), float(images.max())
    first = 1 + _rows_axis(images[0])
    spatial = (first, first + 1)
    mean = images.mean(spatial, keepdims=True)
    gain = 1 + LIT * random.standard_normal((len(images), 1, 1, 1, 1))
    colour = 1 + LIT / 2 * random.standard_normal(mean.shape)
    added = (high - low) * LIT / 2 * random.standard_normal((len(images), 1, 1, 1, 1))
    lit = np.clip((images - mean) * gain * colour + mean + added, low, high)
    return np.asarray(lit, images.dtype)


def _pasted(images: Array, others: Array, places: Array, random: np.random.Generator) -> Array:
    """A rectangle of another image in each of those at `places`."""
    images = images.copy()
    first = _rows_axis(images[0])
    for place in places:
        part: list[Any] = [slice(None)] * images[0].ndim
        for axis in (first, first + 1):
            size = images[0].shape[axis]
            length = max(int(size * random.uniform(*PASTED)), 1)
            start = random.integers(0, size - length + 1)
            part[axis] = slice(start, start + length)
        images[place][tuple(part)] = others[place][tuple(part)]
    return images
