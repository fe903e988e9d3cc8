"""Sums and their operands that share scales: only where the noise hardly grows, and is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import tinyc
from tests.quantization_models import saved
from tinyc.compiler.cli import main
from tinyc.quantization.options import DEFAULTS
from tinyc.quantization.preparation import Prepared, prepare
from tinyc.quantization.quantize import Ranges, choose_ranges
from tinyc.quantization.shared_scales import MOST_ADDED, Sum, is_plain, sums_of

pytest.importorskip("onnxruntime")

SAMPLES = np.random.default_rng(5).normal(size=(40, 1, 3, 8, 8)).astype(np.float32)


def blocks(path: Path, gain: float = 1.1) -> Path:
    """Two convolutions, each added to its input and clamped; `gain` of their results.

    With a gain of 1.1 the scales of the first sum are near each other, those of the second are not.
    """
    rng = np.random.default_rng(2)
    constants = {"w0": rng.normal(size=(8, 3, 3, 3)) / 4, "v": rng.normal(size=(8, 5))}
    nodes = [helper.make_node("Conv", ["x", "w0"], ["r0"], "conv0", pads=[1] * 4)]
    for i in (1, 2):
        constants[f"w{i}"] = rng.normal(size=(8, 8, 3, 3)) / 10 * gain
        nodes += [
            helper.make_node("Conv", [f"r{i - 1}", f"w{i}"], [f"c{i}"], f"conv{i}", pads=[1] * 4),
            helper.make_node("Add", [f"c{i}", f"r{i - 1}"], [f"s{i}"], f"add{i}"),
            helper.make_node("Relu", [f"s{i}"], [f"r{i}"], f"relu{i}"),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"]),
    ]
    return saved(nodes, ([1, 3, 8, 8], [1, 5]), path, **constants)


def prepared(path: Path) -> Prepared:
    return prepare(path, {"x": SAMPLES}, DEFAULTS)


def chosen(given: Prepared, share: bool) -> Ranges:
    return choose_ranges(given, (), ("minmax",), {}, share=share)


def sums(given: Prepared, ranges: Ranges) -> list[Sum]:
    return list(sums_of(given.model, ranges.points, given.values))


def test_sums_share_scales_where_the_noise_hardly_grows(tmp_path: Path) -> None:
    given = prepared(blocks(tmp_path / "m.onnx"))

    apart, shared = (chosen(given, share) for share in (False, True))

    first, second = sums(given, shared)
    assert first.points == ("c1", "r0", "r1") and second.points == ("c2", "r1", "r2")
    assert [is_plain(s, apart.grids) for s in (first, second)] == [False, False]
    assert [is_plain(s, shared.grids) for s in (first, second)] == [True, False]
    noise = [sum(r.distortion for r in ranges.by_point.values()) for ranges in (apart, shared)]
    assert noise[1] < (1 + MOST_ADDED + 0.02) * noise[0]  # 0.02: room that others get or lose


def test_no_value_is_clipped_for_a_shared_scale(tmp_path: Path) -> None:
    given = prepared(blocks(tmp_path / "m.onnx"))

    apart, shared = (chosen(given, share).grids for share in (False, True))

    for name in ("c1", "r0", "r1"):
        grid, x = shared[name], given.values[name]
        assert grid.zero_point == apart[name].zero_point and grid.scale >= apart[name].scale
        assert grid.low <= x.min() + grid.scale and x.max() - grid.scale <= grid.high


def test_sums_of_sums_keep_all_their_ratios(tmp_path: Path) -> None:
    """Results that hardly change what they are added to may have any scale."""
    given = prepared(blocks(tmp_path / "m.onnx", gain=0.02))

    ranges = chosen(given, True)

    grids = ranges.grids
    assert [is_plain(s, grids) for s in sums(given, ranges)] == [True, True]
    scales = {grids[name].scale for name in ("r0", "r1", "r2")}
    assert all(np.log2(scale / grids["r2"].scale) % 1 == 0 for scale in scales)


def test_sums_of_sixteen_bits_are_left_alone(tmp_path: Path) -> None:
    given = prepared(blocks(tmp_path / "m.onnx"))

    wide = choose_ranges(given, (), ("minmax",), {"c1": "int16"})

    assert wide.grids["c1"].dtype == "int16"
    assert not any(is_plain(s, wide.grids) for s in sums(given, wide))


def test_what_is_shared_is_told_and_can_be_switched_off(tmp_path: Path, capsys) -> None:
    path, page = blocks(tmp_path / "m.onnx"), tmp_path / "q.html"
    np.savez(tmp_path / "calib.npz", x=SAMPLES)
    arguments = ["quantize", str(path), "--data", str(tmp_path / "calib.npz")]
    arguments += ["-o", str(tmp_path / "q.onnx"), "--ranges", "minmax", "--no-equalize"]

    assert main([*arguments, "--html", str(page)]) == 0
    told = capsys.readouterr().out
    assert main([*arguments, "--no-share-scales", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    sentence = "'add1' (Add): the operands' scales are"
    assert f"shared: {sentence}" in told
    assert "Sums without multiplications" in page.read_text()
    assert report["plain_sums"] == []


def test_the_compiled_sum_multiplies_nothing(tmp_path: Path) -> None:
    path = blocks(tmp_path / "m.onnx")
    options = {"equalize": False, "adapt": False, "ranges": ["minmax"]}

    for share in (True, False):
        quantization = tinyc.quantize(path, {"x": SAMPLES}, share_scales=share, **options)
        quantization.write(tmp_path / "q.onnx")
        code = tinyc.compile(tmp_path / "q.onnx", "cortex-m4").files["q.c"]
        assert ("tinyc_lane_add" in code) == share == bool(quantization.report.plain_sums)
