"""RISC-V instructions, decoded by capstone, in the timing rules' words."""

from typing import Any

import capstone
from capstone import riscv

from tinyc.targets.timing.instruction import Instruction, Kind

LOADS = frozenset({"lb", "lh", "lw", "lbu", "lhu", "flw", "fld"})
STORES = frozenset({"sb", "sh", "sw", "fsw", "fsd"})
KINDS: dict[str, Kind] = {
    **dict.fromkeys(LOADS, Kind.LOAD),
    **dict.fromkeys(STORES, Kind.STORE),
    **dict.fromkeys(
        "beq bne blt bge bltu bgeu beqz bnez blez bgez bltz bgtz ble bgt".split(), Kind.BRANCH
    ),
    **dict.fromkeys(("j", "jal", "call", "tail"), Kind.JUMP),
    **dict.fromkeys(("jr", "jalr", "ret"), Kind.JUMP_REGISTER),
    **dict.fromkeys(("mulh", "mulhu", "mulhsu"), Kind.MULTIPLY_HIGH),
    **dict.fromkeys(("div", "divu", "rem", "remu"), Kind.DIVIDE),
    **dict.fromkeys(("fence", "fence.i", "ecall", "ebreak", "wfi", "mret"), Kind.SYSTEM),
    "mul": Kind.MULTIPLY,
}
NO_RESULT = frozenset({Kind.STORE, Kind.BRANCH, Kind.JUMP, Kind.JUMP_REGISTER})


class RiscvDecoder:
    """Capstone for RV32IMAFC: data only, so that it is made once."""

    def __init__(self) -> None:
        mode = capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC
        self._capstone = capstone.Cs(capstone.CS_ARCH_RISCV, mode)
        self._capstone.detail = True

    def decode(self, code: bytes, address: int) -> Instruction:
        """The instruction that `code` is."""
        for found in self._capstone.disasm(code, address, 1):
            return _convert(found)
        return Instruction(address, len(code), "?", Kind.ALU, f"? {code.hex()}", registers=1)


def _convert(found: Any) -> Instruction:
    name: str = found.insn_name()
    kind = _kind(name)
    registers = [o.reg for o in found.operands if o.type == riscv.RISCV_OP_REG]
    bases = [o.mem.base for o in found.operands if o.type == riscv.RISCV_OP_MEM]
    # a compressed instruction's first operand is often a source as well
    reads_all = kind in (Kind.STORE, Kind.BRANCH) or name.startswith("c.")
    return Instruction(
        address=found.address,
        size=found.size,
        name=name,
        kind=kind,
        text=f"{found.mnemonic} {found.op_str}",
        writes=frozenset() if kind in NO_RESULT else frozenset(registers[:1]),
        reads=frozenset(registers if reads_all else registers[1:]),
        address_registers=frozenset(bases),
        registers=1,
    )


def _kind(name: str) -> Kind:
    base = name.removeprefix("c.")
    without_stack = base.replace("sp", "")  # c.lwsp, c.swsp
    if without_stack in LOADS or without_stack in STORES:
        return KINDS[without_stack]
    if base in KINDS:
        return KINDS[base]
    if base.startswith("csr"):
        return Kind.SYSTEM
    if base.startswith(("fdiv", "fsqrt")):
        return Kind.FLOAT_DIVIDE
    if base.startswith("fmv"):
        return Kind.FLOAT_MOVE
    return Kind.FLOAT if base.startswith("f") else Kind.ALU
