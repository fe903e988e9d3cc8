"""The front of plans as SVG: cycles to the right, bytes of the arena upwards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinyc.compiler.pages.templates import filled
from tinyc.compiler.plans import Point

# Pixels
WIDTH, HEIGHT = 960, 420
LEFT, TOP, RIGHT, BOTTOM = 100, 30, 120, 60
LABEL_SHIFTS = -6, 16, -20, 30, -34, 44
LABEL_ROOM = 90, 12
MOST_TICKS = 8


@dataclass(frozen=True, slots=True)
class _Axis:
    """From 0 to `most`, which lies `length` pixels from there."""

    most: int
    length: int

    def at(self, value: int) -> float:
        return self.length * value / max(self.most, 1)

    @property
    def ticks(self) -> list[int]:
        """Multiples of 1, 2 or 5 and a power of ten."""
        step = next(
            factor * 10**power
            for power in range(20)
            for factor in (1, 2, 5)
            if self.most <= MOST_TICKS * factor * 10**power
        )
        return list(range(0, self.most + 1, step))


@dataclass(frozen=True, slots=True)
class _Dot:
    """A plan; `text` is what the pointer shows, `label` what stands beside it, at `label_y`."""

    x: float
    y: float
    label: str
    label_y: float
    text: str


def front_svg(points: Sequence[Point]) -> str:
    """The picture, which needs nothing but itself."""
    cycles = _Axis(_rounded_up(max(p.cycles for p in points)), WIDTH - LEFT - RIGHT)
    arena = _Axis(_rounded_up(max(p.arena_bytes for p in points)), HEIGHT - TOP - BOTTOM)
    bottom = HEIGHT - BOTTOM
    values = {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "top": TOP,
        "right": WIDTH - RIGHT,
        "bottom": bottom,
        "x_ticks": [(LEFT + cycles.at(tick), tick) for tick in cycles.ticks],
        "y_ticks": [(bottom - arena.at(tick), tick) for tick in arena.ticks],
        "dots": list(_dots(points, cycles, arena)),
        "sources": ", ".join(sorted({p.source for p in points})),
    }
    return filled("front.svg.jinja", values)


def _rounded_up(value: int) -> int:
    """With a little room, to two digits."""
    unit = int(10 ** max(len(str(value)) - 2, 0))
    return (value * 21 // 20 // unit + 1) * unit


def _dots(points: Sequence[Point], cycles: _Axis, arena: _Axis) -> Iterator[_Dot]:
    """Labels are at the first height beside their dot at which no other label is near."""
    labels: list[tuple[float, float]] = []
    for point in points:
        x = LEFT + cycles.at(point.cycles)
        y = HEIGHT - BOTTOM - arena.at(point.arena_bytes)
        label = ", ".join(point.modes)
        heights = (y + shift for shift in LABEL_SHIFTS)
        label_y = next((h for h in heights if not _is_near((x, h), labels)), y)
        if label:
            labels.append((x, label_y))
        yield _Dot(x, y, label, label_y, _text(point))


def _is_near(place: tuple[float, float], labels: Sequence[tuple[float, float]]) -> bool:
    width, height = LABEL_ROOM
    return any(abs(place[0] - x) < width and abs(place[1] - y) < height for x, y in labels)


def _text(point: Point) -> str:
    streamed = sum(map(len, point.streams))
    rows = f"{streamed} layers row by row" if streamed else "no layers row by row"
    cycles = "" if point.source == "unknown" else f", {point.cycles:,} cycles"
    return f"{point.arena_bytes:,} B of arena{cycles}, {point.flash_bytes:,} B of flash, {rows}"
