"""A compiled model as a program, and the main.c that calls it."""

from dataclasses import dataclass
from typing import Literal

from tinyc.targets.toolchain import Files

Io = Literal["caller", "arena"]  # where inputs and outputs live


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: its C name, element type and size in bytes."""

    c_name: str
    c_type: str
    bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The generated files, and what is needed to call them.

    sources  the files, with <prefix>.h among them
    inputs, outputs  in the order of the arguments of <prefix>_run
    io       "caller": arguments are arrays; "arena": accessors give pointers into the arena
    """

    prefix: str
    sources: Files
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    io: Io


BEGIN, END = "bench_begin", "bench_end"  # the calls around the inference, by symbol
AROUND = frozenset({"main", BEGIN, END})  # functions that are no part of the inference


def input_symbol(index: int) -> str:
    """The C array that holds an input of the program."""
    return f"tinyc_input_{index}"


def output_symbol(index: int) -> str:
    """The C array that holds an output of the program."""
    return f"tinyc_output_{index}"


DEVICE_MAIN = """\
/* One inference between two marks. Inputs are written to memory before the reset. */
#include "{prefix}.h"

#include <stdalign.h>
#include <string.h>

static {prefix}_arena arena;
{arrays}
__attribute__((noinline)) void bench_begin(void) {{
  __asm volatile("");
}}

__attribute__((noinline)) void bench_end(void) {{
  __asm volatile("");
}}

int main(void) {{
{before}  bench_begin();
  {prefix}_run({arguments});
  bench_end();
{after}  return 0;
}}
"""

HOST_MAIN = """\
/* Inferences until the input ends: reads the inputs, writes the outputs, in binary. */
#include "{prefix}.h"

#include <stdalign.h>
#include <stdio.h>
#include <string.h>

static {prefix}_arena arena;
{arrays}
int main(void) {{
  for (;;) {{
{reads}{before}    {prefix}_run({arguments});
{after}{writes}    fflush(stdout);
  }}
}}
"""


def device_main(program: Program) -> str:
    """The main.c of a bare-metal image; start-up code does not clear the inputs."""
    before, after = _copies(program, "  ")
    return DEVICE_MAIN.format(
        prefix=program.prefix,
        arrays=_arrays(program, '__attribute__((section(".noinit"))) '),
        arguments=_arguments(program),
        before=before,
        after=after,
    )


def host_main(program: Program) -> str:
    """The main.c of an executable for this machine."""
    before, after = _copies(program, "    ")
    reads = "".join(
        f"    if (fread({input_symbol(i)}, 1, {port.bytes}u, stdin) != {port.bytes}u) {{\n"
        f"      return {0 if i == 0 else 1};\n"
        "    }\n"
        for i, port in enumerate(program.inputs)
    )
    writes = "".join(
        f"    fwrite({output_symbol(i)}, 1, {port.bytes}u, stdout);\n"
        for i, port in enumerate(program.outputs)
    )
    return HOST_MAIN.format(
        prefix=program.prefix,
        arrays=_arrays(program, ""),
        arguments=_arguments(program),
        reads=reads,
        before=before,
        after=after,
        writes=writes,
    )


def _arrays(program: Program, place: str) -> str:
    inputs = [(input_symbol(i), port, place) for i, port in enumerate(program.inputs)]
    outputs = [(output_symbol(i), port, "") for i, port in enumerate(program.outputs)]
    return "".join(
        f"{where}alignas(16) {port.c_type} {name}[{port.bytes}u / sizeof({port.c_type})];\n"
        for name, port, where in inputs + outputs
    )


def _arguments(program: Program) -> str:
    if program.io == "arena":
        return "&arena"
    inputs = [input_symbol(i) for i in range(len(program.inputs))]
    outputs = [output_symbol(i) for i in range(len(program.outputs))]
    return ", ".join(["&arena", *inputs, *outputs])


def _copies(program: Program, indent: str) -> tuple[str, str]:
    """The statements before and after the call: nothing when the arrays are the arguments."""
    if program.io == "caller":
        return "", ""
    prefix = program.prefix
    before = "".join(
        f"{indent}memcpy({prefix}_{port.c_name}(&arena), {input_symbol(i)}, {port.bytes}u);\n"
        for i, port in enumerate(program.inputs)
    )
    after = "".join(
        f"{indent}memcpy({output_symbol(i)}, {prefix}_{port.c_name}(&arena), {port.bytes}u);\n"
        for i, port in enumerate(program.outputs)
    )
    return before, after
