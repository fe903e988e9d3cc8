"""What `tinyc targets` and `tinyc doctor` print."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tinyc.targets import load_target, target_names

if TYPE_CHECKING:
    from tinyc.targets.doctor import Check
from tinyc.compiler.show import console_of_output, table_of


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
