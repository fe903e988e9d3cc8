"""Scales of sums that are one, or powers of two apart: their kernels multiply nothing.

A convolution writes any scale at no cost, so an operand may have that of the sum, or twice that
where a Relu leaves half of the sum's range. Zero points stay; a scale only grows, so that no value
is clipped that was not before, and none loses the room that ranges have for what no sample showed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from tinyc.compiler.graph import DType, Node, QParams, Tensor
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.sum_scales import in_steps, sum_scales
from tinyc.quantization.distortion import Judge
from tinyc.quantization.execution import Values
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import Grid
from tinyc.quantization.points import CLAMPS, Point
from tinyc.quantization.ranges import Range

SUMS = ("Add", "Sub")
MOST_ADDED = 0.03  # of all noise, by the scales of a sum: 0.13 dB
FACTORS = (0.5, 1.0, 2.0, 4.0)  # of an operand's scale over the sum's, that kernels may know
Family = Mapping[str, float]  # points by name whose scales keep their ratios, and the ratios


@dataclass(frozen=True, slots=True)
class Sum:
    """A node that adds two tensors of one shape: the names of their points and of its result's."""

    node: str
    op: str
    a: str
    b: str
    y: str

    @property
    def points(self) -> tuple[str, str, str]:
        return self.a, self.b, self.y


def sums_of(model: FloatModel, points: Iterable[Point], values: Values) -> Iterator[Sum]:
    """The sums whose operands and result are quantized, in execution order."""
    by_tensor = {tensor: point.name for point in points for tensor in point.tensors}
    for node in (n for n in model.nodes if n.op_type in SUMS):
        result = node.output[0]
        reader = model.only_reader(result)
        if result not in by_tensor and reader is not None and reader.op_type in CLAMPS:
            result = reader.output[0]  # by the same kernel
        tensors = (*node.input, result)
        if all(t in by_tensor for t in tensors) and len({values[t].shape for t in tensors}) == 1:
            yield Sum(node.name, node.op_type, *(by_tensor[t] for t in tensors))


def is_plain(total: Sum, grids: Mapping[str, Grid]) -> bool:
    """Whether the kernel of a sum multiplies nothing."""
    if any(grids[name].dtype != "int8" for name in total.points):
        return False
    a, b, y = (
        Tensor(role, (1,), DType.INT8, None, QParams((grid.scale,), (grid.zero_point,)))
        for role, grid in zip("aby", (grids[name] for name in total.points), strict=True)
    )
    scales = sum_scales(Call(Node("sum", total.op, ("a", "b"), ("y",), None), (a, b), (y,)))
    return scales is not None and in_steps(scales) is not None


def plain_sums(sums: Iterable[Sum], grids: Mapping[str, Grid]) -> tuple[str, ...]:
    """A sentence for each sum whose kernel multiplies nothing."""
    factors = {
        s: [grids[operand].scale / grids[s.y].scale for operand in (s.a, s.b)]
        for s in sums
        if is_plain(s, grids)
    }
    return tuple(
        f"'{s.node or s.y}' ({s.op}): the operands' scales are {a:g} and {b:g} times the result's"
        for s, (a, b) in factors.items()
    )


def shared_scales(
    sums: Iterable[Sum], points: Sequence[Point], found: Mapping[str, Range], judge: Judge
) -> dict[str, Range]:
    """All ranges, those of sums with other scales where the noise allows it."""
    by_name = {point.name: point for point in points}
    ranges = dict(found)
    families: dict[str, Family] = {name: {name: 1.0} for name in by_name}
    most = MOST_ADDED * sum(chosen.distortion for chosen in found.values())
    for total in sums:
        family = _nearest(total, families, ranges)
        if family is None:
            continue
        base = _least_base(family, ranges)
        changed = {n: _scaled(by_name[n], ranges[n], base * f, judge) for n, f in family.items()}
        added = sum(changed[n].distortion - ranges[n].distortion for n in family)
        if added <= most:
            ranges |= changed
            families |= dict.fromkeys(family, family)
    return ranges


def _nearest(
    total: Sum, families: Mapping[str, Family], ranges: Mapping[str, Range]
) -> Family | None:
    """What shares scales when the sum's do, by the factors that make the least noise."""
    best: Family | None = None
    least = float("inf")
    for factors in product(FACTORS, FACTORS):
        family = _joined(families, dict(zip(total.points, (*factors, 1.0), strict=True)))
        if family is None:
            continue
        base = _least_base(family, ranges)
        grids = {n: replace(ranges[n].grid, scale=base * family[n]) for n in total.points}
        noise = sum(
            ranges[n].distortion * (base * f / ranges[n].grid.scale) ** 2 for n, f in family.items()
        )
        if noise < least and is_plain(total, grids):
            best, least = family, noise
    return best


def _joined(families: Mapping[str, Family], factors: Mapping[str, float]) -> Family | None:
    """The families of some points as one, by these factors of the points; None: they differ."""
    whole: dict[str, float] = {}
    for name, factor in factors.items():
        own = families[name]
        for member, ratio in own.items():
            value = ratio / own[name] * factor
            if whole.setdefault(member, value) != value:
                return None
    return whole


def _least_base(family: Family, ranges: Mapping[str, Range]) -> float:
    """The scale that a factor of 1 stands for when none is smaller than before."""
    return max(ranges[name].grid.scale / factor for name, factor in family.items())


def _scaled(point: Point, chosen: Range, scale: float, judge: Judge) -> Range:
    """The range by another scale."""
    if scale == chosen.grid.scale:
        return chosen
    grid = replace(chosen.grid, scale=float(np.float32(scale)))
    room = chosen.room * scale / chosen.grid.scale
    return replace(chosen, grid=grid, distortion=judge.of_grid(point, grid), room=room)
