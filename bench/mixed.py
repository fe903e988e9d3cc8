"""What layers take with activations and weights of other formats than int8, on Cortex-M4."""

import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx

import tinyc
from bench.tables import table
from tests.harness import onnx_model
from tests.qdq import Q, Weights, qdq_model
from tinyc.compiler.graph import Array

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """Shapes as in ONNX; weights [outputs, ...], of MatMul [inputs, outputs]."""

    op: str
    x: Shape
    w: Shape
    y: Shape
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def axis(self) -> int:
        """Of the outputs."""
        return 1 if self.op == "MatMul" else 0


SAME = {"pads": [1, 1, 1, 1]}
LAYERS = {
    "3x3, 16x16x64 to 64": Layer("Conv", (1, 64, 16, 16), (64, 64, 3, 3), (1, 64, 16, 16), SAME),
    "1x1, 16x16x64 to 64": Layer("Conv", (1, 64, 16, 16), (64, 64, 1, 1), (1, 64, 16, 16)),
    "3x3 stride 2, 16x16x32 to 64": Layer(
        "Conv", (1, 32, 16, 16), (64, 32, 3, 3), (1, 64, 8, 8),
        {"pads": [0, 0, 1, 1], "strides": [2, 2]},
    ),
    "3x3, 32x32x3 to 16": Layer("Conv", (1, 3, 32, 32), (16, 3, 3, 3), (1, 16, 32, 32), SAME),
    "depthwise 3x3, 25x5x64": Layer(
        "Conv", (1, 64, 25, 5), (64, 1, 3, 3), (1, 64, 25, 5), {**SAME, "group": 64}
    ),
    "dense 640 to 128": Layer("MatMul", (1, 640), (640, 128), (1, 128)),
}  # fmt: skip
FORMATS = ("int8", "int4 weights", "16x8", "float", "float, int8 weights", "float, float16 weights")


def mixed_section(pool: Executor) -> Iterator[str]:
    runs = list(product(LAYERS, FORMATS))
    cycles = dict(zip(runs, pool.map(layer_cycles, *zip(*runs, strict=True)), strict=True))
    yield "## Formats, `--optimize latency`, thousands of cycles of the layer\n"
    yield table(
        f"layer | {' | '.join(FORMATS)}",
        [(layer, *(f"{cycles[layer, f] / 1e3:,.0f}" for f in FORMATS)) for layer in LAYERS],
    )
    yield "\nint8 and float have transforms for 3x3 (Winograd); the others multiply directly."


def layer_cycles(layer: str, form: str) -> int:
    """Of the layer alone, without what moves its input and output."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "layer.onnx"
        onnx.save(_model(LAYERS[layer], form), str(file))
        profile = tinyc.profile(file, "cortex-m4", optimize="latency")
    return max(p.cycles for p in profile.layers if p.macs)


def _model(layer: Layer, form: str) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    outputs = layer.w[layer.axis]
    spread = (np.prod(layer.w) / outputs) ** 0.5
    if form.startswith("float"):
        return _float_model(layer, form, rng)
    values = rng.integers(-40, 41, layer.w).astype(np.int8)
    if form == "int4 weights":
        values = rng.integers(-8, 8, layer.w).astype(ml_dtypes.int4)
    weights = Weights(values, np.full(outputs, 0.005, np.float32), 0, layer.axis)
    x, y = Q(0.02, 3), Q(0.004 * spread, -5)
    if form == "16x8":
        x, y = Q(0.0001, 0, "int16"), Q(0.0001 * spread, 0, "int16")
    return qdq_model(layer.op, [layer.x], y, layer.y, [x], [weights], opset=21, **layer.attributes)


def _float_model(layer: Layer, form: str, rng: np.random.Generator) -> onnx.ModelProto:
    values = rng.normal(0, 0.1, layer.w).astype(np.float32)
    constants: dict[str, Array] = {"w": values}
    nodes = []
    if form == "float, float16 weights":
        constants["w"] = values.astype(np.float16)
        nodes = [onnx.helper.make_node("Cast", ["w"], ["wide"], to=onnx.TensorProto.FLOAT)]
    elif form == "float, int8 weights":
        constants["w"] = (values * 200).clip(-127, 127).astype(np.int8)
        constants["scale"] = np.full(layer.w[layer.axis], 0.005, np.float32)
        names = ["w", "scale"]
        nodes = [onnx.helper.make_node("DequantizeLinear", names, ["wide"], axis=layer.axis)]
    operands = ["x", "wide" if nodes else "w"]
    nodes.append(onnx.helper.make_node(layer.op, operands, ["y"], **layer.attributes))
    ends = {"x": ("float32", layer.x)}, {"y": ("float32", layer.y)}
    return onnx_model(nodes, *ends, constants, 21)
