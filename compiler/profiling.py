"""Profiles a model on its emulated core: what each layer takes of time, RAM and flash."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyc.autotune.records import Record
from tinyc.compiler.artifact import Artifact, Layer, Port
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType, Graph, Shape
from tinyc.compiler.interface_data import choose_inputs
from tinyc.compiler.ops.op import dequantized
from tinyc.compiler.options import DEFAULTS, Options
from tinyc.compiler.pipeline import compile_program
from tinyc.compiler.program import Program
from tinyc.compiler.running import RunResult, calls_of_layers, run_artifact, split_samples
from tinyc.targets import Target

FLOATS = (-1.0, 1.0)  # range of an input that is never quantized


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """What one layer takes.

    step            place in the execution order
    kernel          algorithm and block; `schedule` is that of the report
    cycles          of its call, with all that it calls; measured
    cycles_per_mac  None without multiply-accumulates
    share           of the model's cycles
    limit_share     the core's least cycles for as many MACs, as a part of `cycles`; None for floats
    ram_bytes       of the arena that hold something during the step, the scratch among them
    table_bytes     weights, bias, multipliers
    code_bytes      its function, and its part of the functions that several layers call
    """

    step: int
    name: str
    op: str
    function: str
    kernel: str
    schedule: Mapping[str, str | int]
    output_shape: Shape
    macs: int
    cycles: int
    instructions: int
    cycles_per_mac: float | None
    share: float
    limit_share: float | None
    ram_bytes: int
    scratch_bytes: int
    table_bytes: int
    code_bytes: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What one inference takes: the whole, and by layer in execution order.

    measured        how cycles, instructions and stack were obtained, and with which compiler
    data            what the model ran on
    cycles_per_mac_limit  of the target; 0 when it has none
    arena_bytes     of the arenas in all memories
    rest_cycles     of the run function itself, which calls the layers
    rest_code_bytes of the run function, and what no layer executed
    clock_hz, time_ms  None when no clock was given; time is cycles / clock
    """

    model: str
    target: str
    measured: str
    data: str
    cycles: int
    instructions: int
    stack_bytes: int
    arena_bytes: int
    code_bytes: int
    table_bytes: int
    macs: int
    cycles_per_mac_limit: float
    layers: tuple[LayerProfile, ...]
    rest_cycles: int
    rest_code_bytes: int
    clock_hz: float | None
    time_ms: float | None


def profile_model(
    model: Path,
    target: Target,
    inputs: Mapping[str, Array] | None = None,
    options: Options = DEFAULTS,
    *,
    compiler: str | None = None,
    clock_hz: float | None = None,
    seed: int = 0,
    records: Sequence[Record] | None = None,
) -> Profile:
    """Compile an ONNX file and measure its first sample.

    inputs   by name; None: random data by `seed`, over the range of each input
    records  as `compile_model` takes them

    Raises CompileError when the model is refused, or the target has no cycle model.
    """
    _check_priced(target)
    program, artifact = compile_program(model, target, options, records)
    if inputs is None:
        sample = random_inputs(program.graph, artifact.report.inputs, seed)
        data = f"random data over the range of each input, seed {seed}"
    else:
        sample, data = _first_sample(artifact.report.inputs, inputs), "the first sample given"
    result = run_artifact(artifact, target, sample, compiler)
    assert result.cycles is not None and result.instructions is not None
    assert result.stack_bytes is not None, "an emulated run measures the stack"
    layers = _layers(program, artifact, result)
    return Profile(
        model=artifact.name,
        target=target.name,
        measured=f"measured in the emulator at zero wait states, {result.compiler}",
        data=data,
        cycles=result.cycles,
        instructions=result.instructions,
        stack_bytes=result.stack_bytes,
        arena_bytes=program.plan.total_bytes,
        code_bytes=result.text_bytes,
        table_bytes=result.rodata_bytes,
        macs=artifact.report.macs,
        cycles_per_mac_limit=target.cycles_per_mac_limit,
        layers=layers,
        rest_cycles=result.cycles - sum(layer.cycles for layer in layers),
        rest_code_bytes=result.text_bytes - sum(layer.code_bytes for layer in layers),
        clock_hz=clock_hz,
        time_ms=None if clock_hz is None else 1000 * result.cycles / clock_hz,
    )


def _check_priced(target: Target) -> None:
    if not target.emulator or not target.timing:
        raise CompileError(
            "not-emulated",
            f"there is no cycle model of the target '{target.name}'",
            f"--target {target.name}",
            "profile on an emulated core, as in --target cortex-m4; `tinyc targets` lists them",
        )


def _first_sample(ports: tuple[Port, ...], inputs: Mapping[str, Array]) -> dict[str, Array]:
    first = split_samples(ports, choose_inputs(ports, inputs))[0]
    return {
        port.name: np.frombuffer(data, port.dtype.value).reshape(port.shape)
        for port, data in zip(ports, first, strict=True)
    }


def random_inputs(graph: Graph, ports: Iterable[Port], seed: int) -> dict[str, Array]:
    """One sample: integers over their type's range, reals over that of their quantization, texts
    of as many small letters as there is room for."""
    random = np.random.default_rng(seed)
    return {port.name: _random(random, graph, port) for port in ports}


def _random(random: np.random.Generator, graph: Graph, port: Port) -> Array:
    dtype = np.dtype(port.dtype.value)
    if dtype.kind == "f":
        return random.uniform(*_real_range(graph, port.name), port.shape).astype(dtype)
    if port.dtype == DType.TEXT:
        letters = random.integers(ord("a"), ord("z"), port.bytes, np.uint8, endpoint=True)
        return letters.view(dtype).reshape(port.shape)
    limits = port.dtype.limits
    return random.integers(*limits, port.shape, np.int64, endpoint=True).astype(dtype)


def _real_range(graph: Graph, name: str) -> tuple[float, float]:
    """The range that the first Quantize after a real input can tell apart, else FLOATS."""
    for node in graph.nodes:
        if name not in node.inputs:
            continue
        output = graph.tensors[node.outputs[0]]
        if output.quant is not None and output.quant.axis is None:
            low, high = dequantized(np.array(output.dtype.limits), output).tolist()
            return low, high
        if output.elements != graph.tensors[name].elements:
            return FLOATS
        name = output.name  # the same values in another order
    return FLOATS


def _layers(program: Program, artifact: Artifact, result: RunResult) -> tuple[LayerProfile, ...]:
    calls = calls_of_layers(artifact, result)
    code = _code_bytes(calls, result.code_bytes_by_function)
    total = max(result.cycles or 0, 1)
    limit = program.target.cycles_per_mac_limit

    def profile(step: int, layer: Layer) -> LayerProfile:
        cycles = sum(cost.cycles for cost in calls[step].values())
        node = program.steps[step].node
        limited = limit and cycles and layer.macs and _computes_bytes(program.graph, node)
        return LayerProfile(
            step=step,
            name=layer.name,
            op=layer.op,
            function=layer.function,
            kernel=layer.kernel,
            schedule=layer.schedule,
            output_shape=layer.output_shape,
            macs=layer.macs,
            cycles=cycles,
            instructions=sum(cost.instructions for cost in calls[step].values()),
            cycles_per_mac=cycles / layer.macs if layer.macs else None,
            share=cycles / total,
            limit_share=limit * layer.macs / cycles if limited else None,
            ram_bytes=program.arena_in_use(step),
            scratch_bytes=layer.scratch_bytes,
            table_bytes=layer.weights_bytes,
            code_bytes=code[step],
        )

    return tuple(profile(step, layer) for step, layer in enumerate(artifact.report.layers))


def _computes_bytes(graph: Graph, node_name: str) -> bool:
    """Whether a node multiplies 8-bit integers."""
    node = next(n for n in graph.nodes if n.name == node_name)
    return graph.tensors[node.inputs[0]].dtype.size == 1


def _code_bytes(calls: Sequence[Mapping[str, object]], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Code by layer: a function that several layers execute is shared among them equally."""
    code = [0] * len(calls)
    functions = [{symbol.partition(".")[0] for symbol in call} for call in calls]
    for function, size in sizes.items():
        users = [step for step, executed in enumerate(functions) if function in executed]
        for position, step in enumerate(users):
            code[step] += size // len(users) + (position < size % len(users))
    return tuple(code)
