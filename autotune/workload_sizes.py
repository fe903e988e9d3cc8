"""The sizes of a layer, read from the text of its workload."""

import re
from dataclasses import dataclass
from functools import cache
from math import prod


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a layer with weights.

    operator         with the type of its numbers: what records are comparable
    height, width    of the output; a matrix has its rows as width
    channels         of the output
    depth            products of an output: `taps` of the window times `inputs`
    inputs           channels that an output reads
    weights          how many there are
    stride           along the height
    padded, residual whether windows leave the image, whether another tensor is added
    """

    operator: str
    height: int
    width: int
    channels: int
    depth: int
    taps: int
    inputs: int
    weights: int
    stride: int
    padded: bool
    residual: bool

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def is_depthwise(self) -> bool:
        return self.operator.startswith("DepthwiseConv2D")

    @property
    def is_matrix(self) -> bool:
        return self.operator.startswith("Dense")


@cache
def sizes_of(workload: str) -> Sizes | None:
    """None for a layer without weights."""
    left, _, right = workload.partition(" -> ")
    constants = re.findall(r"const \w+\[([\d,]*)\]", left)
    if not constants:
        return None
    shape, *_ = re.findall(r"\[([\d,]*)\]", right)
    *pixels, channels = [1, *_numbers(shape)]
    kernel = _numbers(constants[0])
    weights = prod(kernel)
    height, width = pixels[-2:] if len(pixels) == 4 else (1, prod(pixels))
    taps = prod(kernel[1:3] if len(kernel) == 4 else kernel[:2] if len(kernel) == 3 else ())
    depth = max(weights // channels, 1)
    stride = re.search(r"strides=(\d+)", right)
    return Sizes(
        operator_of(workload), height, width, channels, depth, taps, max(depth // taps, 1), weights,
        int(stride[1]) if stride else 1, " pads=" in right, " residual" in right,
    )  # fmt: skip


def operator_of(workload: str) -> str:
    """The operator and what kind of numbers it computes with, stored weights of floats apart."""
    operator, kind = re.findall(r"^(\w+) (\w+)", workload)[0]
    stored = re.findall(r"const (\w+)", workload)[:1] if kind == "float32" else []
    return " ".join([operator, kind, *(s for s in stored if s != kind)])


@cache
def shape_of(workload: str) -> str:
    """Without what is added to the result and how it is clamped: records of one shape are alike."""
    left, arrow, right = workload.partition(" -> ")
    plain = re.sub(r"(.* const \S+) (?!const)\S+$", r"\1", left)
    return plain + arrow + re.sub(r" (low|high|wide|residual)\b", "", right)


def _numbers(shape: str) -> list[int]:
    return [int(n) for n in shape.split(",") if n]
