"""What was pruned, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerChannels:
    """Output channels of a layer before and after."""

    name: str
    op: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Tried:
    """A step of the search: the layers' cycles, and the points lost on the held-out samples."""

    cycles: int
    loss: float


@dataclass(frozen=True, slots=True)
class PruningReport:
    """What a pruning removed, and what it cost.

    constants       values of all constants before and after
    cycles          of all layers as int8 on the target, estimated, before and after
    loss            by `measure`, on the held-out samples, before the last fit to all samples
    tried           the whole model first
    """

    model: str
    target: str
    layers: tuple[LayerChannels, ...]
    constants_before: int
    constants_after: int
    cycles_before: int
    cycles_after: int
    max_loss: float
    loss: float
    measure: str
    fitted_samples: int
    judged_samples: int
    tried: tuple[Tried, ...]
    warnings: tuple[str, ...]

    @property
    def saved(self) -> float:
        """Part of the cycles that is saved, by the estimate."""
        return 1 - self.cycles_after / max(self.cycles_before, 1)
