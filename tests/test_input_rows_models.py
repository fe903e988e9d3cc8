"""Models whose input is handed in row by row: their functions, their interface, networks."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx.helper import make_node

import tinyc
from bench.models import SHARED
from tests.conftest import NEEDS_MODELS
from tests.harness import (
    HOST,
    STRICT_HOST,
    onnx_model,
    optimized,
    random_inputs,
    read_model,
    run_planned,
)
from tests.test_input_rows import DIGITS, SHAPES, conv, planned
from tinyc.compiler.emit_arena import arena_header
from tinyc.compiler.graph import DType, Node, Tensor, verify
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.compiler.options import Options
from tinyc.compiler.pipeline import emit_artifact, read_graph
from tinyc.compiler.profiling import random_inputs as profiled_inputs
from tinyc.compiler.running import run_artifact
from tinyc.passes.input_rows import push_rows
from tinyc.targets import load_target
from tinyc.targets.toolchain import find_compiler, run_compiler

MAIN = """
#include <stdio.h>
#include <string.h>
#include "model.h"
#define ROWS ((int32_t)MODEL_INPUT_0_ROWS)
static int8_t x[2][MODEL_INPUT_0_ROWS][MODEL_INPUT_0_ROW_ELEMENTS];
static model_arena a, b;
static int8_t whole[2][MODEL_OUTPUT_0_ELEMENTS];

static int same(const model_arena *arena, int number) {
  return memcmp(model_r1(arena), whole[number], sizeof whole[number]) == 0;
}

int main(void) {
  for (int n = 0; n < 2; ++n) {
    for (int32_t i = 0; i < ROWS; ++i) {
      for (int32_t k = 0; k < (int32_t)MODEL_INPUT_0_ROW_ELEMENTS; ++k) {
        x[n][i][k] = (int8_t)((7 * n + 31 * i + 11 * k) % 251 - 125);
      }
    }
    model_begin(&a);
    for (int32_t i = 0; i < ROWS; ++i) {
      if (model_push_row(&a, x[n][i]) != ROWS - 1 - i) return 1;
    }
    if (!model_finish(&a)) return 2;
    memcpy(whole[n], model_r1(&a), sizeof whole[n]);
  }
  if (memcmp(whole[0], whole[1], sizeof whole[0]) == 0) return 3;

  if (model_push_row(&a, x[0][0]) != 0 || !same(&a, 1)) return 4; /* too many: before a begin */
  if (model_finish(&a) || !same(&a, 1)) return 5;                 /* twice */

  model_begin(&a); /* two at a time, and one that is given up */
  model_push_row(&a, x[1][0]);
  if (model_finish(&a)) return 6; /* rows are missing */
  model_begin(&a);
  model_begin(&b);
  for (int32_t i = 0; i < ROWS; ++i) {
    int8_t row[MODEL_INPUT_0_ROW_ELEMENTS + 1]; /* at any address, and overwritten afterwards */
    memcpy(row + 1, x[0][i], MODEL_INPUT_0_ROW_ELEMENTS);
    model_push_row(&a, row + 1);
    memset(row, 99, sizeof row);
    model_push_row(&b, x[1][i]);
  }
  if (model_push_row(&a, x[1][0]) != 0) return 7; /* too many: before finish */
  if (!model_finish(&a) || !model_finish(&b)) return 8;
  return same(&a, 0) && same(&b, 1) ? 0 : 9;
}
"""


def test_the_functions_do_what_the_header_says(tmp_path: Path) -> None:
    artifact = emit_artifact(planned(push_rows(SHAPES["3x3"], HOST), "host"))
    artifact.write(tmp_path / "c")
    (tmp_path / "c" / "main.c").write_text(MAIN)
    names = sorted(path.name for path in (tmp_path / "c").glob("*.c"))

    compiler = find_compiler(STRICT_HOST)
    run_compiler(compiler, [*compiler.flags, *names, "-o", "program"], tmp_path / "c", "linking")
    done = subprocess.run([str(tmp_path / "c" / "program")])

    assert done.returncode == 0


def test_channels_come_last_in_the_rows_of_a_model_that_has_them_first(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model = onnx_model(
        [make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        {"x": ("float32", (1, 3, 8, 6))},
        {"y": ("float32", (1, 4, 8, 6))},
        {"w": weights},
    )
    whole = optimized(read_model(model, tmp_path))

    graph = push_rows(whole, HOST)

    assert graph.tensors["x"].shape == (1, 8, 6, 3)
    assert graph.notes[-1].startswith("rows of the input 'x' have the channels last, [8, 6, 3]")
    image = random_inputs(graph)["x"]
    (rows,) = run_planned(planned(graph, "host"), [{"x": image}], "host")
    expected = run(whole, {"x": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
    np.testing.assert_allclose(rows["y"], expected["y"], 1e-5, 1e-5)


def test_an_input_without_the_shape_of_rows_is_taken_where_a_reshape_gives_it(
    tmp_path: Path,
) -> None:
    weights = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    model = onnx_model(
        [
            make_node("Reshape", ["x", "s"], ["r"]),
            make_node("Conv", ["r", "w"], ["y"], pads=[1] * 4),
        ],
        {"x": ("float32", (1, 35))},
        {"y": ("float32", (1, 2, 7, 5))},
        {"w": weights, "s": np.array([1, 1, 7, 5], np.int64)},
    )

    graph = push_rows(optimized(read_model(model, tmp_path)), HOST)

    program = planned(graph, "host")
    header = emit_artifact(program).files["model.h"]
    assert "#define MODEL_INPUT_0_ROWS 7u\n#define MODEL_INPUT_0_ROW_ELEMENTS 5u" in header
    inputs = random_inputs(graph)
    (computed,) = run_planned(program, [inputs], "host")
    np.testing.assert_allclose(computed["y"], run(graph, inputs)["y"], 1e-5, 1e-5)


@pytest.mark.parametrize("target", [pytest.param("host", marks=pytest.mark.slow), "cortex-m4"])
def test_weights_that_are_not_linked_are_arguments(target: str) -> None:
    graph = push_rows(SHAPES["3x3"], load_target(target))
    linked = emit_artifact(planned(graph, target))
    apart = emit_artifact(planned(graph, target), weights="bin")
    x = random_inputs(graph)

    expected, computed = (run_artifact(a, load_target(target), x).outputs for a in (linked, apart))

    np.testing.assert_array_equal(computed["r1"], expected["r1"])
    assert (
        "model_push_row(model_arena *arena, const model_weights *weights, "
        in apart.files["model.h"]
    )


def test_an_arena_that_is_shared_says_how_long_a_model_has_it() -> None:
    header = arena_header("rows", {"arena": {"kws": 100, "vww": 200}})

    assert " *   kws_begin(&arena.kws);\n *   kws_finish(&arena.kws);\n *   vww_begin" in header
    assert "From begin to finish of a model nothing else may use the arena" in header


@pytest.mark.parametrize("io_dtype", [pytest.param("model", marks=pytest.mark.slow), "int8"])
def test_a_model_with_a_quantize_at_the_input_takes_rows(io_dtype: str) -> None:
    whole = tinyc.compile(DIGITS, "cortex-m4", io="arena", io_dtype=io_dtype)
    graph = read_graph(DIGITS, HOST, Options(io_dtype=io_dtype))
    x = profiled_inputs(graph, whole.report.inputs, 0)

    rows = tinyc.compile(DIGITS, "cortex-m4", io="rows", io_dtype=io_dtype)

    expected, computed = (tinyc.run(a, x).outputs for a in (whole, rows))
    for name, values in expected.items():
        np.testing.assert_array_equal(computed[name], values)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_come_last_before_a_quantize(channels: int) -> None:
    layers = conv(8, 6, channels, 3, 1, (1, 1, 1, 1))
    planes = (1, channels, 8, 6)
    image = Tensor("image", planes, DType.FLOAT32)
    stored_planes = replace(layers.tensors["x"], name="q", shape=planes)
    turn = Node("turn", "Transpose", ("q",), ("x",), TransposeAttrs((0, 2, 3, 1)))
    if channels == 1:
        turn = replace(turn, op="Reshape", attrs=ReshapeAttrs((1, 8, 6, 1)))
    nodes = (Node("store", "Quantize", ("image",), ("q",)), turn, *layers.nodes)
    whole = replace(layers, inputs=("image",)).with_nodes(nodes, [image, stored_planes])
    verify(whole)

    graph = push_rows(whole, HOST)

    verify(graph)
    assert [n.op for n in graph.nodes if n.op != "Reshape"][:3] == [
        "InputRows", "Quantize", "Conv2D",
    ]  # fmt: skip
    values = np.random.default_rng(0).normal(size=(1, 8, 6, channels)).astype(np.float32)
    pushed = values.reshape(graph.tensors["image"].shape)
    (rows,) = run_planned(planned(graph, "host"), [{"image": pushed}], "host")
    expected = run(whole, {"image": np.ascontiguousarray(values.transpose(0, 3, 1, 2))})
    np.testing.assert_array_equal(rows["r1"], expected["r1"])


@NEEDS_MODELS
@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_visual_wake_words_by_rows(target: str) -> None:
    model = SHARED / "models" / "mobilenetv1_vww_int8_qdq.onnx"
    whole = tinyc.compile(model, target, io="arena", optimize="ram")
    rows = tinyc.compile(model, target, io="rows", optimize="ram")
    x = np.random.default_rng(0).integers(-128, 128, (2, 96, 96, 3)).astype(np.int8)

    (expected,) = tinyc.run(whole, {"input_1_int8": x}).outputs.values()
    (computed,) = tinyc.run(rows, {"input_1_int8": x}).outputs.values()

    np.testing.assert_array_equal(computed, expected)
    if target == "cortex-m4":
        assert rows.report.arena_bytes <= 14_336


@pytest.mark.parametrize("target", ["cortex-m4", "rv32imc"])
def test_a_profile_tells_the_rows_from_the_layers(target: str) -> None:
    profile = tinyc.profile(DIGITS, target, io="rows")

    assert profile.layers[0].op == "InputRows" and profile.layers[0].cycles > 0
    assert sum(layer.cycles for layer in profile.layers) > 0.98 * profile.cycles
