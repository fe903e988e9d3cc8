"""Runs a program on its target: emulated in a worker process, or natively on this machine."""

import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tinyc.compiler.errors import CompileError
from tinyc.targets.emulation import run_job
from tinyc.targets.firmware.batch import SELECTED, Batch
from tinyc.targets.firmware.image import (
    Board,
    Image,
    batch_board_of,
    board_of,
    build_batch,
    build_executable,
    build_image,
)
from tinyc.targets.firmware.program import BEGIN, END, Program, input_symbol, output_symbol
from tinyc.targets.target import Target
from tinyc.targets.toolchain import Compiler, find_compiler

if TYPE_CHECKING:  # these import Unicorn's and pyelftools' packages, which are an extra
    from tinyc.targets.emulator.cost import FunctionCost
    from tinyc.targets.emulator.worker import Emulation, Job

Samples = Sequence[tuple[bytes, ...]]
EMULATOR = ("unicorn", "capstone", "elftools")
SIZES = ("elftools",)  # what a run on this machine needs


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """What a program computed, and what one inference cost: the first sample's.

    outputs       by sample, in the order of the program's outputs
    cycles        by the target's timing table, zero wait states; None when it ran natively
    stack_bytes   deepest stack below that of the caller; None when it ran natively
    functions     by symbol: cycles, instructions, calls
    calls         the same of each call that the program's `callers` made, in order; the last one
                  is what came after the last return to them; () where calls were not told apart
    text_bytes    code of the program's own objects; rodata_bytes their constants
    code_bytes_by_function  of the same objects, by C name
    compiler      name and version
    undecoded     executed instructions that no timing rule knows, taken for one cycle each
    """

    outputs: tuple[tuple[bytes, ...], ...]
    cycles: int | None
    instructions: int | None
    stack_bytes: int | None
    text_bytes: int
    rodata_bytes: int
    compiler: str
    functions: "Mapping[str, FunctionCost]" = field(default_factory=dict)
    code_bytes_by_function: Mapping[str, int] = field(default_factory=dict)
    calls: "tuple[Mapping[str, FunctionCost], ...]" = ()
    undecoded: int = 0


class Runner(Protocol):
    """What runs programs: `run_program` here, or a board that reports its cycle counter."""

    def __call__(
        self,
        program: Program,
        target: Target,
        samples: Samples,
        *,
        compiler: str | None = None,
        timeout_s: float = 600.0,
    ) -> Execution: ...


def run_program(
    program: Program,
    target: Target,
    samples: Samples,
    *,
    compiler: str | None = None,
    timeout_s: float = 600.0,
) -> Execution:
    """Build `program` for `target` and run it on every sample (bytes of each input).

    Raises CompileError when a compiler or the emulator is missing, the C is refused, or the
    program crashes or takes longer than `timeout_s` seconds on this machine.
    """
    assert samples, "run_program needs at least one sample"
    require_packages(EMULATOR if target.emulator else SIZES)
    chosen = find_compiler(target, compiler)
    with tempfile.TemporaryDirectory(prefix="tinyc-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if not target.emulator:
            return _run_here(program, target, samples, chosen, folder, timeout_s)
        image = build_image(program, chosen, target, folder)
        (emulation,) = run_job(emulation_job(program, target, image, samples), timeout_s)
        if isinstance(emulation, CompileError):
            raise emulation
        return _execution(emulation, chosen, image.objects)


def measure_programs(
    programs: Sequence[Program],
    target: Target,
    sample: tuple[bytes, ...],
    *,
    compiler: str | None = None,
    timeout_s: float = 600.0,
) -> tuple[Execution | CompileError, ...]:
    """Build `programs` into one image, run each on `sample`, and count each; some may fail.

    The programs have different prefixes and equal ports, and `io` "caller".

    Raises CompileError as `run_program` does when the image cannot be built.
    """
    require_packages(EMULATOR)
    chosen = find_compiler(target, compiler)
    with tempfile.TemporaryDirectory(prefix="tinyc-", ignore_cleanup_errors=True) as name:
        batch = Batch(tuple(programs))
        image = build_batch(batch, chosen, target, Path(name))
        samples = [(*sample, struct.pack("<I", i)) for i in range(len(programs))]
        job = _job(programs[0], target, image, batch_board_of(target), samples)
        job = replace(job, inputs=(*job.inputs, SELECTED), callers=(), each=True)
        emulations = run_job(job, timeout_s)
        if len(emulations) != len(programs):
            raise emulations[0] if isinstance(emulations[0], CompileError) else AssertionError
        objects = {path.name: path for path in image.objects}
        return tuple(
            e if isinstance(e, CompileError) else _execution(e, chosen, _own(objects, p.prefix))
            for e, p in zip(emulations, programs, strict=True)
        )


def _own(objects: Mapping[str, Path], prefix: str) -> tuple[Path, ...]:
    """The objects with the code of one program; its tables are in one with all others'."""
    return (objects[f"{prefix}.c.o"],)


def _execution(emulation: "Emulation", compiler: Compiler, objects: tuple[Path, ...]) -> Execution:
    from tinyc.targets.objects import function_sizes, section_sizes

    sizes = section_sizes(objects)
    return Execution(
        outputs=emulation.outputs,
        cycles=emulation.cycles,
        instructions=emulation.instructions,
        stack_bytes=emulation.stack_bytes,
        text_bytes=sizes.text,
        rodata_bytes=sizes.rodata,
        compiler=str(compiler),
        functions=emulation.functions,
        calls=emulation.calls,
        code_bytes_by_function=function_sizes(objects),
        undecoded=emulation.undecoded,
    )


def require_packages(names: Sequence[str]) -> None:
    """Raises CompileError("emulator-missing") when a package of the extra is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise CompileError(
            "emulator-missing",
            f"running a model needs the packages {', '.join(names)}",
            f"not installed: {', '.join(missing)}",
            "run: pip install 'tinyc[emulator]'",
        )


def emulation_job(program: Program, target: Target, image: Image, samples: Samples) -> "Job":
    """What a worker needs to run an image; `emulator.worker.emulate` runs it in this process."""
    return _job(program, target, image, board_of(target), samples)


def _job(program: Program, target: Target, image: Image, board: Board, samples: Samples) -> "Job":
    from tinyc.targets.emulator.engine import Memory
    from tinyc.targets.emulator.worker import Job

    return Job(
        image=image.path,
        cpu=target.emulator,
        timing=target.timing,
        memories=(
            Memory(board.flash_origin, board.flash_bytes, writable=False),
            Memory(board.ram_origin, board.ram_bytes, writable=True),
        ),
        marks=(BEGIN, END),
        callers=program.callers,
        exit_symbol="image_exit",
        inputs=tuple(input_symbol(i) for i in range(len(program.inputs))),
        outputs=tuple((output_symbol(i), port.bytes) for i, port in enumerate(program.outputs)),
        samples=tuple(samples),
        aligned=target.isa == "armv6-m",
        carried=program.carried,
    )


def _run_here(
    program: Program,
    target: Target,
    samples: Samples,
    compiler: Compiler,
    folder: Path,
    timeout_s: float,
) -> Execution:
    from tinyc.targets.objects import section_sizes

    image = build_executable(program, compiler, target, folder)
    data = b"".join(b"".join(sample) or b"\0" for sample in samples)
    try:
        done = subprocess.run(
            [str(image.path)], input=data, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(
            "run-failed",
            f"the program was stopped after {timeout_s:g} s",
            "",
            "give more time, or fewer samples",
        ) from error
    sizes = [port.bytes for port in program.outputs]
    expected = sum(sizes) * len(samples)
    if done.returncode or len(done.stdout) != expected:
        raise CompileError(
            "run-failed",
            f"the program ended with status {done.returncode} after {len(done.stdout)} of "
            f"{expected} output bytes",
            f"'{program.prefix}' on this machine",
        )
    code = section_sizes(image.objects)
    outputs = tuple(_split(done.stdout, i * sum(sizes), sizes) for i in range(len(samples)))
    return Execution(outputs, None, None, None, code.text, code.rodata, str(compiler))


def _split(data: bytes, start: int, sizes: Sequence[int]) -> tuple[bytes, ...]:
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return tuple(pieces)
