"""Where a model is quantized: which tensors get a grid, and which share one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from tinyc.quantization.chains import inside_chains
from tinyc.quantization.execution import Values, real_tensors
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import Grid

# Results that are the same stored integers as the first operand: nothing is requantized.
MOVING = frozenset({
    "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "Identity", "MaxPool",
    "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
CLAMPS = ("Relu", "Clip")
CLAMPED = frozenset({
    "Add", "AveragePool", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul", "Mul",
    "Sub",
})  # fmt: skip
# Operators that a step of a grid sends elsewhere: what they read stays real.
STEPPING = frozenset({
    "Cast", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod",
    "NonZero", "Round",
})  # fmt: skip
UNEQUAL = 4.0  # sizes of a Concat's operands: in one grid the smaller loses two bits of eight
# Results within known limits, whatever comes; both limits are on the grid.
SHARES, SIGNED = Grid(float(np.float32(1 / 255)), -128), Grid(float(np.float32(1 / 127)), 0)
FIXED = {
    "Softmax": SHARES, "Sigmoid": SHARES, "HardSigmoid": SHARES, "Tanh": SIGNED,
    "Softsign": SIGNED,
}  # fmt: skip
# Operators that take a constant operand as stored integers, too.
WITH_CONSTANTS = frozenset({"Add", "Concat", "Div", "Max", "Min", "Mul", "Sub"})


@dataclass(frozen=True, slots=True)
class Point:
    """Tensors that share a grid; the first one, which the others are made of, gives its range.

    fixed  the grid, where the operator limits its result
    """

    tensors: tuple[str, ...]
    fixed: Grid | None = None

    @property
    def name(self) -> str:
        return self.tensors[0]


def points_of(
    model: FloatModel, floating: Iterable[str] = (), apart: Iterable[str] = ()
) -> tuple[Point, ...]:
    """The points of a model, in execution order.

    floating  tensors that stay real
    apart     names of Concats whose operands have grids of their own
    """
    stepped = (n for node in model.nodes if node.op_type in STEPPING for n in node.input)
    inside = frozenset(n for n in real_tensors(model) if _is_inside(model, n))
    left_out = {*floating, *stepped, *inside, *inside_chains(model, inside)}
    tensors = [name for name in real_tensors(model) if name not in left_out]
    root = {name: name for name in tensors}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for node in model.nodes:
        if node.op_type not in MOVING or node.name in apart:
            continue
        operands = node.input if node.op_type == "Concat" else node.input[:1]
        known = [n for n in (*operands, *node.output) if n in root]
        for name in known[1:]:
            first, other = find(known[0]), find(name)
            if first != other:
                later, sooner = sorted((first, other), key=tensors.index, reverse=True)
                root[later] = sooner
    shared: dict[str, list[str]] = {}
    for name in tensors:
        shared.setdefault(find(name), []).append(name)
    return tuple(Point(tuple(names), _fixed(model, names)) for names in shared.values())


def unequal_concats(model: FloatModel, values: Values) -> list[str]:
    """Concats of operands whose sizes differ too much for one grid."""
    found: list[str] = []
    for node in (n for n in model.nodes if n.op_type == "Concat"):
        sizes = [float(np.abs(values[n]).max(initial=0)) for n in node.input if n in values]
        if sizes and max(sizes) > UNEQUAL * min(sizes):
            found.append(node.name)
    return found


def constant_tables(model: FloatModel, grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """Constants whose rows are picked: stored as the result is."""
    return {
        node.input[0]: grids[node.output[0]]
        for node in model.nodes
        if node.op_type == "Gather"
        and node.input[0] in model.constants
        and node.output[0] in grids
        and len(model.readers(node.input[0])) == 1
    }


def constant_operands(model: FloatModel, grids: Mapping[str, Grid]) -> list[str]:
    """Constants beside quantized tensors that are stored as integers as well."""
    return [
        name
        for node in model.nodes
        if node.op_type in WITH_CONSTANTS and any(n in grids for n in node.input)
        for name in node.input
        if name in model.constants
        and model.constants[name].size > 1
        and model.constants[name].dtype == np.float32
        and not _is_bias(model, node, name)
    ]


def _is_inside(model: FloatModel, tensor: str) -> bool:
    """Whether one kernel computes and reads the tensor: before a clamp, or before a bias."""
    producer, reader = model.producer(tensor), model.only_reader(tensor)
    if producer is None or reader is None:
        return False
    if reader.op_type in CLAMPS and producer.op_type in CLAMPED:
        return all(n in model.constants for n in reader.input[1:] if n)
    return producer.op_type == "MatMul" and _is_bias(model, reader, tensor)


def _is_bias(model: FloatModel, add: onnx.NodeProto, operand: str) -> bool:
    """Whether `add` adds a constant to a product of a matrix and constants."""
    if add.op_type != "Add":
        return False
    producers = [p for n in add.input if (p := model.producer(n)) is not None]
    products = [p for p in producers if p.op_type == "MatMul" and p.input[1] in model.constants]
    constants = [n for n in add.input if n in model.constants]
    return len(products) == 1 and len(constants) == 1 and operand in add.input


def _fixed(model: FloatModel, tensors: Iterable[str]) -> Grid | None:
    """The grid of results within limits that all of the tensors are, or are moved from."""
    producers = [model.producer(name) for name in tensors]
    made = {_limits(p) for p in producers if p is None or not _is_moved(model, p)}
    return made.pop() if len(made) == 1 else None


def _limits(producer: onnx.NodeProto | None) -> Grid | None:
    return None if producer is None else FIXED.get(producer.op_type)


def _is_moved(model: FloatModel, node: onnx.NodeProto) -> bool:
    """Whether all of a result comes from other tensors; beside them a Concat may have constants."""
    operands = node.input if node.op_type == "Concat" else node.input[:1]
    return node.op_type in MOVING and not any(n in model.constants for n in operands)
