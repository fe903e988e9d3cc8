"""The memory map in a terminal: time to the right, addresses upwards, a letter for every buffer."""

from collections.abc import Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase

from rich.text import Text

from tinyc.compiler.memory_map import Area, MemoryMap
from tinyc.compiler.names import short_name

HEIGHT = 30  # lines
MOST_LAYER_WIDTH = 8  # columns
AXIS_WIDTH, AXIS_LINES = 11, 5  # columns of an address with its bar; lines from one to the next
STYLES = tuple(f"black on {c}" for c in "cyan yellow green magenta blue red".split())
SCRATCH = ":", "black on bright_black"


def map_lines(memory: MemoryMap, width: int) -> Iterator[Text]:
    """About `width` columns: the picture, the layers by number, and who has which letter."""
    layers = memory.periods[-1].end if memory.periods else 1
    columns = min(layers * MOST_LAYER_WIDTH, max(width - AXIS_WIDTH, 1))
    shown = [_busiest(memory, layers * i / columns, layers * (i + 1) / columns)
             for i in range(columns)]  # fmt: skip
    marks = _marks(memory.areas)
    yield Text(_axis(memory.arena_bytes))
    for line in reversed(range(HEIGHT)):
        bottom, top = (memory.arena_bytes * n // HEIGHT for n in (line, line + 1))
        text = Text(_axis(bottom if line % AXIS_LINES == 0 else None))
        for moment in shown:
            text.append(*marks.get(_owner(memory.areas, moment, bottom, top), (" ", "")))
        yield text
    peak = memory.moments[memory.peak]
    at = int((peak.begin + peak.end) / 2 / layers * columns)
    yield Text(" " * (AXIS_WIDTH + at) + "^ peak", "red")
    yield from _numbers(memory, columns / layers)
    yield Text("layers   " + ", ".join(_layers(memory)))
    yield from _legend(memory, marks)


def _busiest(memory: MemoryMap, begin: float, end: float) -> int:
    """The moment between two times at which most is claimed; the first of several."""
    here = [i for i, m in enumerate(memory.moments) if m.begin < end and begin < m.end]
    return max(here, key=lambda i: sum(t - b for b, t in (a.at(i) for a in memory.areas)))


def _marks(areas: Sequence[Area]) -> dict[int, tuple[str, str]]:
    """By the number of the area: a capital for a tensor, a small letter for a window; its style."""
    letters = {"tensor": ascii_uppercase, "window": ascii_lowercase}
    marks, lettered = {}, 0
    for number, area in enumerate(areas):
        if area.kind == "scratch":
            marks[number] = SCRATCH
        else:
            letter = letters[area.kind][lettered % len(ascii_uppercase)]
            marks[number] = letter, STYLES[lettered % len(STYLES)]
            lettered += 1
    return marks


def _owner(areas: Sequence[Area], moment: int, bottom: int, top: int) -> int:
    """The number of the area that has most of the bytes bottom..top; -1 when they are free."""
    shares = [min(t, top) - max(b, bottom) for b, t in (area.at(moment) for area in areas)]
    best = max(range(len(shares)), key=shares.__getitem__, default=-1)
    return best if best >= 0 and shares[best] > 0 else -1


def _axis(address: int | None) -> str:
    return f"{'' if address is None else f'{address:,}':>{AXIS_WIDTH - 2}} |"


def _numbers(memory: MemoryMap, layer_width: float) -> Iterator[Text]:
    """The numbers of the layers where they begin; upright where there is no room."""
    begins = [p.begin + i for p in memory.periods for i in range(len(p.layers))]
    numbers = [str(number) for number in range(1, len(begins) + 1)]
    digits = len(numbers[-1])
    if digits < layer_width:
        lines = [numbers]
    else:
        lines = [[number.ljust(digits)[i] for number in numbers] for i in range(digits)]
    for texts in lines:
        line = ""
        for begin, text in zip(begins, texts, strict=True):
            line = line.ljust(int(begin * layer_width))[: int(begin * layer_width)] + text
        yield Text(" " * AXIS_WIDTH + line)


def _layers(memory: MemoryMap) -> Iterator[str]:
    number = 1
    for period in memory.periods:
        names = [f"{number + i} {short_name(name)}" for i, name in enumerate(period.layers)]
        number += len(names)
        way = ", last row first" if period.upwards else ""
        if period.streams:
            yield f"[row by row{way}: {', '.join(names)}]"
        elif names:
            yield f"{names[0]}{way and ' (last row first)'}"


def _legend(memory: MemoryMap, marks: dict[int, tuple[str, str]]) -> Iterator[Text]:
    for number, area in enumerate(memory.areas):
        if area.kind != "scratch":
            what = " (a window of rows that slides)" if area.kind == "window" else ""
            size = f"{area.bytes:>9,} B at {area.offset:<9,} "
            yield Text.assemble(marks[number], size, short_name(area.name), what)
    if any(area.kind == "scratch" for area in memory.areas):
        yield Text.assemble(SCRATCH, "         scratch of the layer that runs")
