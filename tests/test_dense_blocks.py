"""Dense by assembly blocks: every shape and block, as the twin on the host and on the core."""

from dataclasses import replace

import numpy as np
import pytest

from tests.harness import run_c, stored
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import DType, Graph, Node, QParams, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.dense import DenseAttrs

pytestmark = pytest.mark.sampled

SHAPES = [  # rows, products, channels
    (1, 1, 1), (1, 4, 2), (1, 3, 9), (3, 13, 7), (2, 8, 10), (1, 36, 17), (1, 132, 8),
    (2, 64, 12), (1, 70, 23),
]  # fmt: skip
SCHEDULES = [Schedule("blocks"), Schedule("blocks", columns=3, unroll=1),
             Schedule("blocks", columns=6, unroll=16)]  # fmt: skip


def dense(
    rows: int,
    k: int,
    n: int,
    *,
    per_channel: bool = True,
    zero: int = -128,
    clamp: Clamp = NO_CLAMP,
) -> Graph:
    scales = tuple(np.geomspace(0.0005, 0.05, n)) if per_channel else (0.01,)
    quant = QParams(scales, (0,) * len(scales), 0 if per_channel else None)
    values = np.random.default_rng(3).integers(-127, 128, (n, k))
    weights = constant("w", values, DType.INT8, quant)
    bias = constant("b", np.arange(n) * 997 - 4000, DType.INT32)
    x = stored("x", (rows, k), QParams((0.05,), (zero,)))
    y = stored("y", (rows, n), QParams((0.02 * k**0.5,), (-zero - 1,)))
    node = Node("n", "Dense", ("x", "w", "b"), ("y",), DenseAttrs(clamp), ("n",))
    return Graph("model", ("x",), ("y",), (node,), {t.name: t for t in (x, weights, bias, y)})


def check(graph: Graph, schedule: Schedule) -> None:
    rng = np.random.default_rng(0)
    shape = graph.tensors["x"].shape
    samples = [rng.integers(-128, 128, shape), rng.choice([-128, 127], shape),
               np.full(shape, -128), np.full(shape, 127)]  # fmt: skip
    inputs = [{"x": s.astype(np.int8)} for s in samples]
    for on in ("host", "cortex-m4"):
        computed = run_c(graph, inputs, "cortex-m4", on, {"n": schedule})
        for given, got in zip(inputs, computed, strict=True):
            np.testing.assert_array_equal(got["y"], run(graph, given)["y"])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize(("rows", "k", "n"), SHAPES)
def test_every_shape_gives_the_same_bytes(rows: int, k: int, n: int, schedule: Schedule) -> None:
    check(dense(rows, k, n), schedule)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("zero", [-128, 0, 127])
@pytest.mark.parametrize("clamp", [NO_CLAMP, Clamp(0.0, 0.5)], ids=["", "clamp"])
def test_quantization_and_bounds(per_channel: bool, zero: int, clamp: Clamp) -> None:
    check(dense(1, 20, 9, per_channel=per_channel, zero=zero, clamp=clamp), Schedule("blocks"))


@pytest.mark.parametrize("value", [-128, -127, 127])
def test_extreme_weights(value: int) -> None:
    """-128 is beyond the paired form: another algorithm computes it."""
    graph = dense(1, 64, 8)
    weights = graph.tensors["w"]
    full = constant("w", np.full(weights.shape, value), DType.INT8, weights.quant)
    check(replace(graph, tensors={**graph.tensors, "w": full}), Schedule())


def test_channels_that_never_change() -> None:
    """A bias that is beyond 24 bits, and a scale for which only the bias counts."""
    graph = dense(1, 16, 9)
    scales = tuple(1e-8 if n % 3 else 0.002 for n in range(9))
    weights = replace(graph.tensors["w"], quant=QParams(scales, (0,) * 9, 0))
    bias = constant("b", [(-(2**30), 500, 2**30)[n % 3] if n % 3 else 77 for n in range(9)],
                    DType.INT32)  # fmt: skip
    check(replace(graph, tensors={**graph.tensors, "w": weights, "b": bias}), Schedule("blocks"))
