"""Formats by measured sensitivity: int8 where it suffices, more where it hurts, least cost first.

Tensors may have 8 or 16 bits, weights 4 or 8 bits or stay float. A layer that reads or writes 16
bits beside int8 weights is "16x8". Changes are ordered by the noise that they take away for
what they cost; as many are made as the measured loss asks for. A limit of flash is met with weights
of 4 bits, where they do least harm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.quantization.changes import Change, Mix, downgrades, mix_of, note_of, upgrades
from tinyc.quantization.costs import NO_LIMITS, Cost, Limits, cost_on
from tinyc.quantization.distortion import judge_of
from tinyc.quantization.fitting import Fitted, Formats, fitted
from tinyc.quantization.float_model import with_opset
from tinyc.quantization.layers import layers_of
from tinyc.quantization.loss import loss_of
from tinyc.quantization.preparation import Prepared
from tinyc.quantization.qdq import LEAST_OPSETS
from tinyc.quantization.quantize import (
    HELD_OUT,
    JUDGED_SAMPLES,
    NEAREST,
    Quantized,
    Ranges,
    Watch,
    silent,
)
from tinyc.quantization.ranges import long_range
from tinyc.quantization.report import Mixture
from tinyc.quantization.sensitivity import Sensitivity, sensitivity
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be lost and used.

    loss    percent: points of accuracy, or of the signal's power where there are no answers
    target  that limits of RAM, flash and cycles are those of; None: there are none
    """

    loss: float | None = None
    limits: Limits = NO_LIMITS
    target: Target | None = None

    @property
    def any(self) -> bool:
        return self.loss is not None or self.limits.any


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What every step of the search needs."""

    quantized: Quantized
    prepared: Prepared
    budget: Budget
    watch: Watch

    def ranges(self, mix: Mix) -> Ranges:
        """The ranges of int8, and wide ones of tensors of 16 bits."""
        before, by_point = self.quantized.ranges, dict(self.quantized.ranges.by_point)
        grids = dict(before.grids)
        for point in before.points:
            if mix.tensors.get(point.name) == "int16":
                wide = long_range(_values(self.prepared, point.tensors))
                by_point[point.name] = wide
                grids.update(dict.fromkeys(point.tensors, wide.grid))
        return Ranges(before.points, by_point, grids)

    def formats(self, mix: Mix) -> Formats:
        before = self.quantized.formats
        return replace(before, by_layer={**before.by_layer, **mix.weights})

    def fit(self, mix: Mix, chosen: Array) -> Fitted:
        """The weights fitted to some of the samples."""
        values = {name: array[chosen] for name, array in self.prepared.values.items()}
        grids, method = self.ranges(mix).grids, self.quantized.method
        return fitted(self.prepared.execution, values, grids, method, self.formats(mix))

    def cost(self, changes: Sequence[Change]) -> Cost:
        """On the target; how weights are rounded makes no difference."""
        assert self.budget.target is not None, "limits have been asked for one"
        mix, values = mix_of(changes), self.prepared.values
        found = fitted(
            self.prepared.execution, values, self.ranges(mix).grids, NEAREST, self.formats(mix)
        )
        return cost_on(found.qdq().to_proto(), self.budget.target)

    def loss(self, mix: Mix) -> float:
        """By the noise on samples that the weights were not fitted to."""
        count = self.prepared.samples.count
        turn = np.arange(count) % HELD_OUT == 0
        fit = ~turn if 0 < turn.sum() < count else turn | True
        found = self.fit(mix, fit)
        judged = ~fit if not fit.all() else fit
        values = {name: array[judged] for name, array in self.prepared.values.items()}
        judge = judge_of(self.prepared.execution, values)
        run = replace(self.prepared.execution, model=found.qdq())
        outputs = run.run(self.prepared.samples.part(judged).inputs, judge.compared)
        scores = self.prepared.values[judge.compared[0]]
        return loss_of(judge, outputs, scores, self.prepared.samples.labels)


def check_budget(budget: Budget) -> None:
    """Raises CompileError("wrong-option") when nobody says what the limits are of."""
    if budget.limits.any and budget.target is None:
        raise CompileError(
            "wrong-option", "limits of RAM, flash and cycles are those of a target",
            "options --max-ram, --max-flash, --max-cycles", "say which with --target",
        )  # fmt: skip


def mixed(quantized: Quantized, budget: Budget, watch: Watch = silent) -> tuple[Quantized, Mixture]:
    """The model with formats that keep to `budget`; as it is where int8 does.

    Raises CompileError("loss-too-large") or ("over-budget").
    """
    prepared = quantized.prepared
    model = with_opset(prepared.model, max(LEAST_OPSETS.values()))
    prepared = replace(prepared, execution=replace(prepared.execution, model=model))
    search = Search(quantized, prepared, budget, watch)
    watch("measuring what each rounding does", 0, 1)
    alone = _sensitivity(search)
    int8_loss = search.loss(Mix())
    chosen, loss, cost = _chosen(search, alone, int8_loss)
    mix = mix_of(chosen)
    result = search.fit(mix, np.ones(prepared.samples.count, bool))
    whole = replace(
        quantized, prepared=prepared, ranges=search.ranges(mix), fitted=result,
        formats=search.formats(mix),
    )  # fmt: skip
    return whole, Mixture(int8_loss, loss, tuple(note_of(c) for c in chosen), cost)


def _sensitivity(search: Search) -> Sensitivity:
    prepared, quantized = search.prepared, search.quantized
    step = max(-(-prepared.samples.count // JUDGED_SAMPLES), 1)
    judge = judge_of(prepared.execution, {n: a[::step] for n, a in prepared.values.items()})
    layers = [m for m in layers_of(prepared.model) if quantized.formats.of(m) == "int8"]
    points, ranges = quantized.ranges.points, quantized.ranges.by_point
    return sensitivity(judge, points, ranges, layers, quantized.formats.per_tensor)


def _enough(
    search: Search, candidates: Sequence[Change], int8_loss: float
) -> tuple[list[Change], float]:
    """The fewest first changes whose measured loss is within the budget."""
    most = search.budget.loss
    if most is None or int8_loss <= most:
        return [], int8_loss
    low, high, losses = 0, 1, {0: int8_loss}

    def loss(count: int) -> float:
        search.watch("measuring mixes of formats", count, len(candidates))
        if count not in losses:
            losses[count] = search.loss(mix_of(candidates[:count]))
        return losses[count]

    while high < len(candidates) and loss(high) > most:
        low, high = high, high * 2
    high = min(high, len(candidates))
    if loss(high) > most:
        raise CompileError(
            "loss-too-large",
            f"even {high} tensors of 16 bits and float weights lose {loss(high):.3g} %",
            f"--max-loss {most:g}",
            "allow more, give more samples, or keep the model in float",
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= most else (middle, high)
    return list(candidates[:high]), loss(high)


def _chosen(
    search: Search, alone: Sensitivity, int8_loss: float
) -> tuple[list[Change], float, Cost | None]:
    """Changes that keep to the whole budget, the loss, and what the model costs then."""
    budget = search.budget
    candidates = upgrades(search.prepared, search.quantized.ranges.points, alone)
    chosen, loss = _enough(search, candidates, int8_loss)
    if budget.target is None:
        return chosen, loss, None
    found = search.cost(chosen)
    if chosen and found.over(
        replace(budget.limits, flash_bytes=None)
    ):  # those that take none first
        by_need = sorted(candidates, key=lambda c: c.cycles + c.ram)
        chosen, loss = _enough(search, by_need, int8_loss)
        found = search.cost(chosen)
    if "flash" in found.over(budget.limits):
        fewer_bits = downgrades(search.prepared, alone, chosen)
        count = _fewest(
            len(fewer_bits),
            lambda n: "flash" not in search.cost([*chosen, *fewer_bits[:n]]).over(budget.limits),
        )
        chosen = [*chosen, *fewer_bits[:count]]
        found, loss = search.cost(chosen), search.loss(mix_of(chosen))
    over = found.over(budget.limits)
    if over or (budget.loss is not None and loss > budget.loss):
        raise CompileError(
            "over-budget",
            f"the best mix that was found needs {found.ram_bytes:,} B of RAM, "
            f"{found.flash_bytes:,} B of flash and {found.cycles:,} cycles, and loses {loss:.3g} %",
            f"over the limit: {', '.join(over) or 'loss'}",
            "allow more loss, or more of what is over the limit",
        )
    return chosen, loss, found


def _fewest(most: int, suffices: Callable[[int], bool]) -> int:
    """The smallest number that suffices, found by halving; `most` where none does."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _values(prepared: Prepared, tensors: Sequence[str]) -> Array:
    """The extremes of each tensor."""
    known = [prepared.values[name] for name in tensors if name in prepared.values]
    return np.array([end(array) for array in known for end in (np.min, np.max)])
