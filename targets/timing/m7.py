"""Cortex-M7: dual issue, early and late ALU; memory as fast as TCM. Expect an error of 10 %.

Sources: pipeline tests of jnk0le on an STM32H743, LLVM's
ARMScheduleM7.td. Keccak in three variants: 0.7 to 3.7 % off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tinyc.targets.timing.instruction import Instruction, Kind
from tinyc.targets.timing.m7_pairing import passes_shifter, refuses_pair
from tinyc.targets.timing.timing import Divide, Timing, read_parameters


@dataclass(frozen=True, slots=True)
class Parameters:
    """Cycles; a predicted branch loses branch or indirect_branch.

    mispredicted       lost by a wrong prediction
    misprediction_rate share of the rarer direction that is predicted wrongly
    """

    branch: int
    indirect_branch: int
    mispredicted: int
    misprediction_rate: float


@dataclass(slots=True)
class Scoreboard:
    """When each register can be used: by the late ALU, by the early ALU or an address, as an
    accumulator. Changes while a block is walked through."""

    late: dict[int, int] = field(default_factory=dict)
    early: dict[int, int] = field(default_factory=dict)
    accumulate: dict[int, int] = field(default_factory=dict)


EARLY = frozenset(
    "add adds sub subs mov movs movw movt mvn lsl lsr asr ror lsls lsrs asrs rors "
    "rev rev16 revsh rbit adr rsb".split()
)
NEEDS_EARLY = frozenset({"ubfx", "sbfx", "rbit", "rev", "rev16", "revsh"})
STORES = frozenset(
    {
        *(Kind.STORE, Kind.STORE_PAIR, Kind.STORE_MANY),
        *(Kind.FLOAT_STORE, Kind.FLOAT_STORE_MANY),
    }
)
MANY = frozenset(
    {
        *(Kind.LOAD_PAIR, Kind.LOAD_MANY, Kind.FLOAT_LOAD_MANY),
        *(Kind.STORE_MANY, Kind.FLOAT_STORE_MANY, Kind.STORE_PAIR),
    }
)
ALONE = frozenset({Kind.LOAD_MANY, Kind.STORE_MANY, Kind.TABLE_BRANCH})
DIRECT = frozenset({Kind.JUMP, Kind.BRANCH, Kind.COMPARE_BRANCH, Kind.CALL})


def timing(numbers: Mapping[str, object], divide: Divide, horizon: int, file: str) -> Timing:
    """The rules with the numbers of a table."""
    p = read_parameters(Parameters, numbers, file)
    cost = p.mispredicted * p.misprediction_rate
    return Timing(
        divide,
        horizon,
        _cycles,
        partial(_refill, p),
        lambda first: 0,
        lambda executed, taken: cost * min(taken, executed - taken),
    )


def _cycles(code: Sequence[Instruction], loaded: set[int]) -> list[int]:
    board = Scoreboard()
    starts: list[int] = []
    group: list[Instruction] = []  # issued in the current cycle
    now = busy = 0
    for i in code:
        ready = max(busy, _ready(board, i, loaded))
        if ready > now:
            now, group = ready, []
        if len(group) >= 2 or any(refuses_pair(first, i) for first in group):
            now, group = now + 1, []
        starts.append(now)
        group.append(i)
        occupied = _occupied(i)
        _write(board, i, now, occupied, loaded)
        if occupied > 1 or i.kind in ALONE:
            busy = now + occupied
            group = [*group, i, i]
    end = max(now + 1, busy)
    return [after - start for start, after in zip(starts, [*starts[1:], end], strict=True)]


def _ready(board: Scoreboard, i: Instruction, loaded: set[int]) -> int:
    """The first cycle in which all operands are there."""
    ready = max((board.early.get(r, 0) for r in i.address_registers), default=0)
    for r in i.reads:
        ready = max(ready, _operand_ready(board, i, r, loaded))
    return ready


def _operand_ready(board: Scoreboard, i: Instruction, register: int, loaded: set[int]) -> int:
    late = board.late.get(register, 0)
    if register == i.accumulator and i.kind in (Kind.MULTIPLY, Kind.FLOAT_MAC):
        return board.accumulate.get(register, late - 1)
    if i.kind in STORES:
        return 0 if register in i.address_registers else late - 1
    if i.name in NEEDS_EARLY or (passes_shifter(i) and register == i.shifted):
        return board.early.get(register, 0)
    return late + (1 if i.kind is Kind.MULTIPLY and register in loaded else 0)


def _occupied(i: Instruction) -> int:
    """Cycles for which nothing else issues."""
    if i.kind in MANY:
        return (i.registers + 1) // 2 + (2 if i.writes_pc else 0)
    return {Kind.DIVIDE: 0, Kind.FLOAT_DIVIDE: 16, Kind.SYSTEM: 2}.get(i.kind, 1)


def _latency(i: Instruction, occupied: int) -> tuple[int, int]:
    """Cycles until the late ALU, and the early ALU or an address, can use the result."""
    match i.kind:
        case Kind.LOAD:
            return (1, 2) if i.name == "ldr" else (2, 3)
        case _ if i.kind in MANY:
            return occupied, occupied + 1
        case Kind.MULTIPLY:
            return 2, 3
        case Kind.FLOAT | Kind.FLOAT_MOVE:
            return 3, 3
        case Kind.FLOAT_MAC:
            return 5, 5
        case Kind.FLOAT_DIVIDE:
            return 16, 16
        case Kind.FLOAT_LOAD:
            return 2, 2
        case Kind.ALU if i.name in EARLY and not passes_shifter(i):
            return 0, 1
        case _:
            return 1, 2


def _write(board: Scoreboard, i: Instruction, now: int, occupied: int, loaded: set[int]) -> None:
    late, early = _latency(i, occupied)
    accumulate = {Kind.MULTIPLY: 1, Kind.FLOAT_MAC: 3}.get(i.kind, late)
    for r in i.writes:
        if i.writes_back and r == i.base:
            board.late[r] = board.early[r] = now + 1
        else:
            board.late[r], board.early[r] = now + late, now + early
            board.accumulate[r] = now + accumulate
        if i.kind is Kind.LOAD:
            loaded.add(r)
        else:
            loaded.discard(r)


def _refill(p: Parameters, code: Sequence[Instruction], index: int) -> int:
    return p.branch if code[index].kind in DIRECT else p.indirect_branch
