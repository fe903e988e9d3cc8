"""A memory map as SVG: time to the right, addresses upwards, a shape for every buffer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tinyc.compiler.memory_map import Area, MemoryMap
from tinyc.compiler.names import short_name
from tinyc.compiler.pages.templates import filled

# Pixels, but for the colours
PLOT_WIDTH, PLOT_HEIGHT = 960, 400
LAYER_WIDTHS = 16, 90
LEFT, TOP, RIGHT = 100, 64, 24
LEGEND_WIDTH, LEGEND_HEIGHT = 420, 50
CHARACTER_WIDTH, CHARACTER_HEIGHT = 6.9, 11  # of the small text, about
MOST_TICKS = 10
SLOPE = 0.87  # sine of the 60 degrees by which the names of layers are turned
# ColorBrewer's Set3, without those that are too light for white paper
COLORS = "#80b1d3 #fdb462 #b3de69 #bebada #8dd3c7 #fb8072 #fccde5 #bc80bd".split()


@dataclass(frozen=True, slots=True)
class _Piece:
    """Where an area claims the same bytes for a while, in pixels; y grows downwards."""

    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class _Label:
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class _Shape:
    """An area as a path; `title` is what the pointer shows."""

    path: str
    fill: str
    title: str
    label: _Label | None


@dataclass(frozen=True, slots=True)
class _Scale:
    """From time and bytes to pixels."""

    layer_width: float
    bytes: int

    def x(self, time: float) -> float:
        return LEFT + time * self.layer_width

    def y(self, address: int) -> float:
        return TOP + PLOT_HEIGHT * (1 - address / max(self.bytes, 1))


def memory_map_svg(memory: MemoryMap) -> str:
    """The picture, which needs nothing but itself."""
    layers = memory.periods[-1].end if memory.periods else 1
    narrow, wide = LAYER_WIDTHS
    scale = _Scale(min(max(PLOT_WIDTH / layers, narrow), wide), memory.arena_bytes)
    peak, names = memory.moments[memory.peak], list(_layer_labels(memory, scale))
    longest = max(len(name.text) for name in names)
    values = {
        "memory": memory,
        "scale": scale,
        "left": LEFT,
        "top": TOP,
        "right": scale.x(layers),
        "bottom": TOP + PLOT_HEIGHT,
        "width": LEFT + max(layers * scale.layer_width, LEGEND_WIDTH) + RIGHT,
        "height": TOP + PLOT_HEIGHT + CHARACTER_WIDTH * longest * SLOPE + LEGEND_HEIGHT,
        "ticks": _ticks(memory.arena_bytes),
        "names": names,
        "shapes": _shapes(memory, scale),
        "colors": COLORS,
        "peak_x": scale.x((peak.begin + peak.end) / 2),
    }
    return filled("memory_map.svg.jinja", values)


def _ticks(size: int) -> list[int]:
    step = 1
    while size > MOST_TICKS * step:
        step *= 2
    return list(range(0, size + 1, step))


def _layer_labels(memory: MemoryMap, scale: _Scale) -> Iterator[_Label]:
    for period in memory.periods:
        caller = "(inputs)" if period.begin == 0 else "(outputs)"
        names = [short_name(layer) for layer in period.layers] or [caller]
        for i, name in enumerate(names):
            yield _Label(scale.x(period.begin + i + 0.5), TOP + PLOT_HEIGHT + 14, name)


def _shapes(memory: MemoryMap, scale: _Scale) -> list[_Shape]:
    shapes = []
    for number, area in enumerate(memory.areas):
        runs = list(_runs(memory, area, scale))
        if runs:
            path = "".join(map(_path, runs))
            shapes.append(_Shape(path, _fill(area, number), area_text(area), _label(area, runs)))
    return shapes


def area_text(area: Area) -> str:
    """What a buffer is and where it lies, on one line."""
    name = area.name.partition("\t")[0]
    what = {
        "tensor": name,
        "window": f"{name}: a window of rows that slides",
        "scratch": f"scratch of {name}",
    }
    return f"{what[area.kind]}, {area.bytes:,} B at {area.offset:,}"


def _fill(area: Area, number: int) -> str:
    color = number % len(COLORS)
    fills = {"tensor": COLORS[color], "window": f"url(#rows{color})", "scratch": "url(#scratch)"}
    return fills[area.kind]


def _runs(memory: MemoryMap, area: Area, scale: _Scale) -> Iterator[list[_Piece]]:
    """The times at which an area claims something."""
    for claims, claimed in groupby(range(len(area.ranges)), lambda i: len(set(area.ranges[i])) > 1):
        if claims:
            yield list(_pieces(memory, area, list(claimed), scale))


def _pieces(
    memory: MemoryMap, area: Area, claimed: Sequence[int], scale: _Scale
) -> Iterator[_Piece]:
    for (bottom, top), same in groupby(claimed, lambda i: area.ranges[i]):
        moments = [memory.moments[area.first + i] for i in same]
        left, right = scale.x(moments[0].begin), scale.x(moments[-1].end)
        yield _Piece(left, right, scale.y(top), scale.y(bottom))


def _path(run: Sequence[_Piece]) -> str:
    """Along the top to the right, and back along the bottom."""
    there = "".join(f"V{_px(p.top)}H{_px(p.right)}" for p in run)
    back = "".join(f"V{_px(p.bottom)}H{_px(p.left)}" for p in reversed(run))
    return f"M{_px(run[0].left)} {_px(run[0].bottom)}{there}{back}Z"


def _px(value: float) -> str:
    return f"{round(value, 1):g}"


def _label(area: Area, runs: Sequence[Sequence[_Piece]]) -> _Label | None:
    """The name inside the shape, where the shape has room for it."""
    text = short_name(area.name)
    for run in runs:
        longest = max(run, key=lambda p: p.right - p.left)
        tallest = max(run, key=lambda p: p.bottom - p.top)
        for piece in (longest, tallest):
            left, right, y = _free(run, piece)
            if right - left >= CHARACTER_WIDTH * len(text) and area.kind != "scratch":
                return _Label((left + right) / 2, y + CHARACTER_HEIGHT / 3, text)
    return None


def _free(run: Sequence[_Piece], piece: _Piece) -> tuple[float, float, float]:
    """The left and right end of the room for a line of text at the middle of a piece, and its y."""
    y = (piece.top + piece.bottom) / 2
    holds = [
        p.top <= y - CHARACTER_HEIGHT / 2 and y + CHARACTER_HEIGHT / 2 <= p.bottom for p in run
    ]
    at = run.index(piece)
    if not holds[at]:
        return piece.left, piece.left, y
    first, last = at, at
    while first > 0 and holds[first - 1]:
        first -= 1
    while last + 1 < len(run) and holds[last + 1]:
        last += 1
    return run[first].left, run[last].right, y
