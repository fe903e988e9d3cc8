"""Small networks of the shapes that people build, as graphs of stored integers.

Weights are scaled so that results stay within int8: a network that saturates would hide errors.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from tests.harness import random_constant, stored
from tinyc.compiler.graph import DType, Graph, Node, QParams, Shape, Tensor, constant
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.conv2d import Conv2DAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.depthwise_conv2d import DepthwiseConv2DAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.pooling import Pool2DAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.residual import Residual
from tinyc.compiler.ops.unary import UnaryAttrs

QUANT = QParams((0.05,), (3,))
GATE = QParams((1 / 256,), (-128,))  # of numbers between 0 and 1
RELU = Clamp(low=0.0)
SPREAD = 74  # of random weights; a sum of n products spreads by about SPREAD * sqrt(n)

Size = int | tuple[int, int]  # of both axes, or height and width
Pads = tuple[int, int, int, int]  # top, left, bottom, right


class NetBuilder:
    """Collects layers; every method adds one and returns the name of its result."""

    def __init__(self, *shape: int) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {"x": stored("x", (1, *shape), QUANT)}

    def shape(self, name: str) -> Shape:
        return self.tensors[name].shape

    def graph(self, *outputs: str) -> Graph:
        return Graph("model", ("x",), outputs, tuple(self.nodes), self.tensors)

    def conv(
        self,
        x: str,
        channels: int,
        size: Size = 1,
        stride: Size = 1,
        pads: Pads | None = None,
        add: str = "",
        relu: bool = False,
    ) -> str:
        kernel, strides = _pair(size), _pair(stride)
        inside = self.shape(x)[3]
        quant = _weight_quant(inside * math.prod(kernel))
        operands = self._weights((channels, *kernel, inside), channels, quant)
        attrs = Conv2DAttrs(
            strides, _same(self.shape(x), kernel, strides) if pads is None else pads,
            clamp=RELU if relu else Clamp(), residual=Residual(DType.INT8, QUANT) if add else None,
        )  # fmt: skip
        return self.node("Conv2D", [x, *operands, *([add] if add else [])], attrs)

    def depthwise(self, x: str, size: Size = 3, stride: Size = 1, pads: Pads | None = None) -> str:
        kernel, strides, channels = _pair(size), _pair(stride), self.shape(x)[3]
        one = _weight_quant(math.prod(kernel))
        quant = QParams(one.scale * channels, (0,) * channels, 2)
        operands = self._weights((*kernel, channels), channels, quant)
        pads = _same(self.shape(x), kernel, strides) if pads is None else pads
        return self.node("DepthwiseConv2D", [x, *operands], DepthwiseConv2DAttrs(strides, pads))

    def dense(self, x: str, features: int) -> str:
        inside = self.shape(x)[-1]
        operands = self._weights((features, inside), features, _weight_quant(inside))
        return self.node("Dense", [x, *operands], DenseAttrs())

    def pool(
        self, kind: str, x: str, size: Size, stride: Size = 1, pads: Pads | None = None
    ) -> str:
        kernel, strides = _pair(size), _pair(stride)
        pads = _same(self.shape(x), kernel, strides) if pads is None else pads
        attrs = Pool2DAttrs(kernel, strides, pads)
        return self.node(f"{kind}Pool2D", [x], attrs, self.tensors[x].quant)

    def global_pool(self, x: str, kind: str = "Average") -> str:
        return self.pool(kind, x, self.shape(x)[1:3], 1, (0, 0, 0, 0))

    def binary(self, op: str, a: str, b: str) -> str:
        return self.node(op, [a, b], BinaryAttrs())

    def unary(self, function: str, x: str, quant: QParams = QUANT) -> str:
        return self.node("Unary", [x], UnaryAttrs(function), quant)

    def concat(self, names: Sequence[str], axis: int = 3) -> str:
        return self.node("Concat", names, ConcatAttrs(axis))

    def pad(self, x: str, rows: tuple[int, int], columns: tuple[int, int]) -> str:
        return self.node("Pad", [x], PadAttrs(((0, 0), rows, columns, (0, 0))))

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("Reshape", [x], ReshapeAttrs(shape), self.tensors[x].quant)

    def flat(self, x: str) -> str:
        return self.reshape(x, 1, self.tensors[x].elements)

    def twice(self, x: str) -> str:
        """Nearest neighbours: every pixel two times two."""
        _, h, w, c = self.shape(x)
        wide = self.reshape(self.concat([x, x]), 1, h, 1, 2 * w * c)
        return self.reshape(self.concat([wide, wide]), 1, 2 * h, 2 * w, c)

    def squeezed(self, x: str) -> str:
        """Squeeze and excite: channels are weighed by what their means say."""
        channels = self.shape(x)[3]
        few = self.conv(self.global_pool(x), max(channels // 2, 1), relu=True)
        gate = self.unary("sigmoid", self.conv(few, channels), GATE)
        return self.binary("Mul", x, gate)

    def inverted(self, x: str, channels: int, stride: int = 1, expand: int = 3) -> str:
        """A block of MobileNetV2."""
        inside = self.conv(x, expand * self.shape(x)[3], relu=True)
        same = stride == 1 and channels == self.shape(x)[3]
        return self.conv(self.depthwise(inside, 3, stride), channels, add=x if same else "")

    def residual(self, x: str, channels: int, stride: int = 1) -> str:
        """A block of ResNet, with a 1x1 shortcut where the shape changes."""
        inside = self.conv(x, channels, 3, stride, relu=True)
        same = stride == 1 and channels == self.shape(x)[3]
        return self.conv(inside, channels, 3, add=x if same else self.conv(x, channels, 1, stride))

    def classes(self, x: str, count: int) -> str:
        return self.dense(self.flat(self.global_pool(x)), count)

    def node(
        self, op: str, inputs: Sequence[str], attrs: object, quant: QParams | None = QUANT
    ) -> str:
        """Any operator on these tensors."""
        ((shape, _),) = OPS[op].infer(tuple(map(self._real, inputs)), attrs)
        number = len(self.nodes)
        assert quant is not None, "all is quantized"
        result = stored(f"t{number}", shape, quant)
        self.tensors[result.name] = result
        name = f"{op}_{number}"
        self.nodes.append(Node(name, op, tuple(inputs), (result.name,), attrs, (name,)))
        return result.name

    def _real(self, name: str) -> Tensor:
        """What a tensor stands for, without its values."""
        return Tensor(name, self.shape(name), DType.FLOAT32)

    def _weights(self, shape: Shape, channels: int, quant: QParams) -> tuple[str, str]:
        number = len(self.nodes)
        weights = random_constant(f"w{number}", shape, DType.INT8, number, quant)
        values = [(37 * i + 11 * number) % 401 - 200 for i in range(channels)]
        bias = constant(f"b{number}", values, DType.INT32)
        self.tensors |= {weights.name: weights, bias.name: bias}
        return weights.name, bias.name


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _weight_quant(terms: int) -> QParams:
    return QParams((1 / (SPREAD * math.sqrt(terms)),), (0,))


def _same(shape: Shape, kernel: tuple[int, int], strides: tuple[int, int]) -> Pads:
    """Outputs for every stride of the input; the odd one is at the end."""
    totals = [
        max((-(-n // stride) - 1) * stride + size - n, 0)
        for n, size, stride in zip(shape[1:3], kernel, strides, strict=True)
    ]
    top, left = (total // 2 for total in totals)
    return top, left, totals[0] - top, totals[1] - left


def mobilenet_v2() -> Graph:
    b = NetBuilder(17, 15, 3)
    x = b.conv("x", 8, 3, 2)
    x = b.inverted(x, 8)
    x = b.inverted(x, 12, 2)
    x = b.inverted(b.inverted(x, 12), 12)
    return b.graph(b.classes(b.conv(x, 24), 5))


def residual_tower() -> Graph:
    b = NetBuilder(16, 16, 3)
    x = b.residual(b.conv("x", 8, 3), 8)
    x = b.residual(b.residual(x, 12, 2), 12)
    return b.graph(b.classes(b.residual(x, 16, 2), 10))


def squeeze_and_excite() -> Graph:
    b = NetBuilder(12, 11, 4)
    x = b.squeezed(b.depthwise(b.conv("x", 10, relu=True), 3))
    x = b.squeezed(b.conv(x, 9, 3, 2))
    return b.graph(b.classes(x, 4))


def u_shape() -> Graph:
    b = NetBuilder(16, 12, 3)
    high = b.conv("x", 6, 3, relu=True)
    middle = b.conv(b.pool("Max", high, 2, 2), 8, 3, relu=True)
    low = b.conv(b.pool("Max", middle, 2, 2), 12, 3)
    x = b.conv(b.concat([b.twice(low), middle]), 8, 3)
    x = b.conv(b.concat([b.twice(x), high]), 6, 3)
    return b.graph(b.conv(x, 2))


def inception() -> Graph:
    """Branches of one, three, five and a pool, side by side."""
    b = NetBuilder(13, 10, 4)
    x = b.conv("x", 6, 3, 1)
    for stride in (1, 2):
        x = b.concat([
            b.conv(x, 5, 1, stride),
            b.conv(b.conv(x, 4), 6, 3, stride),
            b.conv(b.conv(x, 3), 4, 5, stride),
            b.conv(b.pool("Max", x, 3, stride), 3),
        ])  # fmt: skip
    return b.graph(b.classes(x, 3))


def temporal() -> Graph:
    """1-D: time is the height."""
    b = NetBuilder(101, 1, 6)
    x = b.conv("x", 12, (5, 1), (2, 1), relu=True)
    x = b.depthwise(x, (9, 1), (1, 1))
    x = b.pool("Max", b.conv(x, 16), (2, 1), (2, 1))
    x = b.conv(x, 16, (3, 1), add=x)
    return b.graph(b.classes(x, 4))


def causal() -> Graph:
    """Nothing is read from the future: all the padding is above."""
    b = NetBuilder(64, 1, 3)
    x = "x"
    for size, channels in ((3, 8), (5, 8), (7, 4)):
        x = b.conv(x, channels, (size, 1), 1, (size - 1, 0, 0, 0))
    return b.graph(x)


def odd_sizes() -> Graph:
    """No size is a multiple of another, padding is on one side, strides are above kernels."""
    b = NetBuilder(23, 7, 1)
    x = b.conv("x", 5, (4, 3), (2, 1), (0, 2, 3, 0))
    x = b.depthwise(x, (3, 2), (1, 1), (2, 0, 0, 1))
    x = b.conv(b.pad(x, (1, 0), (0, 2)), 7, (2, 3), (3, 2), (1, 0, 0, 1))
    x = b.pool("Average", x, (2, 3), (1, 2), (1, 1, 0, 0))
    return b.graph(b.conv(x, 3, (1, 1), (2, 1), (0, 0, 0, 0)))


def many_outputs() -> Graph:
    """A detector: heads on several scales, and one that is read on."""
    b = NetBuilder(14, 14, 3)
    first = b.conv("x", 8, 3, 2)
    second = b.conv(b.depthwise(first, 3, 2), 12)
    third = b.inverted(second, 12)
    return b.graph(b.conv(first, 3), second, b.conv(third, 5), b.classes(third, 2))


def below_each_other() -> Graph:
    """Rows of two branches become one image, which is read on."""
    b = NetBuilder(9, 8, 4)
    x = b.concat([b.conv("x", 6, 3), b.conv("x", 6, 1, (2, 1))], 1)
    return b.graph(b.conv(x, 4, 3, 2))


def flat_ends() -> Graph:
    """A stream that ends in a Dense over all rows, and one that goes on."""
    b = NetBuilder(10, 6, 3)
    x = b.conv(b.conv("x", 6, 3), 4, 3, 2)
    return b.graph(b.dense(b.flat(x), 7), b.conv(x, 3, 3))


def whole_rows() -> Graph:
    """Rows become longer or shorter between layers that stream: other views of one tensor."""
    b = NetBuilder(12, 6, 4)
    x = b.conv("x", 8, 3)
    x = b.conv(b.reshape(x, 1, 6, 12, 8), 6, 3)
    x = b.conv(b.reshape(x, 1, 18, 4, 6), 5, 3, 2)
    return b.graph(x)


def crossing() -> Graph:
    """The layer with the smaller of two windows on `a` must not wait for the one that reads it."""
    b = NetBuilder(11, 4, 3)
    a = b.conv("x", 3)
    return b.graph(b.conv(a, 3, 3, add=b.binary("Sub", a, "x")))


NETS: Mapping[str, Callable[[], Graph]] = {
    build.__name__: build
    for build in (
        mobilenet_v2, residual_tower, squeeze_and_excite, u_shape, inception, temporal, causal,
        odd_sizes, many_outputs, below_each_other, flat_ends, whole_rows, crossing,
    )
}  # fmt: skip
