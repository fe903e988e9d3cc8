"""`tinyc plan`: the front of plans, exact, as text, JSON and a page; and report.html."""

import json
from dataclasses import FrozenInstanceError
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest

import tinyc
from bench.models import BY_NAME
from tests.conftest import NEEDS_MODELS
from tinyc.autotune.choice import Optimize
from tinyc.autotune.selection import Cost
from tinyc.compiler.cli import main
from tinyc.compiler.front import MOST_PLANNED, _unbeaten
from tinyc.compiler.pages.plan_page import plan_page
from tinyc.compiler.plans import Plans

MODEL = Path(__file__).parent.parent / "examples" / "digits" / "digits_cnn_int8_qdq_ort.onnx"
VOID = {"meta"}  # of HTML: elements without an end


@pytest.fixture(scope="module")
def plans() -> Plans:
    return tinyc.plan(MODEL, "cortex-m4")


class Page(HTMLParser):
    """Checks that elements nest, and collects texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs) -> None:
        self.links += [value for key, value in attrs if key in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        pass

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.texts.append(data)


def test_every_mode_is_a_point_with_the_arena_that_compile_gives(plans: Plans) -> None:
    arenas = {mode: p.arena_bytes for p in plans.points for mode in p.modes}

    assert set(arenas) == set(get_args(Optimize))
    for mode, arena_bytes in arenas.items():
        assert tinyc.compile(MODEL, "cortex-m4", optimize=mode).report.arena_bytes == arena_bytes


def test_no_point_is_beaten_but_those_of_modes(plans: Plans) -> None:
    needs = [(p.arena_bytes, p.cycles, p.flash_bytes) for p in plans.points]

    assert len(needs) <= MOST_PLANNED and needs == sorted(needs)
    for i, point in enumerate(plans.points):
        beaten = any(
            all(a <= b for a, b in zip(other, needs[i], strict=True)) and other != needs[i]
            for other in needs
        )
        assert point.modes or not beaten


def test_streaming_is_among_the_plans_and_names_its_layers(plans: Plans) -> None:
    least = next(point for point in plans.points if point.streams)

    names = {layer.name for layer in tinyc.compile(MODEL, "cortex-m4").report.layers}
    assert {n for stream in least.streams for n in stream} < names
    assert least.peak and set(least.peak) < names
    assert least.fits and least.source == "measured"


def test_the_map_is_of_the_plan_that_was_asked_for(plans: Plans) -> None:
    (chosen,) = (p for p in plans.points if plans.optimize in p.modes)

    assert plans.optimize == "balanced"
    assert plans.map.arena_bytes == chosen.arena_bytes
    assert plans.map.peak_layers == chosen.peak
    with pytest.raises(FrozenInstanceError):
        plans.model = "other"  # type: ignore[misc]


def test_what_is_beaten_or_close_is_left_out() -> None:
    costs = [Cost(100, 100, 100), Cost(101, 101, 99), Cost(200, 100, 50), Cost(200, 200, 200)]

    assert sorted(_unbeaten(costs, [], 0.0)) == [0, 1, 2]
    assert sorted(_unbeaten(costs, [], 0.02)) == [0, 2]
    assert sorted(_unbeaten(costs, [3], 0.02)) == [0, 2, 3]


def test_the_page_holds_both_pictures_and_needs_nothing_else(plans: Plans) -> None:
    page = plan_page(plans)

    parsed = Page(page)
    assert not parsed.links and page.count("<svg ") == 2
    assert {f"{p.arena_bytes:,}" for p in plans.points} <= set(parsed.texts)
    assert page == plan_page(plans)


def test_plan_prints_the_front_and_the_map(capsys, tmp_path: Path) -> None:
    svg, html = tmp_path / "map.svg", tmp_path / "plans.html"

    status = main(
        ["plan", str(MODEL), "--target", "cortex-m0plus", "--io", "arena", "--optimize", "size",
         "--svg", str(svg), "--html", str(html)]
    )  # fmt: skip

    text = capsys.readouterr().out
    assert status == 0
    assert "plans of digits_cnn_int8_qdq_ort for cortex-m0plus, --io arena" in text
    assert "memory map of size" in text and "^ peak" in text and "in use at" in text
    assert svg.read_text("utf-8").startswith("<svg ") and svg.read_text("utf-8") in html.read_text(
        "utf-8"
    )
    assert sorted(tmp_path.iterdir()) == [svg, html]


def test_plan_in_json_has_every_point(capsys, plans: Plans) -> None:
    assert main(["plan", str(MODEL), "--target", "cortex-m4", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"model", "target", "io", "optimize", "points", "map"}
    assert [p["arena_bytes"] for p in found["points"]] == [p.arena_bytes for p in plans.points]
    keys = {"arena_bytes", "arena_bound_bytes", "cycles", "source", "flash_bytes", "fits"}
    assert set(found["points"][0]) == keys | {"streams", "peak", "modes"}
    keys = {"arena_bytes", "arena_bound_bytes", "peak_bytes", "peak_layers", "stages", "areas"}
    assert set(found["map"]) == keys
    assert set(found["map"]["areas"][0]) == {"name", "kind", "offset", "bytes"}


def test_a_picture_without_a_folder_is_refused(capsys, tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "map.svg"

    assert main(["plan", str(MODEL), "--target", "host", "--svg", str(file)]) == 1

    assert capsys.readouterr().err == (
        f"error[cannot-write]: the file cannot be written: there is no folder '{file.parent}'\n"
        f"  --> file '{file}'\n"
        "  help: choose another place, or make room on the disk\n"
    )


@pytest.mark.parametrize("extra", [["--optimize", "speed"], ["--svg"], ["--output", "out"]])
def test_wrong_usage_of_plan_ends_with_2(extra: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["plan", str(MODEL), "--target", "host", *extra])

    assert end.value.code == 2


def test_report_html_has_a_row_for_every_layer(tmp_path: Path) -> None:
    artifact = tinyc.compile(MODEL, "cortex-m4", html=True)

    artifact.write(tmp_path / "out")

    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    parsed = Page(page)
    assert not parsed.links and page.count("<svg ") == 1
    assert page.count("<tr><td title=") == len(artifact.report.layers)
    assert {f"{artifact.report.arena_bytes:,} B", "balanced"} <= set(parsed.texts)
    assert page == tinyc.compile(MODEL, "cortex-m4", html=True).files["report.html"]
    assert "report.html" not in tinyc.compile(MODEL, "cortex-m4").files


@NEEDS_MODELS
@pytest.mark.slow
def test_the_front_of_keyword_spotting() -> None:
    plans = tinyc.plan(BY_NAME["dscnn_kws_int8_qdq"].path, "cortex-m4", io="arena")

    assert {mode for p in plans.points for mode in p.modes} == set(get_args(Optimize))
    assert plans.points[0].arena_bytes < plans.points[-1].arena_bytes
    assert min(p.cycles for p in plans.points) < plans.points[0].cycles
    assert plans.map.peak_layers and plans.map.peak_bytes <= plans.map.arena_bytes
