"""Add and Sub of two tensors of one shape in the assembly of `targets/intrinsics`.

Of scales that are powers of two apart by `arm_lane_sum.py`, of others by `arm_sum.py`.
"""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.graph import DType
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.sum_scales import (
    SumScales,
    has_long_sums,
    in_steps,
    room,
    shifted,
    sum_scales,
)
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_lane_sum import Lanes, lane_sum
from tinyc.targets.intrinsics.arm_sum import weighted_sum

COMMON_SHIFT = 20  # what most scales fit: their layers share one microkernel


@dataclass(frozen=True, slots=True)
class Sum:
    """A C function, and the numbers it needs beside operands, result and count."""

    microkernel: Microkernel
    numbers: tuple[int, ...]

    def run(self, a: Any, b: Any, y: Any, count: Any) -> Any:
        """The statement: `count` > 0 elements at these addresses; y may be a or b."""
        return loops.run(self.microkernel.name, a, b, y, count, *map(loops.const, self.numbers))


def sum_of(call: Call, target: Target) -> Sum | None:
    """The function for a quantized Add or Sub; None where there is no assembly for it."""
    if call.node.op not in ("Add", "Sub") or not {"dsp", "fpu"} <= target.features:
        return None
    (a, b), y = call.inputs, call.output
    if y.quant is None or not a.shape == b.shape == y.shape or not a.dtype == b.dtype == y.dtype:
        return None
    if has_long_sums(call):
        return None
    scales = sum_scales(call)
    assert scales is not None, "can_quantize has refused it"
    low, high = stored_bounds(y, call.attrs.clamp)
    small = in_steps(scales)
    if small is not None and y.dtype == DType.INT8:
        factors = small.a_multiplier, abs(small.b_multiplier)
        lanes = Lanes(*factors, small.shift, subtracts=small.b_multiplier < 0)
        return Sum(lane_sum(lanes, low, high), (small.constant,))
    return _weighted(scales, y.dtype, low, high)


def _weighted(scales: SumScales, dtype: DType, low: int, high: int) -> Sum:
    if scales.shift < COMMON_SHIFT <= scales.shift + room(scales):
        scales = shifted(scales, COMMON_SHIFT - scales.shift)
    numbers = scales.a_multiplier, scales.b_multiplier, scales.constant
    return Sum(weighted_sum(scales.shift, dtype, low, high), numbers)
