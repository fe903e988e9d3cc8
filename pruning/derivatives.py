"""Nodes of a model in NumPy, forwards and backwards: all that fitting several layers at once needs.

Tensors are [samples, channels, ...] in float32, with the samples as one batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tinyc.compiler.graph import Array
from tinyc.quantization.execution import nodes_between
from tinyc.quantization.float_model import FloatModel, attribute
from tinyc.quantization.layers import geometry

Backward = Callable[[Array], Sequence[Array | None]]  # from the result's to the operands' slopes


def unknown_nodes(model: FloatModel, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Nodes before `outputs` that have no derivative here."""
    nodes = nodes_between(model, [v.name for v in model.inputs], outputs)
    return [n for n in nodes if n.op_type not in RULES or not _is_plain(n)]


def _is_plain(node: onnx.NodeProto) -> bool:
    return all(d == 1 for d in attribute(node, "dilations", [1])) and not (
        attribute(node, "ceil_mode", 0) or attribute(node, "transA", 0)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """A run forwards: the tensors, and how each node's slopes come from its result's."""

    values: dict[str, Array]
    steps: list[tuple[onnx.NodeProto, Backward]]

    def slopes(self, given: Mapping[str, Array], wanted: frozenset[str]) -> dict[str, Array]:
        """The derivative of a sum for each of `wanted`, from that for some tensors."""
        found = dict(given)
        for node, backward in reversed(self.steps):
            name = node.output[0]
            slope = found.get(name) if name in wanted else found.pop(name, None)
            if slope is None:
                continue
            for operand, part in zip(node.input, backward(slope), strict=False):
                if part is not None:
                    found[operand] = found[operand] + part if operand in found else part
        return {name: found[name] for name in wanted if name in found}


def forwards(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Array], inputs: Mapping[str, Array]
) -> Tape:
    values = dict(inputs)
    steps: list[tuple[onnx.NodeProto, Backward]] = []
    for node in nodes:
        operands = [values[n] if n in values else constants.get(n) for n in node.input]
        values[node.output[0]], backward = RULES[node.op_type](node, operands)
        steps.append((node, backward))
    return Tape(values, steps)


def _conv(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    x, w, b = operands
    if w.ndim == 3:  # one spatial axis: as an image of one row
        y, backward = _planes(node, x[:, :, None], w[:, :, None], b)
        return y[:, :, 0], lambda s: [
            p if i == 2 or p is None else p[:, :, 0] for i, p in enumerate(backward(s[:, :, None]))
        ]
    return _planes(node, x, w, b)


def _planes(node: onnx.NodeProto, x: Array, w: Array, b: Array) -> tuple[Array, Backward]:
    frame = _Frame.of(node, x.shape, w.shape[2:])
    if attribute(node, "group", 1) != 1:
        return _depthwise(frame, frame.padded(x), w, b)
    n, kernel, (rows, columns) = len(x), w.shape[2:], frame.outputs
    # Channels last in memory, so that whole rows of them are copied; tensors are views of that.
    padded = np.ascontiguousarray(frame.padded(x).transpose(0, 2, 3, 1))
    windows = np.empty((n, rows, columns, *kernel, x.shape[1]), x.dtype)
    for i, j in np.ndindex(*kernel):
        windows[:, :, :, i, j] = padded[frame.tap(i, j)[1:]]
    flat = windows.reshape(n * rows * columns, -1)
    matrix = np.ascontiguousarray(w.transpose(0, 2, 3, 1)).reshape(len(w), -1)
    y = (flat @ matrix.T + b).reshape(n, rows, columns, -1).transpose(0, 3, 1, 2)

    def backward(slope: Array) -> Sequence[Array]:
        s = np.ascontiguousarray(slope.transpose(0, 2, 3, 1)).reshape(-1, len(w))
        parts = (s @ matrix).reshape(windows.shape)
        spread = np.zeros_like(padded)
        for i, j in np.ndindex(*kernel):
            spread[frame.tap(i, j)[1:]] += parts[:, :, :, i, j]
        weights = (s.T @ flat).reshape(len(w), *kernel, -1).transpose(0, 3, 1, 2)
        return frame.unpadded(spread.transpose(0, 3, 1, 2)), weights, s.sum(0)

    return y, backward


def _depthwise(frame: "_Frame", padded: Array, w: Array, b: Array) -> tuple[Array, Backward]:
    y = np.zeros((*padded.shape[:2], *frame.outputs), padded.dtype)
    for i, j in np.ndindex(*w.shape[2:]):
        y += padded[frame.tap(i, j)] * w[:, 0, i, j][:, None, None]

    def backward(slope: Array) -> Sequence[Array]:
        spread, weights = np.zeros_like(padded), np.zeros_like(w)
        for i, j in np.ndindex(*w.shape[2:]):
            at = frame.tap(i, j)
            weights[:, 0, i, j] = np.einsum("nchw,nchw->c", slope, padded[at])
            spread[at] += slope * w[:, 0, i, j][:, None, None]
        return frame.unpadded(spread), weights, slope.sum((0, 2, 3))

    return y + b[:, None, None], backward


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where windows lie in an image: padding before and after each axis, strides, outputs."""

    sizes: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    strides: tuple[int, ...]
    outputs: tuple[int, ...]

    @classmethod
    def of(cls, node: onnx.NodeProto, shape: tuple[int, ...], kernel: tuple[int, ...]) -> "_Frame":
        sizes = shape[2:]
        lead = len(sizes) - len(attribute(node, "strides", [1] * len(sizes)))
        own = len(sizes) - lead
        steps, _, pads = geometry(node, sizes[lead:], kernel[lead:])
        strides = (1,) * lead + tuple(int(s) for s in steps)
        begins = (0,) * lead + tuple(int(p) for p in pads)
        auto = attribute(node, "auto_pad", b"NOTSET")
        if auto in (b"SAME_UPPER", b"SAME_LOWER"):
            outputs = tuple(-(-s // t) for s, t in zip(sizes, strides, strict=True))
        else:
            given = attribute(node, "pads", [0] * 2 * own)[own:] if auto != b"VALID" else [0] * own
            after = (0,) * lead + tuple(given)
            parts = zip(sizes, begins, after, kernel, strides, strict=True)
            outputs = tuple((s + p + q - k) // t + 1 for s, p, q, k, t in parts)
        spans = zip(outputs, strides, kernel, begins, sizes, strict=True)
        ends = tuple(max((o - 1) * t + k - p - s, 0) for o, t, k, p, s in spans)
        return cls(sizes, begins, ends, strides, outputs)

    def padded(self, x: Array, value: float = 0.0) -> Array:
        if not any((*self.begins, *self.ends)):
            return x
        pads = [(0, 0), (0, 0), *zip(self.begins, self.ends, strict=True)]
        return np.pad(x, pads, constant_values=value)

    def unpadded(self, x: Array) -> Array:
        parts = zip(self.begins, self.sizes, strict=True)
        cuts: Any = (..., *(slice(p, p + s) for p, s in parts))
        return np.asarray(x[cuts])

    def tap(self, *place: int) -> Any:
        """The elements of padded images that one weight meets, as an index of all axes."""
        parts = zip(place, self.outputs, self.strides, strict=True)
        own = (slice(i, i + (o - 1) * t + 1, t) for i, o, t in parts)
        return (slice(None), slice(None), *own)


def _gemm(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    x, w, b = operands
    matrix = w if attribute(node, "transB", 0) else w.T

    def backward(slope: Array) -> Sequence[Array]:
        weights = slope.T @ x
        return slope @ matrix, weights if attribute(node, "transB", 0) else weights.T, slope.sum(0)

    return x @ matrix.T + b, backward


def _add(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    a, b = operands
    return a + b, lambda slope: [_summed(slope, a.shape), _summed(slope, b.shape)]


def _mul(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    a, b = operands
    return a * b, lambda slope: [_summed(slope * b, a.shape), _summed(slope * a, b.shape)]


def _summed(slope: Array, shape: tuple[int, ...]) -> Array:
    """Over the axes along which an operand was repeated."""
    slope = slope.sum(tuple(range(slope.ndim - len(shape))))
    axes = tuple(i for i, (s, t) in enumerate(zip(slope.shape, shape, strict=True)) if s != t)
    return np.asarray(slope.sum(axes, keepdims=True) if axes else slope)


def _relu(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    y = np.maximum(operands[0], 0)
    return y, lambda slope: [slope * (y > 0)]


def _clip(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    low, high = (*operands[1:], None, None)[:2]
    y = np.clip(operands[0], -np.inf if low is None else low, np.inf if high is None else high)
    return y, lambda slope: [slope * (y == operands[0])]


def _average(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    (x,) = operands
    is_global = node.op_type == "GlobalAveragePool"
    kernel = x.shape[2:] if is_global else tuple(attribute(node, "kernel_shape", []))
    frame = _Frame.of(node, x.shape, kernel)
    padded = frame.padded(x)
    whole = frame.padded(np.ones((1, 1, *x.shape[2:]), np.float32))
    y = np.zeros((*x.shape[:2], *frame.outputs), np.float32)
    count = np.zeros((1, 1, *frame.outputs), np.float32)
    for place in np.ndindex(*kernel):
        y += padded[frame.tap(*place)]
        count += whole[frame.tap(*place)]
    if attribute(node, "count_include_pad", 0):
        count[:] = np.prod(kernel)

    def backward(slope: Array) -> Sequence[Array]:
        spread, part = np.zeros_like(padded), slope / count
        for place in np.ndindex(*kernel):
            spread[frame.tap(*place)] += part
        return [frame.unpadded(spread)]

    return y / count, backward


def _maximum(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    (x,) = operands
    kernel = tuple(attribute(node, "kernel_shape", []))
    frame = _Frame.of(node, x.shape, kernel)
    padded = frame.padded(x, -np.inf)
    taps = [padded[frame.tap(*place)] for place in np.ndindex(*kernel)]
    y = np.maximum.reduce(taps)

    def backward(slope: Array) -> Sequence[Array]:
        spread, left = np.zeros(padded.shape, np.float32), np.ones(y.shape, bool)
        for place, tap in zip(np.ndindex(*kernel), taps, strict=True):
            here = left & (tap == y)
            spread[frame.tap(*place)] += slope * here
            left &= ~here
        return [frame.unpadded(spread)]

    return y, backward


def _shaped(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    """A sample's elements in another shape; the samples stay apart."""
    x = operands[0]
    target = [] if node.op_type == "Flatten" else [int(d) for d in operands[1][1:]]
    if node.op_type == "Reshape":
        target = [x.shape[i + 1] if d == 0 else d for i, d in enumerate(target)]
    y = x.reshape(len(x), *(target or [-1]))
    return y, lambda slope: [slope.reshape(x.shape)]


def _transpose(node: onnx.NodeProto, operands: Sequence[Any]) -> tuple[Array, Backward]:
    (x,) = operands
    order = list(attribute(node, "perm", range(x.ndim)[::-1]))
    return x.transpose(order), lambda slope: [slope.transpose(np.argsort(order))]


RULES: Mapping[str, Callable[[onnx.NodeProto, Sequence[Any]], tuple[Array, Backward]]] = {
    "Add": _add,
    "AveragePool": _average,
    "Clip": _clip,
    "Conv": _conv,
    "Flatten": _shaped,
    "Gemm": _gemm,
    "GlobalAveragePool": _average,
    "Identity": lambda node, operands: (operands[0], lambda slope: [slope]),
    "MaxPool": _maximum,
    "Mul": _mul,
    "Relu": _relu,
    "Reshape": _shaped,
    "Transpose": _transpose,
}
