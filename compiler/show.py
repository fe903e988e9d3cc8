"""What `tinyc compile` prints, and how all tables of ours look."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tinyc.compiler.artifact import Artifact, Layer, Memory, Port, Report
from tinyc.compiler.names import short_name
from tinyc.targets.toolchain import encoded

if TYPE_CHECKING:  # `tinyc compile` of one model loads no more than it needs
    from tinyc.compiler.bundle import Bundle

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


def show_bundle(bundle: "Bundle") -> None:
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
        "arena": f"{arena_text(report)} (exact{_bound_text(report)})",
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


def arena_text(report: Report) -> str:
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
