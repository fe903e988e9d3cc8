"""Compilers, objects and programs: built and run on this machine and on emulated cores."""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.emulated_programs import program
from tinyc.compiler.errors import CompileError
from tinyc.targets import Target, load_target
from tinyc.targets.emulator.disassembly import disassemble_float_instructions
from tinyc.targets.emulator.worker import emulate
from tinyc.targets.firmware import Port, Program
from tinyc.targets.firmware.image import build_image
from tinyc.targets.objects import Sizes, section_sizes, undefined_symbols
from tinyc.targets.runner import emulation_job, run_program
from tinyc.targets.target import CompilerChoice
from tinyc.targets.toolchain import Compiler, build, command_of, find_compiler

CORES = [
    *("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"),
    *("rv32imc", "rv32imac", "rv32imafc"),
]
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-qual -Werror".split()

HEADER = """\
#include <stdalign.h>
#include <stdint.h>
typedef struct {
  alignas(16) uint8_t bytes[64];
} sum_arena;
"""
CALLER = Program(
    "sum",
    {
        "sum.h": HEADER
        + "void sum_run(sum_arena *arena, const int8_t x[8], const int16_t k[1], int32_t y[2]);\n",
        "sum.c": """\
#include "sum.h"
#include <string.h>
static const int8_t weights[8] = {1, -2, 3, -4, 5, -6, 7, -8};
void sum_run(sum_arena *arena, const int8_t x[8], const int16_t k[1], int32_t y[2]) {
  memcpy(arena->bytes, x, 8u);
  y[0] = 0;
  for (int32_t i = 0; i < 8; ++i) {
    y[0] += (int32_t)(int8_t)arena->bytes[i] * weights[i];
  }
  y[1] = y[0] / k[0];
}
""",
    },
    (Port("x", "int8_t", 8), Port("k", "int16_t", 2)),
    (Port("y", "int32_t", 8),),
    "caller",
)
ARENA = Program(
    "sum",
    {
        "sum.h": HEADER
        + "int8_t *sum_x(sum_arena *arena);\nint16_t *sum_k(sum_arena *arena);\n"
        + "const int32_t *sum_y(const sum_arena *arena);\nvoid sum_run(sum_arena *arena);\n",
        "sum.c": """\
#include "sum.h"
int8_t *sum_x(sum_arena *arena) { return (int8_t *)&arena->bytes[16]; }
int16_t *sum_k(sum_arena *arena) { return (int16_t *)(void *)&arena->bytes[32]; }
const int32_t *sum_y(const sum_arena *arena) { return (const void *)&arena->bytes[0]; }
void sum_run(sum_arena *arena) {
  int32_t *y = (int32_t *)(void *)&arena->bytes[0];
  const int8_t *x = sum_x(arena);
  y[0] = 0;
  for (int32_t i = 0; i < 8; ++i) {
    y[0] += x[i] * ((i % 2 == 0) ? i + 1 : -i - 1);
  }
  y[1] = y[0] / *sum_k(arena);
}
""",
    },
    CALLER.inputs,
    CALLER.outputs,
    "arena",
)
FLOAT = Program(
    "root",
    {
        "root.h": "#include <stdint.h>\ntypedef struct {\n  uint8_t bytes[4];\n} root_arena;\n"
        "void root_run(root_arena *arena, const float x[2], float y[2]);\n",
        "root.c": '#include "root.h"\n#include <math.h>\n'
        "void root_run(root_arena *arena, const float x[2], float y[2]) {\n"
        "  (void)arena;\n  y[0] = expf(x[0]);\n  y[1] = x[0] * x[1] + 1.0f;\n}\n",
    },
    (Port("x", "float", 8),),
    (Port("y", "float", 8),),
    "caller",
)
SAMPLES = [
    (bytes(8), b"\x01\x00"),
    (bytes([1, 2, 3, 4, 5, 6, 7, 8]), b"\x05\x00"),
    (bytes([255, 0, 128, 0, 127, 0, 1, 0]), b"\xfd\xff"),
]


def expected(sample: tuple[bytes, ...]) -> bytes:
    signed = [value - 256 if value > 127 else value for value in sample[0]]
    total = sum(v * (-1) ** i * (i + 1) for i, v in enumerate(signed))
    k = int.from_bytes(sample[1], "little", signed=True)
    quotient = abs(total) // abs(k) * (1 if (total < 0) == (k < 0) else -1)
    return b"".join(v.to_bytes(4, "little", signed=True) for v in (total, quotient))


Need = Callable[[str, str | None], tuple[Target, Compiler]]


@pytest.fixture
def need() -> Need:
    """A target and its compiler; the test is skipped, saying so, when it is not installed."""

    def find(name: str, compiler: str | None = None) -> tuple[Target, Compiler]:
        target = load_target(name)
        wanted = compiler or target.compilers[0].name
        if command_of(wanted) is None:
            pytest.skip(f"{wanted} is not installed")
        return target, find_compiler(target, wanted)

    return find


@pytest.mark.parametrize("program", [CALLER, ARENA], ids=["caller", "arena"])
@pytest.mark.parametrize("name", ["host", *CORES])
def test_a_program_gives_the_same_bytes_everywhere(name: str, program: Program, need: Need) -> None:
    target, compiler = need(name, None)

    execution = run_program(program, target, SAMPLES)

    assert execution.outputs == tuple((expected(sample),) for sample in SAMPLES)
    assert execution.compiler == str(compiler)
    assert execution.text_bytes > 0
    if name != "host":
        assert execution.cycles and execution.functions["sum_run"].calls == 1


@pytest.mark.parametrize("name", ["host", "cortex-m4"])
def test_zig_builds_without_a_c_library(name: str, need: Need) -> None:
    target, _ = need(name, "zig")
    execution = run_program(CALLER, target, SAMPLES, compiler="zig")
    assert execution.outputs == tuple((expected(sample),) for sample in SAMPLES)


MEMORY = """
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  uint8_t *a = arena->bytes;
  for (uint32_t i = 0u; i < 600u; ++i) { a[i] = (uint8_t)draw(); }
  y[0] = x[0];
  for (uint32_t i = 0u; i < 400u; ++i) {
    const uint32_t size = draw() % 70u, here = draw() % 80u, there = draw() % 80u;
    switch (draw() % 4u) {
      case 0: memcpy(a + 200u + here, a + there, size); break;
      case 1: memmove(a + here, a + there, size); break;
      case 2: memset(a + here, (int)draw(), size % 13u); break;
      default: y[0] += (memcmp(a + here, a + there, size) < 0) ? 1u : 0u; break;
    }
  }
  y[1] = 0u;
  for (uint32_t i = 0u; i < 600u; ++i) { y[1] = y[1] * 31u + a[i]; }
  y[2] = y[3] = 0u;
}
"""


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_our_memory_functions_do_what_those_of_libc_do(
    name: str, need: Need, tmp_path: Path
) -> None:
    target, compiler = need(name, None)
    moves = program(MEMORY)
    bare = replace(compiler, flags=target.compilers[0].flags, has_libc=False)

    image = build_image(moves, bare, target, tmp_path)
    emulation = emulate(emulation_job(moves, target, image, [(bytes(16),)]))

    assert emulation.outputs == run_program(moves, load_target("host"), [(bytes(16),)]).outputs
    assert "memmove" in emulation.functions


@pytest.mark.parametrize("name", ["host", "cortex-m0plus", "cortex-m4", "rv32imc", "rv32imafc"])
def test_float_code_has_a_math_library(name: str, need: Need) -> None:
    target, _ = need(name, None)

    execution = run_program(FLOAT, target, [(b"\0\0\0\0\0\0\x80\x3f",)])

    assert execution.outputs == ((b"\0\0\x80\x3f" * 2,),)  # exp(0) = 1, 0 * 1 + 1 = 1


def test_zig_says_that_it_has_no_math_library(need: Need) -> None:
    target, compiler = need("cortex-m4", "zig")
    with pytest.raises(CompileError) as error:
        run_program(FLOAT, target, [(bytes(8),)], compiler="zig")
    assert str(error.value) == (
        f"error[no-math-library]: {compiler.name} brings no <math.h> for bare metal, and this "
        "model computes in float\n"
        "  --> root.c\n"
        "  help: use a gcc with a C library (see `tinyc doctor`), or quantize the model"
    )


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "rv32imc", "rv32imafc"])
def test_our_own_c_compiles_without_warnings(name: str, need: Need, tmp_path: Path) -> None:
    target, compiler = need(name, None)
    folder = files("tinyc.targets.firmware")
    sources = {n: (folder / n).read_text("utf-8") for n in ("start.c", "memory.c", "string.h")}
    build(compiler, target, sources, tmp_path, [*WARNINGS, "-I", ".", "-fno-builtin"])


def test_section_sizes_are_what_was_declared(need: Need, tmp_path: Path) -> None:
    target, compiler = need("cortex-m4", None)
    text = (
        "const int table[25] = {1};\nint filled[3] = {1, 2, 3};\nint empty[7];\n"
        "int next(int x) { return x + 1; }\n"
    )

    objects = build(compiler, target, {"a.c": text}, tmp_path)

    assert section_sizes(objects) == Sizes(text=4, rodata=100, data=12, bss=28)


def test_undefined_symbols_of_all_objects_together(need: Need, tmp_path: Path) -> None:
    target, compiler = need("cortex-m0plus", None)
    sources = {
        "a.c": "int far(int);\nint near(int);\nint both(int x) { return far(x) / near(x); }\n",
        "b.c": "int near(int x) { return x; }\n",
    }

    objects = build(compiler, target, sources, tmp_path)

    assert undefined_symbols(objects) == ("__aeabi_idiv", "far")


@pytest.mark.parametrize("name", ["cortex-m4", "rv32imafc"])
def test_float_instructions_are_found(name: str, need: Need, tmp_path: Path) -> None:
    target, compiler = need(name, None)
    sources = {
        "a.c": "float scale(float x) { return x * 3.0f; }\n"
        "void move(float *x, const float *y) { *x = *y; }\n"
        "int add(int x, int y) { return x + y; }\n"
    }

    objects = build(compiler, target, sources, tmp_path)

    found = disassemble_float_instructions(objects, target)
    assert list(found) == [".text.scale"]
    assert "mul" in " ".join(found[".text.scale"])


def test_a_refusal_shows_the_compilers_words(need: Need, tmp_path: Path) -> None:
    target, compiler = need("host", None)
    with pytest.raises(CompileError) as error:
        build(compiler, target, {"a.c": "int x = y;\n"}, tmp_path)
    assert str(error.value).startswith(
        f"error[c-compiler-failed]: {compiler} refused the C code\n      a.c:1:9: error: "
    )
    assert str(error.value).endswith("\n  --> a.c")


def test_a_missing_compiler_says_how_to_get_one() -> None:
    target = replace(
        load_target("cortex-m4"), compilers=(CompilerChoice("arm-none-eabi-no-such-gcc", ()),)
    )
    with pytest.raises(CompileError) as error:
        find_compiler(target)
    assert str(error.value) == (
        "error[compiler-missing]: no C compiler for 'cortex-m4' is installed; looked for "
        "arm-none-eabi-no-such-gcc\n"
        "  --> target 'cortex-m4'\n"
        "  help: put 'arm-none-eabi-no-such-gcc' on the PATH"
    )


def test_a_compiler_that_is_not_the_targets() -> None:
    with pytest.raises(CompileError) as error:
        find_compiler(load_target("cortex-m4"), "gcc")
    assert str(error.value) == (
        "error[compiler-missing]: the target 'cortex-m4' has no compiler named 'gcc'\n"
        "  --> --compiler gcc\n"
        "  help: use one of: arm-none-eabi-gcc, zig"
    )
