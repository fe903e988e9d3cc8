"""A program as C files: a header for the user, sources for the linker."""

from collections.abc import Iterator
from importlib.resources import files

from tinyc.compiler.artifact import Port
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.emit_functions import Functions
from tinyc.compiler.emit_header import RUN_ONCE, accessor, header_text, prototypes_of
from tinyc.compiler.emit_memory import arena_types, memory_files
from tinyc.compiler.emit_run import run_lines
from tinyc.compiler.emit_state import (
    has_state,
    own_parameters,
    reset_lines,
    returned,
    run_comment,
    state_header,
)
from tinyc.compiler.emit_tables import LICENCE, Tables
from tinyc.compiler.emit_weights import weights_api, weights_files, weights_source
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.program import Program

MOST_NAME_CHARACTERS = 32  # of a pointer that is named like its tensor


def emit_c(
    program: Program,
    name: str,
    ports: tuple[tuple[Port, ...], tuple[Port, ...]],
    functions: Functions,
    tables: Tables,
) -> dict[str, str | bytes]:
    """The files `<name>.h`, `<name>.c`, those of weights and memories, and the shared `tinyc.h`."""
    licence = LICENCE.format
    source = [licence(file=f"{name}.c"), f'#include "{name}.h"', ""]
    source += ["#include <math.h>"] if any(k.float_code for k in program.kernels.values()) else []
    source += ["#include <stdalign.h>", "", '#include "tinyc.h"', "", *weights_source(tables, name)]
    for text in _microkernels(program):
        source += [text.strip("\n"), ""]
    for text in functions.texts:
        source += [text, ""]
    source += [
        *_accessors(program, name, ports),
        *reset_lines(program, name),
        *run_lines(program, name, ports, functions, tables),
    ]
    runtime = (files("tinyc.targets") / "runtime" / "tinyc.h").read_text("utf-8")
    api, own = weights_api(tables, name), own_parameters(program, name)
    prototypes = prototypes_of(
        name, program.io, own, tables.separate, *ports, returns=returned(program)
    )
    types = arena_types(program, name) + state_header(program, name)
    comment = run_comment(program, name, ports[0]) if has_state(program) else RUN_ONCE
    header = header_text(
        name, program.io, program.plan.arena_bytes, types, api, prototypes, *ports, comment,
        program.graph.names,
    )  # fmt: skip
    return {
        f"{name}.h": header,
        f"{name}.c": "\n".join(source),
        **weights_files(tables, name),
        **memory_files(program, name, tables.copied),
        "tinyc.h": runtime,
    }


def _microkernels(program: Program) -> Iterator[str]:
    """The C text of every microkernel once, what it needs before it."""
    seen: dict[str, str] = {}

    def visit(microkernel: Microkernel) -> Iterator[str]:
        for needed in microkernel.needs:
            yield from visit(needed)
        if microkernel.name not in seen:
            seen[microkernel.name] = microkernel.text
            yield microkernel.text
        assert seen[microkernel.name] == microkernel.text, f"two texts for {microkernel.name}"

    for kernel in program.kernels.values():
        for microkernel in kernel.microkernels:
            yield from visit(microkernel)


def _accessors(
    program: Program, name: str, ports: tuple[tuple[Port, ...], tuple[Port, ...]]
) -> list[str]:
    """Functions that say where an input or output lies in the arena."""
    if program.io == "caller":
        return []
    lines = []
    for port in ports[0] if program.io == "arena" else ():
        lines += [
            f"{accessor(name, port)} {{",
            f"  return ({C_TYPES[port.dtype]} *)(void *)&{port.arena}->bytes[{port.offset}];",
            "}",
            "",
        ]
    for port in ports[1]:
        place = f"(const void *)&{port.arena}->bytes[{port.offset}]"
        lines += [
            f"{accessor(name, port, 'const ')} {{",
            f"  return (const {C_TYPES[port.dtype]} *){place};",
            "}",
            "",
        ]
    return lines
