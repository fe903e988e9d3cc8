"""Changes of format: what each would take away in noise, and what it would cost, about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tinyc.quantization.costs import WORK
from tinyc.quantization.grids import BYTES
from tinyc.quantization.layers import Layer, layers_of
from tinyc.quantization.points import Point
from tinyc.quantization.preparation import Prepared
from tinyc.quantization.sensitivity import Sensitivity, packs

NEGLIGIBLE = 1e-4  # of all noise: what takes away less is not worth a change


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


def upgrades(prepared: Prepared, points: Sequence[Point], alone: Sensitivity) -> list[Change]:
    """Changes that take noise away, the most for their price first."""
    layers, values = layers_of(prepared.model), prepared.values
    stored, work = _stored(prepared), {layer.name: _work(prepared, layer) for layer in layers}
    all_work, most = max(sum(work.values()), 1.0), 2 * max(a[0].size for a in values.values())
    changes: list[Change] = []
    for point in points:
        noise = alone.tensors[point.name]
        readers = [work[layer.name] for layer in layers if layer.input in point.tensors]
        cycles = sum(readers) * (WORK["int16"] - 1) / all_work
        ram = values[point.name][0].size / most
        gain = noise["int8"] - noise["int16"]
        changes.append(Change(point.name, "tensor", "int16", gain, cycles, 0.0, ram))
    for layer in layers:
        if layer.name in alone.weights:
            cycles = work[layer.name] * (WORK["float32"] - 1) / all_work
            flash = _count(prepared, layer) * (BYTES["float32"] - 1) / stored
            gain = alone.weights[layer.name]["int8"]
            changes.append(Change(layer.name, "weights", "float32", gain, cycles, flash, 0.0))
    whole = sum(c.gain for c in changes)
    useful = [c for c in changes if c.gain > NEGLIGIBLE * whole]
    return sorted(useful, key=lambda c: (-c.gain / c.price, c.name))


def _work(prepared: Prepared, layer: Layer) -> float:
    """Multiply-accumulates."""
    weights = prepared.model.constants[layer.weights[0]]
    outputs = prepared.values[layer.output][0].size
    return float(outputs * _count(prepared, layer) / weights.shape[layer.axis])


def _stored(prepared: Prepared) -> float:
    """Bytes of all weights as int8."""
    return float(sum(_count(prepared, layer) for layer in layers_of(prepared.model)))


def _count(prepared: Prepared, layer: Layer) -> int:
    return sum(prepared.model.constants[name].size for name in layer.weights)


def downgrades(prepared: Prepared, alone: Sensitivity, chosen: Sequence[Change]) -> list[Change]:
    """Layers whose weights may have 4 bits, least noise for a byte first."""
    layers, stored = layers_of(prepared.model), _stored(prepared)
    all_work = sum(_work(prepared, layer) for layer in layers)
    taken = {c.name for c in chosen if c.what == "weights"}
    changes: list[Change] = []
    for layer in layers:
        if layer.name in alone.weights and packs(layer) and layer.name not in taken:
            noise = alone.weights[layer.name]
            cycles = _work(prepared, layer) * (WORK["int4"] - 1) / all_work
            flash = _count(prepared, layer) * (BYTES["int4"] - 1) / stored
            gain = noise["int8"] - noise["int4"]
            changes.append(Change(layer.name, "weights", "int4", gain, cycles, flash, 0.0))
    return sorted(changes, key=lambda c: (c.gain / c.flash, c.name))


def mix_of(changes: Sequence[Change]) -> Mix:
    mix = Mix()
    for change in changes:
        mix = change.on(mix)
    return mix


def note_of(change: Change) -> str:
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
