"""Ranks schedules that were not measured, learning from those that were (XGBoost)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array

ROUNDS = 120
PARAMETERS: Mapping[str, object] = {
    "objective": "reg:squarederror",
    "max_depth": 6,
    "eta": 0.15,
    "min_child_weight": 0.5,
    "nthread": 1,  # the measuring processes have the other cores
    "seed": 0,
    "verbosity": 0,
}
LEAST_SAMPLES = 8


@dataclass(slots=True)
class CostModel:
    """Learns log2 of cycles against the best of each workload: what a schedule does to a layer.

    rows    features of every measured schedule; cycles what it took; groups its workload
    """

    rows: list[Array] = field(default_factory=list)
    cycles: list[float] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, group: str, row: Array, cycles: float) -> None:
        self.rows.append(row)
        self.cycles.append(cycles)
        self.groups.append(group)

    def rank(self, candidates: Sequence[Array]) -> Array:
        """A number for each candidate of one workload: the smaller, the sooner it is measured.

        All alike while too little is known.
        """
        if len(self.rows) < LEAST_SAMPLES:
            return np.zeros(len(candidates))
        import xgboost

        data = xgboost.DMatrix(np.stack(self.rows), label=self._targets())
        booster = xgboost.train(dict(PARAMETERS), data, num_boost_round=ROUNDS)
        return np.asarray(booster.predict(xgboost.DMatrix(np.stack(list(candidates)))))

    def _targets(self) -> Array:
        logs = np.log2(np.array(self.cycles))
        best: dict[str, float] = {}
        for group, log in zip(self.groups, logs.tolist(), strict=True):
            best[group] = min(best.get(group, log), log)
        return np.asarray(logs - np.array([best[g] for g in self.groups]))


def require_xgboost() -> None:
    """Raises CompileError("tuner-missing") when XGBoost is not installed."""
    if find_spec("xgboost") is None:
        raise CompileError(
            "tuner-missing",
            "tuning needs the package xgboost",
            "not installed: xgboost",
            "run: pip install 'tinyc[tune]' (or xgboost-cpu, which is smaller)",
        )
