"""Layers of SVDF as .tflite files hold them, and what TensorFlow Lite computes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.tflite_files import Operation, T
from tests.tflite_runs import generator
from tinyc.compiler.graph import Array

RUNS = 25
RELU = 1
X_SCALE, X_ZERO, Y_SCALE, Y_ZERO = 0.05, -3, 0.04, -11


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
    x, feature, time, bias, state, _ = tensors
    assert feature.data is not None and time.data is not None and bias.data is not None
    limits = np.iinfo(layer.state)
    of_x, of_feature, of_time, of_state, of_y = (
        np.float64(np.float32(s))
        for s in (x.scale[0], feature.scale[0], time.scale[0], state.scale[0], Y_SCALE)
    )
    first, second = of_x * of_feature / of_state, of_state * of_time / of_y
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
