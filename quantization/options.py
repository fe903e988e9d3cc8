"""What the user may say about a quantization."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinyc.compiler.graph import Shape
from tinyc.quantization.images import Preprocessing
from tinyc.quantization.ranges import METHODS


@dataclass(frozen=True, slots=True)
class Options:
    """Every step is taken where it helps on the calibration samples, unless it is switched off.

    ranges        methods that are tried for the range of each tensor
    per_tensor    one scale for all weights of a layer, not one for each output channel
    share_scales  of sums and their operands: one, or powers of two apart
    input_shapes  by name, for dimensions that the model leaves open
    dims          sizes by dimension name, likewise
    images        what happens to pixels, where the samples are images
    """

    ranges: tuple[str, ...] = tuple(METHODS)
    per_tensor: bool = False
    equalize: bool = True
    share_scales: bool = True
    correct_bias: bool = True
    adapt: bool = True
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    images: Preprocessing | None = None


DEFAULTS = Options()
