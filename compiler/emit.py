"""A program as C files: a header for the user, sources for the linker."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from tinyc.compiler.artifact import Port
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.emit_header import header_text, run_prototype
from tinyc.compiler.emit_tables import LICENCE, Tables, c_source, tables_of
from tinyc.compiler.graph import Node
from tinyc.compiler.lower import body_lines, parameters
from tinyc.compiler.names import c_name, unique_name
from tinyc.compiler.ops.kernel import Kernel, Microkernel
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.program import Program
from tinyc.passes.memory_plan import scratch_name

MOST_NAME_CHARACTERS = 32  # of a pointer that is named like its tensor
Weights = Callable[[Tables, str], dict[str, str | bytes]]  # the tables as files


@dataclass(frozen=True, slots=True)
class Functions:
    """The C functions of a program; equal code is one function.

    names   function by node
    hashes  of the code of each node's function and blocks: another hash is another kernel
    texts   complete C functions, in the order of first use
    """

    names: Mapping[str, str]
    hashes: Mapping[str, str]
    texts: tuple[str, ...]


def emit_c(
    program: Program,
    name: str,
    ports: tuple[tuple[Port, ...], tuple[Port, ...]],
    functions: Functions,
    weights: Weights = c_source,
) -> dict[str, str | bytes]:
    """The files `<name>.h`, `<name>.c`, those of the weights and the shared `tinyc.h`."""
    tables = tables_of(program, name)
    licence = LICENCE.format
    source = [licence(file=f"{name}.c"), f'#include "{name}.h"', ""]
    source += ["#include <math.h>"] if any(k.float_code for k in program.kernels.values()) else []
    source += ["#include <stdalign.h>", "", '#include "tinyc.h"', "", *tables.declarations, ""]
    for text in _microkernels(program):
        source += [text.strip("\n"), ""]
    for text in functions.texts:
        source += [text, ""]
    source += [*_accessors(program, name, ports), *_run(program, name, ports, functions, tables)]
    runtime = (files("tinyc.targets") / "runtime" / "tinyc.h").read_text("utf-8")
    return {
        f"{name}.h": header_text(name, program.io, program.plan.arena_bytes, *ports),
        f"{name}.c": "\n".join(source),
        **weights(tables, name),
        "tinyc.h": runtime,
    }


def functions_of(program: Program, taken: Iterable[str]) -> Functions:
    """Print every kernel once; a node whose code was printed before uses that function.

    taken  C names that parameters of the public function have
    """
    by_code: dict[str, str] = {}
    used = set(taken)
    names: dict[str, str] = {}
    hashes: dict[str, str] = {}
    texts: dict[str, tuple[str, str]] = {}  # function -> comment, code
    for node in program.graph.nodes:
        kernel = program.kernels.get(node.name)
        if kernel is None:
            continue
        call = call_of(program.graph, node)
        activations = sum(t.data is None for t in call.inputs)
        signature = ", ".join(parameters(kernel, activations))
        code = "\n".join([f"({signature}) {{", *body_lines(kernel), "}"])
        if code not in by_code:
            by_code[code] = unique_name(kernel.name, used)
            used.add(by_code[code])
            texts[by_code[code]] = f"/* {_describe(program, node)}; {kernel.note} */", code
        names[node.name] = by_code[code]
        hashes[node.name] = _hash("\n".join([code, *(m.text for m in kernel.microkernels)]))
    users = Counter(names.values())
    macros = {name: "TINYC_SHARED_KERNEL" if users[name] > 1 else "TINYC_KERNEL" for name in texts}
    return Functions(
        names,
        hashes,
        tuple(f"{comment}\n{macros[f]} void {f}{code}" for f, (comment, code) in texts.items()),
    )


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _describe(program: Program, node: Node) -> str:
    call = call_of(program.graph, node)
    shapes = " x ".join(str(list(t.shape)) for t in call.inputs[:2])
    outputs = ", ".join(str(list(t.shape)) for t in call.outputs)
    return f"{node.op} {shapes} -> {outputs}"


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
    """With --io arena: functions that say where an input or output lies."""
    if program.io != "arena":
        return []
    lines = []
    for port in ports[0]:
        lines += [
            f"{C_TYPES[port.dtype]} *{name}_{port.c_name}({name}_arena *arena) {{",
            f"  return ({C_TYPES[port.dtype]} *)(void *)&arena->bytes[{port.offset}];",
            "}",
            "",
        ]
    for port in ports[1]:
        lines += [
            f"const {C_TYPES[port.dtype]} *{name}_{port.c_name}(const {name}_arena *arena) {{",
            f"  return (const {C_TYPES[port.dtype]} *)(const void *)&arena->bytes[{port.offset}];",
            "}",
            "",
        ]
    return lines


def _run(
    program: Program,
    name: str,
    ports: tuple[tuple[Port, ...], tuple[Port, ...]],
    functions: Functions,
    tables: Tables,
) -> list[str]:
    """The public function: pointers into the arena, then one call a layer."""
    pointers, declarations = _pointers(program, ports, functions)
    lines = [f"{run_prototype(name, program.io, *ports)} {{", *declarations]
    if not any("arena->" in line for line in declarations):
        lines.append("  (void)arena;")
    for port in ports[0]:
        if program.io == "caller" and not any(port.name in n.inputs for n in program.graph.nodes):
            lines.append(f"  (void){port.c_name};")
    for node in program.graph.nodes:
        kernel = program.kernels.get(node.name)
        if kernel is None:
            continue
        call = call_of(program.graph, node)
        arguments = [pointers[t.name] for t in call.inputs if t.data is None]
        arguments += [pointers[t.name] for t in call.outputs]
        arguments += tables.names[node.name]
        if kernel.scratch_bytes:
            arguments.append(_scratch_pointer(program, node, kernel))
        if kernel.rows:
            arguments += ["0", str(kernel.rows)]
        origin = " + ".join(node.origin) or node.name
        lines.append(f"  /* {comment_text(origin)} */")
        lines.append(f"  {functions.names[node.name]}({', '.join(arguments)});")
    return [*lines, "}", ""]


def _pointers(
    program: Program, ports: tuple[tuple[Port, ...], tuple[Port, ...]], functions: Functions
) -> tuple[dict[str, str], list[str]]:
    """C expression of each activation's address, and the declarations they need."""
    callers = {p.name: p.c_name for side in ports for p in side} if program.io == "caller" else {}
    storages = {t: s for s in program.storages for t in s.tensors}
    used = {
        t.name
        for node in program.graph.nodes
        if node.name in program.kernels
        for t in (*call_of(program.graph, node).inputs, *call_of(program.graph, node).outputs)
        if t.data is None
    }
    own = [t for t in storages if t in used and t not in callers]
    taken = {*callers.values(), *functions.names.values(), "arena", program.graph.name}
    names = _pointer_names(program, own, taken)
    declarations = []
    for tensor in own:
        dtype = C_TYPES[program.graph.tensors[tensor].dtype]
        caller = next((callers[t] for t in storages[tensor].tensors if t in callers), None)
        if caller is not None:  # another view of the caller's array
            constant = "const " if storages[tensor].first < 0 else ""
            declarations.append(f"  {constant}{dtype} *const {names[tensor]} = {caller};")
        else:
            offset = program.plan.offsets[storages[tensor].name]
            declarations.append(
                f"  {dtype} *const {names[tensor]} = ({dtype} *)(void *)&arena->bytes[{offset}];"
            )
    return {**names, **callers}, declarations


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


def _scratch_pointer(program: Program, node: Node, kernel: Kernel) -> str:
    offset = program.plan.offsets[scratch_name(node.name)]
    params = list(kernel.function.params)
    scratch = params[-3] if kernel.rows else params[-1]
    return f"({C_TYPES[str(scratch.dtype)]} *)(void *)&arena->bytes[{offset}]"


def comment_text(text: str) -> str:
    """`text` so that it cannot end or nest a C comment."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ").replace("\\", "/")
