"""How reals are stored as integers: the grids of activations and of weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tinyc.compiler.graph import Array

LIMITS = {"int4": (-8, 7), "int8": (-128, 127), "int16": (-32768, 32767)}
BYTES = {"int4": 0.5, "int8": 1.0, "int16": 2.0, "float32": 4.0}
TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Grid:
    """real = scale * (stored - zero_point), for a whole tensor of activations."""

    scale: float
    zero_point: int
    dtype: str = "int8"

    @property
    def low(self) -> float:
        return self.scale * (LIMITS[self.dtype][0] - self.zero_point)

    @property
    def high(self) -> float:
        return self.scale * (LIMITS[self.dtype][1] - self.zero_point)

    def rounded(self, x: Array) -> Array:
        """The reals that are stored for `x`, as float32."""
        low, high = LIMITS[self.dtype]
        scale = np.float32(self.scale)
        stored = np.clip(np.rint(x / scale) + self.zero_point, low, high) - self.zero_point
        return np.asarray(stored * scale, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class StoredWeights:
    """real = scale[c] * stored, c along `axis`; axis None: one scale for all."""

    stored: Array
    scale: Array
    axis: int | None
    dtype: str = "int8"

    @property
    def real(self) -> Array:
        return np.asarray(self.stored * along_axis(self.scale, self.axis, self.stored.ndim), "f4")


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """What is stored as integers: activations by tensor, weights by the name of the constant."""

    grids: Mapping[str, Grid] = field(default_factory=dict)
    weights: Mapping[str, StoredWeights] = field(default_factory=dict)


def grid_of(low: float, high: float, dtype: str = "int8") -> Grid:
    """The grid over low..high, which holds zero exactly; int16 is symmetric, as kernels need it."""
    low, high = min(low, 0.0), max(high, 0.0)
    least, most = LIMITS[dtype]
    if dtype == "int16":
        return Grid(_float32(max(-low, high, TINY) / most), 0, dtype)
    scale = _float32(max(high - low, TINY) / (most - least))
    return Grid(scale, int(np.clip(round(least - low / scale), least, most)), dtype)


def along_axis(values: Array, axis: int | None, rank: int) -> Array:
    """`values` in the shape that broadcasts along `axis`."""
    if axis is None:
        return values.reshape(())
    return values.reshape(tuple(-1 if i == axis else 1 for i in range(rank)))


def _float32(value: float) -> float:
    return float(np.float32(value))
