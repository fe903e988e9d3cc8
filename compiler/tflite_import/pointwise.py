"""Element by element, matrix products, reductions, Softmax."""

import numpy as np

from tinyc.compiler.tflite_import.building import OnnxGraph, Reader
from tinyc.compiler.tflite_import.lite_model import LiteOperator
from tinyc.compiler.tflite_import.spatial import bias_of

SMALLEST_NORM = 1e-6  # of L2_NORMALIZATION, in the kernels of TensorFlow Lite


def unary(*kinds: str, **attributes: float | str) -> Reader:
    """The reader of a function that is these ONNX operators, one after the other."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        y = graph.real(op.input(0))
        for kind in kinds:
            y = graph.add(kind, y, **attributes)
        return y

    return read


def read_leaky_relu(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.add("LeakyRelu", graph.real(op.input(0)), alpha=op.real("alpha"))


def read_gelu(graph: OnnxGraph, op: LiteOperator) -> str:
    kind = "tanh" if op.integer("approximate", 0) else "none"
    return graph.add("Gelu", graph.real(op.input(0)), approximate=kind)


def clip(low: float, high: float) -> Reader:
    return lambda graph, op: graph.clipped(graph.real(op.input(0)), low, high)


def read_square(graph: OnnxGraph, op: LiteOperator) -> str:
    x = graph.real(op.input(0))
    return graph.add("Mul", x, x)


def read_identity(graph: OnnxGraph, op: LiteOperator) -> str:
    """QUANTIZE, and DEQUANTIZE of integers: the scales are those of the tensors."""
    x = op.input(0)
    return graph.cast(graph.value(x), "float32") if x.dtype == "float16" else graph.real(x)


def read_cast(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.cast(graph.real(op.input(0)), op.output().dtype)


def binary(kind: str) -> Reader:
    """The reader of an operator with two operands that broadcast."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        return graph.activated(op, graph.add(kind, *_operands(graph, op)))

    return read


def _operands(graph: OnnxGraph, op: LiteOperator) -> tuple[str, str]:
    return graph.real(op.input(0)), graph.real(op.input(1))


def comparison(kind: str, negated: bool = False) -> Reader:
    """The reader of EQUAL, LESS, ...: stored values of one scale compare like their reals."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        a, b = op.input(0), op.input(1)
        alike = a.quant == b.quant and a.dtype == b.dtype
        y = graph.add(kind, *map(graph.value if alike else graph.real, (a, b)))
        return graph.add("Not", y) if negated else y

    return read


def read_squared_difference(graph: OnnxGraph, op: LiteOperator) -> str:
    difference = graph.add("Sub", *_operands(graph, op))
    return graph.add("Mul", difference, difference)


def read_floor_mod(graph: OnnxGraph, op: LiteOperator) -> str:
    """The remainder has the sign of the divisor."""
    a, b = _operands(graph, op)
    if op.output().dtype != "float32":
        return graph.add("Mod", a, b)
    quotient = graph.add("Floor", graph.add("Div", a, b))
    return graph.add("Sub", a, graph.add("Mul", quotient, b))


def read_floor_div(graph: OnnxGraph, op: LiteOperator) -> str:
    a, b = _operands(graph, op)
    if op.output().dtype == "float32":
        return graph.add("Floor", graph.add("Div", a, b))
    return graph.add("Div", graph.add("Sub", a, graph.add("Mod", a, b)), b)


def read_add_n(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.add("Sum", *(graph.real(op.input(i)) for i in range(len(op.inputs))))


def read_fully_connected(graph: OnnxGraph, op: LiteOperator) -> str:
    """Weights [out, in]; the input is read as rows of `in`."""
    x, w = op.input(0), op.input(1)
    if len(w.shape) != 2 or not x.shape or op.integer("weights_format", 0):
        op.refuse(f"weights {list(w.shape)} in format {op.integer('weights_format', 0)}")
    rows = graph.real(x)
    if len(x.shape) != 2 or x.shape[1] != w.shape[1]:
        rows = graph.reshaped(rows, (-1, w.shape[1]))
    y = graph.add("Gemm", rows, graph.real(w), *bias_of(graph, op, 2), transB=1)
    if op.integer("keep_num_dims", 0) and len(x.shape) != 2:
        y = graph.reshaped(y, (-1, *x.shape[1:-1], w.shape[0]))
    return graph.activated(op, y)


def read_batch_matmul(graph: OnnxGraph, op: LiteOperator) -> str:
    factors = []
    for index, side in enumerate("xy"):
        tensor = op.input(index)
        rank = len(tensor.shape)
        if rank < 2:
            op.malformed(f"input {index} {list(tensor.shape)} is no matrix")
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        transposed = op.integer(f"adj_{side}", 0)
        factors.append(graph.moved(tensor, swapped) if transposed else graph.real(tensor))
    return graph.add("MatMul", *factors)


def reduction(kind: str) -> Reader:
    """The reader of MEAN, SUM, ..., and of REDUCE_ANY and REDUCE_ALL as extremes of 0 and 1."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        x, rank = op.input(0), len(op.input(0).shape)
        axes = sorted({op.axis(a, rank) for a in op.constant_integers(1)})
        if not axes:
            return graph.real(x)
        logical = x.dtype == "bool"
        value = graph.cast(graph.value(x), "int32") if logical else graph.real(x)
        keep = op.integer("keep_dims", 0)
        y = graph.add(kind, value, graph.constant(axes), keepdims=keep)
        return graph.cast(y, "bool") if logical else y

    return read


def softmax(kind: str) -> Reader:
    """The reader of SOFTMAX or LOG_SOFTMAX, along the last axis."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        x, beta = graph.real(op.input(0)), op.real("beta", 1.0)
        if beta not in (0.0, 1.0):  # 0 is what a file without the option says
            x = graph.add("Mul", x, graph.constant(np.float32(beta), "float32"))
        return graph.add(kind, x, axis=-1)

    return read


def read_l2_normalization(graph: OnnxGraph, op: LiteOperator) -> str:
    x = graph.real(op.input(0))
    norm = graph.add("ReduceL2", x, graph.constant([-1]), keepdims=1)
    smallest = graph.constant(np.float32(SMALLEST_NORM), "float32")
    return graph.activated(op, graph.add("Div", x, graph.add("Max", norm, smallest)))


def extreme_position(kind: str) -> Reader:
    """The reader of ARG_MAX or ARG_MIN: stored values are in the order of their reals."""

    def read(graph: OnnxGraph, op: LiteOperator) -> str:
        x = op.input(0)
        (axis, *_) = op.constant_integers(1) or (0,)
        y = graph.add(kind, graph.value(x), axis=op.axis(axis, len(x.shape)), keepdims=0)
        return y if op.output().dtype == "int64" else graph.cast(y, op.output().dtype)

    return read


def read_cumsum(graph: OnnxGraph, op: LiteOperator) -> str:
    return graph.add(
        "CumSum", graph.real(op.input(0)), graph.value(op.input(1)),
        exclusive=op.integer("exclusive", 0), reverse=op.integer("reverse", 0),
    )  # fmt: skip


def read_select(graph: OnnxGraph, op: LiteOperator) -> str:
    """A condition of one axis chooses whole slices along the first one."""
    condition, x = op.input(0), op.input(1)
    chosen = graph.value(condition)
    if op.kind == "SELECT" and len(condition.shape) == 1 < len(x.shape):
        chosen = graph.reshaped(chosen, (-1, *(1,) * (len(x.shape) - 1)))
    return graph.add("Where", chosen, graph.real(x), graph.real(op.input(2)))
