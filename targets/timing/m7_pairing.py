"""Cortex-M7: which two instructions cannot issue in one cycle."""

from tinyc.targets.timing.instruction import Instruction, Kind

SHIFTS = frozenset({"lsl", "lsr", "asr", "ror", "rrx"})
ALONE = frozenset(
    {
        *(Kind.LOAD_MANY, Kind.STORE_MANY, Kind.FLOAT_LOAD_MANY, Kind.FLOAT_STORE_MANY),
        *(Kind.LOAD_PAIR, Kind.STORE_PAIR, Kind.SYSTEM, Kind.TABLE_BRANCH),
    }
)
LOADS = frozenset({Kind.LOAD, Kind.FLOAT_LOAD})
STORES = frozenset({Kind.STORE, Kind.FLOAT_STORE})
FLOATS = frozenset({Kind.FLOAT, Kind.FLOAT_MAC, Kind.FLOAT_MOVE, Kind.FLOAT_DIVIDE})


def passes_shifter(i: Instruction) -> bool:
    """An operand is shifted on its way to another operation."""
    return bool(i.shifted) and i.name not in SHIFTS


def refuses_pair(first: Instruction, second: Instruction) -> bool:
    """Whether `second` must wait for the cycle after `first`."""
    kinds = {first.kind, second.kind}
    if Kind.IF_THEN in kinds:
        return False
    if kinds & ALONE or (first.kind in STORES and second.kind in STORES):
        return True
    if Kind.MULTIPLY in kinds and kinds <= {Kind.MULTIPLY, *STORES}:
        return True
    if first.kind in LOADS and second.kind in LOADS and _one_base(first, second):
        return not (first.offset ^ second.offset) & 4  # the same bank
    shifters = (first.kind is Kind.DSP or passes_shifter(first)) + (
        second.kind is Kind.DSP or passes_shifter(second)
    )
    if shifters == 2 or (first.kind in FLOATS and second.kind in FLOATS):
        return True
    if Kind.FLOAT_MAC in kinds and kinds & {Kind.FLOAT_LOAD, Kind.FLOAT_STORE}:
        return True
    return bool(first.writes & second.writes)


def _one_base(first: Instruction, second: Instruction) -> bool:
    return (
        first.base == second.base
        and not first.indexed
        and not second.indexed
        and not first.writes_back
    )
