"""Strides, pads and dilations of convolutions and pools, given or by auto_pad."""

from dataclasses import dataclass

from tinyc.compiler.graph import Shape
from tinyc.compiler.onnx_import.model_node import ModelNode

LARGEST = 1 << 15  # of a stride, dilation or pad: beyond any tensor on a microcontroller


@dataclass(frozen=True, slots=True)
class Window:
    """One value for each spatial axis.

    before, after  padding
    excess         cells that ceil_mode adds behind the padding
    """

    kernel: Shape
    strides: Shape
    before: Shape
    after: Shape
    dilations: Shape
    excess: Shape

    def outputs(self, sizes: Shape) -> Shape:
        """How many windows there are over axes of these sizes."""
        return tuple(
            (size + before + after + excess - (k - 1) * dilation - 1) // stride + 1
            for size, k, stride, before, after, dilation, excess in zip(
                sizes, self.kernel, self.strides, self.before, self.after, self.dilations,
                self.excess, strict=True,
            )
        )  # fmt: skip

    def wider(self, axes: int) -> "Window":
        """The same with axes of one cell behind, `axes` in all."""
        ones, zeros = (1,) * (axes - len(self.kernel)), (0,) * (axes - len(self.kernel))
        return Window(
            self.kernel + ones, self.strides + ones, self.before + zeros, self.after + zeros,
            self.dilations + ones, self.excess + zeros,
        )  # fmt: skip


def window_of(node: ModelNode, sizes: Shape, kernel: Shape, ceil: bool) -> Window:
    """The window of `node` over spatial axes of these sizes."""
    strides, dilations, pads = steps_of(node, kernel, len(sizes))
    rank = len(sizes)
    axes = [
        _axis(node, size, kernel[i], strides[i], dilations[i], pads[i], pads[i + rank], ceil)
        for i, size in enumerate(sizes)
    ]
    before, after, excess = zip(*axes, strict=True)
    return Window(kernel, strides, before, after, dilations, excess)


def steps_of(node: ModelNode, kernel: Shape, rank: int) -> tuple[Shape, Shape, Shape]:
    """Strides, dilations and pads as the attributes give them."""
    ones = (1,) * rank
    strides, dilations = node.integers("strides") or ones, node.integers("dilations") or ones
    pads = node.integers("pads") or (0,) * (2 * rank)
    if not rank == len(kernel) == len(strides) == len(dilations) == len(pads) / 2:
        node.malformed("kernel, strides, dilations and pads do not fit together")
    positive = (*kernel, *strides, *dilations)
    if min(positive) < 1 or max(positive) > LARGEST:
        node.malformed(f"a stride, dilation or kernel size is not in 1 to {LARGEST}")
    if min(pads) < 0 or max(pads) > LARGEST:
        node.refuse(f"the pads {list(pads)} are not supported, they must be 0 to {LARGEST}")
    return strides, dilations, pads


def shared_out(total: int, mode: str) -> tuple[int, int]:
    """`total` padding before and after, by auto_pad SAME_UPPER or SAME_LOWER."""
    less, more = total // 2, total - total // 2
    return (more, less) if mode == "SAME_LOWER" else (less, more)


def _axis(
    node: ModelNode, size: int, kernel: int, stride: int, dilation: int, begin: int, end: int,
    ceil: bool,
) -> tuple[int, int, int]:  # fmt: skip
    """Padding before, after, and after that by ceil_mode, on one axis."""
    reach, mode = (kernel - 1) * dilation + 1, node.text("auto_pad", "NOTSET")
    if mode == "VALID":
        begin = end = 0
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = shared_out(max((-(-size // stride) - 1) * stride + reach - size, 0), mode)
    elif mode != "NOTSET":
        node.malformed(f"auto_pad is '{mode}'")
    if not ceil:
        excess = 0
    else:
        outputs = -(-(size + begin + end - reach) // stride) + 1
        if (outputs - 1) * stride >= size + begin:  # the last window must begin inside
            outputs -= 1
        excess = max((outputs - 1) * stride + reach - (size + begin + end), 0)
    if size + begin + end + excess < reach:
        node.malformed(
            f"the kernel reaches over {reach}, the padded input has {size + begin + end}"
        )
    return begin, end, excess
