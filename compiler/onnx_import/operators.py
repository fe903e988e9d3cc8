"""ONNX operators as nodes of the graph: one function an operator or family, one table.

Spatial operators are NHWC in the graph; here each is wrapped in the Transposes that ONNX's NCHW
needs, and the layout passes cancel them.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tinyc.compiler.graph import DType
from tinyc.compiler.onnx_import.building import DTYPES, Building, Source, Unsupported
from tinyc.compiler.onnx_import.quantized import QUANTIZED_IMPORTERS
from tinyc.compiler.onnx_import.spatial import SPATIAL_IMPORTERS
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.matmul import MatMulAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

Importer = Callable[[Building, Source], None]


def _binary(op: str) -> Importer:
    """Two operands; ONNX's variadic Min, Max and Sum become chains."""

    def read(b: Building, s: Source) -> None:
        value = s.inputs[0]
        if len(s.inputs) == 1:
            b.emit(s, "Unary", [value], UnaryAttrs("identity"), s.outputs[0])
        for position, other in enumerate(s.inputs[1:], 1):
            last = position == len(s.inputs) - 1
            value = b.emit(s, op, [value, other], BinaryAttrs(), s.outputs[0] if last else "")

    return read


def _unary(function: str, **defaults: float) -> Importer:
    """One operand; `defaults` are the ONNX attributes in the order of the function's parameters."""

    def read(b: Building, s: Source) -> None:
        numbers = tuple(s.number(name, value) for name, value in defaults.items())
        b.emit(s, "Unary", [s.inputs[0]], UnaryAttrs(function, numbers), s.outputs[0])

    return read


def _relu(b: Building, s: Source) -> None:
    attrs = UnaryAttrs("identity", clamp=Clamp(low=0.0))
    b.emit(s, "Unary", [s.inputs[0]], attrs, s.outputs[0])


def _clip(b: Building, s: Source) -> None:
    def bound(index: int, name: str, default: float) -> float:
        if s.input(index):
            return float(b.needed_constant(s.input(index), f"{name}imum").reshape(-1)[0])
        return float(s.attributes.get(name, default))

    clamp = Clamp(bound(1, "min", -math.inf), bound(2, "max", math.inf))
    b.emit(s, "Unary", [s.inputs[0]], UnaryAttrs("identity", clamp=clamp), s.outputs[0])


def _gelu(b: Building, s: Source) -> None:
    function = "gelu_tanh" if s.attributes.get("approximate") == "tanh" else "gelu"
    b.emit(s, "Unary", [s.inputs[0]], UnaryAttrs(function), s.outputs[0])


def _identity(b: Building, s: Source) -> None:
    shape = b.tensor(s.inputs[0]).shape
    b.emit(s, "Reshape", [s.inputs[0]], ReshapeAttrs(shape), s.outputs[0])


def _cast(b: Building, s: Source) -> None:
    kind = s.attributes["to"]
    if kind not in DTYPES:
        raise Unsupported("its result type is not supported")
    if DTYPES[kind] == b.tensor(s.inputs[0]).dtype:
        return _identity(b, s)
    b.emit(s, "Cast", [s.inputs[0]], CastAttrs(DTYPES[kind]), s.outputs[0])


def _softmax(log: bool) -> Importer:
    """Before opset 13, the axes from `axis` on count as one."""

    def read(b: Building, s: Source) -> None:
        shape = b.tensor(s.inputs[0]).shape
        axis = int(s.attributes.get("axis", -1 if s.opset >= 13 else 1)) % max(len(shape), 1)
        if s.opset >= 13 or axis == len(shape) - 1:
            b.emit(s, "Softmax", [s.inputs[0]], SoftmaxAttrs(axis, log), s.outputs[0])
            return
        flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
        value = b.emit(s, "Reshape", [s.inputs[0]], ReshapeAttrs(flat))
        value = b.emit(s, "Softmax", [value], SoftmaxAttrs(1, log))
        b.emit(s, "Reshape", [value], ReshapeAttrs(shape), s.outputs[0])

    return read


def _reduce(kind: str) -> Importer:
    """Axes are an attribute, or an input in newer opsets."""

    def read(b: Building, s: Source) -> None:
        rank = len(b.tensor(s.inputs[0]).shape)
        axes = s.ints("axes", ())
        if s.input(1):
            axes = tuple(int(v) for v in b.needed_constant(s.input(1), "axes").reshape(-1))
        if not axes and s.attributes.get("noop_with_empty_axes", 0):
            return _identity(b, s)
        _check_axes(axes, rank)
        axes = tuple(sorted({a % rank for a in axes})) or tuple(range(rank))
        keep = bool(s.attributes.get("keepdims", 1))
        b.emit(s, "Reduce", [s.inputs[0]], ReduceAttrs(kind, axes, keep), s.outputs[0])

    return read


def _check_axes(axes: tuple[int, ...], rank: int) -> None:
    if any(not -rank <= a < rank for a in axes):
        raise Unsupported(f"its axes {list(axes)} lie outside a tensor of {rank} dimensions")


def _transpose(b: Building, s: Source) -> None:
    rank = len(b.tensor(s.inputs[0]).shape)
    perm = s.ints("perm", reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise Unsupported(f"its perm {list(perm)} does not fit {rank} dimensions")
    b.emit(s, "Transpose", [s.inputs[0]], TransposeAttrs(perm), s.outputs[0])


def _reshape_to(b: Building, s: Source, shape: list[int]) -> None:
    total = b.tensor(s.inputs[0]).elements
    if shape.count(-1) == 1:
        known = math.prod(n for n in shape if n != -1)
        if known and total % known == 0:
            shape[shape.index(-1)] = total // known
    if min(shape, default=1) < 1 or math.prod(shape) != total:
        raise Unsupported(f"{total} elements cannot have the shape {shape}")
    b.emit(s, "Reshape", [s.inputs[0]], ReshapeAttrs(tuple(shape)), s.outputs[0])


def _reshape(b: Building, s: Source) -> None:
    given = [int(v) for v in b.needed_constant(s.input(1), "shape").reshape(-1)]
    old = b.tensor(s.inputs[0]).shape
    if not s.attributes.get("allowzero", 0):
        if any(n == 0 and i >= len(old) for i, n in enumerate(given)):
            raise Unsupported(f"its shape {given} copies a dimension that is not there")
        given = [old[i] if n == 0 else n for i, n in enumerate(given)]
    _reshape_to(b, s, given)


def _flatten(b: Building, s: Source) -> None:
    shape = b.tensor(s.inputs[0]).shape
    axis = int(s.attributes.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    _reshape_to(b, s, [math.prod(shape[:axis]), math.prod(shape[axis:])])


def _axes_of(b: Building, s: Source) -> tuple[int, ...]:
    """The axes of Squeeze and Unsqueeze: an attribute, an input since opset 13."""
    if s.input(1):
        return tuple(int(v) for v in b.needed_constant(s.input(1), "axes").reshape(-1))
    return s.ints("axes", ())


def _squeeze(b: Building, s: Source) -> None:
    shape, axes = b.tensor(s.inputs[0]).shape, _axes_of(b, s)
    _check_axes(axes, len(shape))
    gone = {a % len(shape) for a in axes} or {i for i, n in enumerate(shape) if n == 1}
    _reshape_to(b, s, [n for i, n in enumerate(shape) if i not in gone])


def _unsqueeze(b: Building, s: Source) -> None:
    shape, axes = list(b.tensor(s.inputs[0]).shape), _axes_of(b, s)
    rank = len(shape) + len(axes)
    _check_axes(axes, rank)
    for axis in sorted(a % rank for a in axes):
        shape.insert(axis, 1)
    _reshape_to(b, s, shape)


def _concat(b: Building, s: Source) -> None:
    shapes = [b.tensor(n).shape for n in s.inputs]
    axis = int(s.attributes["axis"]) % max(len(shapes[0]), 1)
    if len({n[:axis] + n[axis + 1 :] for n in shapes}) > 1:
        raise Unsupported(f"the shapes {[list(n) for n in shapes]} do not fit on axis {axis}")
    b.emit(s, "Concat", s.inputs, ConcatAttrs(axis), s.outputs[0])


def _slice(b: Building, s: Source) -> None:
    shape = b.tensor(s.inputs[0]).shape

    def numbers(index: int, name: str, default: list[int]) -> list[int]:
        if s.input(index):
            return [int(v) for v in b.needed_constant(s.input(index), name).reshape(-1)]
        return list(s.ints(name, default))

    starts, ends = numbers(1, "starts", []), numbers(2, "ends", [])
    axes = numbers(3, "axes", list(range(len(starts))))
    steps = numbers(4, "steps", [1] * len(starts))
    _check_axes(tuple(axes), len(shape))
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Unsupported("its starts, ends, axes and steps do not fit each other")
    first, step, size = [0] * len(shape), [1] * len(shape), list(shape)
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        reach = range(*slice(start, end, stride).indices(shape[axis]))
        first[axis], step[axis], size[axis] = reach.start, stride, len(reach)
    attrs = SliceAttrs(tuple(first), tuple(step), tuple(size))
    b.emit(s, "Slice", [s.inputs[0]], attrs, s.outputs[0])


def _split(b: Building, s: Source) -> None:
    shape = b.tensor(s.inputs[0]).shape
    axis = int(s.attributes.get("axis", 0)) % len(shape)
    sizes = list(s.ints("split", ()))
    if s.input(1):
        sizes = [int(v) for v in b.needed_constant(s.input(1), "split").reshape(-1)]
    if not sizes:
        part = -(-shape[axis] // len(s.outputs))
        sizes = [min(part, shape[axis] - i * part) for i in range(len(s.outputs))]
    if sum(sizes) != shape[axis] or len(sizes) != len(s.outputs):
        raise Unsupported(f"its parts {sizes} do not add up to {shape[axis]}")
    begin = 0
    for output, part in zip(s.outputs, sizes, strict=True):
        first = tuple(begin if i == axis else 0 for i in range(len(shape)))
        size = tuple(part if i == axis else n for i, n in enumerate(shape))
        attrs = SliceAttrs(first, (1,) * len(shape), size)
        b.emit(s, "Slice", [s.inputs[0]], attrs, output)
        begin += part


def _gather(b: Building, s: Source) -> None:
    """A constant run of indices is a Slice."""
    shape = b.tensor(s.inputs[0]).shape
    axis = int(s.attributes.get("axis", 0)) % max(len(shape), 1)
    indices = b.needed_constant(s.input(1), "indices")
    flat = [int(v) % shape[axis] for v in indices.reshape(-1)]
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    if step == 0 or any(v - u != step for u, v in pairwise(flat)) or not flat:
        raise Unsupported("its indices are no regular run")
    first = tuple(flat[0] if i == axis else 0 for i in range(len(shape)))
    steps = tuple(step if i == axis else 1 for i in range(len(shape)))
    size = tuple(len(flat) if i == axis else n for i, n in enumerate(shape))
    value = b.emit(s, "Slice", [s.inputs[0]], SliceAttrs(first, steps, size))
    final = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    b.emit(s, "Reshape", [value], ReshapeAttrs(final), s.outputs[0])


def _pad(b: Building, s: Source) -> None:
    x = b.tensor(s.inputs[0])
    rank, mode = len(x.shape), s.attributes.get("mode", "constant")
    pads = list(s.ints("pads", s.ints("paddings", ())))
    if s.input(1):
        pads = [int(v) for v in b.needed_constant(s.input(1), "pads").reshape(-1)]
    axes = list(range(rank))
    if s.input(3):
        axes = [int(v) % rank for v in b.needed_constant(s.input(3), "axes").reshape(-1)]
    value = float(s.attributes.get("value", 0.0))
    if s.input(2):
        value = _pad_value(b, s.input(2))
    if len(pads) != 2 * len(axes) or mode not in ("constant", "edge", "reflect"):
        raise Unsupported(f"its pads {pads} or its mode '{mode}' are not supported")
    both = {a: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    amounts = tuple(both.get(a, (0, 0)) for a in range(rank))
    if any(n < 0 for pair in amounts for n in pair):
        raise Unsupported("negative pads are not supported")
    if mode == "reflect" and any(max(p) >= n for p, n in zip(amounts, x.shape, strict=True)):
        raise Unsupported("it reflects more than there is")
    b.emit(s, "Pad", [s.inputs[0]], PadAttrs(amounts, mode, value), s.outputs[0])


def _pad_value(b: Building, name: str) -> float:
    """A constant, also one behind a DequantizeLinear."""
    producer = b.producers.get(name)
    if producer is not None and producer.op == "Dequantize":
        stored = b.tensor(producer.inputs[0])
        if stored.data is not None and stored.quant is not None:
            steps = int(stored.data.reshape(-1)[0]) - stored.quant.zero_point[0]
            return steps * stored.quant.scale[0]
    return float(b.needed_constant(name, "value").reshape(-1)[0])


def _matmul(b: Building, s: Source) -> None:
    matrix_product(b, s, s.inputs[0], s.inputs[1], s.outputs[0])


def matrix_product(b: Building, s: Source, x: str, w: str, output: str, dtype: Any = None) -> str:
    """x @ w: Dense where w is a constant matrix (also behind a Dequantize), else MatMul."""
    producer = b.producers.get(w)
    dequantized = producer is not None and producer.op == "Dequantize"
    fixed = b.tensor(producer.inputs[0] if dequantized and producer else w).data is not None
    if fixed and len(b.tensor(w).shape) == 2 and len(b.tensor(x).shape) >= 1:
        weights = b.transposed(s, w, (1, 0))
        return b.emit(s, "Dense", [x, weights], DenseAttrs(), output, dtype)
    return b.emit(s, "MatMul", [x, w], MatMulAttrs(), output, dtype)


def _gemm(b: Building, s: Source) -> None:
    x, w = s.inputs[0], s.inputs[1]
    if s.attributes.get("transA", 0):
        x = b.transposed(s, x, (1, 0))
    if s.attributes.get("transB", 0):
        w = b.transposed(s, w, (1, 0))
    alpha, beta, c = s.number("alpha", 1.0), s.number("beta", 1.0), s.input(2)
    plain = alpha == 1.0 and not c
    value = matrix_product(b, s, x, w, s.outputs[0] if plain else "")
    if alpha != 1.0:
        factor = b.add_constant(f"{s.name}\talpha", np.float32(alpha), "float32")
        value = b.emit(s, "Mul", [value, factor], BinaryAttrs(), "" if c else s.outputs[0])
    if c:
        if beta != 1.0:
            factor = b.add_constant(f"{s.name}\tbeta", np.float32(beta), "float32")
            c = b.emit(s, "Mul", [c, factor], BinaryAttrs())
        b.emit(s, "Add", [value, c], BinaryAttrs(), s.outputs[0])


def _batch_normalization(b: Building, s: Source) -> None:
    """y = x * scale + shift, with scale = gamma / sqrt(variance + epsilon)."""
    if s.attributes.get("training_mode", 0) or (len(s.outputs) > 1 and any(s.outputs[1:])):
        raise Unsupported("batch normalization in training mode")
    gamma, beta, mean, variance = (
        b.needed_constant(n, "parameters").astype(np.float64) for n in s.inputs[1:5]
    )
    rank = len(b.tensor(s.inputs[0]).shape)
    shape = (-1, *[1] * (rank - 2)) if rank > 1 else (-1,)
    scale = gamma / np.sqrt(variance + s.number("epsilon", 1e-5))
    shift = beta - mean * scale
    factor = b.add_constant(f"{s.name}\tscale", scale.reshape(shape), "float32")
    addend = b.add_constant(f"{s.name}\tshift", shift.reshape(shape), "float32")
    value = b.emit(s, "Mul", [s.inputs[0], factor], BinaryAttrs())
    b.emit(s, "Add", [value, addend], BinaryAttrs(), s.outputs[0])


def _dropout(b: Building, s: Source) -> None:
    if s.input(2):
        training = b.needed_constant(s.input(2), "training_mode")
        if training.reshape(-1)[0]:
            raise Unsupported("dropout in training mode")
    _identity(b, s)
    if len(s.outputs) > 1 and s.outputs[1]:
        mask = np.ones(b.tensor(s.inputs[0]).shape, np.bool_)
        b.tensors[s.outputs[1]] = b.tensors[b.add_constant(s.outputs[1], mask, DType.BOOL)]


def _prelu(b: Building, s: Source) -> None:
    slope = b.needed_constant(s.input(1), "slope")
    if slope.size != 1:
        raise Unsupported("a slope for every channel")
    attrs = UnaryAttrs("leaky_relu", (float(slope.reshape(-1)[0]),))
    b.emit(s, "Unary", [s.inputs[0]], attrs, s.outputs[0])


IMPORTERS: dict[str, Importer] = {
    "Abs": _unary("abs"),
    "Add": _binary("Add"),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Ceil": _unary("ceil"),
    "Celu": _unary("celu", alpha=1.0),
    "Clip": _clip,
    "Concat": _concat,
    "Cos": _unary("cos"),
    "Div": _binary("Div"),
    "Dropout": _dropout,
    "Elu": _unary("elu", alpha=1.0),
    "Erf": _unary("erf"),
    "Exp": _unary("exp"),
    "Flatten": _flatten,
    "Floor": _unary("floor"),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _unary("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": _unary("hard_swish"),
    "Identity": _identity,
    "LeakyRelu": _unary("leaky_relu", alpha=0.01),
    "Log": _unary("log"),
    "LogSoftmax": _softmax(log=True),
    "MatMul": _matmul,
    "Max": _binary("Maximum"),
    "Min": _binary("Minimum"),
    "Mish": _unary("mish"),
    "Mul": _binary("Mul"),
    "Neg": _unary("neg"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary("Pow"),
    "Reciprocal": _unary("reciprocal"),
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("min"),
    "ReduceProd": _reduce("prod"),
    "ReduceSum": _reduce("sum"),
    "Relu": _relu,
    "Reshape": _reshape,
    "Round": _unary("round"),
    "Selu": _unary("selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Sigmoid": _unary("sigmoid"),
    "Sign": _unary("sign"),
    "Sin": _unary("sin"),
    "Slice": _slice,
    "Softmax": _softmax(log=False),
    "Softplus": _unary("softplus"),
    "Softsign": _unary("softsign"),
    "Split": _split,
    "Sqrt": _unary("sqrt"),
    "Squeeze": _squeeze,
    "Sub": _binary("Sub"),
    "Sum": _binary("Add"),
    "Swish": _unary("swish", alpha=1.0),
    "Tanh": _unary("tanh"),
    "ThresholdedRelu": _unary("thresholded_relu", alpha=1.0),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    **SPATIAL_IMPORTERS,
    **QUANTIZED_IMPORTERS,
}
