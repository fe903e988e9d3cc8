"""The whole compiler, top to bottom. Start reading here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tinyc.autotune.choice import Choice, Optimize, choices_of
from tinyc.autotune.records import Record, known_records
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.artifact import Artifact, Report
from tinyc.compiler.emit import emit_c
from tinyc.compiler.emit_functions import functions_of
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph, Shape, to_text
from tinyc.compiler.names import c_name
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.pages.report_page import report_page
from tinyc.compiler.program import Program, build_program
from tinyc.compiler.reporting import ports_of, report_of
from tinyc.passes import FLOAT_PASSES, INT8_PASSES, run_passes
from tinyc.passes.boundary import strip_boundary_quantization
from tinyc.passes.memory_check import check_plan
from tinyc.passes.storage import materialize_outputs
from tinyc.targets import Target
from tinyc.targets.firmware import Io

IoDtype = Literal["model", "int8"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of a compilation; the defaults are the command line's.

    name          prefix of the C names; "" takes the file's stem
    io            "caller": inputs and outputs are the caller's arrays; "arena": they live there
    io_dtype      "model": the interface as in the file; "int8": without the Quantize at the
                  inputs and the Dequantize at the outputs
    optimize      what kernels are chosen for: "latency", "balanced", "size" (of flash) or "ram"
    input_shapes  by input name, for dimensions that the model leaves open
    dump          folder for the graph after every pass; None: no dump
    html          whether there is a report.html too
    """

    name: str = ""
    io: Io = "caller"
    io_dtype: IoDtype = "model"
    optimize: Optimize = "balanced"
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    dump: Path | None = None
    html: bool = False

    def __post_init__(self) -> None:
        """Raises CompileError("wrong-option")."""
        for option, value, kinds in (
            ("io", self.io, Io),
            ("io_dtype", self.io_dtype, IoDtype),
            ("optimize", self.optimize, Optimize),
        ):
            if value not in get_args(kinds):
                raise CompileError(
                    "wrong-option",
                    f"there is no '{value}'",
                    f"option {option}",
                    f"use one of: {', '.join(get_args(kinds))}",
                )


DEFAULTS = Options()


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
    graph = materialize_outputs(read_graph(model, target, options))
    records = known_records(target) if records is None else records
    choices = choices_of(graph, target, options.io, records)
    choice = choices[options.optimize]
    program = plan_program(graph, target, options.io, choice.schedules, choice.fusion.streams)
    return program, emit_artifact(program, choice, choices, options.html)


def read_graph(model: Path, target: Target, options: Options = DEFAULTS) -> Graph:
    """The model as the optimised graph that kernels are chosen for."""
    graph = read_onnx(model, options.input_shapes, c_name(options.name or model.stem))
    dump = Dump(options.dump)
    dump.write("import", graph)
    graph = run_passes(graph, target, FLOAT_PASSES, dump.write)
    graph = run_passes(graph, target, INT8_PASSES, dump.write)
    if options.io_dtype == "int8":
        graph = strip_boundary_quantization(graph, target)
        dump.write("strip_boundary_quantization", graph)
    return graph


def plan_program(
    graph: Graph,
    target: Target,
    io: Io = "caller",
    schedules: Mapping[str, Schedule] = {},
    streams: Sequence[Sequence[str]] = (),
) -> Program:
    """Kernels chosen and memory planned, and the plan proved.

    streams  names of nodes that run together, row by row
    """
    program = build_program(materialize_outputs(graph), target, io, schedules, streams)
    if program.plan.arena_bytes <= target.ram_bytes:  # else emit_artifact refuses it, at once
        check_plan(program.plan, program.stages, program.steps, program.storages, target.alignment)
    return program


def emit_artifact(
    program: Program,
    choice: Choice | None = None,
    choices: Mapping[Optimize, Choice] = {},
    html: bool = False,
) -> Artifact:
    """The C files and the report of a program that fits its target.

    choice, choices  why its kernels are what they are, and what the others would be
    html             whether there is a report.html too
    """
    name = program.graph.name
    ports = ports_of(program)
    functions = functions_of(program, [p.c_name for side in ports for p in side])
    report = report_of(program, choice, choices, ports, functions)
    check_fits(report, program.target)
    files = emit_c(program, name, ports, functions)
    files["report.json"] = report.to_json()
    if html:
        files["report.html"] = report_page(program, report)
    return Artifact(name, program.io, report, files, tuple(program.calls))


def check_fits(report: Report, target: Target) -> None:
    """Raises CompileError when the arena or the weights alone exceed the target's memory."""
    if report.weights_bytes > target.flash_bytes:
        over = report.weights_bytes - target.flash_bytes
        raise CompileError(
            "out-of-flash",
            f"the weights need {report.weights_bytes} bytes of flash, "
            f"{over} more than the {target.flash_bytes} of {target.name}",
            f"model '{report.model}'",
            "choose a target with more flash, or quantize the model to int8",
        )
    if report.arena_bytes > target.ram_bytes:
        over = report.arena_bytes - target.ram_bytes
        raise CompileError(
            "out-of-ram",
            f"the arena needs {report.arena_bytes} bytes of RAM, "
            f"{over} more than the {target.ram_bytes} of {target.name}",
            f"the peak is at {' and '.join(repr(p) for p in report.peak)}",
            "choose a target with more RAM, or a smaller input",
        )


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
