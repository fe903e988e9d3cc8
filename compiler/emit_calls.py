"""What the calls of a program are made of: pointers into the arena, and arguments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tinyc.compiler.artifact import Port
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.emit_functions import Functions
from tinyc.compiler.emit_memory import arena_of, arena_place, arenas_of
from tinyc.compiler.emit_stages import StreamNames
from tinyc.compiler.emit_state import members_of
from tinyc.compiler.emit_tables import Tables
from tinyc.compiler.graph import Node, Tensor
from tinyc.compiler.names import c_name, unique_name
from tinyc.compiler.ops.op import Call, call_of
from tinyc.compiler.program import Program
from tinyc.passes.claims import scratch_name
from tinyc.passes.input_rows import STATE

MOST_NAME_CHARACTERS = 32  # of a pointer that is named like its tensor

Ports = tuple[tuple[Port, ...], tuple[Port, ...]]  # inputs and outputs


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """What the calls of a program are made of.

    nodes         by step
    names         C expression of each activation's address, by tensor
    declarations_of  the line that declares a name, for tensors that are no caller's arrays
    """

    program: Program
    ports: Ports
    functions: Functions
    tables: Tables
    nodes: tuple[Node, ...]
    names: Mapping[str, str]
    lines: Mapping[str, str]

    def call(self, step: int) -> Call:
        return call_of(self.program.graph, self.nodes[step])

    def activations(self, step: int) -> list[Tensor]:
        call = self.call(step)
        return [t for t in (*call.inputs, *call.outputs) if t.data is None]

    def passed(self, steps: Iterable[int]) -> list[Port]:
        """The caller's arrays that some steps use, directly or as another view."""
        if self.program.io != "caller":
            return []
        storages = {self.program.storage(t.name).name for s in steps for t in self.activations(s)}
        every = {port.name: port for side in self.ports for port in side}.values()
        return [p for p in every if self.program.storage(p.name).name in storages]

    def arenas(self, steps: Iterable[int]) -> list[str]:
        """The arenas that some steps use; where there is one, that one."""
        every = list(arenas_of(self.program).values())
        used = set(every) if len(every) == 1 else set[str]()
        for step in steps:
            call = self.program.steps[step]
            state = [STATE] if call.pushed else []
            buffers = (*call.reads, *call.writes, scratch_name(call.node), *state)
            planned = [b for b in buffers if b in self.program.plan.offsets]
            used |= {arena_of(self.program, buffer) for buffer in planned}
        return [arena for arena in every if arena in used]

    def own(self, steps: Sequence[int]) -> list[str]:
        """The arenas, the state, and the weights, that some steps use."""
        state = ["state"] if self.takes_state(steps) else []
        return [*self.arenas(steps), *state, *(["weights"] if self.takes_weights(steps) else [])]

    def takes_state(self, steps: Iterable[int]) -> bool:
        """Whether some steps read or write what is remembered, directly or as another view."""
        remembered = self.program.graph.remembered
        storages = {self.program.storage(name).name for name in remembered}
        return any(
            self.program.storage(t.name).name in storages
            for s in steps
            for t in self.activations(s)
        )

    def takes_weights(self, steps: Iterable[int]) -> bool:
        """Whether some steps read tables that are not linked."""
        nodes = (self.nodes[step].name for step in steps)
        return self.tables.separate and any(self.tables.names[node] for node in nodes)

    def declarations(self, steps: Iterable[int]) -> list[str]:
        """Of the pointers that some steps use."""
        used = set[str]()
        for tensor in (t.name for step in steps for t in self.activations(step)):
            storage = self.program.storage(tensor).name
            used.add(storage if storage in self.program.plan.windows else tensor)
        return [line for tensor, line in self.lines.items() if tensor in used]

    def stream_names(self, number: int, state: str = "") -> StreamNames:
        """Of a stage that streams; `state` as in StreamNames."""
        stage = self.program.stages[number]
        written = {name for step in stage.steps for name in self.program.steps[step].writes}
        windows = written & self.program.plan.windows.keys()
        layers = tuple(self.names[self.nodes[step].outputs[0]] for step in stage.steps)
        return StreamNames({name: self.names[name] for name in windows}, layers, state)

    def comment(self, step: int) -> str:
        node = self.nodes[step]
        return comment_text(" + ".join(node.origin) or node.name)

    def whole(self, step: int) -> str:
        """The call that computes all rows."""
        kernel = self.program.kernels[self.nodes[step].name]
        rows = ["0", str(kernel.rows)] if kernel.rows else []
        return self._text(step, [self.names[t.name] for t in self.activations(step)], rows)

    def by_rows(self, step: int, begin: str, end: str, names: StreamNames, upwards: bool) -> str:
        """The call that computes some rows, of tensors in windows among others."""
        places = []
        for tensor in self.activations(step):
            storage = self.program.storage(tensor.name)
            window = self.program.plan.windows.get(storage.name)
            if window is None:
                places.append(self.names[tensor.name])
                continue
            first = names.first(storage.name)
            gone = f"{storage.bytes - window} - {first}" if upwards else first
            places.append(f"tinyc_base({names.pointers[storage.name]}, {gone})")
        kernel = self.program.kernels[self.nodes[step].name]
        return self._text(step, places, [begin, end] if kernel.rows else [])

    def pushed(self, step: int, names: StreamNames) -> str:
        """The call that copies the caller's row to the end of its window."""
        (storage,) = self.program.steps[step].writes
        rows = self.program.steps[step].rows
        row_bytes = self.program.storage(storage).bytes // rows
        before = f"{names.first(storage)} - {names.rows(0)} * {row_bytes}"
        place = f"tinyc_base({names.pointers[storage]}, {before})"
        return self._text(step, ["row", place], ["0", "1"])

    def _text(self, step: int, places: list[str], rows: list[str]) -> str:
        node = self.nodes[step]
        arguments = [*places, *self.tables.names[node.name], *self._scratch(node), *rows]
        return f"{self.functions.names[node.name]}({', '.join(arguments)});"

    def _scratch(self, node: Node) -> list[str]:
        kernel = self.program.kernels[node.name]
        if not kernel.scratch_bytes:
            return []
        place = arena_place(self.program, scratch_name(node.name))
        params = list(kernel.function.params)
        scratch = params[-3] if kernel.rows else params[-1]
        return [f"({C_TYPES[str(scratch.dtype)]} *)(void *){place}"]


def calls_of(program: Program, ports: Ports, functions: Functions, tables: Tables) -> Calls:
    by_name = {node.name: node for node in program.graph.nodes}
    nodes = tuple(by_name[step.node] for step in program.steps)
    callers = {p.name: p.c_name for side in ports for p in side} if program.io == "caller" else {}
    callers |= members_of(program)
    if program.io == "rows":
        callers = dict.fromkeys(program.storage(ports[0][0].name).tensors, "row")
    used = {
        t.name
        for node in nodes
        for t in (*call_of(program.graph, node).inputs, *call_of(program.graph, node).outputs)
        if t.data is None
    } | program.plan.windows.keys()
    storages = {t: s for s in program.storages for t in s.tensors}
    own = [t for t in storages if t in used and t not in callers]
    taken = {*callers.values(), *functions.names.values(), "weights", "state", program.graph.name}
    taken |= {*arenas_of(program).values()}
    names = _pointer_names(program, own, taken)
    lines = {}
    for tensor in own:
        dtype = C_TYPES[program.graph.tensors[tensor].dtype]
        caller = next((callers[t] for t in storages[tensor].tensors if t in callers), None)
        if caller is not None:  # another view of the caller's array
            constant = "const " if storages[tensor].first < 0 else ""
            lines[tensor] = f"  {constant}{dtype} *const {names[tensor]} = {caller};"
        else:
            place = f"({dtype} *)(void *){arena_place(program, storages[tensor].name)}"
            lines[tensor] = f"  {dtype} *const {names[tensor]} = {place};"
    return Calls(program, ports, functions, tables, nodes, {**names, **callers}, lines)


def _pointer_names(program: Program, tensors: list[str], taken: set[str]) -> dict[str, str]:
    """The model's names where they are short; converters join whole paths into one name."""
    numbers = {name: i for i, name in enumerate(program.kernels)}
    names: dict[str, str] = {}
    for tensor in tensors:
        producer, name = program.graph.producer(tensor), c_name(tensor)
        if len(name) > MOST_NAME_CHARACTERS and producer is not None:
            name = f"{producer.op.lower()}_{numbers.get(producer.name, len(numbers))}"
        names[tensor] = unique_name(name, {*taken, *names.values()})
    return names


def comment_text(text: str) -> str:
    """`text` so that it cannot end or nest a C comment."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ").replace("\\", "/")
