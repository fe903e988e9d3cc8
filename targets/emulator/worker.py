"""The process in which images run: jobs on stdin, what came of each on stdout."""

import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tinyc.compiler.errors import CompileError
from tinyc.targets.emulator.cost import FunctionCost, price
from tinyc.targets.emulator.elf import Elf, read_elf
from tinyc.targets.emulator.engine import Machine, Memory, make_machine, run, run_counted
from tinyc.targets.emulator.native import load_callback
from tinyc.targets.timing.tables import load_timing
from tinyc.targets.timing.timing import Timing


@dataclass(frozen=True, slots=True)
class Job:
    """An image to run once for every sample; the first run is counted, or each one.

    cpu      Unicorn's name of the core, without its prefix
    timing   as in Target.timing
    marks    symbols: counting begins and ends when they are called
    callers  symbols of the functions whose calls are told apart, those of each other left out
    inputs   symbols that the bytes of a sample are written to, before the reset
    outputs  symbols and how many bytes are read from them, at the end
    aligned  the core cannot access misaligned words
    carried  symbols whose bytes, so many, pass from one sample to the next
    """

    image: Path
    cpu: str
    timing: str
    memories: tuple[Memory, ...]
    marks: tuple[str, str]
    callers: tuple[str, ...]
    exit_symbol: str
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]
    samples: tuple[tuple[bytes, ...], ...]
    aligned: bool
    each: bool = False
    carried: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Emulation:
    """What the image computed in some runs, and what the first of them cost.

    undecoded  executed instructions that were taken for one cycle each
    functions  by name
    calls      the same of each call that the callers made, in order; the last one is what came
               after the last return to them
    """

    outputs: tuple[tuple[bytes, ...], ...]
    cycles: int
    instructions: int
    stack_bytes: int
    undecoded: int
    functions: Mapping[str, FunctionCost]
    calls: tuple[Mapping[str, FunctionCost], ...]


def emulate(job: Job) -> Emulation:
    """Run a job in this process. A bug in Unicorn may end it: use it in a worker.

    Raises CompileError("run-failed") when the program does not end as it should.
    """
    return _emulate(job, read_elf(job.image), load_timing(job.timing))


def emulate_each(job: Job) -> tuple[Emulation | CompileError, ...]:
    """Run a job in this process and count every sample's run; some may fail."""
    elf, timing = read_elf(job.image), load_timing(job.timing)
    emulations: list[Emulation | CompileError] = []
    for sample in job.samples:
        try:
            emulations.append(_emulate(replace(job, samples=(sample,)), elf, timing))
        except CompileError as error:
            emulations.append(error)
    return tuple(emulations)


def _emulate(job: Job, elf: Elf, timing: Timing) -> Emulation:

    def at_reset(sample: tuple[bytes, ...]) -> Machine:
        machine = make_machine(elf, job.cpu, job.memories)
        for symbol, data in zip(job.inputs, sample, strict=True):
            machine.core.mem_write(elf.symbols[symbol], data)
        return machine

    def read(machine: Machine, symbols: tuple[tuple[str, int], ...]) -> tuple[bytes, ...]:
        return tuple(
            bytes(machine.core.mem_read(elf.symbols[symbol], size)) for symbol, size in symbols
        )

    marks = elf.symbols[job.marks[0]], elf.symbols[job.marks[1]]
    first = at_reset(job.samples[0])
    callers = [elf.function_at(elf.symbols[symbol]) for symbol in job.callers]
    counts = run_counted(first, job.exit_symbol, marks, callers, timing.divide, load_callback())
    if job.aligned and counts.misaligned:
        raise CompileError(
            "run-failed",
            f"{counts.misaligned} accesses to misaligned addresses, which this core cannot do",
            "emulated core",
        )
    outputs, before = [read(first, job.outputs)], first
    for sample in job.samples[1:]:
        machine = at_reset(sample)
        for (symbol, _), data in zip(job.carried, read(before, job.carried), strict=True):
            machine.core.mem_write(elf.symbols[symbol], data)
        run(machine, job.exit_symbol)
        outputs.append(read(machine, job.outputs))
        before = machine
    cost = price(counts, elf, timing)
    return Emulation(
        outputs=tuple(outputs),
        cycles=cost.cycles,
        instructions=cost.instructions,
        stack_bytes=counts.stack_bytes,
        undecoded=cost.undecoded,
        functions=cost.functions,
        calls=cost.calls,
    )


def main() -> None:
    """Read pickled Jobs to the end; write what came of each: Emulation or error, or several."""
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_result(job), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _result(job: Job) -> Emulation | CompileError | tuple[Emulation | CompileError, ...]:
    try:
        return emulate_each(job) if job.each else emulate(job)
    except CompileError as error:
        return error
