"""The residual of a convolution in assembly: added to rows of results when they are stored."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.kernels.sums import Sum, sum_of
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import second_stage
from tinyc.targets import Target


@dataclass(frozen=True, slots=True, eq=False)
class ResidualSum:
    """What is added to the finished results of a convolution: its buffer, and how."""

    buffer: Any
    total: Sum

    def lines(self, result: Any, at: Any, count: Any) -> list[Any]:
        """Statements: the residual is added to `count` > 0 stored results from `at` on."""
        y, r = loops.pointer(result, at), loops.pointer(self.buffer, at)
        return [self.total.run(y, r, y, count)]


def residual_sum(call: Call, target: Target) -> ResidualSum | None:
    """The residual of a kernel in assembly; None when the convolution has none."""
    if call.attrs.residual is None:
        return None
    total, y = sum_of(second_stage(call), target), call.output
    assert total is not None, "suits() has asked for the features"
    return ResidualSum(loops.buffer("residual", y.elements, y.dtype), total)
