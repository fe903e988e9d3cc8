"""Operands that may be constants: tables of the kernel, or activations like any other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinyc.compiler.graph import Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant


@dataclass(frozen=True, slots=True, eq=False)
class Operands:
    """Buffers of a kernel's operands, in their order, and where they come from.

    moving     the buffers of activations
    fixed      the buffers of constants, and `constants` the tables
    """

    buffers: tuple[Any, ...]
    moving: tuple[Any, ...]
    fixed: tuple[Any, ...]
    constants: tuple[Constant, ...]


def operands(tensors: Sequence[Tensor], names: Sequence[str]) -> Operands:
    """Tensors that a kernel reads as they are, under these names."""
    buffers = [loops.buffer(n, t.elements, t.dtype) for t, n in zip(tensors, names, strict=True)]
    pairs = list(zip(tensors, buffers, names, strict=True))
    return Operands(
        tuple(buffers),
        tuple(b for t, b, _ in pairs if t.data is None),
        tuple(b for t, b, _ in pairs if t.data is not None),
        tuple(
            Constant(n, read_only(t.data.reshape(-1))) for t, _, n in pairs if t.data is not None
        ),
    )
