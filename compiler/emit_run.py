"""The public function of a model: pointers into the arena, then one call a layer."""

import re
from collections.abc import Iterable, Sequence

from tinyc.compiler.emit_calls import Calls, Ports, calls_of
from tinyc.compiler.emit_functions import Functions
from tinyc.compiler.emit_header import port_declaration, prototypes_of
from tinyc.compiler.emit_memory import arena_of, arena_place, arenas_of
from tinyc.compiler.emit_rows import begin_lines, finish_lines, push_row_lines, state_lines
from tinyc.compiler.emit_stages import StreamNames, push_lines, state_fields, stream_lines
from tinyc.compiler.emit_state import counted, guarded, own_parameters, returned
from tinyc.compiler.emit_tables import Tables
from tinyc.compiler.program import Program
from tinyc.passes.claims import streamed
from tinyc.passes.input_rows import STATE
from tinyc.passes.stage_events import Streamed
from tinyc.passes.stages import Stage


def run_lines(
    program: Program, name: str, ports: Ports, functions: Functions, tables: Tables
) -> list[str]:
    """`<name>_run`, and before it a function for each stage that streams.

    With --io rows `_begin`, `_push_row` and `_finish` instead.
    """
    calls = calls_of(program, ports, functions, tables)
    streams: list[str] = []
    parts: list[tuple[int, list[str]]] = []
    for number, stage in enumerate(program.stages):
        if program.io == "rows" and number == 0:
            continue
        if stage.loops:
            function = f"{name}_rows_{number}"
            streams += _stream(calls, name, function, number)
            passed = [port.c_name for port in calls.passed(stage.steps)]
            text = [f"  {function}({', '.join([*calls.own(stage.steps), *passed])});"]
        else:
            (step,) = stage.steps
            text = [f"  /* {calls.comment(step)} */", f"  {calls.whole(step)}"]
        parts.append((program.steps[stage.steps[0]].wait, text))
    body = guarded(parts)
    alone = [stage.steps[0] for stage in program.stages if not stage.loops]
    declarations = calls.declarations(alone)
    prototypes = prototypes_of(
        name, program.io, own_parameters(program, name), tables.separate, *ports,
        returns=returned(program),
    )  # fmt: skip
    if program.io == "rows":
        return [*streams, *_pushing(calls, name, prototypes, declarations, body)]
    (prototype,) = prototypes
    lines = [f"{prototype} {{", *declarations]
    for arena in arenas_of(program).values():
        if not any(re.search(rf"\b{arena}\b", line) for line in (*declarations, *body)):
            lines.append(f"  (void){arena};")
    if tables.separate and not tables.arrays:
        lines.append("  (void)weights;")
    read = {name for node in program.graph.nodes for name in node.inputs}
    for port in (*ports[0], *ports[1]) if program.io == "caller" else ():
        if not port.elements or (port in ports[0] and port.name not in read):
            lines.append(f"  (void){port.c_name};")
    return [*streams, *lines, *body, *counted(program), "}", ""]


def _pushing(
    calls: Calls, name: str, prototypes: Sequence[str], declarations: list[str], body: list[str]
) -> list[str]:
    """The functions that take the rows of the input; `body` runs all stages but the first."""
    program, (port,), (begin, push_row, finish) = calls.program, calls.ports[0], prototypes
    stage, run, names = program.stages[0], _streamed(program, 0), calls.stream_names(0, "state->")
    later = [step for other in program.stages[1:] for step in other.steps]
    place, pushed = arena_place(program, STATE), names.rows(0)
    state = f"  {name}_state *const state = ({name}_state *)(void *){place};"

    def unused(used: Iterable[str]) -> list[str]:
        every = [*arenas_of(program).values(), *(["weights"] if calls.tables.separate else [])]
        return [f"  (void){p};" for p in every if p not in {*used, arena_of(program, STATE)}]

    push = push_lines(program, stage, run, names, lambda step, *_: calls.pushed(step, names))
    runs = f"{name}_rows_0({', '.join(calls.own(stage.steps))});"
    before = [*calls.declarations(stage.steps[:1]), state, *unused(calls.own(stage.steps))]
    return [
        *state_lines(name, *state_fields(program, stage, run, names)),
        *_stream(calls, name, f"{name}_rows_0", 0, [state], names),
        *begin_lines(name, begin, place, [u for u in unused([]) if "weights" not in u]),
        *push_row_lines(push_row, port.rows, before, pushed, [*push, runs]),
        *finish_lines(
            finish, port.rows, [*declarations, state, *unused(calls.own(later))], pushed, body
        ),
    ]


def _streamed(program: Program, number: int) -> Streamed:
    sizes = {s.name: s.bytes for s in program.storages}
    return streamed(program.stages[number], program.steps, sizes)


def _stream(
    calls: Calls,
    name: str,
    function: str,
    number: int,
    own: Sequence[str] = (),
    names: StreamNames | None = None,
) -> list[str]:
    """The function of a stage that streams.

    own    further declarations
    names  of its variables, where they are not its own
    """
    program = calls.program
    stage, names = program.stages[number], names or calls.stream_names(number)
    inputs = {port.name for port in calls.ports[0]}
    parameters = [f"{name}_{arena} *{arena}" for arena in calls.arenas(stage.steps)]
    parameters += [f"{name}_state *state"] if calls.takes_state(stage.steps) else []
    parameters += [f"const {name}_weights *weights"] if calls.takes_weights(stage.steps) else []
    for port in calls.passed(stage.steps):
        constant = "const " if port.name in inputs else ""
        parameters.append(f"{constant}{port_declaration(port)}")

    def by_rows(step: int, begin: str, end: str) -> str:
        return calls.by_rows(step, begin, end, names, stage.upwards)

    run = _streamed(program, number)
    return [
        f"/* {_described(stage)} */",
        f"TINYC_STREAM void {function}({', '.join(parameters)}) {{",
        *calls.declarations(stage.steps),
        *own,
        *stream_lines(program, stage, run, names, by_rows, calls.comment),
        "}",
        "",
    ]


def _described(stage: Stage) -> str:
    way = "from the last row to the first" if stage.upwards else "row by row"
    if not stage.streams:
        return f"A layer, {way}."
    return f"{len(stage.steps)} layers, {way}: the last one that has its rows runs next."
