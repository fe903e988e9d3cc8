"""Cortex-M0+: 2-stage, in order. Source: Arm DDI 0484 (Cortex-M0+ TRM), table 3-1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tinyc.targets.timing.instruction import Instruction, Kind
from tinyc.targets.timing.timing import Divide, Timing, never_mispredicted, read_parameters


@dataclass(frozen=True, slots=True)
class Parameters:
    """Cycles; jump ... call_register, pop_pc and move_pc are lost beside the instruction's own."""

    multiply: int
    load: int
    store: int
    system: int
    jump: int
    branch: int
    call: int
    jump_register: int
    call_register: int
    pop_pc: int
    move_pc: int


def timing(numbers: Mapping[str, object], divide: Divide, horizon: int, file: str) -> Timing:
    """The rules with the numbers of a table."""
    p = read_parameters(Parameters, numbers, file)
    return Timing(
        divide, horizon, partial(_cycles, p), partial(_refill, p), _target, never_mispredicted
    )


def _cycles(p: Parameters, code: Sequence[Instruction], loaded: set[int]) -> list[int]:
    return [_own_cycles(p, i) for i in code]


def _own_cycles(p: Parameters, i: Instruction) -> int:
    match i.kind:
        case Kind.MULTIPLY:
            return p.multiply
        case Kind.LOAD:
            return p.load
        case Kind.STORE:
            return p.store
        case Kind.LOAD_MANY | Kind.STORE_MANY:
            return 1 + i.registers + (p.pop_pc if i.writes_pc else 0)
        case Kind.SYSTEM:
            return p.system
        case _:
            return 1


def _refill(p: Parameters, code: Sequence[Instruction], index: int) -> int:
    i = code[index]
    match i.kind:
        case Kind.JUMP:
            return p.jump
        case Kind.BRANCH:
            return p.branch
        case Kind.CALL:
            return p.call
        case Kind.JUMP_REGISTER:
            return p.jump_register
        case Kind.CALL_REGISTER:
            return p.call_register
        case Kind.LOAD_MANY:
            return 0  # in pop_pc
        case _:
            return p.move_pc if i.writes_pc else 0


def _target(first: Instruction) -> int:
    return 0
