"""Machine code to instructions, for both families of cores."""

from collections.abc import Iterator

from tinyc.targets.emulator.arm_decoder import ArmDecoder
from tinyc.targets.emulator.riscv_decoder import RiscvDecoder
from tinyc.targets.timing.instruction import Instruction

Decoder = ArmDecoder | RiscvDecoder


def decoder_for(is_arm: bool) -> Decoder:
    """A decoder; making one is slow, so keep it."""
    return ArmDecoder() if is_arm else RiscvDecoder()


def decode_section(code: bytes, is_arm: bool) -> Iterator[Instruction]:
    """Every instruction of a section, from its start to its end, as if there were no data in it."""
    decoder = decoder_for(is_arm)
    position = 0
    while position + 2 <= len(code):
        low = code[position]
        high = code[position + 1]
        is_long = high >> 3 >= 29 if is_arm else low & 3 == 3
        size = 4 if is_long and position + 4 <= len(code) else 2
        yield decoder.decode(code[position : position + size], position)
        position += size
