"""Cycles of schedules that were not measured for a workload, from those that were for others.

For every schedule that several workloads were measured with, least squares of

    cycles = a * products + b * outputs + c * window values + d * weights + e

with a, ..., e >= 0: what a block costs, what it costs to finish a result, to gather, to prepare
weights, and to call. This is how the rule of thumb learns from tuning.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.autotune.records import Record
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array

LEAST_WORKLOADS = 4  # that a fit is made of
REACH = 1.5  # times the largest and the smallest sizes of a fit's records


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One schedule of one operator.

    coefficients  of `terms_of`
    smallest, largest  `sizes_of` the workloads it is made of
    own_bytes     code of its function, the mean of its records; block_bytes of each block
    """

    operator: str
    schedule: Schedule
    coefficients: Array
    smallest: Array
    largest: Array
    own_bytes: int
    block_bytes: int

    def covers(self, workload: str) -> bool:
        """Whether the workload is like those that were measured: a fit knows nothing beyond."""
        sizes = sizes_of(workload)
        least, most = self.smallest / REACH, self.largest * REACH
        return bool((sizes >= least).all() and (sizes <= most).all())

    def cycles(self, workload: str) -> int:
        return max(round(float(terms_of(workload) @ self.coefficients)), 1)


def terms_of(workload: str) -> Array:
    """products, outputs, window values, weights, 1: float64 [5]."""
    left, _, right = workload.partition(" -> ")
    constants = [_elements(s) for s in re.findall(r"const \w+\[([\d,]*)\]", left)]
    shape = [int(n) for n in re.findall(r"\[([\d,]*)\]", right)[0].split(",") if n]
    outputs, channels = int(np.prod(shape)), shape[-1] if shape else 1
    weights = constants[0] if constants else 0
    products = weights // channels
    return np.array([outputs * products, outputs, outputs / channels * products, weights, 1.0])


def sizes_of(workload: str) -> Array:
    """pixels, output channels, products of an output: float64 [3]."""
    products, outputs, windows, _, _ = terms_of(workload)
    depth = max(products / outputs, 1.0)
    return np.array([windows / depth, outputs * depth / max(windows, 1.0), depth])


def _elements(shape: str) -> int:
    return int(np.prod([int(n) for n in shape.split(",") if n], dtype=np.int64))


def operator_of(workload: str) -> str:
    """The operator and what kind of numbers it computes with, stored weights of floats apart."""
    operator, kind = re.findall(r"^(\w+) (\w+)", workload)[0]
    stored = re.findall(r"const (\w+)", workload)[:1] if kind == "float32" else []
    return " ".join([operator, kind, *(s for s in stored if s != kind)])


def fits_of(records: Iterable[Record]) -> tuple[Fit, ...]:
    """A fit for every schedule that enough workloads were measured with."""
    by_schedule: dict[tuple[str, Schedule], list[Record]] = {}
    for record in records:
        key = (operator_of(record.workload), record.schedule)
        by_schedule.setdefault(key, []).append(record)
    return tuple(
        Fit(
            operator,
            schedule,
            _least_squares(same),
            np.min([sizes_of(r.workload) for r in same], axis=0),
            np.max([sizes_of(r.workload) for r in same], axis=0),
            round(np.mean([r.own_bytes for r in same])),
            round(np.mean([b for r in same for b in r.blocks.values()] or [0])),
        )
        for (operator, schedule), same in by_schedule.items()
        if len(same) >= LEAST_WORKLOADS
    )


def _least_squares(records: Sequence[Record]) -> Array:
    """Relative errors count, not absolute ones; terms that would be negative are left out."""
    cycles = np.array([r.cycles for r in records], np.float64)
    rows = np.stack([terms_of(r.workload) for r in records]) / cycles[:, None]
    used = np.ones(rows.shape[1], np.bool_)
    found = np.zeros(rows.shape[1])
    while used.any():
        found[:] = 0
        found[used] = np.linalg.lstsq(rows[:, used], np.ones(len(rows)), rcond=None)[0]
        if (found >= 0).all():
            break
        used &= found >= 0
    return found


def block_sizes(records: Iterable[Record]) -> Mapping[str, int]:
    """Bytes of every block that was measured, by name."""
    return {name: size for record in records for name, size in record.blocks.items()}
