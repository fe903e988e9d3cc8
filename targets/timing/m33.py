"""Cortex-M33: in order, 16-bit branches pair with the instruction before them.

Source: pipeline tests of jnk0le on an RP2350. Not validated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tinyc.targets.timing.instruction import BRANCHES, FLOATS, Instruction, Kind
from tinyc.targets.timing.timing import Divide, Timing, never_mispredicted, read_parameters


@dataclass(frozen=True, slots=True)
class Parameters:
    """Cycles lost when taken; pop_pc, by a POP that returns."""

    branch: int
    call: int
    jump_register: int
    pop_pc: int
    straddling_target: int


SHIFTS = frozenset({"lsl", "lsr", "asr", "ror", "rrx"})
COMPARES = frozenset({"cmp", "cmn", "tst", "teq"})
QUICK_DSP = frozenset("bfi bfc uxtb uxth sxtb sxth ubfx sbfx rev clz".split())
PAIRED = frozenset(
    {
        *(Kind.JUMP, Kind.BRANCH, Kind.JUMP_REGISTER, Kind.COMPARE_BRANCH),
        *(Kind.IF_THEN, Kind.NOP),
    }
)
MANY = frozenset({Kind.LOAD_MANY, Kind.STORE_MANY, Kind.FLOAT_LOAD_MANY, Kind.FLOAT_STORE_MANY})
STORES = frozenset({Kind.STORE, Kind.STORE_PAIR, Kind.STORE_MANY})


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
    ready: dict[int, int] = {}  # register -> first cycle in which it can be used
    accumulate: dict[int, int] = {}  # the same, as an accumulator
    starts: list[int] = []
    now = end = floats_from = 0
    previous: Instruction | None = None
    paired = False  # the instruction before already shares a cycle
    for i in code:
        if previous is not None and not paired and (_pairs(previous, i) or _is_it(i)):
            paired = _pairs(previous, i)
            starts.append(starts[-1])
            previous = i
            continue
        now = max(now, _ready(i, ready, accumulate))
        if i.kind in FLOATS:
            now = max(now, floats_from)
        starts.append(now)
        occupied, latency = _cost(p, i)
        if i.kind is Kind.FLOAT_MAC:
            floats_from = now + 3
        for r in i.writes:
            ready[r] = now + (1 if i.writes_back and r == i.base else latency)
            accumulate[r] = now + _accumulator_latency(i, latency)
        now += occupied
        end = now
        previous, paired = i, False
    last = max(end, starts[-1]) if starts else 0
    return [after - start for start, after in zip(starts, [*starts[1:], last], strict=True)]


def _ready(i: Instruction, ready: Mapping[int, int], accumulate: Mapping[int, int]) -> int:
    """The first cycle in which all operands are there."""
    first = max((ready.get(r, 0) for r in i.address_registers), default=0)
    for r in i.reads - i.address_registers:
        if i.kind in STORES:
            first = max(first, ready.get(r, 0) - 1)
        elif r == i.accumulator:
            first = max(first, accumulate.get(r, ready.get(r, 0)))
        else:
            first = max(first, ready.get(r, 0))
    return first


def _cost(p: Parameters, i: Instruction) -> tuple[int, int]:
    """Cycles for which nothing else issues, and until the result can be used."""
    match i.kind:
        case Kind.LOAD | Kind.FLOAT_LOAD | Kind.FLOAT:
            return 1, 2
        case Kind.LOAD_PAIR | Kind.STORE_PAIR:
            return 2, 3
        case _ if i.kind in MANY:
            occupied = i.registers + (p.pop_pc if i.writes_pc else 0)
            return occupied, occupied + 1
        case Kind.MULTIPLY:
            return (2 if i.size == 2 else 1), 2
        case Kind.DIVIDE:
            return 0, 1  # depends on the operands: counted while it runs
        case Kind.DSP:
            return 1, 1 if i.name in QUICK_DSP else 2
        case Kind.ALU:
            return 1, 2 if _passes_shifter(i) else 1
        case Kind.FLOAT_MAC:
            return 1, 4
        case Kind.FLOAT_DIVIDE:
            return 12, 12
        case Kind.FLOAT_MOVE:
            return max(1, i.registers), 2
        case Kind.SYSTEM:
            return 3, 1
        case _:
            return 1, 1


def _accumulator_latency(i: Instruction, latency: int) -> int:
    if i.kind in (Kind.MULTIPLY, Kind.LOAD) or _passes_shifter(i):
        return 1
    return 3 if i.kind is Kind.FLOAT_MAC else latency


def _passes_shifter(i: Instruction) -> bool:
    return bool(i.shifted) and i.name not in SHIFTS


def _is_it(i: Instruction) -> bool:
    return i.kind is Kind.IF_THEN


def _pairs(first: Instruction, second: Instruction) -> bool:
    """Whether both take one cycle together."""
    if first.size != 2 or second.size != 2 or first.kind in BRANCHES:
        return False
    after_nop = first.kind is Kind.NOP and second.kind in (Kind.ALU, Kind.LOAD, Kind.STORE)
    return second.kind in PAIRED or after_nop


def _refill(p: Parameters, code: Sequence[Instruction], index: int) -> int:
    i = code[index]
    match i.kind:
        case Kind.JUMP | Kind.BRANCH | Kind.COMPARE_BRANCH | Kind.JUMP_REGISTER:
            if index > 0 and _pairs(code[index - 1], i):
                return 1 if i.kind is Kind.BRANCH and _sets_flags(code[index - 1]) else 0
            return p.jump_register if i.kind is Kind.JUMP_REGISTER else p.branch
        case Kind.CALL | Kind.CALL_REGISTER:
            return p.call
        case Kind.LOAD | Kind.LOAD_MANY:
            return 1
        case _:
            return 2


def _sets_flags(i: Instruction) -> bool:
    short = i.size == 2 and i.kind is Kind.ALU and i.text.split()[0].endswith("s")
    return i.name in COMPARES or short
