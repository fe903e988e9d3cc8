"""What a streaming model remembers between two calls, as a struct of the caller's."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tinyc.compiler.artifact import Port
from tinyc.compiler.cprint import C_TYPES, float_literal
from tinyc.compiler.emit_memory import arena_parameters
from tinyc.compiler.graph import DType, State
from tinyc.compiler.names import unique_name
from tinyc.compiler.program import Program

HEADER = """\
#define {NAME}_STATE_BYTES {bytes}u

/* What is remembered from one call to the next; one for each sequence that runs at a time. */
typedef struct {{
{members}
}} {name}_state;

/* The next call is the first one of a sequence. */
void {name}_reset({name}_state *state);

"""
RUN = """\
/* Take the next steps of a sequence: {inputs}.
 * {returns}Reentrant: two calls at a time need two arenas and two states.{delays} */
"""
READY = """\
Returns false in the first {calls} calls after {name}_reset, which give no output yet.
 * """
CALLS = "calls"  # the member that counts them, as far as it matters
NUMBER = 4  # bytes of it


def has_state(program: Program) -> bool:
    return bool(program.graph.states)


def waits_of(program: Program) -> int:
    """Calls of a sequence before all outputs are there."""
    return max((step.wait for step in program.steps), default=0)


def own_parameters(program: Program, name: str) -> list[str]:
    """Of the run function: the arenas, and the state."""
    state = [f"{name}_state *state"] if has_state(program) else []
    return [*arena_parameters(program, name), *state]


def members_of(program: Program) -> Mapping[str, str]:
    """C expressions by tensor: a state is the same member before and after a call."""
    names: dict[str, str] = {}
    for state in program.graph.states:
        base = unique_name(state.before.removesuffix(" before"), {CALLS, *names.values()})
        names |= {state.before: base, state.after: base}
    return {tensor: f"state->{member}" for tensor, member in names.items()}


def state_bytes(program: Program) -> int:
    """sizeof the struct."""
    if not has_state(program):
        return 0
    size, widest = 0, NUMBER
    for state in program.graph.states:
        align = _alignment(program, state)
        size, widest = size + -size % align + state.initial.nbytes, max(widest, align)
    if waits_of(program):
        size += -size % NUMBER + NUMBER
    return size + -size % widest


def _alignment(program: Program, state: State) -> int:
    return max(program.target.alignment, state.initial.itemsize)


def state_header(program: Program, name: str) -> str:
    """The struct and its reset."""
    if not has_state(program):
        return ""
    members, lines = members_of(program), []
    for state in program.graph.states:
        dtype = C_TYPES[program.graph.tensors[state.before].dtype]
        member = members[state.before].removeprefix("state->")
        align = f"alignas({_alignment(program, state)})"
        lines.append(f"  {align} {dtype} {member}[{state.initial.size}];")
    if waits_of(program):
        lines.append(f"  uint32_t {CALLS}; /* since the reset, up to {waits_of(program)} */")
    return HEADER.format(
        name=name, NAME=name.upper(), bytes=state_bytes(program), members="\n".join(lines)
    )


def run_comment(program: Program, name: str, inputs: Sequence[Port]) -> str:
    """What the header says of the run function."""
    waits = waits_of(program)
    returns = READY.format(calls=waits, name=name) if waits else ""
    shapes = ", ".join(f"{port.c_name} is {list(port.shape)}" for port in inputs)
    notes = [note for note in program.graph.notes if note.startswith("output ")]
    delays = "".join(f"\n * {note}." for note in notes)
    return RUN.format(inputs=shapes, returns=returns, delays=delays)


def returned(program: Program) -> str:
    return "bool" if waits_of(program) else "void"


def reset_lines(program: Program, name: str) -> list[str]:
    """`<name>_reset`."""
    if not has_state(program):
        return []
    members, tables = members_of(program), list[str]()
    body = [f"void {name}_reset({name}_state *state) {{"]
    for state in program.graph.states:
        place, values = members[state.before], state.initial.reshape(-1)
        if np.all(values == values[0]):
            body += [
                f"  for (uint32_t i = 0; i < {values.size}u; ++i) {{",
                f"    {place}[i] = {_literal(values[0])};",
                "  }",
            ]
        else:
            table = f"{name}_initial_{place.removeprefix('state->')}"
            dtype = C_TYPES[DType(values.dtype.name)]
            text = ", ".join(_literal(v) for v in values)
            tables.append(f"static const {dtype} {table}[{values.size}] = {{{text}}};")
            body.append(f"  memcpy({place}, {table}, sizeof {table});")
    if waits_of(program):
        body.append(f"  state->{CALLS} = 0u;")
    check = f'_Static_assert(sizeof({name}_state) == {name.upper()}_STATE_BYTES, "no more");'
    include = ["#include <string.h>", ""] if tables else []
    return [*include, *tables, check, "", *body, "}", ""]


def _literal(value: "np.generic") -> str:
    number = value.item()
    if isinstance(number, bool):
        return "true" if number else "false"
    if isinstance(number, float):
        infinite = "INFINITY" if number > 0 else "(-INFINITY)"
        return infinite if np.isinf(number) else float_literal(number)
    return str(number)


def guarded(parts: Iterable[tuple[int, list[str]]]) -> list[str]:
    """Lines of calls, each with the calls that pass before it runs first."""
    lines: list[str] = []
    now = 0
    for wait, text in parts:
        if wait != now:
            lines += ["  }"] if now else []
            lines += [f"  if (state->{CALLS} >= {wait}u) {{"] if wait else []
            now = wait
        lines += [f"  {line}" for line in text] if wait else text
    return [*lines, *(["  }"] if now else [])]


def counted(program: Program) -> list[str]:
    """The end of the run function: counts the call, and says whether outputs are there."""
    waits = waits_of(program)
    if not waits:
        return []
    return [
        f"  const bool ready = state->{CALLS} >= {waits}u;",
        f"  state->{CALLS} += ready ? 0u : 1u;",
        "  return ready;",
    ]
