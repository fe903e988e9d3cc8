"""The main.c that calls a compiled model, on a core and on this machine."""

from zlib import crc32

from tinyc.targets.firmware.program import BEGUN, STATE, Port, Program, input_symbol, output_symbol
from tinyc.targets.toolchain import encoded

RUN_ROWS = """\
void {prefix}_run({parameters});

__attribute__((noinline)) void {prefix}_run({parameters}) {{
  {prefix}_begin({arenas});
  for (uint32_t row = 0; row < {rows}u; ++row) {{
    {prefix}_push_row({own}, &{input}[row * ({bytes}u / {rows}u / sizeof({c_type}))]);
  }}
  {prefix}_finish({own});
}}

"""


DEVICE_MAIN = """\
/* One inference between two marks. Inputs are written to memory before the reset. */
#include "{prefix}.h"

#include <stdalign.h>
#include <string.h>

{arrays}{file}
{run}__attribute__((noinline)) void bench_begin(void) {{
  __asm volatile("");
}}

__attribute__((noinline)) void bench_end(void) {{
  __asm volatile("");
}}

int main(void) {{
{find}{before}  bench_begin();
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

{arrays}{file}
{run}int main(void) {{
{find}  for (;;) {{
{reads}{before}    {prefix}_run({arguments});
{after}{writes}    fflush(stdout);
{end}  }}
}}
"""


COUNTED = """\
    if (getchar() == EOF) { /* a byte for each inference, as there are no inputs */
      return 0;
    }
"""


STATE_ARRAYS = """\
{place}{prefix}_state {state};
{place}uint32_t {begun};
"""


RESET = """\
{indent}if ({begun} == 0u) {{
{indent}  {prefix}_reset(&{state});
{indent}  {begun} = 1u;
{indent}}}
"""


WEIGHTS_ARRAY = "extern const unsigned char tinyc_weights_file[];\n"


FIND_WEIGHTS = """\
  const {prefix}_weights *const weights = {prefix}_weights_at(tinyc_weights_file);
  if (weights == NULL || !{prefix}_weights_intact(weights)) {{
    return 2;
  }}
"""


WEIGHTS_SOURCE = """\
/* {prefix}_weights.bin, CRC-32 0x{crc32:08x}: another binary makes another source, which is what
 * zig's cache looks at. */
#if defined(__linux__) && defined(__ELF__)
  .section .note.GNU-stack,"",%progbits
#endif
  .section .rodata.tinyc_weights_file,"a",%progbits
  .balign 16
  .global tinyc_weights_file
tinyc_weights_file:
  .incbin "{prefix}_weights.bin"
"""


def device_files(program: Program) -> dict[str, str | bytes]:
    """The main.c of a bare-metal image, and what it needs; start-up code clears no inputs."""
    before, after = _copies(program, "  ")
    arrays = _arrays(program, '__attribute__((section(".noinit"))) ')
    main = DEVICE_MAIN.format(arrays=arrays, before=before, after=after, **_calls(program))
    return {"tinyc_main.c": main, **_weights_source(program)}


def _calls(program: Program) -> dict[str, str]:
    """What both kinds of main.c say of the model's functions, by the place in their text."""
    return {
        "prefix": program.prefix,
        "file": WEIGHTS_ARRAY if program.weights == "bin" else "",
        "find": _find_weights(program),
        "run": _run_rows(program),
        "arguments": _arguments(program),
    }


def host_files(program: Program) -> dict[str, str | bytes]:
    """The main.c of an executable for this machine, and what it needs."""
    before, after = _copies(program, "    ")
    full = [i for i, port in enumerate(program.inputs) if port.bytes]
    reads = (
        "".join(
            f"    if (fread({input_symbol(i)}, 1, {program.inputs[i].bytes}u, stdin) "
            f"!= {program.inputs[i].bytes}u) {{\n"
            f"      return {0 if i == full[0] else 1};\n"
            "    }\n"
            for i in full
        )
        or COUNTED
    )
    writes = "".join(
        f"    fwrite({output_symbol(i)}, 1, {port.bytes}u, stdout);\n"
        for i, port in enumerate(program.outputs)
    )
    main = HOST_MAIN.format(
        arrays=_arrays(program, ""),
        reads=reads,
        before=before,
        after=after,
        writes=writes,
        **_calls(program),
        end="" if program.inputs else "    return 0;\n",  # nothing says how many inferences
    )
    return {"tinyc_main.c": main, **_weights_source(program)}


def _find_weights(program: Program) -> str:
    return FIND_WEIGHTS.format(prefix=program.prefix) if program.weights == "bin" else ""


def _weights_source(program: Program) -> dict[str, str | bytes]:
    """The file of the weights as an array, where the program does not link them itself."""
    if program.weights != "bin":
        return {}
    check = crc32(encoded(program.sources[f"{program.prefix}_weights.bin"]))
    return {"tinyc_weights_file.S": WEIGHTS_SOURCE.format(prefix=program.prefix, crc32=check)}


def _arrays(program: Program, place: str) -> str:
    """Of the arenas, inputs and outputs."""
    arenas = "".join(f"static {program.prefix}_{arena} {arena};\n" for arena in program.arenas)
    inputs = [(input_symbol(i), port, place) for i, port in enumerate(program.inputs)]
    outputs = [(output_symbol(i), port, "") for i, port in enumerate(program.outputs)]
    state = STATE_ARRAYS.format(prefix=program.prefix, place=place, state=STATE, begun=BEGUN)
    return (
        arenas
        + (state if program.state_bytes else "")
        + "".join(
            f"{where}alignas(16) {port.c_type} {name}[{port.length}];\n"
            for name, port, where in inputs + outputs
        )
    )


def _run_rows(program: Program) -> str:
    """With io "rows" the function that makes one call of it, for `main` and the emulator."""
    if program.io != "rows":
        return ""
    (port,), prefix = program.inputs, program.prefix
    arenas = [f"own_{arena}" for arena in program.arenas]  # others than main.c's
    weights = ["weights"] if program.weights == "bin" else []
    parameters = [f"{prefix}_{arena} *own_{arena}" for arena in program.arenas]
    parameters += [f"const {prefix}_weights *weights" for _ in weights]
    return RUN_ROWS.format(
        prefix=prefix, parameters=", ".join(parameters), arenas=", ".join(arenas),
        own=", ".join([*arenas, *weights]), input=input_symbol(0), rows=port.rows,
        bytes=port.bytes, c_type=port.c_type,
    )  # fmt: skip


def _arguments(program: Program) -> str:
    arenas = [f"&{arena}" for arena in program.arenas]
    state = [f"&{STATE}"] if program.state_bytes else []
    own = [*arenas, *state, *(["weights"] if program.weights == "bin" else [])]
    if program.io != "caller":
        return ", ".join(own)
    inputs = [input_symbol(i) for i in range(len(program.inputs))]
    outputs = [output_symbol(i) for i in range(len(program.outputs))]
    return ", ".join([*own, *inputs, *outputs])


def _copies(program: Program, indent: str) -> tuple[str, str]:
    """The statements before and after the call: nothing when the arrays are the arguments."""
    begin = ""
    if program.state_bytes:
        begin = RESET.format(indent=indent, prefix=program.prefix, begun=BEGUN, state=STATE)
    if program.io == "caller":
        return begin, ""

    def place(port: Port) -> str:
        return f"{program.prefix}_{port.c_name}(&{port.arena})"

    before = "".join(
        f"{indent}memcpy({place(port)}, {input_symbol(i)}, {port.bytes}u);\n"
        for i, port in enumerate(program.inputs if program.io == "arena" else ())
    )
    after = "".join(
        f"{indent}memcpy({output_symbol(i)}, {place(port)}, {port.bytes}u);\n"
        for i, port in enumerate(program.outputs)
    )
    return begin + before, after
