"""What the command line prints: tables for people, plain dictionaries for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tinyc.compiler.artifact import Artifact, Layer, Memory, Port, Report
from tinyc.compiler.bundle import Bundle
from tinyc.compiler.names import short_name
from tinyc.compiler.running import RunResult, cycles_by_layer
from tinyc.targets import load_target, target_names
from tinyc.targets.toolchain import encoded

if TYPE_CHECKING:
    from tinyc.compiler.verification import Verification
    from tinyc.targets.doctor import Check

MOST_SHOWN = 8  # samples of a run
PLAIN_WIDTH = 160  # columns where the output is no terminal


def console_of_output(stderr: bool = False) -> Console:
    """The terminal, or lines of a fixed width where the output is none."""
    console = Console(highlight=False, stderr=stderr)
    plain = Console(width=PLAIN_WIDTH, highlight=False, stderr=stderr)
    return console if console.is_terminal else plain


def table_of(title: str) -> Table:
    """An empty table, as all of ours look."""
    return Table(title=title, title_justify="left", box=SIMPLE, title_style="bold")


def show_report(artifact: Artifact) -> None:
    """What the model costs."""
    report, console = artifact.report, console_of_output()
    console.print(_layer_table(report))
    if any(mode.source != "unknown" for mode in report.modes):
        console.print(_mode_table(report))
    elif report.modes:
        console.print("kernels by the rule of thumb: nothing is on record, `tinyc tune` measures")
    if _has_choice(report.memories):
        console.print(_memory_table(report.memories, report.model))
    _print_totals(console, artifact)
    for note in report.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    for node in report.float_nodes:
        console.print(f"float: {escape(node.name)} ({node.op}): {node.reason}", soft_wrap=True)


def show_bundle(bundle: Bundle) -> None:
    """What each model costs, and all together."""
    for artifact in bundle.artifacts:
        show_report(artifact)
    report, console = bundle.report, console_of_output()
    arenas = ", ".join(f"{model.model} {model.arena_bytes:,} B" for model in report.models)
    how = "shared, one model at a time" if report.share_arena else "one for each model"
    console.print(f"together  {len(report.models)} models", style="bold")
    console.print(f"arenas    {report.arena_bytes:,} B ({how}: {escape(arenas)})", soft_wrap=True)
    console.print(f"weights   {report.weights_bytes:,} B (exact)")
    if _has_choice(report.memories):
        console.print(_memory_table(report.memories, "tinyc" if report.share_arena else "..."))


def show_written(files: Iterable[str], folder: Path) -> None:
    text = f"wrote {', '.join(files)} to {escape(str(folder))}"
    console_of_output().print(text, soft_wrap=True)


def _layer_table(report: Report) -> Table:
    table = table_of(f"{report.model} for {report.target}")
    for heading in ("layer", "operator", "output", "kernel"):
        table.add_column(heading, no_wrap=True)
    for heading in ("MACs", "weights B", "scratch B"):
        table.add_column(heading, justify="right", no_wrap=True)
    several = any(layer.regions for layer in report.layers)
    if several:
        table.add_column("RAM", no_wrap=True)
    for layer in report.layers:
        regions = [", ".join(dict.fromkeys(layer.regions.values()))] if several else []
        shape = "x".join(map(str, layer.output_shape))
        numbers = (layer.macs, layer.weights_bytes, layer.scratch_bytes)
        texts = (escape(short_name(layer.name)), _operator_text(layer), shape, layer.kernel)
        table.add_row(*texts, *(f"{n:,}" if n else "" for n in numbers), *regions)
    return table


def _operator_text(layer: Layer) -> str:
    """Tinyc's operator, and the model's where that has no kernel of its own."""
    if layer.road == "tvm":
        return f"{layer.operator} by TVM"
    return f"{layer.op} of {layer.operator}" if layer.road == "function" else layer.op


def _has_choice(memories: Sequence[Memory]) -> bool:
    """Whether buffers or tables may lie in one memory or another."""
    rams = [memory for memory in memories if memory.kind == "ram"]
    return len(rams) > 1 or any(memory.tables_bytes for memory in rams)


def _memory_table(memories: Sequence[Memory], prefix: str) -> Table:
    """What is in each memory; the C names of arenas begin with `prefix`."""
    table = table_of("memories: accesses and waits are estimated from shapes")
    for heading in ("memory", "arena"):
        table.add_column(heading)
    for heading in ("B", "arena B", "tables B", "in use", "wait cycles", "accessed B", "waits"):
        table.add_column(heading, justify="right")
    for m in memories:
        numbers = (m.bytes, m.arena_bytes, m.tables_bytes)
        used = f"{(m.arena_bytes + m.tables_bytes) / max(m.bytes, 1):.0%}"
        rest = (str(m.wait_cycles), f"{m.accesses:,}", f"{m.waits:,}")
        arena = f"{prefix}_{m.arena}" if m.arena else ""
        table.add_row(m.name, escape(arena), *(f"{n:,}" for n in numbers), used, *rest)
    return table


def _mode_table(report: Report) -> Table:
    """What the values of --optimize cost, of the layers that have a choice of schedules."""
    table = table_of("--optimize: layers with a choice of kernels, cycles by tuning records")
    for heading in ("", "mode", "cycles", "flash B, about", "arena B, about", "cycles are"):
        table.add_column(heading, justify="right" if heading.endswith(("s", "about")) else "left")
    for mode in report.modes:
        mark = "->" if mode.optimize == report.optimize else ""
        cycles = f"{mode.cycles:,}" if mode.source != "unknown" else ""
        sizes = (f"{mode.flash_bytes:,}", f"{mode.arena_bytes:,}")
        table.add_row(mark, mode.optimize, cycles, *sizes, mode.source)
    return table


def _print_totals(console: Console, artifact: Artifact) -> None:
    report = artifact.report
    rows = {
        "arena": f"{_arena_text(report)} (exact{_bound_text(report)})",
        **_state_row(report),
        "weights": _weights_text(artifact),
        "MACs": f"{report.macs:,}",
        "RAM peak": ", ".join(map(short_name, report.peak)),
        "inputs": ", ".join(map(_port_text, report.inputs)),
        "outputs": ", ".join(map(_port_text, report.outputs)),
    }
    if report.memory_check:
        calls, read, _ = report.memory_check.values()
        rows["checked"] = f"{calls:,} calls on tagged bytes; all {read:,} B read were as written"
    for name, text in rows.items():
        console.print(f"{name:9} {escape(text)}", soft_wrap=True)


def _state_row(report: Report) -> dict[str, str]:
    """What a streaming model remembers between two calls."""
    if not report.state_bytes:
        return {}
    first = f"; the first {report.first_calls} calls give nothing" if report.first_calls else ""
    return {"state": f"{report.state_bytes:,} B from call to call (exact{first})"}


def _arena_text(report: Report) -> str:
    arenas = [f"{m.arena_bytes:,} B in {m.name}" for m in report.memories if m.arena]
    return ", ".join(arenas) if len(arenas) > 1 else f"{report.arena_bytes:,} B"


def _bound_text(report: Report) -> str:
    several = sum(bool(memory.arena) for memory in report.memories) > 1
    return "" if several else f"; no plan below {report.arena_bound_bytes:,} B"


def _weights_text(artifact: Artifact) -> str:
    report, file = artifact.report, f"{artifact.name}_weights.bin"
    if report.weights == "bin":
        size = len(encoded(artifact.files[file]))
        return f"{report.weights_bytes:,} B in {file} of {size:,} B (exact; only code is linked)"
    return f"{report.weights_bytes:,} B of flash (exact; code comes on top)"


def _port_text(port: Port) -> str:
    return f"{port.name} {port.dtype}{list(port.shape)}"


def show_run(artifact: Artifact, result: RunResult) -> None:
    """Outputs of the first samples, and the measured cost of one inference."""
    console = console_of_output()
    for name, values in result.outputs.items():
        console.print(f"{escape(name)}: {len(values)} sample{'s' if len(values) > 1 else ''}")
        for index, row in enumerate(values[:MOST_SHOWN]):
            flat = row.reshape(-1)
            shown = " ".join(f"{v:.6g}" if flat.dtype.kind == "f" else str(v) for v in flat[:16])
            more = f" ... {flat.size} values" if flat.size > 16 else ""
            best = (
                f"   largest: {int(flat.argmax())}"
                if 1 < flat.size <= 1024 and flat.dtype.kind != "U"
                else ""
            )
            console.print(f"  [{index}] {shown}{more}{best}", soft_wrap=True, markup=False)
        if len(values) > MOST_SHOWN:
            console.print(f"  ... {len(values) - MOST_SHOWN} more")
    for name, text in cost_rows(artifact, result).items():
        console.print(f"{name:9} {escape(text)}", soft_wrap=True)


def cost_rows(artifact: Artifact, result: RunResult) -> dict[str, str]:
    """The measured cost of one inference, for people; each with how it was obtained."""
    how = f"measured in the emulator, {result.compiler}"
    rows = {
        "arena": f"{_arena_text(artifact.report)} (exact)",
        "flash": f"{result.text_bytes + result.rodata_bytes:,} B (measured: {result.text_bytes:,} "
        f"of code, {result.rodata_bytes:,} of tables, {result.compiler})",
    }
    if result.stack_bytes is not None:
        rows["stack"] = f"{result.stack_bytes:,} B ({how})"
    if result.cycles is not None:
        rows["cycles"] = f"{result.cycles:,} at zero wait states ({how})"
    return rows


def run_json(artifact: Artifact, result: RunResult) -> dict[str, Any]:
    """Everything of a run; outputs as nested lists."""
    return {
        "model": artifact.name,
        "target": artifact.report.target,
        "outputs": {name: values.tolist() for name, values in result.outputs.items()},
        "arena_bytes": artifact.report.arena_bytes,
        "text_bytes": result.text_bytes,
        "rodata_bytes": result.rodata_bytes,
        "stack_bytes": result.stack_bytes,
        "cycles": result.cycles,
        "instructions": result.instructions,
        "compiler": result.compiler,
        "cycles_by_function": dict(result.cycles_by_function),
        "cycles_by_layer": [
            {"layer": layer.name, "cycles": cycles}
            for layer, cycles in zip(
                artifact.report.layers, cycles_by_layer(artifact, result), strict=False
            )
        ],
    }


def show_verification(verification: "Verification") -> None:
    """Accuracy of both, the largest deviation, and where they part."""
    v, console = verification, console_of_output()
    console.print(f"{v.samples} samples on {v.target}, against onnxruntime")
    if v.accuracy is not None and v.reference_accuracy is not None:
        console.print(
            f"accuracy     tinyc {v.accuracy:.2%}, onnxruntime {v.reference_accuracy:.2%}"
        )
    console.print(f"same answer  {v.same_answers:.2%} of the samples")
    for output in v.outputs:
        unit = "steps" if output.dtype.startswith(("int", "uint")) else "absolute"
        console.print(
            f"output       {escape(output.name)}: largest deviation {output.largest:.6g} ({unit}), "
            f"{output.differing_share:.3%} of the values differ",
            soft_wrap=True,
        )
    if v.parting is not None:
        console.print(
            f"they part at {escape(v.parting.node)} ({v.parting.op}), sample {v.parting.sample}, "
            f"by {v.parting.largest:.6g}",
            soft_wrap=True,
        )
    if v.cycles is not None:
        console.print(f"cycles       {v.cycles:,} (measured in the emulator, zero wait states)")


def targets_json() -> list[dict[str, Any]]:
    """Every target as a dictionary."""
    rows = []
    for name in target_names():
        target = load_target(name)
        fields = {"name": name, "isa": target.isa, "features": sorted(target.features)}
        sizes = {"ram_bytes": target.ram_bytes, "flash_bytes": target.flash_bytes}
        compilers = {"compilers": [c.name for c in target.compilers]}
        rows.append({**fields, **sizes, **compilers})
    return rows


def show_targets() -> None:
    table = table_of("targets")
    for heading in ("name", "ISA", "features", "RAM B", "flash B", "compilers"):
        table.add_column(heading, no_wrap=heading in ("name", "RAM B", "flash B"))
    for row in targets_json():
        table.add_row(
            row["name"],
            row["isa"],
            ", ".join(row["features"]),
            f"{row['ram_bytes']:,}",
            f"{row['flash_bytes']:,}",
            ", ".join(row["compilers"]),
        )
    console_of_output().print(table)


def show_doctor(checks: Sequence["Check"]) -> None:
    table = table_of("doctor")
    for heading in ("", "what", "version", "needed for", "how to get it"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        fields = asdict(check)
        mark = "yes" if fields["found"] else "no"
        get = "" if fields["found"] else fields["how_to_get"]
        table.add_row(mark, fields["name"], fields["version"], fields["needed_for"], escape(get))
    console_of_output().print(table)
