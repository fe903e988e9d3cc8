"""The kernels of a program as C functions; equal code is one function."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Node
from tinyc.compiler.lower import body_lines, parameter_types, parameters
from tinyc.compiler.names import unique_name
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.program import Program


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
        _check_types(node.name, parameter_types(kernel))
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


def _check_types(node: str, types: Iterable[str]) -> None:
    """Refuse what C has no type for: integers of four bits that a kernel would read one by one."""
    wrong = [t for t in types if t not in C_TYPES]
    if wrong:
        raise CompileError(
            "unsupported-type",
            f"{wrong[0]} is supported for the weights of convolutions and dense layers only",
            f"node '{node}'",
            "keep the values in int8",
        )
