"""One machine instruction, reduced to what decides its cycles."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an instruction occupies; every timing rule speaks in these words."""

    ALU = "alu"
    DSP = "dsp"  # SIMD, saturation, bit fields, extensions
    MULTIPLY = "multiply"
    MULTIPLY_HIGH = "multiply high"  # RISC-V MULH*
    DIVIDE = "divide"
    LOAD = "load"
    STORE = "store"
    LOAD_PAIR = "load pair"
    STORE_PAIR = "store pair"
    LOAD_MANY = "load many"  # LDM, POP
    STORE_MANY = "store many"  # STM, PUSH
    JUMP = "jump"  # unconditional, target in the instruction
    BRANCH = "branch"  # conditional
    COMPARE_BRANCH = "compare and branch"  # CBZ, CBNZ
    CALL = "call"  # BL
    JUMP_REGISTER = "jump register"  # BX, RISC-V JALR
    CALL_REGISTER = "call register"  # BLX
    TABLE_BRANCH = "table branch"  # TBB, TBH
    IF_THEN = "if then"  # IT
    NOP = "nop"
    SYSTEM = "system"
    FLOAT = "float"
    FLOAT_MAC = "float multiply-accumulate"
    FLOAT_DIVIDE = "float divide"  # also square root
    FLOAT_MOVE = "float move"
    FLOAT_LOAD = "float load"
    FLOAT_STORE = "float store"
    FLOAT_LOAD_MANY = "float load many"
    FLOAT_STORE_MANY = "float store many"
    UNKNOWN_VECTOR = "unknown vector"  # a coprocessor encoding capstone does not know


BRANCHES = frozenset(
    {
        *(Kind.JUMP, Kind.BRANCH, Kind.COMPARE_BRANCH, Kind.CALL),
        *(Kind.JUMP_REGISTER, Kind.CALL_REGISTER, Kind.TABLE_BRANCH),
    }
)
UNCONDITIONAL = BRANCHES - {Kind.BRANCH, Kind.COMPARE_BRANCH}
FLOATS = frozenset(k for k in Kind if k.name.startswith("FLOAT")) | {Kind.UNKNOWN_VECTOR}


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction at an address. Registers are capstone's numbers; 0 means none.

    size              bytes, 2 or 4
    name              mnemonic without condition and width; "?" when it could not be decoded
    text              as a disassembler prints it
    writes, reads     registers, without those that form an address
    address_registers base and index of a memory access
    registers         length of a register list, in words
    base, offset      of a memory access; `indexed` adds a register instead
    writes_back       updates its base register
    writes_pc         loads or computes the program counter
    shifted           the operand that passes the shifter
    accumulator       the register a multiply-accumulate adds to
    wide              64-bit floating point
    """

    address: int
    size: int
    name: str
    kind: Kind
    text: str
    writes: frozenset[int] = frozenset()
    reads: frozenset[int] = frozenset()
    address_registers: frozenset[int] = frozenset()
    registers: int = 0
    base: int = 0
    offset: int = 0
    indexed: bool = False
    writes_back: bool = False
    writes_pc: bool = False
    shifted: int = 0
    accumulator: int = 0
    wide: bool = False

    @property
    def straddles(self) -> bool:
        """A 32-bit instruction on an odd halfword: two fetches."""
        return self.size == 4 and bool(self.address & 2)
