"""The interface and the report of a planned program."""

from collections.abc import Mapping
from dataclasses import asdict

from tinyc.autotune.choice import Choice, Optimize
from tinyc.autotune.options import Option
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.artifact import FloatNode, Layer, Mode, Port, Report, Road, Source
from tinyc.compiler.emit_functions import Functions
from tinyc.compiler.emit_memory import arena_of, arenas_of
from tinyc.compiler.emit_state import state_bytes, waits_of
from tinyc.compiler.emit_tables import Tables
from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.memory_map import map_of
from tinyc.compiler.names import unique_names
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.tensor_program import TensorProgramAttrs
from tinyc.compiler.program import Program
from tinyc.compiler.reporting_memories import memories_of
from tinyc.passes.claims import scratch_name
from tinyc.passes.float_report import stays_float
from tinyc.passes.memory_check import Checked
from tinyc.passes.quantization_hints import quantization_hints

OWN_NAMES = (  # as in kws_run
    "arena", "run", "begin", "push_row", "finish", "state", "weights", "weights_at",
    "weights_intact", "reset",
)  # fmt: skip


def ports_of(program: Program) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """The inputs and the outputs as C sees them."""
    graph = program.graph
    own = {*OWN_NAMES, *arenas_of(program).values()}
    taken = {graph.name, *own, *(f"{graph.name}_{name}" for name in own)}
    inputs, outputs = (
        [name for name in side if name not in graph.remembered]
        for side in (graph.inputs, graph.outputs)
    )
    names = unique_names(dict.fromkeys((*inputs, *outputs)), taken)

    def port(tensor_name: str) -> Port:
        tensor = graph.tensors[tensor_name]
        storage = program.storage(tensor_name).name
        offset = program.plan.offsets.get(storage)
        rows = program.steps[0].rows if offset is None and program.io == "rows" else 0
        return Port(
            tensor.name, names[tensor.name], tensor.shape, tensor.dtype, tensor.quant,
            tensor.elements, offset, arena_of(program, storage), rows,
        )  # fmt: skip

    return tuple(map(port, inputs)), tuple(map(port, outputs))


def report_of(
    program: Program,
    choice: Choice | None,
    choices: Mapping[Optimize, Choice],
    ports: tuple[tuple[Port, ...], tuple[Port, ...]],
    functions: Functions,
    tables: Tables,
    proved: Checked | None = None,
) -> Report:
    """What is known of the program without running it.

    choice, choices  why its kernels are what they are, and what the others would cost
    """
    graph = program.graph
    options = {} if choice is None else choice.options
    layers = tuple(
        _layer(program, i, functions, options.get(step.node))
        for i, step in enumerate(program.steps)
    )
    return Report(
        model=graph.name,
        target=program.target.name,
        arena_bytes=program.plan.arena_bytes,
        arena_bound_bytes=program.plan.bound_bytes,
        weights_bytes=tables.bytes,
        macs=sum(layer.macs for layer in layers),
        peak=map_of(program).peak_layers,
        layers=layers,
        float_nodes=tuple(FloatNode(n.name, n.op, why) for n, why in stays_float(graph)),
        notes=(*graph.notes, *quantization_hints(graph)),
        inputs=ports[0],
        outputs=ports[1],
        optimize="" if choice is None else choice.optimize,
        memory_check={} if proved is None else asdict(proved),
        modes=tuple(map(_mode, choices.values())),
        weights=tables.weights,
        memories=memories_of(program, tables),
        state_bytes=state_bytes(program),
        first_calls=waits_of(program),
    )


def _mode(choice: Choice) -> Mode:
    cost = choice.cost
    return Mode(choice.optimize, cost.cycles, cost.flash_bytes, cost.ram_bytes, choice.source)


def _layer(program: Program, step: int, functions: Functions, option: Option | None) -> Layer:
    node_name = program.steps[step].node
    number, stage = next((i, s) for i, s in enumerate(program.stages) if step in s.steps)
    node = next(n for n in program.graph.nodes if n.name == node_name)
    call, kernel, plan = call_of(program.graph, node), program.kernels[node_name], program.plan
    road, operator = _road_of(program.graph, node)
    arena: dict[str, tuple[int, int]] = {}
    regions: dict[str, str] = {}
    for tensor in (*call.inputs, *call.outputs):
        storage = program.storage(tensor.name).name if tensor.data is None else ""
        if storage in plan.offsets:
            offset = plan.offsets[storage]
            arena[tensor.name] = (offset, offset + plan.windows.get(storage, tensor.bytes))
            regions[tensor.name] = program.region(storage)
    if kernel.scratch_bytes:
        offset = plan.offsets[scratch_name(node_name)]
        arena["scratch"] = (offset, offset + kernel.scratch_bytes)
        regions["scratch"] = program.region(scratch_name(node_name))
    return Layer(
        name=" + ".join(node.origin) or node.name,
        op=node.op,
        function=functions.names[node_name],
        kernel=kernel.note,
        output_shape=call.outputs[0].shape,
        macs=OPS[node.op].macs(call),
        weights_bytes=sum(c.array.nbytes for c in kernel.constants),
        scratch_bytes=kernel.scratch_bytes,
        arena=arena,
        blocks=tuple(m.name for m in kernel.microkernels),
        stage=number,
        rows_per_call=stage.units[stage.steps.index(step)] if stage.loops else 0,
        schedule={} if option is None else _choices(option.schedule),
        cycles=None if option is None or option.source == "unknown" else option.cycles,
        cycles_source=_source(option, functions.hashes[node_name]),
        regions=regions if plan.more_bytes else {},
        road=road,
        operator=operator,
    )


def _road_of(graph: Graph, node: Node) -> tuple[Road, str]:
    """How the node came about, and the operator of the model that it is or belongs to."""
    if isinstance(node.attrs, TensorProgramAttrs):
        return "tvm", node.attrs.operator
    operators = {graph.inlined.get(name, "") for name in node.origin}
    inlined = sorted(filter(None, operators))
    return ("function", ", ".join(inlined)) if inlined else ("own", "")


def _source(option: Option | None, kernel: str) -> Source:
    """What was measured of a kernel that has changed since is an estimate of the one that is."""
    if option is None:
        return "unknown"
    changed = option.source == "measured" and option.kernel != kernel
    return "estimated" if changed else option.source


def _choices(schedule: Schedule) -> dict[str, str | int]:
    """What a schedule says beside its defaults."""
    defaults = asdict(Schedule())
    return {key: v for key, v in asdict(schedule).items() if v != defaults[key]}
