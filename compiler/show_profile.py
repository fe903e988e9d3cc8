"""What `tinyc profile` prints."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tinyc.compiler.names import short_name
from tinyc.compiler.profiling import LayerProfile, Profile
from tinyc.compiler.show import console_of_output, table_of

Order = Literal["order", "cycles"]
BAR_WIDTH = 8


def profile_json(profile: Profile, order: Order) -> dict[str, Any]:
    """Every field, with the layers in the order asked for."""
    return {**asdict(profile), "layers": [asdict(x) for x in _sorted(profile.layers, order)]}


def show_profile(profile: Profile, order: Order) -> None:
    """A row for each layer, and the totals with how they were obtained."""
    console = console_of_output()
    console.print(_layer_table(profile, order, _block_of(console)))
    for name, text in _totals(profile).items():
        console.print(f"{name:8} {escape(text)}", soft_wrap=True)


def _sorted(layers: Sequence[LayerProfile], order: Order) -> list[LayerProfile]:
    if order == "cycles":
        return sorted(layers, key=lambda layer: -layer.cycles)
    return list(layers)


def _layer_table(profile: Profile, order: Order, block: str) -> Table:
    table = table_of(f"{profile.model} on an emulated {profile.target}")
    for heading in ("layer", "operator", "output", "kernel"):
        table.add_column(heading, overflow="fold")
    for heading in ("cycles", "share", "cyc/MAC"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("of the limit", no_wrap=True)
    for heading in ("RAM B", "tables B", "code B"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in _sorted(profile.layers, order):
        shape = "x".join(map(str, layer.output_shape))
        schedule = "".join(f", {k} {v}" for k, v in layer.schedule.items() if k != "algorithm")
        table.add_row(
            escape(short_name(layer.name)),
            layer.op,
            shape,
            layer.kernel + schedule,
            f"{layer.cycles:,}",
            f"{layer.share:.1%}",
            "" if layer.cycles_per_mac is None else f"{layer.cycles_per_mac:.2f}",
            "" if layer.limit_share is None else _bar(layer.limit_share, block),
            f"{layer.ram_bytes:,}",
            f"{layer.table_bytes:,}",
            f"{layer.code_bytes:,}",
        )
    rest, share = profile.rest_cycles, profile.rest_cycles / max(profile.cycles, 1)
    code = f"{profile.rest_code_bytes:,}"
    table.add_row(
        "run function, unused code", *("", "", ""), f"{rest:,}", f"{share:.1%}", *([""] * 4), code
    )
    return table


def _block_of(console: Console) -> str:
    return "█" if console.encoding.startswith("utf") else "#"


def _bar(share: float, block: str) -> str:
    """`███      38%`."""
    return f"{block * round(BAR_WIDTH * min(share, 1.0)):{BAR_WIDTH}} {share:4.0%}"


def _totals(profile: Profile) -> dict[str, str]:
    p = profile
    rows = {
        "cycles": f"{p.cycles:,}, {p.instructions:,} instructions ({p.measured})",
    }
    if p.time_ms is not None and p.clock_hz is not None:
        rows["time"] = f"{p.time_ms:,.3f} ms (cycles at {p.clock_hz / 1e6:g} MHz, no wait states)"
    if p.cycles_per_mac_limit:
        rows["limit"] = (
            f"{p.cycles_per_mac_limit:g} cycles a MAC of 8-bit integers "
            f"(the multiplier's, when data costs nothing: from {p.target}'s TOML file)"
        )
    rows |= {
        "stack": f"{p.stack_bytes:,} B ({p.measured})",
        "arena": f"{p.arena_bytes:,} B (exact; RAM by layer: its bytes in use, with the scratch)",
        "flash": f"{p.code_bytes + p.table_bytes:,} B: {p.code_bytes:,} of code, "
        f"{p.table_bytes:,} of tables (measured in the objects; code that several layers call "
        "is shared equally)",
        "data": p.data,
    }
    return rows
