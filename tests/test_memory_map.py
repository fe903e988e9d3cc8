"""The memory map: what it says of plans, and its pictures."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.test_memory_plan import alone, chain, column
from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.memory_map import MemoryMap, map_of
from tinyc.compiler.ops.op import Window
from tinyc.compiler.pages.memory_map_svg import memory_map_svg
from tinyc.compiler.program import Program
from tinyc.compiler.show_map import HEIGHT, map_lines
from tinyc.passes.claims import buffers_of
from tinyc.passes.memory_plan import directed, plan_memory
from tinyc.passes.stages import Stage, stage_of
from tinyc.passes.storage import Step, Storage
from tinyc.targets import load_target

TARGET = replace(load_target("host"), alignment=4)
SVG = "{http://www.w3.org/2000/svg}"


def mapped(
    steps: Sequence[Step], storages: Sequence[Storage], stages: Sequence[Stage] = ()
) -> MemoryMap:
    """The map of a plan without kernels."""
    stages = stages or alone(list(steps))
    plan = plan_memory(buffers_of(stages, steps, storages, 4), 4)
    nodes = tuple(Node(step.node, "Relu", step.reads, step.writes) for step in steps)
    graph = Graph("made", (), (), nodes, {})
    program = Program(
        graph, TARGET, "arena", {}, tuple(steps), directed(stages, plan), tuple(storages), plan
    )
    return map_of(program)


def overlapping() -> MemoryMap:
    """One layer with a window of three rows, over its dying input."""
    x, y = Storage("x", ("x",), 64, -1, 0, False), Storage("y", ("y",), 64, 0, 1, True)
    return mapped([Step("conv", ("x",), ("y",), 0, 8, {"x": (Window(3, 1, 1),)}, {"x": 8})], [x, y])


def streaming() -> MemoryMap:
    """Two layers row by row, the first with scratch; `h` between them has a window."""
    storages = [
        Storage("x", ("x",), 128, -1, 0, False),
        Storage("h", ("h",), 128, 0, 1, False),
        Storage("y", ("y",), 32, 1, 2, True),
    ]
    steps = [
        Step("first", ("x",), ("h",), 12, 8, {"x": (Window(),)}, {"x": 8}),
        Step("<second>", ("h",), ("y",), 0, 8, {"h": (Window(3, 1, 1),)}, {"h": 8}),
    ]
    return mapped(steps, storages, [stage_of(steps, [0, 1], [1, 1])])


def test_the_peak_is_where_most_bytes_are_claimed() -> None:
    memory = mapped(*chain([8, 16, 24, 8]))

    assert memory.peak_bytes == memory.arena_bytes == 40
    assert memory.peak_layers == ("n1",)
    assert memory.moments[memory.peak].layer == "n1"


def test_an_output_and_its_dying_input_are_a_staircase() -> None:
    memory = overlapping()

    x, y = (next(a for a in memory.areas if a.name == name) for name in "xy")
    sizes_x = [top - bottom for bottom, top in x.ranges]
    sizes_y = [top - bottom for bottom, top in y.ranges]
    assert sizes_x == [64, 64, 64, 56, 48, 40, 32, 24, 16]  # the caller's turn, then eight rows
    assert sizes_y == [8, 16, 24, 32, 40, 48, 56, 64, 64]
    assert memory.peak_bytes == memory.arena_bytes == 80


def test_layers_that_run_row_by_row_share_one_period() -> None:
    memory = streaming()

    (stage,) = (p for p in memory.periods if p.layers)
    assert stage.streams and stage.layers == ("first", "<second>")
    kinds = {(a.name, a.kind) for a in memory.areas}
    assert {("h", "window"), ("first", "scratch"), ("x", "tensor")} <= kinds
    assert {m.layer for m in memory.moments} == {"", "first", "<second>"}
    assert all(before.end == after.begin for before, after in pairwise(memory.moments))


@pytest.mark.parametrize("seed", range(60))
def test_areas_never_collide_and_stay_in_the_arena(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, storages, _ = column(rng)
    first = int(rng.integers(0, len(steps) - 1))
    stages = alone(steps[:first])
    stages.append(stage_of(steps, range(first, len(steps)), [s.band for s in steps[first:]]))

    memory = mapped(steps, storages, stages)

    for moment in range(len(memory.moments)):
        claims = sorted(a.at(moment) for a in memory.areas if len(set(a.at(moment))) > 1)
        assert all(before[1] <= after[0] for before, after in pairwise(claims))
        assert all(0 <= bottom and top <= memory.arena_bytes for bottom, top in claims)
        assert sum(top - bottom for bottom, top in claims) <= memory.peak_bytes
    for area in memory.areas:
        assert all(area.offset <= b <= t <= area.offset + area.bytes for b, t in area.ranges)


def test_the_svg_reads_as_expected(golden) -> None:
    golden(memory_map_svg(streaming()))


def test_the_svg_has_a_shape_with_a_name_for_every_buffer() -> None:
    memory = streaming()

    root = ElementTree.fromstring(memory_map_svg(memory))

    titles = [shape.findtext(f"{SVG}title") for shape in root.iter(f"{SVG}path")]
    offsets = {a.name: a.offset for a in memory.areas}
    assert [title for title in titles if title] == [
        f"x, 128 B at {offsets['x']}",
        f"h: a window of rows that slides, 48 B at {offsets['h']}",
        f"y, 32 B at {offsets['y']}",
        f"scratch of first, 12 B at {offsets['first']}",
    ]
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "<second>" in texts and any(text.startswith("peak ") for text in texts)
    (width, height) = (float(root.attrib[key]) for key in ("width", "height"))
    for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", " ".join(p.attrib["d"] for p in root.iter(
        f"{SVG}path"))):  # fmt: skip
        assert 0 <= float(x) <= width and 0 <= float(y) <= height


def test_the_svg_needs_nothing_else_and_is_the_same_every_time() -> None:
    text = memory_map_svg(streaming())

    assert text == memory_map_svg(streaming())
    assert "http" not in text.replace(SVG.strip("{}"), "") and "<script" not in text


def test_the_text_has_a_letter_for_every_buffer() -> None:
    lines = [line.plain for line in map_lines(streaming(), 60)]

    picture = lines[1 : HEIGHT + 1]
    assert all(len(line) <= 60 for line in picture)
    assert {"A", "b", "C", ":"} == set("".join(picture)) - set(" |,0123456789")
    (window,) = (a for a in streaming().areas if a.name == "h")
    legend = f"b       48 B at {window.offset:<9} h (a window of rows that slides)"
    assert legend in lines
    assert "layers   [row by row: 1 first, 2 <second>]" in lines


def test_the_text_of_many_layers_stays_in_its_width() -> None:
    memory = mapped(*chain([8, 24] * 60))

    lines = [line.plain for line in map_lines(memory, 80)]

    assert all(len(line) <= 80 for line in lines[: HEIGHT + 5])


def test_a_model_without_an_arena_has_an_empty_map() -> None:
    program = Program(
        Graph("made", (), (), (Node("n0", "Relu", (), ()),), {}), TARGET, "caller", {},
        (Step("n0", (), (), 0),), (Stage((0,), (1,)),), (), plan_memory([], 4),
    )  # fmt: skip

    memory = map_of(program)

    assert (memory.areas, memory.peak_bytes, memory.peak_layers) == ((), 0, ())
    ElementTree.fromstring(memory_map_svg(memory))
    assert len([line.plain for line in map_lines(memory, 60)]) > HEIGHT
