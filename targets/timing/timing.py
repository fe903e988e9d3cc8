"""What the rules of a core are asked: the cycles of straight-line code, and of its edges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

from tinyc.compiler.errors import CompileError
from tinyc.targets.timing.instruction import Instruction

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = TypeVar("P", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Divide:
    """Cycles of an integer divide, by its operands.

    base + ceil(quotient bits / bits_per_cycle); `smaller` when the dividend is below the divisor,
    `by_zero` when the divisor is 0
    """

    base: int = 0
    bits_per_cycle: int = 1
    smaller: int = 0
    by_zero: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """A core's rules, with its numbers filled in. Zero wait states everywhere.

    cycles  straight-line code -> cycles of each instruction in its context. The set holds the
            registers last written by a load; it is carried from block to block in address order
    refill  code and an index in it -> cycles lost when that branch is taken
    target  the instruction a taken branch arrives at -> cycles lost to fetch it
    mispredicted  (executed, taken) of a conditional branch -> cycles lost to prediction
    horizon  after entering straight-line code by a branch, its first instructions may cost other
             cycles than after falling through; this many are looked at
    """

    divide: Divide
    horizon: int
    cycles: Callable[[Sequence[Instruction], set[int]], list[int]]
    refill: Callable[[Sequence[Instruction], int], int]
    target: Callable[[Instruction], int]
    mispredicted: Callable[[int, int], float]


def never_mispredicted(executed: int, taken: int) -> float:
    """For cores that do not predict: a taken branch pays its refill, always."""
    return 0.0


def read_parameters(kind: type[P], table: Mapping[str, object], file: str) -> P:
    """The dataclass `kind` of numbers from a TOML table with exactly its fields.

    Raises CompileError("bad-timing").
    """
    names = [f.name for f in fields(kind)]
    for key in [*table, *names]:
        if key not in names or key not in table:
            problem = "is not known" if key in table else "is missing"
            raise CompileError(
                "bad-timing",
                f"the field '{key}' {problem}",
                f"timing table {file}",
                f"the fields are: {', '.join(names)}",
            )
        if not isinstance(table[key], int | float):
            raise CompileError("bad-timing", f"'{key}' is not a number", f"timing table {file}")
    return kind(**table)
