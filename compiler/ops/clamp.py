"""A fused activation is a clamp: Relu is (0, inf), Relu6 (0, 6), Clip any range."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.compiler.graph import QParams, Tensor
from tinyc.compiler.ops import loops


@dataclass(frozen=True, slots=True)
class Clamp:
    """Real bounds of a result, both included."""

    low: float = -math.inf
    high: float = math.inf

    def within(self, other: "Clamp") -> "Clamp":
        """This clamp, then `other`."""
        return Clamp(
            min(max(self.low, other.low), other.high), max(min(self.high, other.high), other.low)
        )


NO_CLAMP = Clamp()


def stored_bounds(tensor: Tensor, clamp: Clamp) -> tuple[int, int]:
    """The stored values that `clamp` leaves in the quantized `tensor`: quantizing is monotonic."""
    low, high = tensor.dtype.limits
    assert tensor.quant is not None, f"'{tensor.name}' is not quantized"
    if clamp.low != -math.inf:
        low = max(low, min(quantize_real(clamp.low, tensor.quant), high))
    if clamp.high != math.inf:
        high = min(high, max(quantize_real(clamp.high, tensor.quant), low))
    return low, high


def quantize_real(value: float, quant: QParams) -> int:
    """The stored value of a real by a per-tensor `quant`, half to even, not saturated."""
    (scale,), (zero_point,) = quant.scale, quant.zero_point
    return int(np.rint(value / scale)) + zero_point


def clamp_float(value: Any, clamp: Clamp) -> Any:
    """The TensorIR float `value` limited by `clamp`; nothing is added where it has no bound."""
    if clamp.low != -math.inf:
        value = loops.maximum(value, loops.const(clamp.low, str(value.ty)))
    if clamp.high != math.inf:
        value = loops.minimum(value, loops.const(clamp.high, str(value.ty)))
    return value
