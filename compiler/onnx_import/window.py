"""Strides, pads and dilations of convolutions and pools, given or by auto_pad."""

from dataclasses import dataclass

from tinyc.compiler.graph import Shape
from tinyc.compiler.onnx_import.model_node import ModelNode

LARGEST = 1 << 15  # of a stride, dilation or pad: beyond any tensor on a microcontroller


@dataclass(frozen=True, slots=True)
class Window:
    """strides, dilations: (height, width); pads: top, left, bottom, right.

    excess  rows and columns that ceil_mode adds to the pads at the end
    """

    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    excess: tuple[int, int] = (0, 0)


def window_of(node: ModelNode, sizes: Shape, kernel: Shape, ceil: bool) -> Window:
    """The window of `node` over one or two spatial axes of these sizes."""
    ones = (1,) * len(sizes)
    strides, dilations = node.integers("strides") or ones, node.integers("dilations") or ones
    pads = node.integers("pads") or (0,) * (2 * len(sizes))
    _check(node, kernel, strides, dilations, pads)
    axes = [
        _axis(node, size, kernel[i], strides[i], dilations[i], pads[i], pads[i + len(sizes)], ceil)
        for i, size in enumerate(sizes)
    ]
    axes += [(0, 0, 0)] * (2 - len(axes))
    (top, bottom, below), (left, right, beside) = axes
    return Window(
        _pair(strides), (top, left, bottom, right), _pair(dilations), (below, beside)
    )  # fmt: skip


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1] if len(values) > 1 else 1


def _check(node: ModelNode, kernel: Shape, strides: Shape, dilations: Shape, pads: Shape) -> None:
    if not len(kernel) == len(strides) == len(dilations) == len(pads) // 2 or len(pads) % 2:
        node.malformed("kernel, strides, dilations and pads do not fit together")
    positive = (*kernel, *strides, *dilations)
    if min(positive) < 1 or max(positive) > LARGEST:
        node.malformed(f"a stride, dilation or kernel size is not in 1 to {LARGEST}")
    if min(pads) < 0 or max(pads) > LARGEST:
        node.refuse(f"the pads {list(pads)} are not supported, they must be 0 to {LARGEST}")


def _axis(
    node: ModelNode, size: int, kernel: int, stride: int, dilation: int, begin: int, end: int,
    ceil: bool,
) -> tuple[int, int, int]:  # fmt: skip
    """Padding before, after, and after that by ceil_mode, on one axis."""
    reach, mode = (kernel - 1) * dilation + 1, node.text("auto_pad", "NOTSET")
    if mode == "VALID":
        begin = end = 0
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        begin, end = total // 2, total - total // 2
        if mode == "SAME_LOWER":
            begin, end = end, begin
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
