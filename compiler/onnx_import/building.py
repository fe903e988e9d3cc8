"""The graph while it grows: the one mutable thing of the import."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType, Node, QParams, Shape, Tensor, constant, elements
from tinyc.compiler.onnx_import.blocks import Blocks
from tinyc.compiler.onnx_import.loading import MOST_ELEMENTS
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.values import Beside, TensorList, Value, numbered
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.reshape import ReshapeAttrs

KEEP_STORED = (  # the first input's QParams
    "Reshape", "Transpose", "Slice", "Pad", "MaxPool2D", "Gather", "Expand", "Triangle",
)  # fmt: skip
MEANINGLESS = (  # the same with and without QParams
    "Reshape", "Transpose", "Slice", "MaxPool2D", "Gather", "Expand",
)  # fmt: skip


@dataclass(slots=True)
class Builder:
    """values: the tensors that values of the model became; beside: what those became that are no
    tensors; reserved: names not to take.

    producers and readers give positions in `nodes`, by tensor; bound: tensors that are values;
    blocks: of constants of floats that are stored with a scale for each block, the stored form;
    notes: what the user should know, one sentence each; prefix: of the names in the body of a
    node, "" outside; declared: shapes of values, as the model has them; narrow: the limits of
    values that have fewer bits in the model than a whole byte.
    """

    reserved: frozenset[str]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)
    producers: dict[str, int] = field(default_factory=dict)
    readers: dict[str, list[int]] = field(default_factory=dict)
    node_names: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    narrow: dict[str, tuple[int, int]] = field(default_factory=dict)
    blocks: dict[str, Blocks] = field(default_factory=dict)
    elements: int = 0
    notes: list[str] = field(default_factory=list)
    prefix: str = ""
    declared: Mapping[str, Shape] = field(default_factory=dict)

    def copy(self) -> "Builder":
        """The graph as it is now, to come back to."""
        return replace(
            self,
            tensors=dict(self.tensors),
            nodes=list(self.nodes),
            values=dict(self.values),
            beside=self.beside.copy(),
            producers=dict(self.producers),
            readers={name: list(nodes) for name, nodes in self.readers.items()},
            node_names=set(self.node_names),
            bound=set(self.bound),
            notes=list(self.notes),
        )

    def become(self, other: "Builder") -> None:
        """The graph as it was when `other` was copied from it."""
        for item in fields(self):
            setattr(self, item.name, getattr(other, item.name))

    def operand(self, node: ModelNode, index: int) -> Tensor:
        """A required input."""
        found = self.optional(node, index)
        if found is None:
            node.malformed(f"input {index} is missing")
        return found

    def optional(self, node: ModelNode, index: int) -> Tensor | None:
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        if node.inputs[index] not in self.values:
            self.beside.check_known(node, node.inputs[index])
            node.malformed(f"it reads '{node.inputs[index]}' before that is written")
        return self.tensors[self.values[node.inputs[index]]]

    def sequence(self, node: ModelNode, index: int) -> tuple[Tensor, ...]:
        """A required input that is a sequence."""
        return tuple(self.tensors[item] for item in self.beside.items_of(node, index))

    def value(self, name: str) -> Value:
        """What a value of the model became."""
        if name in self.beside.sequences:
            return TensorList(tuple(self.tensors[item] for item in self.beside.sequences[name]))
        return self.tensors[self.values[name]]

    def unused_name(self, name: str) -> str:
        while name in self.tensors or name in self.reserved:
            name += "_"
        return name

    def hold(self, tensor: Tensor) -> Tensor:
        """Add `tensor`, unless the model becomes too large to be meant for a microcontroller."""
        self.elements += elements(tensor.shape)
        if self.elements > MOST_ELEMENTS or min(tensor.shape, default=0) < 0:
            raise CompileError(
                "too-large",
                f"the tensors have more than {MOST_ELEMENTS} elements",
                f"tensor '{tensor.name}' {list(tensor.shape)}",
            )
        self.tensors[tensor.name] = tensor
        return tensor

    def constant(
        self, name: str, values: npt.ArrayLike, dtype: DType, quant: QParams | None = None
    ) -> Tensor:
        return self.hold(constant(self.unused_name(name), values, dtype, quant))

    def add(
        self,
        node: ModelNode,
        op: str,
        inputs: tuple[Tensor, ...],
        attrs: object = None,
        dtype: DType | None = None,
        quant: QParams | None = None,
    ) -> Tensor:
        """Append a node of one output; `dtype` where the operator cannot infer it."""
        ((shape, inferred),) = _types_of(node, op, inputs, attrs)
        if op in KEEP_STORED:
            quant = inputs[0].quant
        output = Tensor(node.name, shape, dtype or inferred, None, quant)
        return self._append(node, op, inputs, attrs, output)[0]

    def add_all(
        self, node: ModelNode, op: str, inputs: tuple[Tensor, ...], attrs: object
    ) -> tuple[Tensor, ...]:
        """Append a node of several outputs, each as the operator infers it."""
        types = _types_of(node, op, inputs, attrs)
        outputs = (Tensor(node.name, shape, dtype) for shape, dtype in types)
        return self._append(node, op, inputs, attrs, *outputs)

    def _append(
        self, node: ModelNode, op: str, inputs: tuple[Tensor, ...], attrs: object, *outputs: Tensor
    ) -> tuple[Tensor, ...]:
        """Append a node, and its outputs by names of their own."""
        name = self._node_name(node.name)
        if all(0 in y.shape for y in outputs):  # nothing to compute
            return tuple(
                self.constant(y.name, np.zeros(y.shape), y.dtype, y.quant) for y in outputs
            )
        held = []
        for output in outputs:
            if min(output.shape, default=1) < 0:
                node.malformed(f"its output has the shape {list(output.shape)}")
            held.append(self.hold(replace(output, name=self.unused_name(name))))
            self.producers[held[-1].name] = len(self.nodes)
        for tensor in inputs:
            self.readers.setdefault(tensor.name, []).append(len(self.nodes))
        names = (tuple(t.name for t in inputs), tuple(t.name for t in held))
        self.nodes.append(Node(name, op, *names, attrs, (node.name,)))
        return tuple(held)

    def binary(self, node: ModelNode, op: str, a: Tensor, b: Tensor) -> Tensor:
        """Append an operator of two operands that must broadcast."""
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            node.malformed(f"{list(a.shape)} and {list(b.shape)} do not fit together")
        return self.add(node, op, (a, b), BinaryAttrs())

    def hold_texts(self, value: str, texts: Array) -> None:
        """A constant of texts becomes one of their positions among the different ones."""
        names, positions = numbered(texts)
        tensor = self.constant(value, positions, DType.INT64)
        self.values[value] = tensor.name
        self.beside.texts[tensor.name] = names

    def layout(self, node: ModelNode, op: str, x: Tensor, attrs: object) -> Tensor:
        """Append a node that the model does not have: a change of layout."""
        if x.data is not None:
            data = _evaluate(op, x, x, attrs)
            return self.constant(f"{x.name}/{op.lower()}", data, x.dtype, x.quant)
        output = self.add(node, op, (x,), attrs)
        self.nodes[-1] = replace(self.nodes[-1], origin=())
        return output

    def reshaped(self, node: ModelNode, x: Tensor, shape: Shape) -> Tensor:
        return x if x.shape == shape else self.layout(node, "Reshape", x, ReshapeAttrs(shape))

    def bind(self, value: str, tensor: Value) -> None:
        """Say that `tensor` is the model's `value`; it takes the name when it is the first."""
        if isinstance(tensor, TensorList):
            self.beside.sequences[value] = tuple(item.name for item in tensor.items)
            self.bound.update(self.beside.sequences[value])
            return
        name = self.unused_name(f"{self.prefix}{value}") if self.prefix else value
        at = self.producers.get(tensor.name)
        if at is not None and tensor.name not in self.bound and tensor.name not in self.readers:
            old = tensor.name
            del self.tensors[old], self.producers[old]
            tensor = replace(tensor, name=name)
            self.tensors[name], self.producers[name] = tensor, at
            if old in self.beside.texts:
                self.beside.texts[name] = self.beside.texts.pop(old)
            outputs = (name if o == old else o for o in self.nodes[at].outputs)
            self.nodes[at] = replace(self.nodes[at], outputs=tuple(outputs))
        self.values[value] = tensor.name
        self.bound.add(tensor.name)

    def real_constant(self, tensor: Tensor) -> Array | None:
        """The data of a constant, or of a dequantized constant; None for an activation."""
        if tensor.data is not None:
            return tensor.data
        stored = self.dequantized_constant(tensor)
        return None if stored is None else _evaluate("Dequantize", stored, tensor, None)

    def dequantized_constant(self, tensor: Tensor) -> Tensor | None:
        """The stored constant that `tensor` is the Dequantize of; None when it is not."""
        node = self._producer(tensor.name)
        if node is None or node.op != "Dequantize":
            return None
        stored = self.tensors[node.inputs[0]]
        return stored if stored.data is not None else None

    def as_stored(self, node: ModelNode, x: Tensor, quant: QParams) -> Tensor:
        """`x`, known to hold integers that `quant` gives a meaning."""
        if x.quant == quant:
            return x
        if x.data is not None:
            return self.constant(f"{x.name}/stored", x.data, x.dtype, quant)
        if self._lacks_meaning(x):
            return self._annotate(x, quant)
        again = self.layout(node, "Reshape", x, ReshapeAttrs(x.shape))
        self.tensors[again.name] = replace(again, quant=quant)
        return self.tensors[again.name]

    def _lacks_meaning(self, x: Tensor) -> bool:
        """Whether nobody has relied on `x` being plain integers yet."""
        readers = (self.nodes[i].op for i in self.readers.get(x.name, ()))
        return x.quant is None and x.data is None and all(op in MEANINGLESS for op in readers)

    def _annotate(self, x: Tensor, quant: QParams) -> Tensor:
        """Give `x` its meaning, and the integers that are merely moved into it, too."""
        self.tensors[x.name] = annotated = replace(x, quant=quant)
        node = self._producer(x.name)
        if node is None or node.op not in KEEP_STORED or quant.axis is not None:
            return annotated
        source = self.tensors[node.inputs[0]]
        if isinstance(node.attrs, PadAttrs):
            real = (node.attrs.value - quant.zero_point[0]) * quant.scale[0]
            position = self.producers[x.name]
            self.nodes[position] = replace(node, attrs=replace(node.attrs, value=real))
            if self.readers[source.name] == [position] and source.quant is None:
                self._annotate(source, quant)
        elif self._lacks_meaning(source):
            self._annotate(source, quant)
        return annotated

    def _producer(self, name: str) -> Node | None:
        position = self.producers.get(name)
        return None if position is None else self.nodes[position]

    def _node_name(self, name: str) -> str:
        number, free = 2, name
        while free in self.node_names:
            free, number = f"{name}_{number}", number + 1
        self.node_names.add(free)
        return free


def _types_of(
    node: ModelNode, op: str, inputs: tuple[Tensor, ...], attrs: object
) -> tuple[tuple[Shape, DType], ...]:
    """Of the outputs, as the operator infers them."""
    plain = tuple(replace(t, quant=None) for t in inputs)  # the model's own types are meant
    try:
        return OPS[op].infer(plain, attrs)
    except CompileError as error:
        raise replace(error, where=f"{node.where}, {error.where}") from error


def _evaluate(op: str, x: Tensor, output: Tensor, attrs: object) -> Array:
    """The result of a node on the constant `x`."""
    assert x.data is not None, f"'{x.name}' is no constant"
    call = Call(Node(op, op, (x.name,), (output.name,), attrs), (x,), (output,))
    return OPS[op].reference(call, (x.data,))[0]
