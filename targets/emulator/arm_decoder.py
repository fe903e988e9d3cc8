"""Thumb instructions, decoded by capstone, in the timing rules' words."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import capstone
from capstone import arm

from tinyc.targets.emulator.arm_kinds import ACCUMULATING, kind_of
from tinyc.targets.timing.instruction import Instruction, Kind


@dataclass(frozen=True, slots=True)
class Operands:
    """Registers by what the instruction does with them."""

    writes: frozenset[int]
    reads: frozenset[int]
    listed: tuple[int, ...]  # register operands, in order
    memory: Any  # capstone's memory operand, or None
    shifted: int


class ArmDecoder:
    """Capstone for Thumb, with and without the Armv8-M instructions."""

    def __init__(self) -> None:
        thumb = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        self._capstones = [
            capstone.Cs(capstone.CS_ARCH_ARM, thumb | capstone.CS_MODE_V8),
            capstone.Cs(capstone.CS_ARCH_ARM, thumb),
        ]
        for one in self._capstones:
            one.detail = True

    def decode(self, code: bytes, address: int) -> Instruction:
        """The instruction that `code` is."""
        if len(code) == 2 and code[1] == 0xBF and code[0] & 15:
            return Instruction(address, 2, "it", Kind.IF_THEN, "it", registers=1)
        for one in self._capstones:
            for found in one.disasm(code, address, 1):
                if found.size == len(code):
                    return _convert(found)
        return _unknown(code, address)


def _unknown(code: bytes, address: int) -> Instruction:
    half = int.from_bytes(code[:2], "little")
    is_coprocessor = half & 0xFE00 in (0xEC00, 0xEE00) or half & 0xEE00 == 0xEC00
    kind = Kind.UNKNOWN_VECTOR if is_coprocessor else Kind.ALU
    return Instruction(address, len(code), "?", kind, f"? {code.hex()}", registers=1)


def _convert(found: Any) -> Instruction:
    name: str = found.insn_name()
    operands = _operands(found)
    kind = kind_of(name, found)
    base = _base_view(found, name, kind, operands)
    special = SPECIAL.get(kind)
    view = base if special is None else special(base, operands)
    writes_pc = arm.ARM_REG_PC in view.writes and kind not in NO_PC_LOAD
    return replace(view, writes_pc=writes_pc)


NO_PC_LOAD = frozenset(
    {
        *(Kind.JUMP, Kind.BRANCH, Kind.CALL, Kind.JUMP_REGISTER),
        *(Kind.CALL_REGISTER, Kind.COMPARE_BRANCH),
    }
)


def _operands(found: Any) -> Operands:
    writes: set[int] = set()
    reads: set[int] = set()
    listed: list[int] = []
    memory = None
    shifted = 0
    for operand in found.operands:
        if operand.type == arm.ARM_OP_MEM:
            memory = operand.mem
        elif operand.type == arm.ARM_OP_REG:
            listed.append(operand.reg)
            if operand.access & capstone.CS_AC_WRITE:
                writes.add(operand.reg)
            if operand.access & capstone.CS_AC_READ:
                reads.add(operand.reg)
            if operand.shift.type:
                shifted = operand.reg
    if memory is not None and found.writeback:
        writes.add(memory.base)
    return Operands(frozenset(writes), frozenset(reads), tuple(listed), memory, shifted)


def _base_view(found: Any, name: str, kind: Kind, operands: Operands) -> Instruction:
    memory = operands.memory
    index = memory.index if memory is not None else 0
    base = memory.base if memory is not None else 0
    accumulator = found.operands[-1].reg if name in ACCUMULATING else 0
    return Instruction(
        address=found.address,
        size=found.size,
        name=name,
        kind=kind,
        text=f"{found.mnemonic} {found.op_str}",
        writes=operands.writes,
        reads=operands.reads,
        address_registers=frozenset({base, index} - {0}) if memory is not None else frozenset(),
        registers={Kind.LOAD: 1, Kind.STORE: 1, Kind.LOAD_PAIR: 2, Kind.STORE_PAIR: 2}.get(kind, 0),
        base=base,
        offset=memory.disp if memory is not None else 0,
        indexed=bool(index),
        writes_back=bool(found.writeback),
        shifted=operands.shifted,
        accumulator=accumulator,
        wide=".64" in found.mnemonic or ".f64" in found.mnemonic,
    )


def _is_double(register: int) -> bool:
    return bool(arm.ARM_REG_D0 <= register <= arm.ARM_REG_D31)


def _list_view(view: Instruction, operands: Operands) -> Instruction:
    """LDM, STM, PUSH, POP: the first register is the base, unless it is the stack pointer."""
    stack = view.name in ("push", "pop")
    base = arm.ARM_REG_SP if stack else operands.listed[0]
    listed = operands.listed if stack else operands.listed[1:]
    loads = view.kind in (Kind.LOAD_MANY, Kind.LOAD)
    writes_back = view.writes_back or stack
    return replace(
        view,
        base=base,
        address_registers=frozenset({base}),
        registers=len(listed),
        writes=frozenset({*(listed if loads else ()), *([base] if writes_back else [])}),
        reads=frozenset(() if loads else listed),
        writes_back=writes_back,
    )


def _single_view(view: Instruction, operands: Operands) -> Instruction:
    """Capstone prints LDR rX, [sp], #4 as POP {rX}; STR likewise."""
    return _list_view(view, operands) if view.name in ("push", "pop") else view


def _float_list_view(view: Instruction, operands: Operands) -> Instruction:
    stack = view.name.startswith(("vpush", "vpop"))
    base = arm.ARM_REG_SP if stack else operands.listed[0]
    listed = operands.listed if stack else operands.listed[1:]
    words = 2 if listed and _is_double(listed[0]) else 1
    writes_back = view.writes_back or stack
    loaded = listed if view.kind is Kind.FLOAT_LOAD_MANY else ()
    return replace(
        view,
        base=base,
        address_registers=frozenset({base}),
        registers=len(listed) * words,
        writes=frozenset({*loaded, *([base] if writes_back else [])}),
        writes_back=writes_back,
    )


def _float_memory_view(view: Instruction, operands: Operands) -> Instruction:
    wide = _is_double(operands.listed[0])
    return replace(view, wide=wide, registers=2 if wide else 1)


def _float_move_view(view: Instruction, operands: Operands) -> Instruction:
    return replace(view, registers=2 if len(operands.listed) > 2 else 1)


def _float_mac_view(view: Instruction, operands: Operands) -> Instruction:
    accumulator = operands.listed[0]
    return replace(view, accumulator=accumulator, reads=view.reads | {accumulator})


SPECIAL: dict[Kind, Callable[[Instruction, Operands], Instruction]] = {
    Kind.LOAD: _single_view,
    Kind.STORE: _single_view,
    Kind.LOAD_MANY: _list_view,
    Kind.STORE_MANY: _list_view,
    Kind.FLOAT_LOAD_MANY: _float_list_view,
    Kind.FLOAT_STORE_MANY: _float_list_view,
    Kind.FLOAT_LOAD: _float_memory_view,
    Kind.FLOAT_STORE: _float_memory_view,
    Kind.FLOAT_MOVE: _float_move_view,
    Kind.FLOAT_MAC: _float_mac_view,
}
