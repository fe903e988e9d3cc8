"""From an accumulator to a stored value, in TensorIR: the twin of `fixed_point`."""

from dataclasses import dataclass, replace
from typing import Any

from tinyc.compiler.graph import read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.fixed_point import Requantization
from tinyc.compiler.ops.kernel import Constant
from tinyc.targets import Target


@dataclass(frozen=True, slots=True, eq=False)
class Requantizer:
    """Tables for a kernel and the expression that uses them.

    constants  what the kernel appends to its own
    buffers    their parameters, in the same order
    """

    constants: tuple[Constant, ...]
    buffers: tuple[Any, ...]
    function: str

    def apply(self, acc: Any, channel: Any, zero_point: int) -> Any:
        """zero_point + round(acc * scale[channel]) as int32, not clamped."""
        one = int(self.buffers[0].shape[0]) == 1
        tables = [loops.load(b, 0 if one else channel) for b in self.buffers]
        return loops.call(self.function, acc, *tables, loops.const(zero_point))


def requantizer(to: Requantization, target: Target) -> Requantizer:
    """The form of `to` that suits the target; every form gives the same integers."""
    if to.shifts is not None:
        multipliers = Constant("multipliers", read_only(to.multipliers))
        shifts = Constant("shifts", read_only(to.shifts))
        form = "tinyc_requantize_long" if to.is_long else "tinyc_requantize_wide"
        return _requantizer((multipliers, shifts), form)
    if "long-multiply" in target.features:
        return _requantizer(
            (Constant("multipliers", read_only(to.multipliers)),), "tinyc_requantize"
        )
    return _requantizer((Constant("multipliers", read_only(to.packed16)),), "tinyc_requantize16")


def high_requantizer(to: Requantization, target: Target) -> Requantizer:
    """The same where wide products have a high word to shift: r >= 33, on cores that have it."""
    high = to.shifts is not None and not to.is_long and bool((to.shifts > 32).all())
    found = requantizer(to, target)
    if not high or "long-multiply" not in target.features:
        return found
    return replace(found, function="tinyc_requantize_high")


def _requantizer(constants: tuple[Constant, ...], function: str) -> Requantizer:
    buffers = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants]
    return Requantizer(constants, tuple(buffers), function)
