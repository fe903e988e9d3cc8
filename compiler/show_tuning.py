"""What `tinyc tune` prints: a bar with the time left, and what was found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tinyc.autotune.tuner import Progress, Tuned, Tuning, speedup
from tinyc.compiler.show import console_of_output, table_of


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A function that shows progress while the block runs, on stderr.

    Nothing when `quiet`, and where stderr is no terminal.
    """
    console = console_of_output(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda progress: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TextColumn("schedules,"), TimeRemainingColumn(), TextColumn("left"),
             console=console, transient=True) as bar:  # fmt: skip
        task = bar.add_task("starting", total=None)

        def show(p: Progress) -> None:
            text = f"{p.done} of {p.workloads} workloads"
            bar.update(task, completed=p.trials, total=p.most_trials, description=text)

        yield show


def show_tuning(tuning: Tuning, file: str) -> None:
    """A row for each workload, what all of it gains, and what went wrong."""
    console = console_of_output()
    table = table_of("tuned workloads (measured in the emulator, zero wait states)")
    for heading in ("workload", "best schedule"):
        table.add_column(heading, overflow="fold")
    for heading in ("layers", "trials", "rule of thumb", "best", "gain"):
        table.add_column(heading, justify="right", no_wrap=True)
    for t in tuning.workloads:
        numbers = (str(t.layers), f"{t.trials} of {t.space}", f"{t.rule:,}", f"{t.best.cycles:,}")
        table.add_row(escape(t.workload), schedule_text(t), *numbers, f"{1 - _ratio(t):.1%}")
    console.print(table)
    cycles = speedup(tuning)
    if cycles["rule"]:
        gain = 1 - cycles["best"] / cycles["rule"]
        console.print(f"cycles    {cycles['rule']:,} -> {cycles['best']:,} ({gain:.1%} fewer)")
    rate = tuning.measured / tuning.seconds if tuning.seconds else 0.0
    console.print(f"measured  {tuning.measured} schedules in {tuning.seconds:.0f} s, {rate:.1f}/s")
    console.print(f"records   {escape(file)}", soft_wrap=True)
    if not tuning.complete:
        console.print("interrupted; what was measured is kept, and the next run goes on from there")
    for failure in tuning.failures:
        console.print(f"failed    {failure.schedule}: {escape(failure.reason)}", soft_wrap=True)


def schedule_text(tuned: Tuned) -> str:
    """What the best schedule says beside its defaults."""
    fields = asdict(tuned.best.schedule)
    name = fields.pop("algorithm")
    return " ".join([name, *(f"{key} {value}" for key, value in fields.items() if value)])


def _ratio(tuned: Tuned) -> float:
    return tuned.best.cycles / tuned.rule


def tuning_json(tuning: Tuning) -> dict[str, Any]:
    """Everything, for programs."""
    return {**asdict(tuning), "cycles": speedup(tuning)}
