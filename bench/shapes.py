"""Networks of common shapes with random weights, as graphs of stored integers: for measuring.

MobileNetV1 (Howard et al. 2017, table 1) and MobileNetV2 (Sandler et al. 2018, table 2) at 96 x 96,
and a DS-CNN of twice the width of the MLPerf Tiny one.
"""

from collections.abc import Iterator

import numpy as np

from tinyc.compiler.graph import DType, Graph, Node, QParams, Tensor, constant
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.residual import Residual

QUANT = QParams((0.05,), (-128,))
WEIGHT_SCALE = 0.002


class Builder:
    """A chain of layers; every method adds one and returns the name of its result."""

    def __init__(self, name: str, shape: tuple[int, int, int]) -> None:
        self.name, self.nodes = name, list[Node]()
        self.tensors = {"x": _stored("x", (1, *shape))}
        self.random = np.random.default_rng(0)

    def conv(self, x: str, channels: int, size: int = 1, stride: int = 1, add: str = "") -> str:
        shape = self.tensors[x].shape
        weights = self._weights((channels, size, size, shape[3]), 0)
        residual = Residual(DType.INT8, QUANT) if add else None
        attrs = Conv2DAttrs((stride, stride), _same(shape, size, stride), residual=residual)
        inputs = (x, weights, self._bias(channels), *([add] if add else []))
        return self._layer("Conv2D", inputs, channels, stride, attrs)

    def depthwise(self, x: str, stride: int = 1) -> str:
        shape = self.tensors[x].shape
        weights = self._weights((3, 3, shape[3]), 2)
        attrs = DepthwiseConv2DAttrs((stride, stride), _same(shape, 3, stride))
        return self._layer("DepthwiseConv2D", (x, weights, self._bias(shape[3])), shape[3],
                           stride, attrs)  # fmt: skip

    def graph(self, output: str) -> Graph:
        return Graph(self.name, ("x",), (output,), tuple(self.nodes), self.tensors)

    def _layer(
        self, op: str, inputs: tuple[str, ...], channels: int, stride: int, attrs: object
    ) -> str:
        _, h, w, _ = self.tensors[inputs[0]].shape
        name = f"t{len(self.tensors)}"
        self.tensors[name] = _stored(name, (1, -(-h // stride), -(-w // stride), channels))
        self.nodes.append(Node(f"n{len(self.nodes)}", op, inputs, (name,), attrs))
        return name

    def _weights(self, shape: tuple[int, ...], axis: int) -> str:
        scales = (WEIGHT_SCALE,) * shape[axis]
        quant = QParams(scales, (0,) * shape[axis], axis)
        values = np.clip(self.random.normal(0, 40, shape).round(), -127, 127)
        return self._added(constant(f"w{len(self.tensors)}", values, DType.INT8, quant))

    def _bias(self, channels: int) -> str:
        values = self.random.integers(-2000, 2000, channels)
        return self._added(constant(f"b{len(self.tensors)}", values, DType.INT32))

    def _added(self, tensor: Tensor) -> str:
        self.tensors[tensor.name] = tensor
        return tensor.name


def _stored(name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, shape, DType.INT8, None, QUANT)


def _same(shape: tuple[int, ...], size: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's padding "same": the odd one at the end."""
    totals = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in shape[1:3]]
    top, left = (total // 2 for total in totals)
    return top, left, totals[0] - top, totals[1] - left


def _eights(channels: float) -> int:
    """Rounded to a multiple of 8, never below 90 % (as the papers' own code does)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def mobilenet_v1(width: float) -> Graph:
    b = Builder(f"mobilenetv1_{width}", (96, 96, 3))
    x = b.conv("x", _eights(32 * width), 3, 2)
    steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
    for channels, stride in [*steps, (1024, 2), (1024, 1)]:
        x = b.conv(b.depthwise(x, stride), _eights(channels * width))
    return b.graph(x)


def mobilenet_v2(width: float, size: int = 96) -> Graph:
    b = Builder(f"mobilenetv2_{width}" if size == 96 else f"mobilenetv2_{width}_{size}",
                (size, size, 3))  # fmt: skip
    x = b.conv("x", _eights(32 * width), 3, 2)
    blocks = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
    for expansion, channels, repeats, stride in [*blocks, (6, 96, 3, 1), (6, 160, 3, 2)]:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            inside = b.tensors[x].shape[3] * expansion
            wide = b.depthwise(b.conv(x, inside) if expansion > 1 else x, step)
            out = _eights(channels * width)
            same = step == 1 and out == b.tensors[x].shape[3]
            x = b.conv(wide, out, add=x if same else "")
    return b.graph(x)


def ds_cnn(width: int) -> Graph:
    b = Builder(f"ds_cnn_{width}", (49, 10, 1))
    x = b.conv("x", width, 4, 2)
    for _ in range(5):
        x = b.conv(b.depthwise(x), width)
    return b.graph(x)


def network_graphs() -> Iterator[tuple[str, Graph]]:
    for graph in (
        *(mobilenet_v1(width) for width in (0.25, 0.5)),
        *(mobilenet_v2(width) for width in (0.35, 0.5)),
        ds_cnn(128),
    ):
        yield graph.name, graph
