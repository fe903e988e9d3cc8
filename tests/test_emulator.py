"""The emulator: agrees with the validated prototype to the cycle, and fails with a message."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.emulated_programs import BODIES, program, random_thumb
from tinyc.compiler.errors import CompileError
from tinyc.targets import Target, load_target, runner
from tinyc.targets.emulator import native
from tinyc.targets.emulator.elf import read_elf
from tinyc.targets.emulator.engine import Counts, make_machine, run_counted
from tinyc.targets.emulator.native import Callback, Counter, compile_callback, load_callback
from tinyc.targets.emulator.worker import Emulation, Job, emulate
from tinyc.targets.firmware.image import build_image
from tinyc.targets.runner import emulation_job, run_program
from tinyc.targets.timing.tables import load_timing
from tinyc.targets.toolchain import command_of, find_compiler

PROTOTYPE = Path(__file__).parent.parent.parent / "shared" / "cycles" / "m4cycles.py"
ARM = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"]
SIMD = ["cortex-m4", "cortex-m7", "cortex-m33"]
RISCV = ["rv32imc", "rv32imac", "rv32imafc"]

CASES = [
    *((body, core) for body in ("loops", "divides", "pointers") for core in ARM + RISCV),
    *(("misaligned", core) for core in [*ARM[1:], "rv32imc"]),
    *(("floats", core) for core in [*SIMD, "cortex-m0plus", "rv32imafc"]),
    *(("simd", core) for core in SIMD),
]


def job_for(name: str, body: str, folder: Path, compiler: str | None = None) -> Job:
    target = load_target(name)
    wanted = compiler or target.compilers[0].name
    if command_of(wanted) is None:
        pytest.skip(f"{wanted} is not installed")
    chosen = find_compiler(target, wanted)
    image = build_image(program(body), chosen, target, folder)
    return emulation_job(program(body), target, image, [(bytes(16),)])


@pytest.fixture(scope="module")
def prototype() -> ModuleType:
    """The validated cycle estimator, where this checkout has it beside itself."""
    if not PROTOTYPE.exists():
        pytest.skip(f"the prototype is not at {PROTOTYPE}")
    spec = importlib.util.spec_from_file_location("m4cycles", PROTOTYPE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare(prototype: ModuleType, job: Job, cpu: str) -> Emulation:
    """Assert that both say the same of one image, function by function."""
    prototype.M7._ldr.clear()  # a class attribute: the last image's registers would leak in
    theirs = prototype.measure(str(job.image), *job.marks, cpu=cpu, quiet=True)
    ours = emulate(job)

    assert (theirs.err, theirs.exit, theirs.unknown) == (None, 0, 0)
    assert (ours.cycles, ours.instructions) == (theirs.cycles, theirs.insns)
    assert ours.stack_bytes == theirs.sp_from - theirs.min_sp
    functions = {name: (f.cycles, f.instructions, f.calls) for name, f in ours.functions.items()}
    assert functions == {k: (round(c), n, calls) for k, (c, n, calls) in theirs.byf.items()}
    return ours


@pytest.mark.parametrize(("body", "core"), CASES)
def test_agrees_with_the_prototype(
    body: str, core: str, prototype: ModuleType, tmp_path: Path
) -> None:
    job = job_for(core, BODIES[body], tmp_path)
    emulation = compare(prototype, job, job.timing)
    assert emulation.instructions > 500


@pytest.mark.parametrize("body", ["loops", "divides", "pointers"])
@pytest.mark.parametrize("timing", ["ibex", "ibex-maxperf", "cv32e40p"])
def test_agrees_with_the_prototype_on_every_riscv_core(
    timing: str, body: str, prototype: ModuleType, tmp_path: Path
) -> None:
    job = replace(job_for("rv32imc", BODIES[body], tmp_path), timing=timing)
    compare(prototype, job, timing)


@pytest.mark.parametrize("body", ["pointers", "simd"])
def test_agrees_with_the_prototype_on_clangs_code(
    body: str, prototype: ModuleType, tmp_path: Path
) -> None:
    job = job_for("cortex-m4", BODIES[body], tmp_path, "zig")
    compare(prototype, job, job.timing)


@pytest.mark.parametrize("core", SIMD)
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_prototype_on_random_code(
    core: str, seed: int, prototype: ModuleType, tmp_path: Path
) -> None:
    job = job_for(core, random_thumb(seed), tmp_path)
    emulation = compare(prototype, job, job.timing)
    assert emulation.functions["body"].instructions > 500


def count(job: Job, callback: Callback | None) -> Counts:
    elf = read_elf(job.image)
    machine = make_machine(elf, job.cpu, job.memories)
    marks = elf.symbols[job.marks[0]], elf.symbols[job.marks[1]]
    callers = [elf.function_at(elf.symbols[symbol]) for symbol in job.callers]
    divide = load_timing(job.timing).divide
    return run_counted(machine, job.exit_symbol, marks, callers, divide, callback)


def fields(counts: Counts) -> Iterator[object]:
    return (getattr(counts, name) for name in Counts.__slots__)


@pytest.mark.parametrize(
    ("body", "core"),
    [
        *(("simd", "cortex-m4"), ("divides", "cortex-m3"), ("misaligned", "cortex-m7")),
        *(("pointers", "cortex-m0plus"), ("pointers", "rv32imc")),
    ],
)
def test_the_hook_counts_the_same_in_python_and_in_c(body: str, core: str, tmp_path: Path) -> None:
    job = job_for(core, BODIES[body], tmp_path)
    native_code = load_callback()
    assert native_code is not None

    counts = [count(job, None), count(job, native_code)]

    assert counts[0].instructions > 500
    assert list(fields(counts[0])) == list(fields(counts[1]))


def test_the_shipped_hook_is_what_its_source_says(tmp_path: Path) -> None:
    job = job_for("cortex-m4", BODIES["simd"], tmp_path)
    shipped, compiled = load_callback(), compile_callback()
    if compiled is None:
        pytest.skip("no C compiler for this machine")

    assert list(fields(count(job, shipped))) == list(fields(count(job, compiled)))


def test_the_structs_of_both_languages_have_one_layout(tmp_path: Path) -> None:
    assert ctypes.sizeof(native.Site) == 16
    assert ctypes.sizeof(Counter) == 40 + 4 * 24 + 8 * 4 + 2 * 8 + 9 * 8 + 13 * 8
    assert Counter.stop.offset == ctypes.sizeof(Counter) - 8


ARM_BOARD, RISCV_BOARD = "qemu-system-arm -M mps2-an386", "qemu-system-riscv32 -M virt -bios none"


@pytest.mark.parametrize(
    ("core", "board"),
    [("cortex-m4", ARM_BOARD), ("rv32imc", RISCV_BOARD), ("rv32imafc", RISCV_BOARD)],
)
def test_the_image_runs_and_ends_on_qemu(core: str, board: str, tmp_path: Path) -> None:
    command = board.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    job = job_for(core, BODIES["floats"], tmp_path)  # traps while the FPU is off

    options = ["-display", "none", "-monitor", "none", "-semihosting", "-kernel", str(job.image)]
    done = subprocess.run([*command, *options], timeout=30, check=False)

    assert done.returncode == 0


def cycles_of(statement: str, tmp_path: Path) -> int:
    body = (
        "void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {\n"
        "  y[0] = x[0] + arena->bytes[0];\n"
        f'  __asm volatile(".balign 4\\n {statement}" ::: "r2", "r3", "memory");\n}}\n'
    )
    return emulate(job_for("cortex-m4", body, tmp_path / str(len(statement)))).cycles


def test_ten_multiplies_take_ten_cycles(tmp_path: Path) -> None:
    pair = "mul r2, r2, r3\\n" * 2
    assert cycles_of(pair * 6, tmp_path) - cycles_of(pair, tmp_path) == 10


def test_pipelined_loads_take_one_cycle_each(tmp_path: Path) -> None:
    first = "mov r3, sp\\n nop\\n ldr r2, [r3]\\n"
    more = "ldr r2, [r3]\\n ldr r2, [r3, #4]\\n" * 4
    assert cycles_of(first + more, tmp_path) - cycles_of(first, tmp_path) == 8


def test_the_stack_is_measured_at_its_deepest(tmp_path: Path) -> None:
    body = """
static __attribute__((noinline)) void use(uint32_t *y) {
  volatile uint32_t room[100];
  room[y[0] % 100u] = 1u;
  y[1] = room[y[0] % 100u];
}
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  y[0] = x[0] + arena->bytes[0];
  use(y);
  y[2] = 1u;
}
"""
    emulation = emulate(job_for("cortex-m4", body, tmp_path))
    assert 400 <= emulation.stack_bytes <= 448


RUN = "void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {\n  (void)arena;\n"
FAILURES = [
    (
        "cortex-m4",
        "  *(volatile uint32_t *)0x30000000u = x[0];\n  y[0] = 0u;\n}\n",
        "write of 4 bytes at 0x30000000, where the board has none",
    ),
    (
        "cortex-m4",
        "  *(volatile uint32_t *)0x100u = x[0];\n  y[0] = 0u;\n}\n",
        "write of 4 bytes at 0x00000100, where the board has none",
    ),
    (
        "rv32imc",
        "  ((void (*)(void))0x40000000u)();\n  y[0] = x[0];\n}\n",
        "jump of 2 bytes at 0x40000000, where the board has none",
    ),
]


@pytest.mark.parametrize(("core", "rest", "message"), FAILURES)
def test_a_crash_names_the_address(core: str, rest: str, message: str, tmp_path: Path) -> None:
    job = job_for(core, RUN + rest, tmp_path)
    with pytest.raises(CompileError) as error:
        emulate(job)
    assert str(error.value).startswith(
        f"error[run-failed]: the program did not end as it should: {message}\n"
        "  --> emulated core, at 0x"
    )


def test_a_misaligned_access_on_cortex_m0plus(tmp_path: Path) -> None:
    rest = "  y[0] = *(volatile uint32_t *)((uintptr_t)&y[1] + 1u + x[0]);\n}\n"
    job = job_for("cortex-m0plus", RUN + rest, tmp_path)
    with pytest.raises(CompileError) as error:
        emulate(job)
    assert str(error.value) == (
        "error[run-failed]: 1 accesses to misaligned addresses, which this core cannot do\n"
        "  --> emulated core"
    )


@pytest.mark.parametrize("core", ["cortex-m4", "host"])
def test_a_program_without_end_is_stopped(core: str) -> None:
    target = target_or_skip(core)
    endless = program(RUN + '  y[0] = x[0];\n  for (;;) {\n    __asm volatile("");\n  }\n}\n')
    with pytest.raises(CompileError) as error:
        run_program(endless, target, [(bytes(16),)], timeout_s=1.0)
    assert "was stopped after 1 s" in str(error.value)


def target_or_skip(name: str) -> Target:
    target = load_target(name)
    if command_of(target.compilers[0].name) is None:
        pytest.skip(f"{target.compilers[0].name} is not installed")
    return target


def test_a_crash_of_the_emulator_is_a_message() -> None:
    target = replace(target_or_skip("cortex-m4"), emulator="CORTEX_M99")
    with pytest.raises(CompileError) as error:
        run_program(program(BODIES["loops"]), target, [(bytes(16),)])
    assert str(error.value) == (
        "error[run-failed]: the emulator ended with status 1: KeyError: 'UC_CPU_ARM_CORTEX_M99'\n"
        "  --> image image.elf on CORTEX_M99\n"
        "  help: please report this model: the emulator should not crash"
    )


def test_a_missing_emulator_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "EMULATOR", ("no_such_emulator",))
    with pytest.raises(CompileError) as error:
        run_program(program(BODIES["loops"]), load_target("cortex-m4"), [(bytes(16),)])
    assert str(error.value) == (
        "error[emulator-missing]: running a model needs the packages no_such_emulator\n"
        "  --> not installed: no_such_emulator\n"
        "  help: run: pip install 'tinyc[emulator]'"
    )


def test_running_does_not_import_the_emulator_here() -> None:
    code = "import sys; import tinyc.targets.runner; sys.exit('unicorn' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=False)
    assert done.returncode == 0
