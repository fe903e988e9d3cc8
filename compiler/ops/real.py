"""The numbers and the functions of math.h of one float type, for kernels of every float type."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.ops import loops


@dataclass(frozen=True, slots=True)
class Real:
    """dtype: "float32" or "float64"."""

    dtype: str

    def number(self, value: float) -> Any:
        return loops.const(value, self.dtype)

    def call(self, function: str, *arguments: Any) -> Any:
        """`function` as math.h names it for double; `expf` for float."""
        name = f"{function}f" if self.dtype == "float32" else function
        return loops.call(name, *arguments, dtype=self.dtype)


def is_nan(x: Any) -> Any:
    """Whether a float is not a number."""
    return loops.call("isnan", x, dtype="bool")


def type_of(value: Any) -> str:
    """The element type of a TensorIR expression."""
    return str(value.ty)
