"""Broken models: seeded mutations of real files, of their bytes and of their structure."""

import random
from collections.abc import Callable

import onnx

from tinyc.compiler.onnx_import.loading import TFLITE_MARK

EXTREMES = (0, -1, -2, 1, 2, 3, 7, 65536, 1 << 20, 1 << 31, 1 << 62, -(1 << 63))
REALS = (0.0, -1.0, float("nan"), float("inf"), 1e38)
OPERATORS = (
    "Relu Add Reshape Transpose Concat Gather Expand Tile MatMul Conv Softmax Pad Slice Shape "
    "ConstantOfShape QuantizeLinear DequantizeLinear AveragePool Clip ReduceMean Squeeze Cast "
    "Split Mul Gemm MaxPool Flatten Range NonZero BatchNormalization"
).split()


def mutant(data: bytes, rng: random.Random) -> bytes:
    """A broken copy of the model file `data`."""
    if data[4:8] == TFLITE_MARK or rng.random() < 0.3:
        return _bytes_changed(data, rng)
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(rng.randint(1, 2)):
        rng.choice(STRUCTURAL)(model.graph, rng)
    return model.SerializeToString()


def _bytes_changed(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 6000)  # names, attributes first
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        place = rng.randrange(reach)
        if rng.random() < 0.5:
            changed[place] ^= 1 << rng.randrange(8)
        else:
            changed[place : place + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
    return bytes(changed)


def _rewire(graph: onnx.GraphProto, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    if node.input:
        others = ["", rng.choice(node.input), *rng.choice(graph.node).output]
        node.input[rng.randrange(len(node.input))] = rng.choice(others)


def _change_attribute(graph: onnx.GraphProto, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    if not node.attribute:
        return
    attribute = rng.choice(node.attribute)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(EXTREMES)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = rng.choice(EXTREMES)
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = rng.choice(REALS)


def _drop_attribute(graph: onnx.GraphProto, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    if node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]


def _change_operator(graph: onnx.GraphProto, rng: random.Random) -> None:
    rng.choice(graph.node).op_type = rng.choice(OPERATORS)


def _change_constant(graph: onnx.GraphProto, rng: random.Random) -> None:
    if not graph.initializer:
        return
    tensor = rng.choice(graph.initializer)
    kind = rng.randrange(3)
    if kind == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(EXTREMES)
    elif kind == 1:
        tensor.data_type = rng.randint(0, 24)
    elif 0 < len(tensor.raw_data) <= 64:
        tensor.raw_data = rng.randbytes(len(tensor.raw_data))


def _change_input(graph: onnx.GraphProto, rng: random.Random) -> None:
    kind = rng.choice(graph.input).type.tensor_type
    if kind.shape.dim and rng.random() < 0.7:
        rng.choice(kind.shape.dim).dim_value = rng.choice(EXTREMES)
    else:
        kind.elem_type = rng.randint(0, 24)


STRUCTURAL: tuple[Callable[[onnx.GraphProto, random.Random], None], ...] = (
    _rewire,
    _change_attribute,
    _change_attribute,
    _drop_attribute,
    _change_operator,
    _change_constant,
    _change_constant,
    _change_input,
)
