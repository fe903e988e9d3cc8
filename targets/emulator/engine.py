"""Executes an image in Unicorn: once counted by the code hook, then as often as there is input."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import unicorn
from unicorn import arm_const, riscv_const
from unicorn.unicorn_py3.unicorn import uclib

from tinyc.compiler.errors import CompileError
from tinyc.targets.emulator.counter import TOO_MANY, count_instruction
from tinyc.targets.emulator.elf import Elf, Function
from tinyc.targets.emulator.events import Events, events_of, new_recorder
from tinyc.targets.emulator.native import MAX_RANGES, Callback, Counter, Site
from tinyc.targets.timing.timing import Divide

PAGE = 4096
SYSTEM_CONTROL = (0xE0000000, 0x100000)  # Arm's private peripherals: CPACR
MAX_INSTRUCTIONS = 20_000_000_000  # some minutes of a real core


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory of the board: address range, and whether programs may write to it."""

    origin: int
    bytes: int
    writable: bool


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Addresses low <= a < high; `first` is the index of their first halfword in Counts."""

    low: int
    high: int
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What happened between the marks.

    code    the machine code, as halfwords
    sizes   bytes of the instruction there
    events  of the whole
    calls   of each call that the observed function made and of what came after the last one,
            which may be a call too: one in tail position does not return to its caller
    """

    ranges: tuple[CodeRange, ...]
    code: bytes
    sizes: bytes
    events: Events
    instructions: int
    misaligned: int
    stack_bytes: int
    calls: tuple[Events, ...]

    def address(self, index: int) -> int:
        """Where a halfword stands."""
        place = next(r for r in reversed(self.ranges) if r.first <= index)
        return place.low + 2 * (index - place.first)


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """An emulated core with an image loaded, at reset. Used for one run."""

    core: Any
    is_arm: bool
    start: int
    elf: Elf


@dataclass(frozen=True, slots=True)
class Registers:
    """Unicorn's numbers of the registers that the engine reads."""

    stack: int
    counter: int
    first: int
    link: int
    status: int  # the first argument, and so the argument of image_exit


ARM = Registers(
    *(arm_const.UC_ARM_REG_SP, arm_const.UC_ARM_REG_PC, arm_const.UC_ARM_REG_R0),
    *(arm_const.UC_ARM_REG_LR, arm_const.UC_ARM_REG_R0),
)
RISCV = Registers(
    *(riscv_const.UC_RISCV_REG_SP, riscv_const.UC_RISCV_REG_PC, riscv_const.UC_RISCV_REG_X0),
    *(riscv_const.UC_RISCV_REG_RA, riscv_const.UC_RISCV_REG_A0),
)


def make_machine(elf: Elf, cpu: str, memories: Sequence[Memory]) -> Machine:
    """A core `cpu` (Unicorn's name, without its prefix) with `elf` in its memories."""
    if elf.is_arm:
        core = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        core.ctl_set_cpu_model(vars(arm_const)[f"UC_CPU_ARM_{cpu}"])
        core.mem_map(*SYSTEM_CONTROL)
    else:
        core = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        core.ctl_set_cpu_model(vars(riscv_const)[f"UC_CPU_{cpu}"])
    for memory in memories:
        rights = unicorn.UC_PROT_ALL if memory.writable else READ_ONLY
        core.mem_map(memory.origin, memory.bytes, rights)
    for segment in elf.segments:
        core.mem_write(segment.address, segment.data)
    start = elf.entry
    if elf.is_arm:
        vectors = bytes(core.mem_read(elf.symbols["image_vectors"], 8))
        core.reg_write(ARM.stack, int.from_bytes(vectors[:4], "little"))
        start = int.from_bytes(vectors[4:], "little")
    return Machine(core, elf.is_arm, start, elf)


READ_ONLY = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC


def run(machine: Machine, exit_symbol: str) -> None:
    """Run from reset until the image calls `exit_symbol` with status 0.

    Raises CompileError("run-failed") when it does anything else.
    """
    registers = ARM if machine.is_arm else RISCV
    core = machine.core
    stop = machine.elf.symbols[exit_symbol]
    faults: list[str] = []
    core.hook_add(unicorn.UC_HOOK_MEM_INVALID, _note_fault, faults)
    try:
        core.emu_start(machine.start, stop)
    except unicorn.UcError as error:
        message = faults[0] if faults else str(error)
        raise _failed(machine, core.reg_read(registers.counter), message) from error
    at = core.reg_read(registers.counter) & (~1 if machine.is_arm else ~0)
    if at != stop:
        raise _failed(machine, at, "it stopped before its end")
    if core.reg_read(registers.status):
        raise _failed(machine, at, "it ended with an error")


def run_counted(
    machine: Machine,
    exit_symbol: str,
    marks: tuple[int, int],
    callers: Sequence[Function],
    divide: Divide,
    callback: Callback | None,
) -> Counts:
    """Run, and count everything from the first mark to the second.

    callers   the functions whose calls are told apart, those of each other left out
    callback  native; None counts in Python

    Raises CompileError("run-failed").
    """
    counter, ranges = _new_counter(machine, marks, divide)
    if callback is None:
        machine.core.hook_add(unicorn.UC_HOOK_CODE, _count_in_python, counter)
    else:
        _hook(machine.core, callback, counter)
    halfwords = ranges[-1].first + (ranges[-1].high - ranges[-1].low) // 2
    recorder = new_recorder(counter, halfwords)
    for caller in callers:
        machine.core.hook_add(
            unicorn.UC_HOOK_CODE, recorder.note_instruction, begin=caller.start, end=caller.end - 1
        )
    run(machine, exit_symbol)
    if recorder.last is not None:
        recorder.end_call()
    if counter.stop == TOO_MANY:
        raise _failed(machine, counter.next, f"no end after {MAX_INSTRUCTIONS} instructions")
    assert counter.regions, "the image never reached its first mark"
    return Counts(
        ranges=ranges,
        code=ctypes.string_at(counter.code, 2 * halfwords),
        sizes=ctypes.string_at(counter.size, halfwords),
        events=events_of(np.array(recorder.views)),
        instructions=counter.instructions,
        misaligned=counter.misaligned,
        stack_bytes=counter.stack_begin - counter.stack_lowest,
        calls=tuple(recorder.calls),
    )


def _new_counter(
    machine: Machine, marks: tuple[int, int], divide: Divide
) -> tuple[Counter, tuple[CodeRange, ...]]:
    elf, registers = machine.elf, ARM if machine.is_arm else RISCV
    assert 0 < len(elf.code) <= MAX_RANGES, f"the image has {len(elf.code)} code sections"
    ranges: list[CodeRange] = []
    code = b""
    for section in elf.code:
        low = section.address & ~3
        high = (section.address + len(section.data) + 7) & ~3
        ranges.append(CodeRange(low, high, len(code) // 2))
        padded = bytes(section.address - low) + section.data
        code += padded.ljust(high - low, b"\0")
    length = len(code) // 2 + 16
    c = Counter(begin=marks[0], end=marks[1], max_instructions=MAX_INSTRUCTIONS)
    c.is_arm, c.ranges, c.stack_lowest = machine.is_arm, len(ranges), 1 << 32
    for i, place in enumerate(ranges):
        c.range[i].low, c.range[i].high, c.range[i].first = place.low, place.high, place.first
    c.stack_register, c.first_register = registers.stack, registers.first
    c.link_register, c.max_sites = registers.link, length
    c.divide_base, c.divide_bits = divide.base, divide.bits_per_cycle
    c.divide_smaller, c.divide_by_zero = divide.smaller, divide.by_zero
    c.read_register = ctypes.cast(uclib.uc_reg_read, ctypes.c_void_p).value
    c.stop_emulation = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
    c.code = (ctypes.c_uint16 * length).from_buffer_copy(code.ljust(2 * length, b"\0"))
    c.size, c.site = (ctypes.c_uint8 * length)(), (ctypes.c_uint32 * length)()
    c.executed, c.taken_in = (ctypes.c_uint64 * length)(), (ctypes.c_uint64 * length)()
    c.taken_out, c.skipped = (ctypes.c_uint64 * length)(), (ctypes.c_uint64 * length)()
    c.extra, c.sites = (ctypes.c_uint64 * length)(), (Site * length)()
    return c, tuple(ranges)


def _hook(core: Any, callback: Callback, counter: Counter) -> None:
    """One native hook on all addresses: begin 1 > end 0 means everywhere."""
    handle = ctypes.c_size_t()
    status = uclib.uc_hook_add(
        *(core._uch, ctypes.byref(handle), unicorn.UC_HOOK_CODE),
        *(ctypes.c_void_p(callback.address), ctypes.byref(counter)),
        *(ctypes.c_uint64(1), ctypes.c_uint64(0)),
    )
    assert status == unicorn.UC_ERR_OK, f"uc_hook_add gave {status}"


def _count_in_python(core: Any, address: int, size: int, counter: Counter) -> None:
    count_instruction(counter, address, size, core.reg_read, core.emu_stop)


def _note_fault(
    core: Any, access: int, address: int, size: int, value: int, faults: list[str]
) -> bool:
    done = WORDS.get(access, "access")
    faults.append(f"{done} of {size} bytes at 0x{address:08x}, where the board has none")
    return False


WORDS = {
    unicorn.UC_MEM_READ_UNMAPPED: "read",
    unicorn.UC_MEM_WRITE_UNMAPPED: "write",
    unicorn.UC_MEM_WRITE_PROT: "write",
    unicorn.UC_MEM_FETCH_UNMAPPED: "jump",
}


def _failed(machine: Machine, at: int, message: str) -> CompileError:
    function = machine.elf.function_at(at)
    return CompileError(
        "run-failed",
        f"the program did not end as it should: {message}",
        f"emulated core, at 0x{at:08x} in {function.name}",
    )
