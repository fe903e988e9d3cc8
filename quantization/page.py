"""report.html of a quantization: one page that needs nothing but itself."""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.names import short_name
from tinyc.compiler.pages.templates import filled
from tinyc.quantization.report import FLOATING, QuantizationReport, Row

# Pixels
HEIGHT, LEFT, TOP, BOTTOM, COLUMN = 360, 60, 16, 130, 34
HISTOGRAM = 192, 28
STEP_DB = 10


@dataclass(frozen=True, slots=True)
class _Bar:
    x: float
    top: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class _Dot:
    x: float
    y: float
    label: str
    text: str


def quantization_page(report: QuantizationReport) -> str:
    """Totals, what hurts, a picture of the noise, a row for each layer with its histogram."""
    values = {
        "title": f"{report.model} quantized",
        "report": report,
        "floating": FLOATING,
        "picture": noise_svg(report.rows),
        "rows": [(row, histogram_svg(row)) for row in report.rows],
    }
    return filled("quantization.html.jinja", values)


def noise_svg(rows: tuple[Row, ...]) -> str:
    """Signal to noise of each tensor as a line, the noise that each layer makes as bars."""
    most = max(max((row.snr_db for row in rows), default=0.0), 1.0)
    ticks = range(0, int(most) + STEP_DB, STEP_DB)
    bottom, full = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    scale = full / ticks[-1]
    width = LEFT + COLUMN * len(rows) + 20
    dots, bars = [], []
    for i, row in enumerate(rows):
        x, name = LEFT + COLUMN * (i + 0.5), row.node or row.tensor
        y = bottom - scale * max(row.snr_db, 0.0)
        dots.append(_Dot(x, y, short_name(name), f"{name}: {row.snr_db:.1f} dB"))
        height = full * row.noise_share
        text = f"{name}: {row.noise_share:.1%} of the noise"
        bars.append(_Bar(x - COLUMN / 3, bottom - height, COLUMN / 1.5, height, text))
    values = {
        "width": width,
        "height": HEIGHT,
        "left": LEFT,
        "top": TOP,
        "right": width - 20,
        "bottom": bottom,
        "ticks": [(bottom - scale * tick, tick) for tick in ticks],
        "bars": bars,
        "dots": dots,
        "path": "L".join(f"{dot.x:.1f} {dot.y:.1f}" for dot in dots),
    }
    return filled("quantization.svg.jinja", values)


def histogram_svg(row: Row) -> str:
    """The float values, heights as logarithms; what the grid keeps is shaded."""
    width, height = HISTOGRAM
    low, high = min(row.least, row.low), max(row.most, row.high)
    scale = width / max(high - low, 1e-30)
    counts = np.log1p(np.array(row.histogram, np.float64))
    tops = height * (1 - counts / max(float(counts.max()), 1e-30))
    step = (row.most - row.least) * scale / len(counts)
    begin = (row.least - low) * scale
    bars = [(begin + step * i, float(top), step) for i, top in enumerate(tops) if row.histogram[i]]
    values = {
        "width": width,
        "height": height,
        "kept_from": (row.low - low) * scale,
        "kept_width": (row.high - row.low) * scale,
        "bars": bars,
    }
    return filled("histogram.svg.jinja", values)
