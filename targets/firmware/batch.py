"""Several compiled models in one image, of which a run executes one: for measuring candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

from tinyc.targets.firmware.program import BEGIN, END, Program, input_symbol, output_symbol

SELECTED = "tinyc_selected"  # the number of the program to run, a uint32_t

MAIN = """\
/* One of several programs between two marks; its number and inputs are written before the reset. */
{includes}
#include <stdalign.h>
#include <stdint.h>

__attribute__((section(".noinit"))) uint32_t {selected};
{arrays}
__attribute__((noinline)) void {begin}(void) {{
  __asm volatile("");
}}

__attribute__((noinline)) void {end}(void) {{
  __asm volatile("");
}}

{functions}
int main(void) {{
  static void (*const run[])(void) = {{{names}}};
  run[{selected}]();
  return 0;
}}
"""
FUNCTION = """\
static void run_{prefix}(void) {{
  {begin}();
  {prefix}_run({arguments});
  {end}();
}}
"""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Programs that take and give the same: equal ports, `io` "caller", different prefixes."""

    programs: tuple[Program, ...]

    @property
    def sources(self) -> dict[str, str | bytes]:
        """All files; the assembler reads all tables at once, since starting it costs most."""
        files = {name: text for p in self.programs for name, text in p.sources.items()}
        tables = [files.pop(name) for name in list(files) if name.endswith(".S")]
        joined = "".join(text for text in tables if isinstance(text, str))
        return {**files, "tinyc_tables.S": joined}


def batch_main(batch: Batch) -> str:
    """The main.c; one arena and one set of arrays serve all programs."""
    first = batch.programs[0]
    arrays = [
        f"{place}alignas(16) {port.c_type} {name(i)}[{port.length}];"
        for ports, name, place in (
            (first.inputs, input_symbol, '__attribute__((section(".noinit"))) '),
            (first.outputs, output_symbol, ""),
        )
        for i, port in enumerate(ports)
    ]
    arrays += ["static union {", *(f"  {p.prefix}_arena {p.prefix};" for p in batch.programs)]
    functions = [
        FUNCTION.format(prefix=p.prefix, begin=BEGIN, end=END, arguments=_arguments(p))
        for p in batch.programs
    ]
    return MAIN.format(
        includes="\n".join(f'#include "{p.prefix}.h"' for p in batch.programs),
        selected=SELECTED,
        arrays="\n".join([*arrays, "} arenas;"]),
        begin=BEGIN,
        end=END,
        functions="\n".join(functions),
        names=", ".join(f"run_{p.prefix}" for p in batch.programs),
    )


def _arguments(program: Program) -> str:
    inputs: Sequence[str] = [input_symbol(i) for i in range(len(program.inputs))]
    outputs: Sequence[str] = [output_symbol(i) for i in range(len(program.outputs))]
    return ", ".join([f"&arenas.{program.prefix}", *inputs, *outputs])
