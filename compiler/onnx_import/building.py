"""The graph under construction: what the importers of single operators write to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tinyc.compiler.graph import Array, DType, Node, QParams, Tensor, read_only
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.transpose import TransposeAttrs

DTYPES = {
    onnx.TensorProto.FLOAT: DType.FLOAT32,
    onnx.TensorProto.DOUBLE: DType.FLOAT64,
    onnx.TensorProto.INT8: DType.INT8,
    onnx.TensorProto.UINT8: DType.UINT8,
    onnx.TensorProto.INT16: DType.INT16,
    onnx.TensorProto.UINT16: DType.UINT16,
    onnx.TensorProto.INT32: DType.INT32,
    onnx.TensorProto.UINT32: DType.UINT32,
    onnx.TensorProto.INT64: DType.INT64,
    onnx.TensorProto.UINT64: DType.UINT64,
    onnx.TensorProto.BOOL: DType.BOOL,
}


class Unsupported(Exception):
    """This node cannot be read; the message says why. Collected over the whole model."""


@dataclass(frozen=True, slots=True)
class Source:
    """One node of the model, with its attributes as Python values.

    name    as in the model, or <OpType>_<index>
    inputs  "" for an optional input that is absent
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    def input(self, index: int) -> str:
        """The name of an input, "" when absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def ints(self, name: str, default: Iterable[int]) -> tuple[int, ...]:
        return tuple(int(v) for v in self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """A float32 attribute as the decimal it was written as: 0.2, not 0.200000003."""
        return float(np.format_float_positional(np.float32(self.attributes.get(name, default))))


@dataclass(slots=True)
class Building:
    """Grows node by node; the only mutable thing of the import."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    producers: dict[str, Node] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise Unsupported(f"its input '{name}' is not there")
        return self.tensors[name]

    def constant(self, name: str) -> Array | None:
        """The data of a constant; None for an activation or an absent input."""
        return self.tensors[name].data if name in self.tensors else None

    def needed_constant(self, name: str, what: str) -> Array:
        data = self.constant(name)
        if data is None:
            raise Unsupported(f"its {what} must be constant")
        return data

    def add_constant(self, hint: str, values: Any, dtype: str, quant: QParams | None = None) -> str:
        name = self.fresh(hint)
        data = read_only(values, dtype)
        self.tensors[name] = Tensor(name, data.shape, DType(dtype), data, quant)
        return name

    def fresh(self, hint: str) -> str:
        """A tensor name that is not taken; ONNX names hold no tab."""
        name, number = hint, 1
        while name in self.tensors:
            number += 1
            name = f"{hint}\t{number}"
        return name

    def emit(
        self,
        source: Source,
        op: str,
        inputs: Iterable[str],
        attrs: Any = None,
        output: str = "",
        dtype: DType | None = None,
        quant: QParams | None = None,
    ) -> str:
        """Append a node; the name of its output. Shape and dtype are inferred."""
        names = tuple(inputs)
        tensors = tuple(self.tensor(n) for n in names)
        ((shape, inferred),) = OPS[op].infer(tensors, attrs)
        if any(size < 1 for size in shape):
            raise Unsupported(f"its output would have the shape {list(shape)}")
        name = output or self.fresh(f"{source.outputs[0]}\t{op}")
        self.tensors[name] = Tensor(name, shape, dtype or inferred, None, quant)
        node = Node(self._node_name(source.name), op, names, (name,), attrs, (source.name,))
        self.nodes.append(node)
        self.producers[name] = node
        return name

    def _node_name(self, name: str) -> str:
        taken = {n.name for n in self.nodes}
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}\t{number}"
        return candidate

    def transposed(self, source: Source, name: str, perm: tuple[int, ...], output: str = "") -> str:
        """`name` with its axes permuted; constants at once, also behind a Dequantize."""
        tensor, producer = self.tensor(name), self.producers.get(name)
        if tensor.data is not None and not output:
            values = tensor.data.transpose(perm)
            return self.add_constant(name, values, tensor.dtype, _moved(tensor.quant, perm))
        if producer is not None and producer.op == "Dequantize" and not output:
            stored = self.tensor(producer.inputs[0])
            if stored.data is not None:
                moved = _moved(stored.quant, perm)
                constant = self.add_constant(
                    stored.name, stored.data.transpose(perm), stored.dtype, moved
                )
                return self.emit(source, "Dequantize", [constant])
        return self.emit(source, "Transpose", [name], TransposeAttrs(perm), output)

    def with_quant(self, name: str, quant: QParams) -> None:
        """State how the stored integers of `name` are to be read."""
        self.tensors[name] = replace(self.tensors[name], quant=quant)


def _moved(quant: QParams | None, perm: tuple[int, ...]) -> QParams | None:
    if quant is None or quant.axis is None:
        return quant
    return replace(quant, axis=perm.index(quant.axis))


def source_of(proto: onnx.NodeProto, index: int, opset: int) -> Source:
    """The node with plain Python attributes."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    decoded = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    name = proto.name or f"{proto.op_type}_{index}"
    return Source(name, proto.op_type, tuple(proto.input), tuple(proto.output), decoded, opset)


def array_of(proto: onnx.TensorProto) -> Array:
    """The data of an initializer."""
    if proto.data_type not in DTYPES:
        kind = onnx.TensorProto.DataType.Name(proto.data_type)
        raise Unsupported(f"the constant '{proto.name}' has the type {kind}")
    try:
        return read_only(numpy_helper.to_array(proto), DTYPES[proto.data_type])
    except (ValueError, TypeError, OverflowError) as error:
        raise Unsupported(f"the data of '{proto.name}' does not fit its shape") from error
