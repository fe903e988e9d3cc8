"""Which cells of a tensor a window reads, axis by axis: what operators of any rank loop over.

forward     output o reads the inputs o * stride + k * dilation - before
transposed  input i is added to the outputs i * stride + k * dilation - before
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import window_slices

Body = Callable[[list[Any], list[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: `size` inputs, `outputs`, and a window of `kernel` cells."""

    size: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    transposed: bool = False

    def slices(self, k: int) -> tuple[slice, slice]:
        """The outputs that read an input for window cell `k`, and those inputs."""
        offset = k * self.dilation - self.before
        if not self.transposed:
            return window_slices(offset, self.stride, self.size, self.outputs)
        inputs, outputs = window_slices(offset, self.stride, self.outputs, self.size)
        return outputs, inputs

    @property
    def is_inside(self) -> bool:
        """Whether no window leaves the input."""
        reach = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation
        return not self.transposed and self.before <= 0 and reach - self.before < self.size


def cell_slices(
    axes: Sequence[Axis],
) -> list[tuple[tuple[int, ...], list[slice], list[slice]]]:
    """For every cell of the window: its place, the outputs, and the inputs they read."""
    found = []
    for place in np.ndindex(*(axis.kernel for axis in axes)):
        pairs = [axis.slices(k) for axis, k in zip(axes, place, strict=True)]
        found.append((place, [p[0] for p in pairs], [p[1] for p in pairs]))
    return found


def cells(axes: Sequence[Axis], outputs: Sequence[Any], body: Body, tag: str = "") -> list[Any]:
    """Loops over the cells inside the input of one window; `body` gets cells and inputs by axis."""

    def nest(depth: int, places: list[Any], inputs: list[Any]) -> list[Any]:
        if depth == len(axes):
            return body(places, inputs)
        return _cells_of_axis(
            axes[depth],
            f"k{depth}{tag}",
            outputs[depth],
            lambda k, i: nest(depth + 1, [*places, k], [*inputs, i]),
        )

    return nest(0, [], [])


def _cells_of_axis(
    axis: Axis, name: str, o: Any, body: Callable[[Any, Any], list[Any]]
) -> list[Any]:
    if not axis.transposed:
        return [loops.loop(name, axis.kernel, lambda k: _forward(axis, o, k, body))]
    if axis.stride == 1 or axis.dilation > 1:
        return [loops.loop(name, axis.kernel, lambda k: _divided(axis, o, k, body))]
    at = o + axis.before  # every stride-th cell meets an input: from the first one on
    first = loops.remainder(at, axis.stride)
    count = loops.quotient(axis.kernel - first + axis.stride - 1, axis.stride)

    def step(u: Any) -> list[Any]:
        i = loops.quotient(at, axis.stride) - u
        inside = loops.every([i >= 0, i < axis.size])
        return [loops.when(inside, body(first + u * axis.stride, i))]

    return [loops.loop(name, count, step)]


def _forward(axis: Axis, o: Any, k: Any, body: Callable[[Any, Any], list[Any]]) -> list[Any]:
    i = o * axis.stride + k * axis.dilation - axis.before
    if axis.is_inside:
        return body(k, i)
    return [loops.when(loops.every([i >= 0, i < axis.size]), body(k, i))]


def _divided(axis: Axis, o: Any, k: Any, body: Callable[[Any, Any], list[Any]]) -> list[Any]:
    distance = o + axis.before - k * axis.dilation
    i = loops.quotient(distance, axis.stride)
    whole = [loops.remainder(distance, axis.stride) == 0] if axis.stride > 1 else []
    return [loops.when(loops.every([distance >= 0, *whole, i < axis.size]), body(k, i))]


def over(outputs: Sequence[int], body: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """Loops over the outputs of all axes; `body` gets one index for each."""

    def nest(depth: int, indices: list[Any]) -> list[Any]:
        if depth == len(outputs):
            return body(indices)
        return [loops.loop(f"o{depth}", outputs[depth], lambda o: nest(depth + 1, [*indices, o]))]

    return nest(0, [])


def flat(indices: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The place of an element in a row-major tensor of `sizes`."""
    at: Any = loops.const(0)
    for index, size in zip(indices, sizes, strict=True):
        at = at * size + index
    return at
