"""Small nets over time, and how `--stream` calls each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.helper import make_node

from tests.harness import onnx_model
from tinyc.compiler.graph import Array
from tinyc.passes.streaming_state import AUTO

RNG = np.random.default_rng(3)
STEPS, CHANNELS = 24, 3


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


class Net:
    """A chain of nodes on [1, channels, time], or on what its first node makes of it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.last = "x"

    def add(self, op: str, *constants: Array, inputs: Sequence[str] = (), **attributes: Any) -> str:
        names = [f"c{len(self.constants) + i}" for i in range(len(constants))]
        self.constants |= dict(zip(names, constants, strict=True))
        output = f"t{len(self.nodes)}"
        given = list(inputs) or [self.last]
        self.nodes.append(make_node(op, [*given, *names], [output], **attributes))
        self.last = output
        return output

    def conv(self, channels: int, size: int, inputs: int = CHANNELS, **attributes: Any) -> str:
        group = attributes.get("group", 1)
        weights = floats(channels, inputs // group, size) / 2
        return self.add("Conv", weights, floats(channels), **attributes)

    def model(self, shape: tuple[int, ...] = (1, CHANNELS, STEPS)) -> onnx.ModelProto:
        outputs = {self.last: ("float32", None)}
        model = onnx_model(self.nodes, {"x": ("float32", shape)}, outputs, self.constants)
        model.graph.output[0].type.tensor_type.ClearField("shape")
        return onnx.shape_inference.infer_shapes(model)


def causal(net: Net) -> None:
    net.conv(4, 3, pads=[2, 0])
    net.add("Relu")
    net.conv(5, 3, inputs=4, dilations=[2], pads=[4, 0])


def padded(net: Net) -> None:
    net.add("Pad", np.array([0, 0, 2, 0, 0, 1], np.int64), np.array(0.5, np.float32))
    net.conv(4, 3, pads=[1, 0], dilations=[2])
    net.add("Relu")


def valid(net: Net) -> None:
    net.conv(4, 3)
    net.add("Relu")
    net.conv(5, 2, inputs=4, dilations=[3])


def same(net: Net) -> None:
    net.conv(4, 3, pads=[1, 1])
    net.add("MaxPool", kernel_shape=[3], pads=[1, 1], strides=[1])
    net.conv(5, 5, inputs=4, pads=[2, 2])


def chomped(net: Net) -> None:
    net.conv(4, 3, dilations=[2], pads=[4, 4])
    ends = (np.array([v], np.int64) for v in (0, STEPS, 2))
    net.add("Slice", *ends)
    net.add("Tanh")


def residual(net: Net) -> None:
    net.conv(CHANNELS, 3, pads=[1, 1])
    net.add("Relu")
    inner = net.conv(CHANNELS, 3, pads=[1, 1])
    net.add("Add", inputs=[inner, "x"])
    net.add("Mul", floats(1, CHANNELS, 1))


def strided(net: Net) -> None:
    net.conv(4, 4, strides=[2], pads=[1, 1])
    net.add("AveragePool", kernel_shape=[2], strides=[2])
    net.conv(4, 2, inputs=4)


def subsampled(net: Net) -> None:
    net.conv(4, 1, strides=[2])
    net.conv(4, 3, inputs=4, strides=[3], pads=[2, 0])


def depthwise(net: Net) -> None:
    net.conv(6, 3, group=3, pads=[2, 0])
    net.conv(6, 3, inputs=6, group=6, pads=[2, 0])
    net.add("Softmax", axis=1)


def branches(net: Net) -> None:
    late = net.conv(2, 5)
    early = net.conv(2, 1)
    net.nodes[-1].input[0] = "x"
    ends = (np.array([v], np.int64) for v in (4, STEPS, 2))
    cut = net.add("Slice", *ends, inputs=[early])
    net.add("Concat", inputs=[late, cut], axis=1)
    net.add("ReduceMean", axes=[1], keepdims=0)


def recurrent(net: Net) -> None:
    net.conv(4, 3)
    net.add("Transpose", perm=[2, 0, 1])
    net.add("GRU", floats(1, 15, 4) / 2, floats(1, 15, 5) / 2, hidden_size=5)
    net.nodes[-1].output.append("h")
    net.add("Squeeze", np.array([1], np.int64))
    net.add("MatMul", floats(5, 3))


def one_answer(net: Net) -> None:
    net.conv(4, 3, pads=[2, 0])
    net.add("Transpose", perm=[0, 2, 1])
    net.add("Gather", np.array(-1, np.int64), axis=1)
    net.add("MatMul", floats(4, 2))


# how the net is called: "x:2" unless said; rows of a call; calls that give nothing
NETS = {
    causal: ("x:2", 1, 0),
    padded: ("x:2", 1, 1),
    valid: ("x:2", 1, 5),
    same: ("x:2", 1, 4),
    chomped: ("x:2", 1, 0),
    residual: ("x:2", 1, 2),
    strided: ("x:2", 4, 2),
    subsampled: ("x:2", 6, 0),
    depthwise: (AUTO, 1, 0),
    branches: (AUTO, 1, 4),
    recurrent: (AUTO, 1, 2),
    one_answer: (AUTO, 1, 0),
}
ROWS = [(net, *how) for net, how in NETS.items()] + [
    (causal, "x:2:4", 4, 0), (valid, "x:2:2", 2, 3), (residual, "x:2:3", 3, 2),
]  # fmt: skip
