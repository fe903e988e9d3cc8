"""The whole compiler, top to bottom. Start reading here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyc.autotune.choice import Choice, Limits, Optimize
from tinyc.autotune.records import Record, known_records
from tinyc.compiler.artifact import Artifact, Report
from tinyc.compiler.emit import emit_c
from tinyc.compiler.emit_arena import ARENA
from tinyc.compiler.emit_functions import functions_of
from tinyc.compiler.emit_tables import tables_of
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph, to_text
from tinyc.compiler.names import c_name, short_names
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.options import DEFAULTS, Options
from tinyc.compiler.planning import Task, limits_of, prove, task_of
from tinyc.compiler.planning_graphs import plan_graphs
from tinyc.compiler.planning_memories import plan_in_memories
from tinyc.compiler.program import Program
from tinyc.compiler.reporting import ports_of, report_of
from tinyc.passes import FLOAT_PASSES, INT8_PASSES, Pass, run_passes
from tinyc.passes.boundary import strip_boundary_quantization
from tinyc.passes.input_rows import push_rows
from tinyc.passes.memory_check import Checked
from tinyc.passes.ordering import order_nodes
from tinyc.passes.reshape_merging import merge_reshapes
from tinyc.passes.storage import materialize_outputs
from tinyc.passes.streaming_state import stream_graph
from tinyc.passes.transposed_convolutions import split_transposed_convolutions, ways_to_split
from tinyc.passes.tree_features import rank_tree_features
from tinyc.passes.tree_inputs import store_tree_inputs
from tinyc.targets import Target
from tinyc.targets.firmware import Weights
from tinyc.targets.memories import with_memory, without_tables


def compile_model(
    model: Path,
    target: Target,
    options: Options = DEFAULTS,
    records: Sequence[Record] | None = None,
) -> Artifact:
    """Compile an ONNX file to C for `target`.

    records  what was measured; None takes the package's records, the user's and the project's

    Raises CompileError when the model cannot be compiled or does not fit.
    """
    _, artifact = compile_program(model, target, options, records)
    return artifact


def compile_program(
    model: Path,
    target: Target,
    options: Options = DEFAULTS,
    records: Sequence[Record] | None = None,
) -> tuple[Program, Artifact]:
    """What `compile_model` gives, and the program it was printed from."""
    tasks = read_tasks(model, target, options, records)
    task, program, choice = plan_graphs(tasks, options.mode, plan_in_memories)
    proved = prove(program)
    artifact = emit_artifact(
        program, choice, task.choices.best, task.choices.limits, options.weights, options.html,
        proved if options.check_memory else None,
    )  # fmt: skip
    return program, artifact


def read_tasks(
    model: Path,
    target: Target,
    options: Options = DEFAULTS,
    records: Sequence[Record] | None = None,
) -> tuple[Task, ...]:
    """The optimised graphs, and what there is to choose within the limits of a user."""
    target = with_memory(target, options.memory)
    if options.weights == "bin":
        target = without_tables(target)
    graphs = map(materialize_outputs, read_graphs(model, target, options))
    records = known_records(target) if records is None else records
    limits = limits_of(target, options.max_ram, options.max_flash)
    return tuple(task_of(graph, target, options.io, records, limits) for graph in graphs)


def read_graph(model: Path, target: Target, options: Options = DEFAULTS) -> Graph:
    """The model as the optimised graph that takes the fewest cycles."""
    return read_graphs(model, target, options)[0]


def read_graphs(model: Path, target: Target, options: Options = DEFAULTS) -> tuple[Graph, ...]:
    """The model as optimised graphs that kernels are chosen for: the fastest one comes first."""
    graph = read_onnx(model, options.input_shapes, prefix_of(model, options.name), options.dims)
    graph = replace(graph, notes=(*options.notes, *graph.notes))
    dump = Dump(options.dump)
    dump.write("import", graph)
    graph = run_passes(graph, target, FLOAT_PASSES, dump.write)
    split = INT8_PASSES.index(split_transposed_convolutions)
    graph = run_passes(graph, target, INT8_PASSES[:split], dump.write)
    ways = ways_to_split(graph, target)
    if options.stream or options.io == "rows":  # a ConvTranspose needs its input whole
        ways = ways[:1]
    return tuple(
        _finished(graph, target, options, (way, *INT8_PASSES[split + 1 :]), dump) for way in ways
    )


def _finished(
    graph: Graph, target: Target, options: Options, passes: tuple[Pass, ...], dump: "Dump"
) -> Graph:
    """After the last passes, as the caller hands in and takes out."""
    graph = run_passes(graph, target, passes, dump.write)
    if options.io_dtype == "int8":
        graph = strip_boundary_quantization(graph, target)
        dump.write("strip_boundary_quantization", graph)
    if options.io_dtype == "int16":
        graph = store_tree_inputs(graph, target)
        dump.write("store_tree_inputs", graph)
    if options.tree_features == "int16":
        graph = rank_tree_features(graph, target)
        dump.write("rank_tree_features", graph)
    if graph.states and (options.stream or options.io == "rows"):
        raise CompileError(
            "wrong-option",
            "the model remembers tensors from run to run: its input comes whole, a step a run",
            f"option {'stream' if options.stream else 'io'}",
            "compile it without --stream and --io rows",
        )
    if options.stream:
        graph = stream_graph(graph, options.stream)
        dump.write("stream_graph", graph)
        graph = run_passes(graph, target, (merge_reshapes, order_nodes), dump.write)
    if options.io == "rows":
        graph = push_rows(graph, target)
        dump.write("push_rows", graph)
    return graph


def prefix_of(model: Path, name: str) -> str:
    """What all C names of a model begin with: `name`, or the file's stem where that is empty.

    Raises CompileError("name-clash") for the names of the files that models share.
    """
    prefix = c_name(name or model.stem)
    if prefix.casefold() in ("tinyc", ARENA):
        raise CompileError(
            "name-clash",
            f"'{prefix}.h' is a header that models share",
            f"model '{model}'",
            "give the model another name with --name",
        )
    return prefix


def emit_artifact(
    program: Program,
    choice: Choice | None = None,
    choices: Mapping[Optimize, Choice] = {},
    limits: Limits | None = None,
    weights: Weights = "c",
    html: bool = False,
    proved: Checked | None = None,
) -> Artifact:
    """The C files and the report of a program that fits its target.

    choice, choices  why its kernels are what they are, and what the others would be
    limits           bytes that it may use; None: those of the target
    html             whether there is a report.html too
    proved           what the report says of the memory plan's check
    """
    name = program.graph.name
    ports = ports_of(program)
    functions = functions_of(program, [p.c_name for side in ports for p in side])
    tables = tables_of(program, name, weights)
    report = report_of(program, choice, choices, ports, functions, tables, proved)
    check_fits(report, program.target, limits or limits_of(program.target))
    files = emit_c(program, name, ports, functions, tables)
    files["report.json"] = report.to_json()
    if html:
        from tinyc.compiler.pages.report_page import report_page  # its templates load slowly

        files["report.html"] = report_page(program, report)
    return Artifact(name, program.io, report, files, tuple(program.calls))


def check_fits(report: Report, target: Target, limits: Limits) -> None:
    """Raises CompileError when the arena or the weights alone exceed the limits."""
    if report.weights != "bin" and report.weights_bytes > limits.flash_bytes:
        over = report.weights_bytes - limits.flash_bytes
        raise CompileError(
            "out-of-flash",
            f"the weights need {report.weights_bytes} bytes of flash, "
            f"{over} more than {_limit_text(limits.flash_bytes, target.flash_bytes, target)}",
            f"model '{report.model}'",
            "allow more with --max-flash, choose a target with more flash, quantize the model to "
            "int8, or keep the weights in external flash with --weights bin",
        )
    rams = [memory for memory in report.memories if memory.kind == "ram"]
    for memory in rams if len(rams) > 1 else ():
        over = memory.arena_bytes - memory.bytes
        if over > 0:
            raise CompileError(
                "out-of-ram",
                f"beside what the other memories hold, {memory.name} needs {memory.arena_bytes} "
                f"bytes for the arena, {over} more than its {memory.bytes}",
                f"memories of {target.name}: {', '.join(f'{m.name}={m.bytes}' for m in rams)}",
                f"give the model {memory.name}={memory.arena_bytes}, or make the input smaller",
            )
    arena_bytes = max(report.arena_bytes, sum(memory.arena_bytes for memory in rams))
    if arena_bytes > limits.ram_bytes:
        over = arena_bytes - limits.ram_bytes
        raise CompileError(
            "out-of-ram",
            f"the smallest arena that was found needs {arena_bytes} bytes of RAM, "
            f"{over} more than {_limit_text(limits.ram_bytes, target.ram_bytes, target)}",
            f"the peak is at {short_names(report.peak)}",
            "allow more with --max-ram, choose a target with more RAM, or make the input smaller",
        )


def _limit_text(limit: int, available: int, target: Target) -> str:
    if limit < available:
        return f"the {limit} that are allowed"
    return f"the {available} of {target.name}"


@dataclass(frozen=True, slots=True)
class Dump:
    """Writes `03-fuse_activations.txt` after every pass, or nothing when there is no folder."""

    folder: Path | None

    def write(self, stage: str, graph: Graph) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = len(list(self.folder.glob("[0-9][0-9]-*.txt")))
            (self.folder / f"{number:02}-{stage}.txt").write_text(to_text(graph), "utf-8")
        except OSError as error:
            raise CompileError(
                "cannot-write",
                f"the dump cannot be written: {error.strerror or error}",
                f"--dump {self.folder}",
            ) from error
