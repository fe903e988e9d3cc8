"""Small in-order RISC-V cores: Ibex (2-stage) and CV32E40P (4-stage)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tinyc.targets.timing.instruction import Instruction, Kind
from tinyc.targets.timing.timing import Divide, Timing, never_mispredicted, read_parameters


@dataclass(frozen=True, slots=True)
class Parameters:
    """Cycles.

    branch, jump, jump_register  lost when taken
    load_use           the instruction after a load needs its result
    straddling_target  the target is a 32-bit instruction on an odd halfword
    """

    load: int
    store: int
    multiply: int
    multiply_high: int
    divide: int
    branch: int
    jump: int
    jump_register: int
    load_use: int
    straddling_target: int


def timing(numbers: Mapping[str, object], divide: Divide, horizon: int, file: str) -> Timing:
    """The rules with the numbers of a table."""
    p = read_parameters(Parameters, numbers, file)
    return Timing(
        divide,
        horizon,
        partial(_cycles, p),
        partial(_refill, p),
        lambda first: p.straddling_target if first.straddles else 0,
        never_mispredicted,
    )


def _cycles(p: Parameters, code: Sequence[Instruction], loaded: set[int]) -> list[int]:
    own = {
        Kind.LOAD: p.load,
        Kind.STORE: p.store,
        Kind.MULTIPLY: p.multiply,
        Kind.MULTIPLY_HIGH: p.multiply_high,
        Kind.DIVIDE: p.divide,
    }
    cycles: list[int] = []
    ready_late: frozenset[int] = frozenset()  # what the load before writes
    for i in code:
        waits = bool(ready_late & (i.reads | i.address_registers))
        cycles.append(own.get(i.kind, 1) + (p.load_use if waits else 0))
        ready_late = i.writes if i.kind is Kind.LOAD else frozenset()
    return cycles


def _refill(p: Parameters, code: Sequence[Instruction], index: int) -> int:
    match code[index].kind:
        case Kind.BRANCH:
            return p.branch
        case Kind.JUMP:
            return p.jump
        case Kind.JUMP_REGISTER:
            return p.jump_register
        case _:
            return 0
