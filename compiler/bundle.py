"""Several models for one firmware: their files side by side, and an arena that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tinyc.autotune.records import known_records
from tinyc.compiler.artifact import Artifact, Memory, Report, write_files
from tinyc.compiler.emit_arena import ARENA, arena_header
from tinyc.compiler.errors import CompileError
from tinyc.compiler.json_text import json_text
from tinyc.compiler.onnx_import.inputs import dim_names, input_names
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.options import DEFAULTS, Options
from tinyc.compiler.pipeline import compile_model, prefix_of
from tinyc.targets import Target
from tinyc.targets.memories import with_memory
from tinyc.targets.toolchain import Files

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class BundleReport:
    """What the models cost together.

    share_arena    whether they use the same bytes, one after the other
    arena_bytes    exact: the largest model's where they share it, else the sum; of those in the
                   fastest memory, where there are several
    weights_bytes  the tables of all, exact
    memories       what all models together have in each memory
    """

    target: str
    share_arena: bool
    arena_bytes: int
    weights_bytes: int
    models: tuple[Report, ...]
    memories: tuple[Memory, ...]

    def to_json(self) -> str:
        return json_text(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Generated files of all models; the same input gives the same bytes.

    artifacts  of each model, in the order given; any of them runs alone too
    """

    report: BundleReport
    artifacts: tuple[Artifact, ...]
    files: Files = field(repr=False)

    def write(self, folder: str | Path) -> None:
        """Write all files or none. Raises CompileError("cannot-write")."""
        write_files(Path(folder), self.files)


def compile_bundle(
    models: Sequence[Path],
    target: Target,
    options: Options = DEFAULTS,
    *,
    names: Sequence[str] = (),
    share_arena: bool = False,
) -> Bundle:
    """Compile ONNX files to C that goes into one firmware.

    options      of every model; a shape, a size goes to the models that have its name
    names        the prefix of the C names of each model; () takes the stems of the files
    share_arena  adds tinyc_arena.h: the type of one arena for all models

    Raises CompileError when a model cannot be compiled, two have one name, or they do not fit.
    """
    target = with_memory(target, options.memory)
    prefixes = _prefixes(models, names)
    own = _options_of(models, options)
    records = known_records(target)
    artifacts = tuple(
        compile_model(model, target, _named(each, name), records)
        for model, name, each in zip(models, prefixes, own, strict=True)
    )
    reports = tuple(artifact.report for artifact in artifacts)
    together = max if share_arena else sum
    report = BundleReport(
        target.name,
        share_arena,
        together(report.arena_bytes for report in reports),
        sum(report.weights_bytes for report in reports),
        reports,
        _memories(reports, share_arena),
    )
    _check_fits(report, target, options)
    files = {name: content for a in artifacts for name, content in a.files.items()}
    header = {f"{ARENA}.h": arena_header(options.io, _arenas(reports))} if share_arena else {}
    return Bundle(report, artifacts, {**files, **header, "report.json": report.to_json()})


def _prefixes(models: Sequence[Path], names: Sequence[str]) -> tuple[str, ...]:
    """The prefix of each model's C names, all different whether or not case counts."""
    if names and len(names) != len(models):
        raise CompileError(
            "wrong-option",
            f"models: {len(models)}, names: {len(names)}",
            ", ".join(f"--name {name}" for name in names),
            "give --name once for each model, in their order, or not at all",
        )
    prefixes = tuple(
        prefix_of(model, name)
        for model, name in zip(models, names or [""] * len(models), strict=True)
    )
    owners: dict[str, Path] = {}  # by what files and macros begin with
    for model, prefix in zip(models, prefixes, strict=True):
        for begin in (prefix.casefold(), f"{prefix}_weights".casefold()):
            if begin in owners:
                raise CompileError(
                    "name-clash",
                    f"two models have the C names of '{begin}'",
                    f"model '{owners[begin]}', model '{model}'",
                    "give each model a name of its own: --name once for each, in their order",
                )
            owners[begin] = model
    return prefixes


def _options_of(models: Sequence[Path], options: Options) -> tuple[Options, ...]:
    """The options of each model: of the shapes and sizes given, its own."""
    if not options.input_shapes and not options.dims:
        return (options,) * len(models)
    graphs = [load_model(model).graph for model in models]
    shapes = _own(options.input_shapes, [input_names(graph) for graph in graphs])
    dims = _own(options.dims, [dim_names(graph) for graph in graphs])
    return tuple(
        replace(options, input_shapes=shape, dims=dim)
        for shape, dim in zip(shapes, dims, strict=True)
    )


def _own(given: Mapping[str, Given], names: Sequence[Sequence[str]]) -> list[Mapping[str, Given]]:
    """What is given for the names of each model; what no model knows goes to all, to be refused."""
    known = {name for own in names for name in own}
    return [{n: g for n, g in given.items() if n in own or n not in known} for own in names]


def _named(options: Options, name: str) -> Options:
    """The options of one model, whose dump has a folder of its own."""
    dump = None if options.dump is None else options.dump / name
    return replace(options, name=name, dump=dump)


def _arenas(reports: Sequence[Report]) -> Mapping[str, Mapping[str, int]]:
    """Bytes of every arena, by its name in C and by model."""
    arenas: dict[str, dict[str, int]] = {"arena": {}}
    for report in reports:
        for memory in report.memories:
            if memory.arena:
                arenas.setdefault(memory.arena, {})[report.model] = memory.arena_bytes
    return arenas


def _memories(reports: Sequence[Report], share_arena: bool) -> tuple[Memory, ...]:
    """Of all models together; each runs once."""
    together = max if share_arena else sum

    def memory(of: Sequence[Memory]) -> Memory:
        return replace(
            of[0],
            arena=next((m.arena for m in of if m.arena), ""),
            arena_bytes=together(m.arena_bytes for m in of),
            tables_bytes=sum(m.tables_bytes for m in of),
            accesses=sum(m.accesses for m in of),
            waits=sum(m.waits for m in of),
        )

    return tuple(map(memory, zip(*(report.memories for report in reports), strict=True)))


def _check_fits(report: BundleReport, target: Target, options: Options) -> None:
    """What each model alone has passed: raises CompileError when all together do not fit."""
    where = ", ".join(f"model '{model.model}'" for model in report.models)
    if options.weights != "bin" and report.weights_bytes > target.flash_bytes:
        over = report.weights_bytes - target.flash_bytes
        raise CompileError(
            "out-of-flash",
            f"the weights need {report.weights_bytes} bytes of flash, "
            f"{over} more than the {target.flash_bytes} of {target.name}",
            where,
            "choose a target with more flash, or keep the weights in external flash with "
            "--weights bin",
        )
    for memory in (m for m in report.memories if m.kind == "ram"):
        need = memory.arena_bytes + memory.tables_bytes
        if need > memory.bytes:
            several = len(target.rams) > 1
            raise CompileError(
                "out-of-ram",
                f"the arenas need {need} bytes of RAM, {need - memory.bytes} more than the "
                f"{memory.bytes} of {memory.name if several else target.name}",
                where,
                "run one model after the other on one arena with --share-arena"
                if not report.share_arena
                else "give each model less of it with --memory, and compile them apart",
            )
