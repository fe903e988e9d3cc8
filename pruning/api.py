"""`tinyc prune` from Python: a float model and samples in, a smaller float model and report out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from tinyc.compiler.graph import Shape
from tinyc.pruning.options import DEFAULTS, Options
from tinyc.pruning.prune import Watch, prune_model, silent
from tinyc.pruning.report import PruningReport
from tinyc.quantization.api import preprocessing_of
from tinyc.quantization.images import Preprocessing
from tinyc.quantization.samples import Data
from tinyc.quantization.writing import write_model
from tinyc.targets import Target, load_target


@dataclass(frozen=True, slots=True, eq=False)
class Pruning:
    """A smaller model, as ONNX, and what was done."""

    model: onnx.ModelProto
    report: PruningReport

    def write(self, path: str | Path) -> None:
        """Write the model.

        Raises CompileError("cannot-write").
        """
        write_model(self.model, Path(path))


def prune(
    model: str | Path,
    data: Data,
    target: str | Target,
    *,
    max_loss: float = 1.0,
    augment: Sequence[str] = ("mix",),
    epochs: int = DEFAULTS.epochs,
    input_shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, int] | None = None,
    images: str | Preprocessing | None = None,
    watch: Watch = silent,
) -> Pruning:
    """Remove channels of a float ONNX file that matter least; what is left makes good for them.

    data      as `tinyc.quantize` takes it; every other sample judges, the others are fitted to
    target    whose cycles are to be saved
    max_loss  points that the samples that judge may lose: of right answers, and of the right
              answer's probability, by labels or by what the whole model says; of models that
              are no classifiers, % of the outputs' deviation
    augment   changes that samples stand: "mix" of two; of images "flip", "shift", "light" (other
              contrast and colours), "cut" (a part of another image)
    epochs    in which all layers are fitted together at last; 0: one after the other only
    input_shapes, dims, images  as in `tinyc.quantize`

    Raises CompileError with a code, what is wrong, where, and what to do.
    """
    options = Options(
        max_loss, tuple(augment), epochs=epochs, input_shapes=input_shapes or {}, dims=dims or {},
        images=preprocessing_of(images),
    )  # fmt: skip
    to = load_target(target) if isinstance(target, str) else target
    pruned, report = prune_model(Path(model), data, to, options, watch)
    return Pruning(pruned.to_proto(), report)
