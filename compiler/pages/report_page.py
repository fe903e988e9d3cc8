"""report.html: what a compilation costs, on one page that needs nothing but itself."""

from dataclasses import dataclass

from tinyc.compiler.artifact import Layer, Report
from tinyc.compiler.memory_map import map_of
from tinyc.compiler.pages.memory_map_svg import memory_map_svg
from tinyc.compiler.pages.templates import filled
from tinyc.compiler.program import Program


@dataclass(frozen=True, slots=True)
class _Row:
    """A layer; `stage` says with which others it runs row by row."""

    layer: Layer
    ram_bytes: int
    stage: str


def report_page(program: Program, report: Report) -> str:
    """Totals, the memory map, a row for each layer, and what other modes would cost."""
    rows = [
        _Row(layer, program.arena_in_use(step), _stage_text(report, layer))
        for step, layer in enumerate(report.layers)
    ]
    values = {
        "title": f"{report.model} for {report.target}",
        "report": report,
        "rows": rows,
        "memory_map": memory_map_svg(map_of(program)),
    }
    return filled("report.html.jinja", values)


def _stage_text(report: Report, layer: Layer) -> str:
    """`stage 2, 4 rows a call`; nothing where the layer runs alone."""
    if sum(other.stage == layer.stage for other in report.layers) == 1:
        return ""
    return f"stage {layer.stage}, {layer.rows_per_call} row{'s' * (layer.rows_per_call > 1)} a call"
