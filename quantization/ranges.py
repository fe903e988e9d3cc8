"""Ranges of activations from samples, and which one disturbs the model's output least."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.distortion import Judge
from tinyc.quantization.grids import TINY, Grid, grid_of
from tinyc.quantization.points import Point

MOST_VALUES = 200_000  # of a tensor that methods other than minmax look at
BINS = 2048
PERCENTILES = (99.9, 99.99, 99.999)
CLIPS = np.geomspace(0.02, 1.0, 40)  # parts of the range that the mean-squared error tries
CONVINCING = 0.9  # a range that clips must leave less than this part of minmax's distortion
PREMIUM = 0.005  # of all noise, that a tensor's room may add
LEAST_ROOM, MOST_ROOM = 1.02, 2.0  # below: not worth it; above: half of the steps for nothing
ALIKE = 0.02  # ranges nearer to each other than this part are one


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a grid covers, and the method that found them.

    distortion  of the output when this tensor alone is rounded, relative to the output's power
    clipped     share of the values beyond the range
    room        factor by which the range is larger than the method's
    """

    grid: Grid
    method: str
    distortion: float
    clipped: float
    room: float = 1.0

    @property
    def origin(self) -> str:
        """The method, and how much more room it got."""
        return self.method if self.room == 1 else f"{self.method} x {self.room:.3g}"


def minmax(x: Array) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def percentile(x: Array, percent: float) -> tuple[float, float]:
    """The range that holds `percent` of the values, as many left out on each side."""
    beyond = (100 - percent) / 2
    low, high = np.percentile(x, [beyond, 100 - beyond])
    return float(low), float(high)


def least_squares(x: Array) -> tuple[float, float]:
    """The part of the range whose grid has the least mean-squared error."""
    low, high = minmax(x)

    def error(clip: float) -> float:
        return float(np.mean((grid_of(low * clip, high * clip).rounded(x) - x) ** 2))

    best = min(CLIPS[::-1], key=error)
    return low * float(best), high * float(best)


def least_entropy(x: Array) -> tuple[float, float]:
    """The range whose 256 steps lose the least information (Kullback-Leibler divergence).

    Source: S. Migacz, 8-bit Inference with TensorRT, GTC 2017; here of a range with two ends.
    """
    low, high = minmax(x)
    counts, edges = np.histogram(x, BINS, (low, high))
    centre = int(np.clip(np.searchsorted(edges, 0.0), 0, BINS - 1))
    best, found = np.inf, (low, high)
    for clip in CLIPS[CLIPS > 256 / BINS][::-1]:
        first, last = int(centre * (1 - clip)), int(centre + (BINS - centre) * clip)
        divergence = _divergence(counts, first, max(last, first + 2))
        if divergence < best:
            best, found = divergence, (float(edges[first]), float(edges[min(last, BINS)]))
    return found


METHODS: Mapping[str, Callable[[Array], tuple[float, float]]] = {
    "minmax": minmax,
    **{f"percentile {p:g}": partial(percentile, percent=p) for p in PERCENTILES},
    "mse": least_squares,
    "entropy": least_entropy,
}


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """How ranges are tried: those of some samples round the others.

    kept   for each turn, the samples that give the range; what the judge has as every
           len(kept)-th sample, from the turn's own on, is rounded by it
    rooms  factors by which ranges may be larger than what samples show
    """

    kept: tuple[Array, ...]
    rooms: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """Limits by a method: of the samples of each turn, and of all."""

    method: str
    turns: tuple[tuple[float, float], ...]
    whole: tuple[float, float]

    def grid(self, room: float, dtype: str) -> Grid:
        return grid_of(self.whole[0] * room, self.whole[1] * room, dtype)

    def grids(self, room: float, dtype: str) -> list[Grid]:
        return [grid_of(low * room, high * room, dtype) for low, high in self.turns]


def best_range(
    point: Point, values: Mapping[str, Array], judge: Judge, methods: Sequence[str], dtype: str,
    trial: Trial,
) -> Range:  # fmt: skip
    """The range of a point that least disturbs samples which it was not made from."""
    if point.fixed is not None and dtype == "int8":
        return Range(point.fixed, "fixed", judge.of_grid(point, point.fixed), 0.0)
    told = {n: judge.told_apart(n, values[n]) for n in point.tensors if n in values}
    parts = [_gathered(point, {n: a[kept] for n, a in told.items()}) for kept in trial.kept]
    everything = _gathered(point, told)
    few = some_of(everything)

    def tried(candidate: _Candidate, room: float) -> Range:
        grid = candidate.grid(room, dtype)
        clipped = float(np.mean((few < grid.low - grid.scale) | (few > grid.high + grid.scale)))
        noise = judge.of_grids(point, candidate.grids(room, dtype))
        return Range(grid, candidate.method, noise, clipped, room)

    first, *larger = trial.rooms
    candidates = _different(_candidates(methods, parts, everything), first, dtype)
    ranges = [(tried(candidate, first), candidate) for candidate in candidates]
    widest, best = ranges[0], min(ranges, key=lambda r: r[0].distortion)
    chosen, candidate = best if _pays(best[0], widest[0]) else widest
    for room in larger:
        roomier = tried(candidate, room)
        if roomier.distortion >= chosen.distortion:
            break
        chosen = roomier
    return chosen


def insured(point: Point, chosen: Range, judge: Judge, whole: float) -> Range:
    """The range as large as it may be for a small premium: what no sample showed has room.

    whole  distortion by all tensors together, of which the premium is a part
    """
    room = min(math.sqrt(1 + PREMIUM * whole / max(chosen.distortion, TINY)), MOST_ROOM)
    if chosen.method == "fixed" or room < LEAST_ROOM:
        return chosen
    grid = grid_of(chosen.grid.low * room, chosen.grid.high * room, chosen.grid.dtype)
    noise = judge.of_grid(point, grid)  # more than room**2 says where values were on the grid
    if noise > chosen.distortion + PREMIUM * whole:
        return chosen
    return replace(chosen, grid=grid, distortion=noise, room=chosen.room * room)


def long_range(x: Array) -> Range:
    """Of 16 bits: all values and as much room again, which they have steps for."""
    low, high = minmax(x)
    grid = grid_of(low * MOST_ROOM, high * MOST_ROOM, "int16")
    return Range(grid, "minmax", 0.0, 0.0, MOST_ROOM)


def plain_grid(point: Point, values: Mapping[str, Array], method: str, room: float) -> Grid:
    """The grid of one method, whatever it does to the output."""
    if point.fixed is not None:
        return point.fixed
    low, high = METHODS[method](some_of(_gathered(point, values)))
    return grid_of(low * room, high * room)


def _candidates(
    methods: Sequence[str], parts: Sequence[Array], everything: Array
) -> Iterator[_Candidate]:
    """The limits that each method finds."""
    for method in methods:
        limits = [
            METHODS[method](x if method == "minmax" else some_of(x)) for x in (*parts, everything)
        ]
        yield _Candidate(method, tuple(limits[:-1]), limits[-1])


def _different(candidates: Iterable[_Candidate], room: float, dtype: str) -> list[_Candidate]:
    """Those whose grids are not about the same as an earlier one's."""
    kept: list[_Candidate] = []
    for candidate in candidates:
        grid = candidate.grid(room, dtype)
        if not any(_alike(grid, other.grid(room, dtype)) for other in kept):
            kept.append(candidate)
    return kept


def _pays(clipping: Range, widest: Range) -> bool:
    return clipping.distortion < CONVINCING * widest.distortion


def some_of(x: Array) -> Array:
    """Values drawn evenly, with both extremes, where there are too many."""
    flat = x.reshape(-1)
    if flat.size <= MOST_VALUES:
        return flat
    chosen = np.random.default_rng(0).integers(flat.size, size=MOST_VALUES)
    return np.concatenate([flat[chosen], [flat.min(), flat.max()]])


def constant_grids(names: Iterable[str], constants: Mapping[str, Array]) -> dict[str, Grid]:
    """Grids of constant operands, over all of their values."""
    return {name: grid_of(*minmax(constants[name])) for name in names}


def _gathered(point: Point, values: Mapping[str, Array]) -> Array:
    """All values that share the grid, without those that were only moved."""
    arrays = [values[name].reshape(-1) for name in point.tensors if name in values]
    low, high = arrays[0].min(), arrays[0].max()
    wider = [a for a in arrays[1:] if a.min() < low or a.max() > high]
    return np.concatenate([arrays[0], *wider]) if wider else arrays[0]


def _alike(a: Grid, b: Grid) -> bool:
    span = ALIKE * (a.high - a.low)
    return abs(a.low - b.low) < span and abs(a.high - b.high) < span


def _divergence(counts: Array, first: int, last: int) -> float:
    """Between the values within bins first..last, the others clipped, and their 256 steps."""
    clipped = counts[first:last].astype(np.float64)
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    steps = np.arange(len(clipped)) * 256 // len(clipped)
    inside = counts[first:last].astype(np.float64)
    sums = np.bincount(steps, inside, 256)
    filled = np.bincount(steps, inside > 0, 256)
    spread = (sums / np.maximum(filled, 1))[steps] * (inside > 0)
    p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1e-30)
    mask = p > 0
    return float(np.sum(p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-10))))
