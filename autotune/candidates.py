"""One call of a kernel as a program of its own, for every schedule that is to be measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.emit import emit_c
from tinyc.compiler.emit_functions import functions_of
from tinyc.compiler.emit_tables import tables_of
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops.op import Call
from tinyc.compiler.planning import plan_program
from tinyc.compiler.program import arena_alone, graph_alone
from tinyc.compiler.reporting import ports_of
from tinyc.targets import Target, firmware


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A schedule as C.

    kernel         hash of the C of its functions
    blocks         names of the functions that other kernels may call too
    arena_bytes    as in Record
    """

    schedule: Schedule
    program: firmware.Program
    kernel: str
    blocks: frozenset[str]
    tables_bytes: int
    scratch_bytes: int
    arena_bytes: int


def candidate(call: Call, target: Target, schedule: Schedule, prefix: str) -> Candidate:
    """The C of a call by one schedule; `prefix` keeps it apart from others of the same image."""
    graph = graph_alone(call)
    planned = plan_program(graph, target.flat, "caller", {call.node.name: schedule})
    program = replace(planned, graph=replace(graph, name=prefix))
    ports = ports_of(program)
    functions = functions_of(program, [p.c_name for side in ports for p in side])
    files = emit_c(program, prefix, ports, functions, tables_of(program, prefix, "incbin"))
    (kernel,) = program.kernels.values()
    inputs, outputs = (
        tuple(firmware.Port(p.c_name, C_TYPES[p.dtype], p.bytes) for p in side) for side in ports
    )
    return Candidate(
        schedule,
        firmware.Program(prefix, files, inputs, outputs, "caller"),
        functions.hashes[call.node.name],
        frozenset(m.name for m in kernel.microkernels),
        sum(c.array.nbytes for c in kernel.constants),
        kernel.scratch_bytes,
        arena_alone(call, target, kernel),
    )


def sample_of(call: Call, seed: int = 0) -> Mapping[str, Array]:
    """Values for the activations: all of an integer type's range, floats around zero."""
    rng = np.random.default_rng(seed)
    return {t.name: _values(t, rng) for t in call.inputs if t.data is None}


def _values(tensor: Tensor, rng: np.random.Generator) -> Array:
    if tensor.dtype.is_float:
        return rng.normal(size=tensor.shape).astype(tensor.dtype.value)
    low, high = tensor.dtype.limits
    return rng.integers(low, high, tensor.shape, tensor.dtype.value, endpoint=True)
