"""Operators of signal processing: DFT and STFT."""

from tinyc.compiler.graph import Tensor
from tinyc.compiler.onnx_import.arguments import constant_integer
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.fourier_plan import FourierAttrs

LONGEST = 1 << 20  # of a transform: beyond any microcontroller's memory


def read_dft(build: Builder, node: ModelNode) -> Tensor:
    """The axis is an attribute before opset 20."""
    x = build.operand(node, 0)
    rank = len(x.shape)
    if rank < 2 or x.shape[-1] not in (1, 2):
        node.malformed(f"the last axis of {list(x.shape)} must hold 1 or 2 values")
    newer = node.opset >= 20
    axis = constant_integer(build, node, 2, -2) if newer else node.integer("axis", 1)
    axis = positive_axis(node, axis, rank)
    if axis == rank - 1:
        node.malformed("the last axis cannot be transformed")
    inverse, onesided = (bool(node.integer(n, 0)) for n in ("inverse", "onesided"))
    size = x.shape[axis]
    length = constant_integer(build, node, 1, 2 * (size - 1) if inverse and onesided else size)
    _check_length(node, length)
    return build.add(node, "Fourier", (x,), FourierAttrs(axis, length, inverse, onesided))


def read_stft(build: Builder, node: ModelNode) -> Tensor:
    """Signals [batch, length, 1 or 2]; some exporters leave the last axis out."""
    x, window = build.operand(node, 0), build.optional(node, 2)
    if len(x.shape) == 2:
        x = build.reshaped(node, x, (*x.shape, 1))
    if len(x.shape) != 3 or x.shape[2] not in (1, 2):
        node.malformed(f"a signal {list(x.shape)} is none of real or complex values")
    if window is not None and len(window.shape) != 1:
        node.malformed(f"the window {list(window.shape)} must have one axis")
    step = constant_integer(build, node, 1, 0)
    length = constant_integer(build, node, 3, x.shape[1] if window is None else window.shape[0])
    _check_length(node, length)
    if window is not None and window.shape != (length,):
        node.refuse(
            f"a window of {window.shape[0]} values for frames of {length} is not supported",
            "continue the window by zeros to the length of the frames",
        )
    if step < 1 or length > x.shape[1]:
        node.malformed(f"no frames of {length} every {step} values in {list(x.shape)}")
    onesided = bool(node.integer("onesided", 1))
    inputs = (x,) if window is None else (x, window)
    return build.add(node, "Fourier", inputs, FourierAttrs(1, length, False, onesided, step))


def _check_length(node: ModelNode, length: int) -> None:
    if not 1 <= length <= LONGEST:
        node.malformed(f"a transform of {length} values")
