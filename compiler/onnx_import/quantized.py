"""QuantizeLinear, DequantizeLinear, and the operators that are both at once.

QLinearConv and its like are read as what they mean: Dequantize, the operator, Quantize.
"""

from collections.abc import Callable

import numpy as np

from tinyc.compiler.graph import DType, QParams
from tinyc.compiler.onnx_import.building import DTYPES, Building, Source, Unsupported
from tinyc.compiler.onnx_import.spatial import convolution
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.dense import DenseAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.matmul import MatMulAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

STORED = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16, DType.INT32)


def qparams(b: Building, s: Source, scale: str, zero: str, rank: int, axis: int) -> QParams:
    """Constant scales and zero points, as the QParams of a tensor of `rank` axes."""
    scales = b.needed_constant(scale, "scale").astype(np.float32).reshape(-1)
    zeros = np.zeros(scales.size, np.int64)
    if zero:
        zeros = b.needed_constant(zero, "zero point").reshape(-1).astype(np.int64)
    if zeros.size != scales.size or scales.size == 0:
        raise Unsupported(f"it has {scales.size} scales and {zeros.size} zero points")
    if not np.isfinite(scales).all() or (scales <= 0).any():
        raise Unsupported("its scale is not a positive number")
    if scales.size == 1:
        return QParams((float(scales[0]),), (int(zeros[0]),))
    if not -rank <= axis < rank:
        raise Unsupported(f"its axis {axis} lies outside a tensor of {rank} dimensions")
    return QParams(tuple(map(float, scales)), tuple(map(int, zeros)), axis % rank)


def _check(b: Building, s: Source, name: str, quant: QParams, axis: int) -> None:
    """The axis is in range, and the scales fit the tensor."""
    shape = b.tensor(name).shape
    if s.attributes.get("block_size", 0):
        raise Unsupported("blocked quantization")
    rank = max(len(shape), 1)
    if "axis" in s.attributes and quant.axis is None and not -rank <= axis < rank:
        raise Unsupported(f"its axis {axis} lies outside a tensor of {len(shape)} dimensions")
    if quant.axis is not None and shape[quant.axis] != len(quant.scale):
        raise Unsupported(f"{len(quant.scale)} scales for {shape[quant.axis]} slices")


def _dequantize(b: Building, s: Source) -> None:
    tensor = b.tensor(s.inputs[0])
    axis = int(s.attributes.get("axis", 1))
    quant = qparams(b, s, s.inputs[1], s.input(2), len(tensor.shape), axis)
    _check(b, s, s.inputs[0], quant, axis)
    if tensor.dtype not in STORED:
        raise Unsupported(f"it reads {tensor.dtype}")
    dequantize(b, s, s.inputs[0], quant, s.outputs[0])


def dequantize(b: Building, s: Source, name: str, quant: QParams, output: str = "") -> str:
    """A Dequantize of `name`, whose stored integers mean `quant` here."""
    tensor = b.tensor(name)
    if tensor.quant is None:
        b.with_quant(name, quant)
    elif tensor.quant != quant:  # the same integers, read in two ways
        if tensor.data is not None:
            name = b.add_constant(name, tensor.data, tensor.dtype, quant)
        else:
            attrs = ReshapeAttrs(tensor.shape)
            name = b.emit(s, "Reshape", [name], attrs, dtype=tensor.dtype, quant=quant)
    return b.emit(s, "Dequantize", [name], None, output)


def _quantize(b: Building, s: Source) -> None:
    shape = b.tensor(s.inputs[0]).shape
    axis = int(s.attributes.get("axis", 1))
    quant = qparams(b, s, s.inputs[1], s.input(2), len(shape), axis)
    _check(b, s, s.inputs[0], quant, axis)
    dtype = DTYPES.get(int(s.attributes.get("output_dtype", 0)), DType.UINT8)
    if s.input(2):
        dtype = b.tensor(s.inputs[2]).dtype
    if dtype not in (DType.INT8, DType.UINT8):
        raise Unsupported(f"activations of {dtype} are not supported; use int8 or uint8")
    if b.tensor(s.inputs[0]).dtype != DType.FLOAT32:
        raise Unsupported(f"it quantizes {b.tensor(s.inputs[0]).dtype}")
    b.emit(s, "Quantize", [s.inputs[0]], None, s.outputs[0], dtype, quant)


def _operand(b: Building, s: Source, first: int, axis: int = 0) -> str:
    """Inputs first, first + 1, first + 2 (values, scale, zero point) as a dequantized tensor."""
    name = s.inputs[first]
    rank = len(b.tensor(name).shape)
    quant = qparams(b, s, s.inputs[first + 1], s.input(first + 2), rank, axis)
    return dequantize(b, s, name, quant)


def _result(b: Building, s: Source, value: str, first: int) -> None:
    """Quantize `value` by the scale and zero point at inputs first and first + 1."""
    shape = b.tensor(value).shape
    quant = qparams(b, s, s.inputs[first], s.input(first + 1), len(shape), 0)
    dtype = b.tensor(s.inputs[first + 1]).dtype if s.input(first + 1) else DType.UINT8
    b.emit(s, "Quantize", [value], None, s.outputs[0], dtype, quant)


def _qlinear_conv(b: Building, s: Source) -> None:
    x, w = _operand(b, s, 0), _operand(b, s, 3)
    bias = ""
    if s.input(8):
        stored = b.tensor(s.inputs[8])
        x_quant = b.tensor(b.producers[x].inputs[0]).quant
        w_quant = b.tensor(b.producers[w].inputs[0]).quant
        assert x_quant and w_quant, "_operand has set them"
        scales = tuple(float(np.float32(x_quant.scale[0] * v)) for v in w_quant.scale)
        axis = 0 if len(scales) > 1 else None
        bias = dequantize(b, s, stored.name, QParams(scales, (0,) * len(scales), axis))
    value = b.fresh(f"{s.outputs[0]}\treal")
    convolution(b, s, x, w, bias, value)
    _result(b, s, value, 6)


def _qlinear_matmul(b: Building, s: Source) -> None:
    a, w = _operand(b, s, 0), _operand(b, s, 3, axis=1)
    _result(b, s, _product(b, s, a, w), 6)


def _product(b: Building, s: Source, a: str, w: str) -> str:
    """Dense where the second operand is a constant matrix, else MatMul."""
    fixed = b.constant(b.producers[w].inputs[0]) is not None
    if fixed and len(b.tensor(w).shape) == 2:
        return b.emit(s, "Dense", [a, b.transposed(s, w, (1, 0))], DenseAttrs())
    return b.emit(s, "MatMul", [a, w], MatMulAttrs())


def _integer_operand(b: Building, s: Source, index: int) -> str:
    """An operand of ConvInteger or MatMulInteger: reals are stored - zero point."""
    zeros = np.zeros(1, np.int64)
    if s.input(index + 2):
        zeros = b.needed_constant(s.input(index + 2), "zero point").reshape(-1)
    axis = 0 if zeros.size > 1 else None
    if axis is not None and s.op == "MatMulInteger":
        axis = 1 if index == 1 else 0
    quant = QParams((1.0,) * zeros.size, tuple(int(z) for z in zeros), axis)
    return dequantize(b, s, s.inputs[index], quant)


def _conv_integer(b: Building, s: Source) -> None:
    value = b.fresh(f"{s.outputs[0]}\treal")
    convolution(b, s, _integer_operand(b, s, 0), _integer_operand(b, s, 1), "", value)
    b.emit(s, "Cast", [value], CastAttrs(DType.INT32), s.outputs[0])


def _matmul_integer(b: Building, s: Source) -> None:
    value = _product(b, s, _integer_operand(b, s, 0), _integer_operand(b, s, 1))
    b.emit(s, "Cast", [value], CastAttrs(DType.INT32), s.outputs[0])


def _qlinear_binary(op: str) -> Callable[[Building, Source], None]:
    def read(b: Building, s: Source) -> None:
        value = b.emit(s, op, [_operand(b, s, 0), _operand(b, s, 3)], BinaryAttrs())
        _result(b, s, value, 6)

    return read


def _qlinear_sigmoid(b: Building, s: Source) -> None:
    value = b.emit(s, "Unary", [_operand(b, s, 0)], UnaryAttrs("sigmoid"))
    _result(b, s, value, 3)


QUANTIZED_IMPORTERS: dict[str, Callable[[Building, Source], None]] = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize,
    "MatMulInteger": _matmul_integer,
    "QLinearAdd": _qlinear_binary("Add"),
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QLinearMul": _qlinear_binary("Mul"),
    "QLinearSigmoid": _qlinear_sigmoid,
    "QuantizeLinear": _quantize,
}
