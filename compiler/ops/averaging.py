"""What a sum of cells is multiplied by to become the average, as the output stores it."""

import numpy as np

from tinyc.compiler.ops.accumulate import requantization_to
from tinyc.compiler.ops.fixed_point import Requantization
from tinyc.compiler.ops.op import Call


def average_requantization(call: Call) -> Requantization:
    """One multiplier, or one for every count of cells where borders count fewer."""
    (x,), a, y = call.inputs, call.attrs, call.output
    assert x.quant and y.quant
    cells = a.kernel[0] * a.kernel[1]
    ratio = np.float64(x.quant.scale[0]) / y.quant.scale[0]
    counts = np.arange(1, cells + 1) if any(a.pads) and not a.include_pad else np.array([cells])
    return requantization_to(y.dtype, ratio / counts)
