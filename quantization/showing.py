"""What `tinyc quantize` prints: a table for people, plain dictionaries for programs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from tinyc.compiler.names import short_name
from tinyc.compiler.show import console_of_output, table_of
from tinyc.quantization.quantize import Watch, silent
from tinyc.quantization.report import FLOATING, Mixture, QuantizationReport, Row


@contextmanager
def quantization_progress(quiet: bool) -> Iterator[Watch]:
    """A bar for each stage, on stderr, gone when done."""
    console = console_of_output(stderr=True)
    if quiet or not console.is_terminal:
        yield silent
        return
    columns = TextColumn("{task.description}"), BarColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1)

        def watch(text: str, step: int, steps: int) -> None:
            progress.update(task, description=escape(text), completed=step, total=steps)

        yield watch


def quantization_json(report: QuantizationReport) -> dict[str, Any]:
    return asdict(report)


def show_quantization(report: QuantizationReport) -> None:
    """The layers, what was tried, and what it cost."""
    console = console_of_output()
    table = table_of(f"{escape(report.model)} on {report.samples} samples")
    for heading in ("layer", "operator", "range by"):
        table.add_column(heading, no_wrap=True)
    for heading in ("from", "to", "clipped", "SNR dB", "alone dB", "weights dB", "of the noise"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(*_cells(row))
    console.print(table)
    _print_totals(console, report)


def _cells(row: Row) -> tuple[str, ...]:
    weights = "" if row.weights_db is None else f"{row.weights_db:.1f}"
    return (
        escape(short_name(row.node or row.tensor)), row.op, row.method, f"{row.low:.4g}",
        f"{row.high:.4g}", f"{row.clipped:.3%}" if row.clipped else "", f"{row.snr_db:.1f}",
        f"{row.activation_db:.1f}", weights, f"{row.noise_share:.1%}",
    )  # fmt: skip


def _print_totals(console: Console, report: QuantizationReport) -> None:
    balance = "channels as they are" if report.balance is None else "channels equalized"
    rows = {
        "weights": f"{report.weights}; {balance}",
        "bytes": f"{report.float_bytes:,} B of constants became {report.stored_bytes:,} B",
        "output": f"{report.output_db:.1f} dB signal to noise",
        "answers": f"{report.same_answers:.1%} as the float model's, {report.judged_by}",
    }
    if report.accuracy is not None and report.float_accuracy is not None:
        rows["accuracy"] = (
            f"{report.float_accuracy:.1%} float, {report.accuracy:.1%} quantized, "
            f"{report.judged_by}"
        )
    for name, text in rows.items():
        console.print(f"{name:9} {escape(text)}", soft_wrap=True)
    if report.mixture is not None:
        _print_mixture(console, report.mixture)
    for text in report.plain_sums:
        console.print(f"shared: {escape(text)}; nothing is multiplied", soft_wrap=True)
    for text in report.hurting:
        console.print(f"hurts: {escape(text)}", soft_wrap=True)
    for name in report.floating:
        console.print(f"float: {escape(name)}: {FLOATING}", soft_wrap=True)
    for text in report.warnings:
        console.print(f"warning: {escape(text)}", soft_wrap=True)


def _print_mixture(console: Console, mixture: Mixture) -> None:
    """What has another format than int8, and why."""
    text = f"{mixture.loss:.3g} % on held-out samples, {mixture.int8_loss:.3g} % with int8 alone"
    console.print(f"{'loss':9} {text}", soft_wrap=True)
    if mixture.cost is not None:
        cost = mixture.cost
        text = f"{cost.ram_bytes:,} B of RAM, {cost.flash_bytes:,} B of tables in flash"
        console.print(f"{'target':9} {text}, about {cost.cycles:,} cycles", soft_wrap=True)
    for note in mixture.notes:
        console.print(f"mixed: {escape(note)}", soft_wrap=True)
