"""Runs a compiled model on its target: emulated cores, or this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyc.compiler.artifact import Artifact, Port
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType
from tinyc.compiler.texts import stored_texts
from tinyc.targets import Target, firmware, runner
from tinyc.targets.firmware.program import AROUND, callers_of

if TYPE_CHECKING:  # this imports packages of the emulator's extra
    from tinyc.targets.emulator.cost import FunctionCost


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """Outputs, and what one inference cost (the first sample, measured).

    outputs       by name, [samples, *shape of the output without its batch axis of 1]
    cycles        zero wait states, by the target's timing table; None on the host
    stack_bytes   deepest stack below the caller's; None on the host
    text_bytes    code of the model's objects; rodata_bytes their tables, which are not among them
                  where the weights are a file of their own
    cycles_by_function  C function name -> cycles
    calls               what each call of <model>_run took, by symbol: see calls_of_layers
    code_bytes_by_function  C function name -> bytes, of the model's own objects
    """

    outputs: Mapping[str, Array]
    cycles: int | None
    instructions: int | None
    stack_bytes: int | None
    text_bytes: int
    rodata_bytes: int
    compiler: str
    cycles_by_function: Mapping[str, int]
    calls: "tuple[Mapping[str, FunctionCost], ...]"
    code_bytes_by_function: Mapping[str, int]


def run_artifact(
    artifact: Artifact, target: Target, inputs: Mapping[str, Array], compiler: str | None = None
) -> RunResult:
    """Build the artifact's files for `target` and run every sample of `inputs`.

    inputs  by name; one array may hold several samples, one after the other; those of a streaming
            model are the calls of one sequence

    Raises CompileError for wrong inputs, a missing compiler or emulator, or a crash.
    """
    ports = artifact.report.inputs
    samples = split_samples(ports, inputs)
    program = firmware.Program(
        artifact.name,
        artifact.files,
        tuple(map(_port, ports)),
        tuple(map(_port, artifact.report.outputs)),
        artifact.io,
        artifact.report.weights,
        tuple(memory.arena for memory in artifact.report.memories if memory.arena),
        artifact.report.state_bytes,
    )
    execution = runner.run_program(program, target, samples, compiler=compiler)
    outputs = {
        port.name: np.stack([_array(port, sample[i]) for sample in execution.outputs])
        for i, port in enumerate(artifact.report.outputs)
    }
    return RunResult(
        outputs=outputs,
        cycles=execution.cycles,
        instructions=execution.instructions,
        stack_bytes=execution.stack_bytes,
        text_bytes=execution.text_bytes,
        rodata_bytes=execution.rodata_bytes,
        compiler=execution.compiler,
        cycles_by_function=_cycles_by_function(execution),
        calls=execution.calls,
        code_bytes_by_function=execution.code_bytes_by_function,
    )


def _cycles_by_function(execution: runner.Execution) -> dict[str, int]:
    """By the name in the C; a compiler's clone `f.constprop.0` counts as `f`."""
    cycles: dict[str, int] = {}
    for symbol, cost in execution.functions.items():
        name = _function(symbol)
        cycles[name] = cycles.get(name, 0) + cost.cycles
    return cycles


def _function(symbol: str) -> str:
    """The C function of a symbol, which a compiler may have made a clone of."""
    return symbol.partition(".")[0]


def calls_of_layers(
    artifact: Artifact, result: RunResult
) -> "tuple[Mapping[str, FunctionCost], ...]":
    """What each layer of the report took, by symbol: its kernel and all that it calls.

    () on the host. What is missing to the whole is the function that calls the layers, and the
    moves of windows.
    """
    order, kernels = artifact.calls, {layer.function for layer in artifact.report.layers}
    around = AROUND.union(callers_of(artifact.name, artifact.io))
    inside = [{s: cost for s, cost in call.items() if s not in around} for call in result.calls]
    calls = [call for call in inside if not kernels.isdisjoint(map(_function, call))]
    assert not calls or len(calls) == len(order), f"{len(calls)} calls of {len(order)}"
    layers: list[dict[str, FunctionCost]] = [{} for _ in artifact.report.layers if calls]
    for layer, call in zip(order, calls, strict=bool(calls)):
        for symbol, cost in call.items():
            before = layers[layer].get(symbol)
            layers[layer][symbol] = cost if before is None else before.plus(cost)
    return tuple(layers)


def cycles_by_layer(artifact: Artifact, result: RunResult) -> tuple[int, ...]:
    """Cycles of each layer of the report; () on the host."""
    calls = calls_of_layers(artifact, result)
    return tuple(sum(cost.cycles for cost in call.values()) for call in calls)


def split_samples(
    ports: tuple[Port, ...], inputs: Mapping[str, Array]
) -> tuple[tuple[bytes, ...], ...]:
    """The bytes of each sample, in the order of `ports`.

    Raises CompileError when a name, dtype or size does not fit the model.
    """
    unknown = sorted(inputs.keys() - {p.name for p in ports})
    if unknown:
        raise CompileError(
            "unknown-input",
            f"the model has no input named '{unknown[0]}'",
            f"inputs of the model: {', '.join(repr(p.name) for p in ports)}",
            "name the arrays like the model's inputs",
        )
    if not ports:
        return ((),)  # what depends on nothing runs once
    columns = [_samples_of(port, inputs) for port in ports]
    counts = {len(column) for column in columns}
    if len(counts) > 1:
        raise CompileError(
            "wrong-input",
            "the inputs hold different numbers of samples",
            ", ".join(f"'{p.name}': {len(c)}" for p, c in zip(ports, columns, strict=True)),
        )
    return tuple(zip(*columns, strict=True))


def _samples_of(port: Port, inputs: Mapping[str, Array]) -> list[bytes]:
    where = f"input '{port.name}' {port.dtype}{list(port.shape)}"
    if port.name not in inputs:
        raise CompileError("missing-input", "an input of the model has no data", where)
    array = np.asarray(inputs[port.name])
    if port.dtype == DType.TEXT and array.dtype.kind in "SUO":
        array = stored_texts(array, where)
    if array.dtype != np.dtype(port.dtype.value):
        raise CompileError(
            "wrong-input",
            f"the model needs {port.dtype}, the data is {array.dtype}",
            where,
            f"convert the array to {port.dtype} as the model's training did",
        )
    own = port.shape[1:] if len(port.shape) > 1 and port.shape[0] == 1 else port.shape
    shapes = {port.shape, own}
    if (array.shape not in shapes and array.shape[1:] not in shapes) or array.size == 0:
        raise CompileError(
            "wrong-input",
            f"the data has the shape {list(array.shape)}, a sample has {list(port.shape)}",
            where,
            f"give one sample, or several as [samples, {', '.join(map(str, own))}]",
        )
    flat = np.ascontiguousarray(array).reshape(-1, port.elements)
    return [row.tobytes() for row in flat]


def _port(port: Port) -> firmware.Port:
    return firmware.Port(port.c_name, C_TYPES[port.dtype], port.bytes, port.arena, port.rows)


def _array(port: Port, data: bytes) -> Array:
    """One sample's output without the batch axis of 1; texts as Python has them."""
    shape = port.shape[1:] if len(port.shape) > 1 and port.shape[0] == 1 else port.shape
    array = np.frombuffer(data, port.dtype.value).reshape(shape)
    return np.char.decode(array, "utf-8", "replace") if port.dtype == DType.TEXT else array
