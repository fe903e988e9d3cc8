"""What the user may say about a pruning."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Shape
from tinyc.pruning.augmentation import AUGMENTATIONS
from tinyc.quantization.images import Preprocessing


@dataclass(frozen=True, slots=True)
class Options:
    """What may be lost, and how much is done to lose less.

    max_loss  points that the samples that are held out may lose: of right answers, and of their
              probability; of models that are no classifiers, % of the outputs' deviation
    augment   changes of samples that make more of them
    copies    changed samples for each, at the least
    epochs    in which all layers are fitted together at last; 0: only one after the other
    """

    max_loss: float = 1.0
    augment: tuple[str, ...] = ("mix",)
    copies: int = 3
    epochs: int = 10
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    images: Preprocessing | None = None

    def __post_init__(self) -> None:
        """Raises CompileError("wrong-option")."""
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise CompileError(
                    "wrong-option", f"there is no '{name}'", "option augment",
                    f"use some of: {', '.join(AUGMENTATIONS)}",
                )  # fmt: skip
        if not 0 <= self.max_loss < float("inf") or self.epochs < 0:
            raise CompileError(
                "wrong-option",
                "the loss and the epochs are numbers of 0 or more",
                f"max_loss {self.max_loss:g}, epochs {self.epochs}",
            )


DEFAULTS = Options()
