"""Whether a ConvTranspose runs by its phases is for the plans to say: cycles, and the arena."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from tests.harness import HOST, onnx_model, optimized, random_inputs, read_model, run_planned
from tests.nets import NETS
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.compiler.interpreter import run
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.passes.transposed_convolutions import keep_transposed_convolutions, ways_to_split
from tinyc.targets import load_target

pytestmark = pytest.mark.slow

IMAGE, CHANNELS = 16, 8
EVEN = {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}
ODD = {"strides": [2, 2], "pads": [1, 1, 1, 1]}  # 31 rows: no two of them are a row of phases


def layer(size: int = 3, image: int = IMAGE, **attributes: Any) -> onnx.ModelProto:
    """One ConvTranspose of int8, image x image, from 8 channels to 8."""
    rng = np.random.default_rng(3)
    kernel, shape = (CHANNELS, CHANNELS, size, size), (1, CHANNELS, image, image)
    values = {
        "s": np.float32(0.05), "z": np.array(3, np.int8), "t": np.float32(0.3),
        "w": rng.integers(-127, 128, kernel).astype(np.int8),
        "ws": rng.uniform(0.001, 0.02, CHANNELS).astype(np.float32),
        "wz": np.zeros(CHANNELS, np.int8),
    }  # fmt: skip
    nodes = [
        make_node("DequantizeLinear", ["x", "s", "z"], ["xr"]),
        make_node("DequantizeLinear", ["w", "ws", "wz"], ["wr"], axis=1),
        make_node("ConvTranspose", ["xr", "wr"], ["yr"], **attributes),
        make_node("QuantizeLinear", ["yr", "t", "z"], ["y"]),
    ]
    return onnx_model(nodes, {"x": ("int8", shape)}, {"y": ("int8", (None,))},
                      {n: np.asarray(v) for n, v in values.items()}, 20)  # fmt: skip


@pytest.fixture
def even(tmp_path: Path) -> Path:
    return saved(layer(**EVEN), tmp_path)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    return saved(layer(**ODD), tmp_path)


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(proto, str(path))
    return path


def compiled(path: Path, **options: Any) -> tuple[set[str], int]:
    """The operators that run, and the arena."""
    report = tinyc.compile(path, "cortex-m4", **options).report
    return {layer.op for layer in report.layers}, report.arena_bytes


@pytest.fixture
def whole_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without phases."""
    monkeypatch.setattr(
        "tinyc.compiler.pipeline.ways_to_split",
        lambda graph, target: (keep_transposed_convolutions,),
    )


def test_phases_that_stream_take_less_than_the_whole(even: Path) -> None:
    ops, arena_bytes = compiled(even, optimize="ram")

    assert "Interleave" in ops
    assert arena_bytes < IMAGE**2 * CHANNELS * (1 + 4)  # of the input and the image


def test_where_they_cannot_stream_ram_takes_the_whole(odd: Path) -> None:
    assert "ConvTranspose" in compiled(odd, optimize="ram")[0]
    assert "ConvTranspose" not in compiled(odd, optimize="latency")[0]


@pytest.mark.parametrize("attributes", [EVEN, ODD])
def test_ram_never_takes_more_than_the_whole(
    attributes: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = saved(layer(**attributes), tmp_path)
    _, arena_bytes = compiled(path, optimize="ram")
    request.getfixturevalue("whole_only")

    assert arena_bytes <= compiled(path, optimize="ram")[1]


def test_a_limit_of_ram_is_kept_by_the_whole(odd: Path) -> None:
    ops, arena_bytes = compiled(odd)
    assert "Interleave" in ops and arena_bytes > 11_000

    ops, arena_bytes = compiled(odd, max_ram=11_000)

    assert "ConvTranspose" in ops and arena_bytes <= 11_000


@pytest.mark.usefixtures("whole_only")
def test_without_the_whole_such_a_limit_is_too_much(odd: Path) -> None:
    with pytest.raises(CompileError, match="out-of-ram"):
        compiled(odd, max_ram=9_000)


def test_latency_streams_for_a_limit_alone(tmp_path: Path) -> None:
    path = saved(layer(image=2 * IMAGE, **EVEN), tmp_path)
    _, free = compiled(path, optimize="latency")
    ops, limited = compiled(path, optimize="latency", max_ram=36_000)

    assert limited <= 36_000 < free
    assert "Interleave" in ops


def test_the_plans_that_are_shown_are_those_that_are_taken(odd: Path) -> None:
    points = tinyc.plan(odd, "cortex-m4").points
    shown = {mode: point.arena_bytes for point in points for mode in point.modes}

    assert shown == {mode: compiled(odd, optimize=mode)[1] for mode in shown}


def test_other_models_have_one_graph() -> None:
    assert {len(ways_to_split(net(), HOST)) for net in NETS.values()} == {1}


def test_phases_take_turns(tmp_path: Path) -> None:
    """A row of each is there at a time, though all rows of what they read are."""
    graph = optimized(read_model(layer(**EVEN), tmp_path))
    names = [n.name for n in graph.nodes if n.op in ("Conv2D", "Interleave")]

    plan = plan_program(graph, HOST, streams=[names]).plan

    parts = [t for n in graph.nodes if n.op == "Conv2D" for t in n.outputs]
    assert {plan.windows[part] for part in parts} == {IMAGE * CHANNELS}


def test_phases_of_different_bands_take_turns(tmp_path: Path) -> None:
    """5x5 has phases of 2x2, 2x3, 3x2 and 3x3, of which the last computes four rows a call."""
    proto = layer(5, strides=[2, 2], pads=[1, 1, 2, 2])
    graph = optimized(read_model(proto, tmp_path))
    names = [n.name for n in graph.nodes if n.op in ("Conv2D", "Interleave")]
    kernels = {
        n.name: graph.tensors[n.inputs[1]].shape[1:3] for n in graph.nodes if n.op == "Conv2D"
    }
    (square,) = (name for name, size in kernels.items() if size == (3, 3))
    schedules = {square: Schedule("winograd-4")}
    inputs = random_inputs(graph)
    program = plan_program(graph, load_target("cortex-m4"), "caller", schedules, [names])

    (computed,) = run_planned(program, [inputs], "cortex-m4")

    assert any(stage.units[:4] == (1, 1, 1, 4) for stage in program.stages)
    assert re.search(r"(\w+)_rows >= \w+_rows \+ 4", emit_artifact(program).files["model.c"])
    np.testing.assert_array_equal(computed["y"], run(graph, inputs)["y"])
