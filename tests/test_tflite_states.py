"""TensorFlow Lite operators that remember: many runs in a row against NumPy, on host and core."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyc
from tests.harness import optimized, run_planned
from tests.tflite_files import Operation, T, constant, tflite_file
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.pipeline import Options
from tinyc.compiler.planning import plan_program
from tinyc.compiler.verification import verify_model
from tinyc.targets import load_target

RUNS = 25
RELU = 1


def generator() -> np.random.Generator:
    return np.random.default_rng(4)


@dataclass(frozen=True, slots=True)
class Svdf:
    """Sizes of a layer; state: of "float32", or of stored integers with int8 around it."""

    inputs: int
    units: int
    memory: int
    rank: int = 1
    batch: int = 1
    state: str = "float32"
    activation: int = 0
    has_bias: bool = True
    state_zero: int = 0


LAYERS = {
    "float": Svdf(7, 5, 4),
    "float, rank 2": Svdf(7, 3, 5, rank=2, batch=2, activation=RELU, has_bias=False),
    "a memory of one": Svdf(4, 3, 1),
    "int16": Svdf(11, 6, 8, state="int16", activation=RELU),
    "int16, rank 3": Svdf(9, 4, 10, rank=3, batch=2, state="int16", has_bias=False),
    "int8": Svdf(11, 6, 8, rank=2, state="int8", state_zero=-7),
}
X_SCALE, X_ZERO, Y_SCALE, Y_ZERO = 0.05, -3, 0.04, -11


def svdf_parts(layer: Svdf) -> tuple[list[T], Operation]:
    """The tensors of a model from `x` to `y`, and its only operation."""
    rng, filters = generator(), layer.units * layer.rank
    feature = rng.normal(size=(filters, layer.inputs)).astype(np.float32) / 2
    time = rng.normal(size=(filters, layer.memory)).astype(np.float32) / 2
    bias = rng.normal(size=layer.units).astype(np.float32) / 2
    shape = (layer.batch, filters * layer.memory)
    x, y = (layer.batch, layer.inputs), (layer.batch, layer.units)
    if layer.state == "float32":
        tensors = [
            T("x", x), T("feature", feature.shape, data=feature), T("time", time.shape, data=time),
            T("bias", bias.shape, data=bias), T("state", shape, variable=True), T("y", y),
        ]  # fmt: skip
    else:
        limit = np.iinfo(layer.state).max
        fs, ts = float(np.abs(feature).max() / 127), float(np.abs(time).max() / limit)
        ss = 8.0 / limit
        tensors = [
            T("x", x, "int8", scale=(X_SCALE,), zero=(X_ZERO,)),
            T("feature", feature.shape, "int8", np.rint(feature / fs).astype(np.int8), (fs,)),
            T("time", time.shape, layer.state, np.rint(time / ts).astype(layer.state), (ts,)),
            T("bias", bias.shape, "int32", np.rint(bias / ss / ts).astype(np.int32), (ss * ts,)),
            T("state", shape, layer.state, None, (ss,), (layer.state_zero,), variable=True),
            T("y", y, "int8", None, (Y_SCALE,), (Y_ZERO,)),
        ]  # fmt: skip
    names = ("x", "feature", "time", "bias" if layer.has_bias else "", "state")
    fields = {"Rank": layer.rank, "FusedActivationFunction": layer.activation}
    return tensors, Operation("SVDF", names, ("y",), "SVDFOptions", fields)


def float_svdf(layer: Svdf, tensors: Sequence[T], runs: Sequence[Array]) -> Iterator[Array]:
    """What TensorFlow Lite defines, with a list of the last results of the feature filters."""
    feature, time, bias = (t.data for t in tensors[1:4])
    past = [np.zeros((layer.batch, len(time)))] * layer.memory
    for x in runs:
        past = [*past[1:], x.astype(np.float64) @ feature.T]
        filtered = sum(step * time[:, age] for age, step in enumerate(past))
        y = filtered.reshape(layer.batch, layer.units, layer.rank).sum(-1)
        y = y + (bias if layer.has_bias else 0)
        yield np.maximum(y, 0) if layer.activation == RELU else y


def rounded(value: Array) -> Array:
    """Half up, as tinyc rounds, once."""
    return np.floor(value + 0.5)


def doubled(value: Array) -> Array:
    """By a 31-bit multiplier, then by a power of two, each to the nearest: as TensorFlow Lite may.

    The power stands for scales between 1/256 and 1/128.
    """
    return np.rint(rounded(value * 128) / 128)


def stored_svdf(
    layer: Svdf, tensors: Sequence[T], runs: Sequence[Array], to_step: Any
) -> Iterator[Array]:
    """The integers of the reference kernel; `to_step` rounds a rescaled sum."""
    x, feature, time, bias, state, y = tensors
    assert feature.data is not None and time.data is not None and bias.data is not None
    limits = np.iinfo(layer.state)
    first = np.float64(np.float32(x.scale[0])) * np.float32(feature.scale[0])
    first /= np.float32(state.scale[0])
    second = np.float64(np.float32(state.scale[0])) * np.float32(time.scale[0]) / np.float32(Y_SCALE)
    past = [np.zeros((layer.batch, len(time.data)), np.int64)] * layer.memory
    low = Y_ZERO if layer.activation == RELU else -128
    for values in runs:
        sums = (values.astype(np.int64) - X_ZERO) @ feature.data.T.astype(np.int64)
        step = np.clip(to_step(sums * first) + layer.state_zero, limits.min, limits.max)
        past = [*past[1:], step.astype(np.int64) - layer.state_zero]
        filtered = sum(s * time.data[:, age].astype(np.int64) for age, s in enumerate(past))
        total = filtered.reshape(layer.batch, layer.units, layer.rank).sum(-1)
        total = total + (bias.data if layer.has_bias else 0)
        yield np.clip(to_step(total * second) + Y_ZERO, low, 127).astype(np.int8)


def inputs_of(layer: Svdf) -> list[Array]:
    rng, shape = np.random.default_rng(6), (layer.batch, layer.inputs)
    if layer.state == "float32":
        return [rng.normal(size=shape).astype(np.float32) for _ in range(RUNS)]
    return [rng.integers(-128, 128, shape).astype(np.int8) for _ in range(RUNS)]


def written(folder: Path, tensors: Sequence[T], *operations: Operation, **more: Any) -> Path:
    path = folder / "m.tflite"
    inputs = [t.name for t in tensors if t.name.startswith("x")]
    outputs = [t.name for t in tensors if t.name.startswith("y")]
    path.write_bytes(tflite_file(tensors, operations, inputs, outputs, **more))
    return path


def run_in_a_row(graph: Graph, runs: Sequence[Array], target: str) -> list[Array]:
    """The output `y` of every run, by C."""
    program = plan_program(optimized(graph), load_target(target))
    return [found["y"] for found in run_planned(program, [{"x": x} for x in runs], target)]


TARGETS = pytest.mark.parametrize("target", ["host", "cortex-m4"])


@TARGETS
@pytest.mark.parametrize("case", LAYERS)
def test_svdf_remembers_what_tensorflow_lite_does(case: str, target: str, tmp_path: Path) -> None:
    layer = LAYERS[case]
    tensors, operation = svdf_parts(layer)
    runs = inputs_of(layer)

    found = run_in_a_row(read_onnx(written(tmp_path, tensors, operation)), runs, target)

    if layer.state == "float32":
        wanted = list(float_svdf(layer, tensors, runs))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    else:
        once, twice = (
            np.array(list(stored_svdf(layer, tensors, runs, how))) for how in (rounded, doubled)
        )
        gap = np.abs(np.array(found, int) - once)
        assert gap.max() <= 1 and (gap > 0).mean() < 0.02
        assert np.abs(np.array(found, int) - twice).max() <= 1
        assert np.unique(found).size > 20, "the outputs are not all saturated"
