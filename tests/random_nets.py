"""Random networks: branches that meet again, odd sizes, padding on any side, several outputs."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from tests.nets import NetBuilder, Pads, Size
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops.slice import SliceAttrs

T = TypeVar("T")

LAYERS, MOST_ELEMENTS = 10, 1200


class RandomNet:
    """A network that grows; `tips` are images [1, h, w, c] that may be read."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        size = (self.below(3, 17), self.below(2, 12), self.one_of(1, 3, 4, 8))
        self.b = NetBuilder(*size)
        self.tips = ["x"]

    def below(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high))

    def one_of(self, *values: T) -> T:
        return values[self.below(0, len(values))]

    def some(self) -> str:
        """An image, most often the newest."""
        return self.tips[-1] if self.random.random() < 0.7 else self.one_of(*self.tips)

    def like(self, x: str, axes: tuple[int, ...]) -> list[str]:
        """The images that have the size of `x` along some axes, the newest ones."""
        size = [self.b.shape(x)[a] for a in axes]
        return [t for t in self.tips if [self.b.shape(t)[a] for a in axes] == size][-3:]

    def window(self, x: str) -> tuple[Size, Size, Pads]:
        """A kernel that fits into the image, strides, and less padding than the kernel's size."""
        _, h, w, _ = self.b.shape(x)
        kernel = min(self.below(1, 5), h), min(self.below(1, 4), w)
        stride = self.one_of(1, 1, 1, 2, 3), self.one_of(1, 1, 2)
        top, bottom = (self.below(0, kernel[0]) for _ in range(2))
        left, right = (self.below(0, kernel[1]) for _ in range(2))
        return kernel, stride, (top, left, bottom, right)

    def grow(self) -> None:
        x = self.some()
        made = LAYER_KINDS[self.one_of(*LAYER_KINDS)](self, x)
        if self.b.tensors[made].elements <= MOST_ELEMENTS:
            self.tips.append(made)


def _conv(net: RandomNet, x: str) -> str:
    size, stride, pads = net.window(x)
    return net.b.conv(x, net.one_of(2, 3, 4, 8), size, stride, pads, relu=net.one_of(True, False))


def _same_conv(net: RandomNet, x: str) -> str:
    """Often with an Add fused behind it."""
    y = net.one_of(*net.like(x, (1, 2)))
    return net.b.conv(x, net.b.shape(y)[3], net.one_of(1, 3), add=net.one_of("", y))


def _depthwise(net: RandomNet, x: str) -> str:
    size, stride, pads = net.window(x)
    return net.b.depthwise(x, size, stride, pads)


def _pool(net: RandomNet, x: str) -> str:
    return net.b.pool(net.one_of("Max", "Average"), x, *net.window(x))


def _sum(net: RandomNet, x: str) -> str:
    return net.b.binary(net.one_of("Add", "Mul", "Sub"), x, net.one_of(*net.like(x, (1, 2, 3))))


def _beside(net: RandomNet, x: str) -> str:
    return net.b.concat(net.like(x, (1, 2)))


def _below(net: RandomNet, x: str) -> str:
    return net.b.concat(net.like(x, (2, 3)), 1)


def _pad(net: RandomNet, x: str) -> str:
    return net.b.pad(x, (net.below(0, 3), net.below(0, 2)), (net.below(0, 2), net.below(0, 2)))


def _slice(net: RandomNet, x: str) -> str:
    _, h, w, c = net.b.shape(x)
    first, step = net.below(0, h), net.one_of(1, 2)
    attrs = SliceAttrs((0, first, 0, 0), (1, step, 1, 1), (1, -(-(h - first) // step), w, c))
    return net.b.node("Slice", [x], attrs, net.b.tensors[x].quant)


def _squeezed(net: RandomNet, x: str) -> str:
    return net.b.squeezed(x)


def _twice(net: RandomNet, x: str) -> str:
    return net.b.twice(x)


def _unary(net: RandomNet, x: str) -> str:
    return net.b.unary("tanh", x)


LAYER_KINDS: Mapping[str, Callable[[RandomNet, str], str]] = {
    f.__name__: f
    for f in (
        _conv, _same_conv, _depthwise, _pool, _sum, _beside, _below, _pad, _slice, _squeezed,
        _twice, _unary,
    )
}  # fmt: skip


def random_net(seed: int) -> Graph:
    """What nobody reads is an output, and sometimes something that is read on; or a Dense ends."""
    net = RandomNet(seed)
    for _ in range(LAYERS):
        net.grow()
    last = net.tips[-1]
    if seed % 3 == 0:
        last = net.b.classes(last, 3) if seed % 2 else net.b.dense(net.b.flat(last), 3)
    read = {name for node in net.b.nodes for name in node.inputs}
    ends = [t for n in net.b.nodes for t in n.outputs if t not in read]
    also = [t for t in net.tips[1:] if t in read and net.random.random() < 0.1]
    return net.b.graph(*dict.fromkeys([*ends, *also, *([] if last in read else [last])]))
