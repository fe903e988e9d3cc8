"""Add and Sub of two tensors of one shape by the assembly of `targets/intrinsics/arm_sum.py`."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.sum_scales import SumScales, has_long_sums, room, shifted, sum_scales
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_sum import weighted_sum

COMMON_SHIFT = 20  # what most scales fit: their layers share one microkernel


@dataclass(frozen=True, slots=True)
class Sum:
    """A C function, and what it needs beside operands, result and count."""

    microkernel: Microkernel
    scales: SumScales

    def run(self, a: Any, b: Any, y: Any, count: Any) -> Any:
        """The statement: `count` > 0 elements at these addresses; y may be a or b."""
        s = self.scales
        numbers = map(loops.const, (s.a_multiplier, s.b_multiplier, s.constant))
        return loops.run(self.microkernel.name, a, b, y, count, *numbers)


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
    if scales.shift < COMMON_SHIFT <= scales.shift + room(scales):
        scales = shifted(scales, COMMON_SHIFT - scales.shift)
    microkernel = weighted_sum(scales.shift, y.dtype, *stored_bounds(y, call.attrs.clamp))
    return Sum(microkernel, scales)
