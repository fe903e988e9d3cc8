"""Formats by measured sensitivity: int8 where it suffices, more where it hurts, least cost first.

Tensors may have 8 or 16 bits, weights 4 or 8 bits or stay float. A layer that reads or writes 16
bits beside int8 weights is "16x8". Changes are ordered by the noise that they take away for
what they cost; as many are made as the measured loss asks for. A limit of flash is met with weights
of 4 bits, where they do least harm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.quantization.costs import NO_LIMITS, WORK, Cost, Limits, cost_on
from tinyc.quantization.distortion import judge_of
from tinyc.quantization.fitting import Fitted, Formats, fitted
from tinyc.quantization.float_model import with_opset
from tinyc.quantization.grids import BYTES, grid_of
from tinyc.quantization.layers import Layer, layers_of
from tinyc.quantization.loss import loss_of
from tinyc.quantization.preparation import Prepared
from tinyc.quantization.qdq import LEAST_OPSETS
from tinyc.quantization.quantize import HELD_OUT, JUDGED_SAMPLES, Quantized, Ranges, Watch, silent
from tinyc.quantization.ranges import Range, minmax
from tinyc.quantization.sensitivity import Sensitivity, packs, sensitivity
from tinyc.targets import Target

NEGLIGIBLE = 1e-4  # of all noise: what takes away less is not worth a change


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


@dataclass(frozen=True, slots=True)
class Mix:
    """Formats that are not int8: of tensors by point, of weights by layer."""

    tensors: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One format other than int8.

    gain    distortion of the output that it takes away; below 0: that it adds
    cycles, flash, ram  that it costs, as shares of those of the int8 model, about
    """

    name: str
    what: str
    dtype: str
    gain: float
    cycles: float
    flash: float
    ram: float

    @property
    def price(self) -> float:
        return max(self.cycles, 0.0) + max(self.flash, 0.0) + max(self.ram, 0.0) + 1e-6

    def on(self, mix: Mix) -> Mix:
        if self.what == "tensor":
            return replace(mix, tensors={**mix.tensors, self.name: self.dtype})
        return replace(mix, weights={**mix.weights, self.name: self.dtype})


@dataclass(frozen=True, slots=True)
class Mixture:
    """What was chosen and why.

    loss   in percent on held-out samples: of int8 alone, and of the mix
    notes  a sentence for each change
    cost   on the target; None without one
    """

    int8_loss: float
    loss: float
    notes: tuple[str, ...]
    cost: Cost | None


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What every step of the search needs."""

    quantized: Quantized
    prepared: Prepared
    budget: Budget
    watch: Watch

    def ranges(self, mix: Mix) -> Ranges:
        """The ranges of int8, and the whole range of tensors of 16 bits."""
        before, by_point = self.quantized.ranges, dict(self.quantized.ranges.by_point)
        grids = dict(before.grids)
        for point in before.points:
            if mix.tensors.get(point.name) == "int16":
                low, high = minmax(_values(self.prepared, point.tensors))
                grid = grid_of(low, high, "int16")
                by_point[point.name] = Range(grid, "minmax", 0.0, 0.0)
                grids.update(dict.fromkeys(point.tensors, grid))
        return Ranges(before.points, by_point, grids)

    def formats(self, mix: Mix) -> Formats:
        before = self.quantized.formats
        return replace(before, by_layer={**before.by_layer, **mix.weights})

    def fit(self, mix: Mix, chosen: Array) -> Fitted:
        """The weights fitted to some of the samples."""
        values = {name: array[chosen] for name, array in self.prepared.values.items()}
        grids, method = self.ranges(mix).grids, self.quantized.method
        return fitted(self.prepared.execution, values, grids, method, self.formats(mix))

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


def mixed(quantized: Quantized, budget: Budget, watch: Watch = silent) -> tuple[Quantized, Mixture]:
    """The model with formats that keep to `budget`; as it is where int8 does.

    Raises CompileError("loss-too-large") or ("over-budget").
    """
    if budget.limits.any and budget.target is None:
        raise CompileError(
            "wrong-option", "limits of RAM, flash and cycles are those of a target",
            "options --max-ram, --max-flash, --max-cycles", "say which with --target",
        )  # fmt: skip
    prepared = quantized.prepared
    model = with_opset(prepared.model, max(LEAST_OPSETS.values()))
    prepared = replace(prepared, execution=replace(prepared.execution, model=model))
    search = Search(quantized, prepared, budget, watch)
    watch("measuring what each rounding does", 0, 1)
    alone = _sensitivity(search)
    int8_loss = search.loss(Mix())
    upgrades = _upgrades(search, alone)
    chosen, loss = _enough(search, upgrades, int8_loss)
    chosen, loss, cost = _within_limits(search, alone, chosen, loss)
    mix = _mix(chosen)
    result = search.fit(mix, np.ones(prepared.samples.count, bool))
    whole = replace(
        quantized, prepared=prepared, ranges=search.ranges(mix), fitted=result,
        formats=search.formats(mix),
    )  # fmt: skip
    return whole, Mixture(int8_loss, loss, tuple(_note(search, c) for c in chosen), cost)


def _sensitivity(search: Search) -> Sensitivity:
    prepared, quantized = search.prepared, search.quantized
    step = max(-(-prepared.samples.count // JUDGED_SAMPLES), 1)
    judge = judge_of(prepared.execution, {n: a[::step] for n, a in prepared.values.items()})
    layers = [m for m in layers_of(prepared.model) if quantized.formats.of(m) == "int8"]
    points, ranges = quantized.ranges.points, quantized.ranges.by_point
    return sensitivity(judge, points, ranges, layers, quantized.formats.per_tensor)


def _upgrades(search: Search, alone: Sensitivity) -> list[Change]:
    """Changes that take noise away, the most for their price first."""
    layers, values = layers_of(search.prepared.model), search.prepared.values
    stored, work = _stored(search), {layer.name: _work(search, layer) for layer in layers}
    all_work, most = sum(work.values()), 2 * max(a[0].size for a in values.values())
    changes: list[Change] = []
    for point in search.quantized.ranges.points:
        noise = alone.tensors[point.name]
        readers = [work[layer.name] for layer in layers if layer.input in point.tensors]
        cycles = sum(readers) * (WORK["int16"] - 1) / all_work
        ram = values[point.name][0].size / most
        gain = noise["int8"] - noise["int16"]
        changes.append(Change(point.name, "tensor", "int16", gain, cycles, 0.0, ram))
    for layer in layers:
        if layer.name in alone.weights:
            cycles = work[layer.name] * (WORK["float32"] - 1) / all_work
            flash = _count(search, layer) * (BYTES["float32"] - 1) / stored
            gain = alone.weights[layer.name]["int8"]
            changes.append(Change(layer.name, "weights", "float32", gain, cycles, flash, 0.0))
    whole = sum(c.gain for c in changes)
    useful = [c for c in changes if c.gain > NEGLIGIBLE * whole]
    return sorted(useful, key=lambda c: (-c.gain / c.price, c.name))


def _work(search: Search, layer: Layer) -> float:
    """Multiply-accumulates."""
    weights = search.prepared.model.constants[layer.weights[0]]
    outputs = search.prepared.values[layer.output][0].size
    return outputs * _count(search, layer) / weights.shape[layer.axis]


def _stored(search: Search) -> float:
    """Bytes of all weights as int8."""
    return float(sum(_count(search, layer) for layer in layers_of(search.prepared.model)))


def _count(search: Search, layer: Layer) -> int:
    return sum(search.prepared.model.constants[name].size for name in layer.weights)


def _enough(
    search: Search, upgrades: Sequence[Change], int8_loss: float
) -> tuple[list[Change], float]:
    """The fewest first changes whose measured loss is within the budget."""
    most = search.budget.loss
    if most is None or int8_loss <= most:
        return [], int8_loss
    low, high, losses = 0, 1, {0: int8_loss}

    def loss(count: int) -> float:
        search.watch("measuring mixes of formats", count, len(upgrades))
        if count not in losses:
            losses[count] = search.loss(_mix(upgrades[:count]))
        return losses[count]

    while high < len(upgrades) and loss(high) > most:
        low, high = high, high * 2
    high = min(high, len(upgrades))
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
    return list(upgrades[:high]), loss(high)


def _within_limits(
    search: Search, alone: Sensitivity, chosen: list[Change], loss: float
) -> tuple[list[Change], float, Cost | None]:
    """Weights of 4 bits, those that do least harm for a byte first, until the flash suffices."""
    budget = search.budget
    if budget.target is None:
        return chosen, loss, None
    everything = np.ones(search.prepared.samples.count, bool)

    def cost(changes: Sequence[Change]) -> Cost:
        assert budget.target is not None, "asked above"
        proto = search.fit(_mix(changes), everything).qdq().to_proto()
        return cost_on(proto, budget.target)

    found = cost(chosen)
    if "flash" in found.over(budget.limits):
        downgrades = _downgrades(search, alone, chosen)
        count = _fewest(
            len(downgrades),
            lambda n: "flash" not in cost([*chosen, *downgrades[:n]]).over(budget.limits),
        )
        chosen = [*chosen, *downgrades[:count]]
        found, loss = cost(chosen), search.loss(_mix(chosen))
    over = found.over(budget.limits)
    if over or (budget.loss is not None and loss > budget.loss):
        raise CompileError(
            "over-budget",
            f"the mix that was found needs {found.ram_bytes} bytes of RAM, {found.flash_bytes} of "
            f"flash and {found.cycles} cycles, and loses {loss:.3g} %",
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


def _downgrades(search: Search, alone: Sensitivity, chosen: Sequence[Change]) -> list[Change]:
    """Layers whose weights may have 4 bits, least noise for a byte first."""
    layers, stored = layers_of(search.prepared.model), _stored(search)
    all_work = sum(_work(search, layer) for layer in layers)
    taken = {c.name for c in chosen if c.what == "weights"}
    changes: list[Change] = []
    for layer in layers:
        if layer.name in alone.weights and packs(layer) and layer.name not in taken:
            noise = alone.weights[layer.name]
            cycles = _work(search, layer) * (WORK["int4"] - 1) / all_work
            flash = _count(search, layer) * (BYTES["int4"] - 1) / stored
            gain = noise["int8"] - noise["int4"]
            changes.append(Change(layer.name, "weights", "int4", gain, cycles, flash, 0.0))
    return sorted(changes, key=lambda c: (c.gain / c.flash, c.name))


def _mix(changes: Sequence[Change]) -> Mix:
    mix = Mix()
    for change in changes:
        mix = change.on(mix)
    return mix


def _values(prepared: Prepared, tensors: Sequence[str]) -> Array:
    """The extremes of each tensor."""
    known = [prepared.values[name] for name in tensors if name in prepared.values]
    return np.array([end(array) for array in known for end in (np.min, np.max)])


def _note(search: Search, change: Change) -> str:
    """A sentence: what, why, and what it costs."""
    if change.dtype == "int4":
        return (
            f"weights of '{change.name}' have 4 bits: {-change.flash:.0%} of the flash less, "
            f"{-change.gain:.2g} of the signal more noise"
        )
    what = (
        f"tensor '{change.name}' has 16 bits" if change.what == "tensor"
        else f"weights of '{change.name}' stay float"
    )  # fmt: skip
    costs = {"cycles": change.cycles, "flash": change.flash, "RAM": change.ram}
    listed = ", ".join(f"{share:.0%} more {name}" for name, share in costs.items() if share > 0.005)
    return f"{what}: rounded it makes {change.gain:.2g} of the signal noise; {listed or 'no cost'}"
