"""What `tinyc prune` prints: a table for people, plain dictionaries for programs."""

from dataclasses import asdict
from typing import Any

from rich.markup import escape

from tinyc.compiler.names import short_name
from tinyc.compiler.show import console_of_output, table_of
from tinyc.pruning.report import PruningReport


def pruning_json(report: PruningReport) -> dict[str, Any]:
    return {**asdict(report), "saved": report.saved}


def show_pruning(report: PruningReport) -> None:
    """The layers' channels, and what their removal saves and costs."""
    console = console_of_output()
    table = table_of(f"{escape(report.model)} for {report.target}")
    for heading in ("layer", "operator"):
        table.add_column(heading, no_wrap=True)
    for heading in ("channels", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in report.layers:
        left = str(layer.after) if layer.after != layer.before else ""
        table.add_row(escape(short_name(layer.name)), layer.op, str(layer.before), left)
    console.print(table)
    rows = {
        "cycles": f"{report.cycles_before:,} became {report.cycles_after:,}, {report.saved:.1%} "
        "fewer (estimated, as int8)",
        "constants": f"{report.constants_before:,} became {report.constants_after:,}",
        "loss": f"{report.loss:.2f} of {report.max_loss:g} allowed on {report.judged_samples} "
        f"samples that were held out: {report.measure}",
    }
    for name, text in rows.items():
        console.print(f"{name:9} {escape(text)}", soft_wrap=True)
    for text in report.warnings:
        console.print(f"warning: {escape(text)}", soft_wrap=True)
