"""Cycles of schedules that were not measured for a layer, from those that were for others.

For every algorithm of an operator cycles are a sum of `terms_of`, each times what one takes: least
squares of relative errors, none of them negative. What the records of the nearest layers differ
from it by is added, the more so the more alike layer and schedule are: Gaussian-process regression
(Rasmussen and Williams 2006, algorithm 2.1) of logarithms. It also says how sure that is. Lengths
and spreads below are those that leave the least regret when layers are estimated from all others
(`bench/estimates.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2

import numpy as np

from tinyc.autotune.least_squares import nonnegative
from tinyc.autotune.records import Record
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.terms import GROUP, PAIRED, terms_of
from tinyc.autotune.workload_sizes import Sizes, sizes_of
from tinyc.compiler.graph import Array

LEAST_LAYERS = 2  # that an algorithm must have been measured with
FEW_LAYERS = 16  # of an operator: too few to find that another algorithm beats the rule of thumb's
NEAREST = 16  # layers whose records correct an estimate
SEEN = 12  # nearest layers of which one must have a schedule for it to be a candidate
LENGTH = 3.0  # octaves of a size over which layers are alike
SPREAD = 0.15  # of the logarithms of cycles around the sum of terms
LAYER, NOISE = 0.05, 0.02  # the spread of a layer's records together, and of each by itself
UNSURE = 0.18  # estimates with a larger spread are left out where there are others
FORMS = ("", "int8", "int16", "flash", "scratch")  # of weights; others are the first
UNROLLED = 32  # stands for a loop that is written out


@dataclass(frozen=True, slots=True)
class Estimate:
    """A schedule of a layer; `like` was measured, with the nearest layer that has it on record.

    spread  of the logarithm of cycles
    """

    schedule: Schedule
    cycles: int
    spread: float
    like: Record


@dataclass(frozen=True, eq=False)
class Fit:
    """One algorithm of one operator, fitted to its records."""

    records: tuple[Record, ...]

    def estimates(self, workload: str, schedules: Sequence[Schedule]) -> list[Estimate]:
        """Of those schedules that were worth recording with a layer like this one."""
        sizes = _known(workload)
        place = _place(sizes)
        far = ((self._places - place) ** 2).sum(axis=1)
        order = np.argsort(far, kind="stable")
        rank = np.empty(len(far), np.int64)
        rank[order] = np.arange(len(far))
        layer = rank[self._layers]
        likes = self._likes(layer)
        mine = [s for s in schedules if _choices(sizes, s) in likes]
        if not mine:
            return []
        offsets, spreads = self._corrections(place, [_choices(sizes, s) for s in mine], layer)
        sums = np.array([terms_of(sizes, s) for s in mine]) @ self._costs
        cycles = np.maximum(sums * np.exp(offsets), 1).round().astype(np.int64).tolist()
        like = [likes[_choices(sizes, s)] for s in mine]
        return list(map(Estimate, mine, cycles, spreads.tolist(), like))

    def _likes(self, layer: Array) -> dict[tuple[float, ...], Record]:
        """By their choices, the schedules of the nearest layers: the record of the nearest."""
        found: dict[tuple[float, ...], Record] = {}
        for i in np.argsort(layer, kind="stable").tolist():
            if layer[i] < SEEN:
                found.setdefault(tuple(self._chosen[i].tolist()), self.records[i])
        return found

    def _corrections(
        self, place: Array, chosen: list[tuple[float, ...]], layer: Array
    ) -> tuple[Array, Array]:
        """What is added to the logarithms of the sums, and the spread of that."""
        near = np.flatnonzero(layer < NEAREST)
        layers, choices = self._layers[near], self._chosen[near]
        places, asked = self._places[layers], np.array(chosen)
        same = layers[:, None] == layers
        known = _alike(_distances(places, places), _distances(choices, choices), same)
        known += NOISE**2 * np.eye(len(near))
        across = _alike(_distances(place[None], places), _distances(asked, choices), False)
        solved = np.linalg.solve(known, np.column_stack([self._offsets[near], across.T]))
        left = 2 * SPREAD**2 + LAYER**2 - (across * solved[:, 1:].T).sum(axis=1)
        return across @ solved[:, 0], np.sqrt(np.maximum(left, 0))

    @cached_property
    def layers(self) -> list[str]:
        """The workloads on record."""
        return sorted({r.workload for r in self.records})

    @cached_property
    def _layers(self) -> Array:
        """Of each record, the number of its layer."""
        numbers = {name: i for i, name in enumerate(self.layers)}
        return np.array([numbers[r.workload] for r in self.records])

    @cached_property
    def _places(self) -> Array:
        """Of each layer."""
        return np.array([_place(_known(name)) for name in self.layers])

    @cached_property
    def _chosen(self) -> Array:
        """Of each record."""
        return np.array([_choices(_known(r.workload), r.schedule) for r in self.records])

    @cached_property
    def _terms(self) -> Array:
        return np.array([terms_of(_known(r.workload), r.schedule) for r in self.records], float)

    @cached_property
    def _cycles(self) -> Array:
        return np.array([r.cycles for r in self.records], np.float64)

    @cached_property
    def _costs(self) -> Array:
        """Cycles of one of each of the terms."""
        rows = self._terms / self._cycles[:, None]
        return nonnegative(rows, np.ones(len(self.records)))

    @cached_property
    def _offsets(self) -> Array:
        return np.asarray(np.log(self._cycles / np.maximum(self._terms @ self._costs, 1)))


Fits = Mapping[tuple[str, str], Fit]


def fits_of(records: Iterable[Record]) -> Fits:
    """By operator and algorithm; fitted when asked first."""
    alike: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        sizes = sizes_of(record.workload)
        if sizes is not None:
            alike.setdefault((sizes.operator, record.schedule.algorithm), []).append(record)
    return {
        key: Fit(tuple(same))
        for key, same in alike.items()
        if len({r.workload for r in same}) >= LEAST_LAYERS
    }


def estimates_of(
    fits: Fits, workload: str, schedules: Iterable[Schedule], rule: str
) -> list[Estimate]:
    """The cheapest first; those that are too unsure only where all are.

    rule  the algorithm that the rule of thumb takes
    """
    sizes = sizes_of(workload)
    if sizes is None:
        return []
    layers = {name for (op, _), fit in fits.items() if op == sizes.operator for name in fit.layers}
    if len(layers) < FEW_LAYERS:
        schedules = [s for s in schedules if s.algorithm == rule]
    by_algorithm: dict[str, list[Schedule]] = {}
    for schedule in schedules:
        by_algorithm.setdefault(schedule.algorithm, []).append(schedule)
    found = [
        estimate
        for algorithm, same in by_algorithm.items()
        if (sizes.operator, algorithm) in fits
        for estimate in fits[sizes.operator, algorithm].estimates(workload, same)
    ]
    sure = [estimate for estimate in found if estimate.spread < UNSURE]
    return sorted(sure or found, key=lambda estimate: estimate.cycles)


def block_sizes(records: Iterable[Record]) -> Mapping[str, int]:
    """Bytes of every block that was measured, by name."""
    return {name: size for record in records for name, size in record.blocks.items()}


def _known(workload: str) -> Sizes:
    sizes = sizes_of(workload)
    assert sizes is not None, "layers without weights have no fit"
    return sizes


def _place(s: Sizes) -> Array:
    """A layer among others, in octaves; what leaves something over at its ends is an octave off."""
    inputs = s.channels * s.taps if s.is_depthwise else s.inputs
    read = s.channels if s.is_depthwise else s.inputs
    return np.array([
        log2(s.height), log2(s.width), log2(s.channels), log2(inputs), 1.5 * log2(s.taps),
        3 * (s.stride - 1), s.residual, s.padded, s.channels % 2, s.channels % GROUP > 0,
        read % GROUP > 0, read % 2, s.width % 2 / 2,
    ])  # fmt: skip


def _choices(s: Sizes, schedule: Schedule) -> tuple[float, ...]:
    """A schedule among others: rows, columns and turn in octaves, and the form of the weights."""
    rows = min(schedule.rows, s.height) if s.is_depthwise else schedule.rows
    unroll = schedule.unroll
    if schedule.algorithm in PAIRED and unroll >= ceil(s.depth / GROUP):
        unroll = UNROLLED
    form = FORMS.index(schedule.weights) if schedule.weights in FORMS else 0
    return (log2(rows or 1), log2(schedule.columns or 1), 0.7 * log2(unroll or 1), 2.0 * form)


def _distances(a: Array, b: Array) -> Array:
    """Squares, [len(a), len(b)]."""
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(square, 0))


def _alike(places: Array, choices: Array, same: Array | bool) -> Array:
    """Covariances: by layer and schedule, by layer in the main, and of one layer's records."""
    near = np.exp(-places / (2 * LENGTH**2))
    alike = SPREAD**2 * near * (np.exp(-choices / 2) + np.exp(-choices / 16))
    return np.asarray(alike + LAYER**2 * np.exp(-choices / 8) * same)
