"""Cortex-M3 and M4: 3-stage, in order, no cache, no prediction.

Sources: Arm DDI 0439 (Cortex-M4 TRM), instruction table 3.3.1, FPU table 7.2.3, "Load/store
timings"; rules measured on an STM32F407 by jnk0le; fitted to published cycle counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tinyc.targets.timing.instruction import BRANCHES, FLOATS, Instruction, Kind
from tinyc.targets.timing.timing import Divide, Timing, never_mispredicted, read_parameters


@dataclass(frozen=True, slots=True)
class Parameters:
    """Cycles.

    jump ... table_branch  lost when taken
    upper_half_branch      instead, for a 16-bit branch in the upper half of a fetch word
    move_pc, load_pc, pop_pc  lost by an instruction that writes the program counter
    straddling_target      the target is a 32-bit instruction on an odd halfword
    address_interlock      an address register was computed by the instruction before
    hidden_store           saved by a store right after a load
    indexed_store          a store with register offset takes longer
    load_after_store       waits for the store's bus cycle
    fetch_bubble           a multi-cycle instruction, then three straddling ones (eprint 2025/523)
    float_dependency       a float result used by the next instruction
    """

    jump: int
    branch: int
    upper_half_branch: int
    compare_branch: int
    call: int
    jump_register: int
    table_branch: int
    move_pc: int
    pop_pc: int
    load_pc: int
    straddling_target: int
    address_interlock: int
    hidden_store: int
    indexed_store: int
    load_after_store: int
    fetch_bubble: int
    float_dependency: int
    float_mac: int
    float_divide: int
    system: int


COMPUTED = frozenset({Kind.ALU, Kind.DSP, Kind.MULTIPLY, Kind.FLOAT_MOVE})
LOADS = frozenset(
    {Kind.LOAD, Kind.LOAD_PAIR, Kind.LOAD_MANY, Kind.FLOAT_LOAD, Kind.FLOAT_LOAD_MANY}
)
SLOW_FLOATS = frozenset({Kind.FLOAT, Kind.FLOAT_MAC, Kind.FLOAT_DIVIDE})
FAR = 9  # more straddling instructions than the bubble rule counts


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
    cycles: list[int] = []
    previous: Instruction | None = None
    pipelined = False  # the instruction before was a load whose second cycle can be shared
    straddling = FAR  # straddling instructions since the last multi-cycle one
    for i in code:
        waits = previous is not None and bool(previous.writes & i.address_registers)
        own = _own_cycles(p, i, previous, pipelined, waits)
        if previous is not None:
            own += _after(p, i, previous)
        if i.straddles:
            straddling += 1
            if straddling == 3 and own < 2:
                own += p.fetch_bubble
            if own > 1 and straddling != 3:
                straddling = 0
        else:
            straddling = 0 if own > 1 else FAR
        if i.kind in BRANCHES:
            straddling = FAR
        pipelined = _opens_pipeline(i)
        cycles.append(own)
        previous = i
    return cycles


def _own_cycles(
    p: Parameters, i: Instruction, previous: Instruction | None, pipelined: bool, waits: bool
) -> int:
    computed = previous is not None and previous.kind in COMPUTED
    interlock = p.address_interlock if waits and computed else 0
    shared = 1 if pipelined and not waits else 0
    match i.kind:
        case Kind.LOAD:
            return 2 + interlock - shared + (p.load_pc if i.writes_pc else 0)
        case Kind.STORE if i.indexed:
            return 1 + p.indexed_store + interlock - shared
        case Kind.STORE:
            return 1 + interlock - shared * p.hidden_store
        case Kind.LOAD_PAIR | Kind.STORE_PAIR | Kind.TABLE_BRANCH:
            return 3 + interlock
        case Kind.LOAD_MANY | Kind.FLOAT_LOAD_MANY:
            return i.registers + 1 + interlock + (p.pop_pc if i.writes_pc else 0)
        case Kind.STORE_MANY | Kind.FLOAT_STORE_MANY:
            return i.registers + 1 + interlock
        case Kind.FLOAT_LOAD | Kind.FLOAT_STORE:
            return (3 if i.wide else 2 - shared) + interlock
        case Kind.DIVIDE:
            return 0  # depends on the operands: counted while it runs
        case Kind.IF_THEN:
            return 0 if previous is not None and previous.size == 2 else 1
        case Kind.NOP:
            return 0 if pipelined else 1
        case Kind.FLOAT_MOVE:
            return max(1, i.registers)
        case Kind.FLOAT_MAC:
            return p.float_mac
        case Kind.FLOAT_DIVIDE:
            return p.float_divide
        case Kind.SYSTEM:
            return p.system
        case _:
            return 1


def _after(p: Parameters, i: Instruction, previous: Instruction) -> int:
    """What an instruction pays for the one before it."""
    if previous.kind is Kind.STORE and i.kind in LOADS:
        return p.load_after_store
    if previous.kind in SLOW_FLOATS and i.kind in FLOATS and previous.writes & i.reads:
        accumulates = i.kind is Kind.FLOAT_MAC and previous.writes <= {i.accumulator}
        return 0 if accumulates else p.float_dependency
    return 0


def _opens_pipeline(i: Instruction) -> bool:
    if i.kind is Kind.LOAD:
        return not i.writes_pc
    return i.kind is Kind.FLOAT_LOAD and not i.wide


def _refill(p: Parameters, code: Sequence[Instruction], index: int) -> int:
    i = code[index]
    if i.kind in (Kind.JUMP, Kind.BRANCH) and i.size == 2 and i.address & 2:
        return p.upper_half_branch
    match i.kind:
        case Kind.JUMP:
            return p.jump
        case Kind.BRANCH:
            return p.branch
        case Kind.CALL:
            return p.call
        case Kind.COMPARE_BRANCH:
            return p.compare_branch
        case Kind.JUMP_REGISTER | Kind.CALL_REGISTER:
            return p.jump_register
        case Kind.TABLE_BRANCH:
            return p.table_branch
        case Kind.LOAD | Kind.LOAD_MANY:
            return 0  # in load_pc and pop_pc
        case _:
            return p.move_pc if i.writes_pc else 0
