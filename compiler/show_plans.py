"""What `tinyc plan` prints."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from tinyc.compiler.names import short_name, short_names
from tinyc.compiler.plans import Plans
from tinyc.compiler.show import console_of_output, table_of
from tinyc.compiler.show_map import map_lines


@contextmanager
def planning_status(quiet: bool) -> Iterator[None]:
    """Says that something goes on, on stderr; nothing when `quiet`, or where it is no terminal."""
    console = console_of_output(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status("planning, a few seconds each"):
        yield


def plans_json(plans: Plans) -> dict[str, Any]:
    """The points with every field, and the map: periods and areas, without the single moments."""
    memory = plans.map
    areas = [
        {"name": a.name, "kind": a.kind, "offset": a.offset, "bytes": a.bytes} for a in memory.areas
    ]
    return {
        "model": plans.model,
        "target": plans.target,
        "io": plans.io,
        "optimize": plans.optimize,
        "points": [asdict(point) for point in plans.points],
        "map": {
            "arena_bytes": memory.arena_bytes,
            "arena_bound_bytes": memory.bound_bytes,
            "peak_bytes": memory.peak_bytes,
            "peak_layers": memory.peak_layers,
            "stages": [asdict(period) for period in memory.periods if period.layers],
            "areas": areas,
        },
    }


def show_plans(plans: Plans) -> None:
    """A row for each plan, and the memory map of the one that was asked for."""
    console, memory = console_of_output(), plans.map
    console.print(_table(plans))
    console.print(f"memory map of {plans.optimize}: bytes of the arena, layers to the right")
    for line in map_lines(memory, console.width):
        console.print(line, soft_wrap=True)
    peak = f"{memory.peak_bytes:,} B of {memory.arena_bytes:,} B in use"
    layers = escape(", ".join(map(short_name, memory.peak_layers)))
    console.print(f"peak     {peak}{' at ' if layers else ''}{layers}", soft_wrap=True)


def _table(plans: Plans) -> Table:
    table = table_of(f"plans of {plans.model} for {plans.target}, --io {plans.io}")
    for heading in ("", "--optimize"):
        table.add_column(heading)
    for heading in ("arena B", "bound B", "cycles"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("cycles are")
    table.add_column("flash B, about", justify="right")
    for heading in ("fits", "row by row", "peak at"):
        table.add_column(heading, overflow="fold")
    for p in plans.points:
        table.add_row(
            "->" if plans.optimize in p.modes else "",
            ", ".join(p.modes),
            f"{p.arena_bytes:,}",
            f"{p.arena_bound_bytes:,}",
            f"{p.cycles:,}" if p.source != "unknown" else "",
            p.source,
            f"{p.flash_bytes:,}",
            "yes" if p.fits else "no",
            escape("; ".join(map(_stream_text, p.streams))),
            escape(short_names(p.peak)),
        )
    return table


def _stream_text(layers: Sequence[str]) -> str:
    return f"{short_name(layers[0])} to {short_name(layers[-1])} ({len(layers)})"
