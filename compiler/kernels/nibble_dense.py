"""Dense with weights of 4 bits by assembly: a convolution of 1x1, whose pixels are the rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Shape, Tensor, read_only
from tinyc.compiler.kernels import gemm_blocks
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class PixelAttrs:
    """The attributes of a 1x1 convolution, as `ops/conv2d.py` names them."""

    clamp: Clamp
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    residual: None = None


def suits(call: Call, target: Target) -> bool:
    """As for convolutions."""
    return gemm_blocks.suits_nibbles(_convolution(call), target)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    return gemm_blocks.space_nibbles(_convolution(call), target)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return replace(gemm_blocks.kernel(_convolution(call), target, schedule), name="dense")


def _convolution(call: Call) -> Call:
    """The same values as an image of one row."""
    (x, w, *bias), y = call.inputs, call.output
    n, k = w.shape
    rows = x.elements // k
    inputs = (_shaped(x, (1, 1, rows, k)), _shaped(w, (n, 1, 1, k)), *bias)
    node = replace(call.node, op="Conv2D", attrs=PixelAttrs(call.attrs.clamp))
    return Call(node, inputs, (_shaped(y, (1, 1, rows, n)),))


def _shaped(tensor: Tensor, shape: Shape) -> Tensor:
    data = None if tensor.data is None else read_only(tensor.data.reshape(shape))
    return replace(tensor, shape=shape, data=data)
