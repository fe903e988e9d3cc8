"""The graph that every stage reads and every pass returns anew.

All types are frozen: a pass builds a new Graph and never edits the one it got.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401  NumPy knows bfloat16 and int4 by it
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import networkx as nx

Shape = tuple[int, ...]
Array = npt.NDArray[Any]
TEXT_BYTES = 64  # of a text: UTF-8, the rest zeros


class DType(StrEnum):
    """Element types; the value is the NumPy name, and but for texts the TensorIR name."""

    BOOL = "bool"
    INT4 = "int4"
    UINT4 = "uint4"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    TEXT = f"S{TEXT_BYTES}"

    @property
    def size(self) -> int:
        """Bytes of one element; NumPy has none of half a byte."""
        return np.dtype(self.value).itemsize

    @property
    def is_float(self) -> bool:
        return "float" in self.value

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest stored value of an integer type."""
        if self == DType.BOOL:
            return 0, 1
        if self in FOUR_BITS:
            return (-8, 7) if self == DType.INT4 else (0, 15)
        info = np.iinfo(self.value)
        return int(info.min), int(info.max)


FOUR_BITS = (DType.INT4, DType.UINT4)  # of constant weights; a byte each until they are packed
EIGHT_BITS = (DType.INT8, DType.UINT8)  # stored activations that have integer kernels
SIXTEEN_BITS = (DType.INT16, DType.UINT16)  # those that some kernels take beside 8-bit weights


@dataclass(frozen=True, slots=True)
class QParams:
    """Affine quantization: real = scale[c] * (stored - zero_point[c]).

    scale       one value, or one per slice along `axis`; each a float32 as in the model
    zero_point  the stored value that means 0.0; as many as there are scales
    axis        None: one scale for the whole tensor
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...] = (0,)
    axis: int | None = None

    def __post_init__(self) -> None:
        assert len(self.scale) == len(self.zero_point), "one zero point for each scale"
        assert self.axis is not None or len(self.scale) == 1, "several scales need an axis"


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named value: a constant when it has `data`, else an activation.

    quant says how stored integers map to reals; None for plain floats and plain integers.
    """

    name: str
    shape: Shape  # static
    dtype: DType
    data: Array | None = None  # read-only
    quant: QParams | None = None

    def __post_init__(self) -> None:
        if self.data is not None:
            assert self.data.shape == self.shape, f"'{self.name}': {self.data.shape} {self.shape}"
            assert self.data.dtype == self.dtype.value, f"'{self.name}': {self.data.dtype}"
            assert not self.data.flags.writeable, f"'{self.name}': data must be read-only"

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of the whole tensor, without padding."""
        return self.elements * self.dtype.size


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `op` is a key of OPS; `attrs` is that op's attrs type.

    origin  names of the nodes of the user's model that became this one
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: object = None
    origin: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """The only output; most operators have one."""
        assert len(self.outputs) == 1, f"'{self.name}' has {len(self.outputs)} outputs"
        return self.outputs[0]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a model remembers from one call to the next.

    before, after  the graph's input and output that are the same bytes of the caller's: no node
                   behind the one that writes `after` reads `before`
    initial        its stored values after a reset, of its shape and type
    """

    before: str
    after: str
    initial: Array


@dataclass(frozen=True, eq=False)
class Graph:
    """A static data-flow graph; `nodes` is the execution order.

    notes    what the user should know about how the model was read, one sentence each
    names    of outputs: the texts that their values, or else their columns, stand for, in order
    states   of a model that is called step by step; their tensors are among `inputs` and `outputs`
    waits    of a streaming model, by node: calls that pass before the node runs first
    inlined  for nodes of the body of an operator of the model: that operator, by the node's name
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    states: tuple[State, ...] = ()
    waits: Mapping[str, int] = field(default_factory=dict)
    inlined: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def remembered(self) -> frozenset[str]:
        """The inputs and outputs that are states."""
        return frozenset(name for s in self.states for name in (s.before, s.after))

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that writes each tensor; constants and graph inputs have none."""
        return {output: node for node in self.nodes for output in node.outputs}

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor, in execution order; every tensor has an entry."""
        readers: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @cached_property
    def view(self) -> "nx.DiGraph[str]":
        """The nodes' names as a networkx graph; an edge is a tensor that passes between them."""
        import networkx as nx  # loads slowly, and a chain of nodes needs no view

        view: nx.DiGraph[str] = nx.DiGraph()
        view.add_nodes_from(node.name for node in self.nodes)
        for node in self.nodes:
            for name in node.inputs:
                if name in self.producers:
                    view.add_edge(self.producers[name].name, node.name, tensor=name)
        return view

    def producer(self, tensor: str) -> Node | None:
        """The node that writes `tensor`; None for constants and graph inputs."""
        return self.producers.get(tensor)

    def only_reader(self, tensor: str, node: Node) -> bool:
        """Whether nobody but `node` sees `tensor`, the caller of the model included."""
        return self.readers[tensor] == (node,) and tensor not in self.outputs

    def constant(self, tensor: str) -> Array | None:
        """The data of a constant, None for an activation."""
        return self.tensors[tensor].data

    def with_nodes(self, nodes: Iterable[Node], new: Iterable[Tensor] = ()) -> "Graph":
        """This graph with other nodes, `new` tensors, and only the tensors still used."""
        nodes = tuple(nodes)
        used = {*self.inputs, *self.outputs}
        used.update(t for n in nodes for t in (*n.inputs, *n.outputs))
        tensors = {**self.tensors, **{t.name: t for t in new}}
        return replace(self, nodes=nodes, tensors={k: t for k, t in tensors.items() if k in used})


def verify(graph: Graph) -> None:
    """Check what every stage may rely on. A failure is a bug in tinyc."""
    defined = {t.name for t in graph.tensors.values() if t.data is not None}
    assert all(name == t.name for name, t in graph.tensors.items()), "a tensor under a wrong name"
    names = [node.name for node in graph.nodes]
    assert len(names) == len(set(names)), "two nodes have one name"
    defined.update(graph.inputs)
    for node in graph.nodes:
        for name in node.inputs:
            assert name in defined, f"{node.name}: reads '{name}' before it is written"
        for name in node.outputs:
            assert name not in defined, f"{node.name}: writes '{name}' twice"
            assert name in graph.tensors, f"{node.name}: output '{name}' has no tensor"
            defined.add(name)
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    for state in graph.states:
        writer = graph.producer(state.after)
        last = position[writer.name] if writer else len(position)
        readers = [n for n in graph.readers[state.before] if n.op != "Keep"]  # copied in time
        early = all(position[n.name] <= last for n in readers)
        assert early, f"'{state.before}' is written over before it is read"
    for name in graph.outputs:
        assert name in defined, f"graph output '{name}' is never written"


def to_text(graph: Graph) -> str:
    """The graph as text, one node a line: for dumps and golden tests."""

    def show(name: str) -> str:
        tensor = graph.tensors[name]
        quant = "" if tensor.quant is None else f" {_quant_text(tensor.quant)}"
        return f"{name}:{tensor.dtype}{list(tensor.shape)}{quant}"

    lines = [f"graph {graph.name}({', '.join(map(show, graph.inputs))})"]
    for tensor in graph.tensors.values():
        if tensor.data is not None:
            lines.append(f"  const {show(tensor.name)}")
    for n in graph.nodes:
        attrs = "" if n.attrs is None else f" {n.attrs}"
        results = ", ".join(map(show, n.outputs))
        lines.append(f"  {results} = {n.op}({', '.join(n.inputs)}){attrs}")
    return "\n".join([*lines, f"  return {', '.join(graph.outputs)}", ""])


def _quant_text(quant: QParams) -> str:
    if quant.axis is None:
        return f"q({quant.scale[0]:.9g}, {quant.zero_point[0]})"
    return f"q({len(quant.scale)} scales on axis {quant.axis})"


def read_only(values: npt.ArrayLike, dtype: str | None = None) -> Array:
    """A constant's data: contiguous, and safe to share between graphs."""
    data = np.array(values, dtype=dtype, order="C")
    data.flags.writeable = False
    return data


def constant(
    name: str, values: npt.ArrayLike, dtype: DType, quant: QParams | None = None
) -> Tensor:
    """A constant tensor that owns a read-only copy of `values`."""
    data = read_only(values, dtype)
    return Tensor(name, data.shape, dtype, data, quant)


def elements(shape: Shape) -> int:
    """How many elements a tensor of `shape` has."""
    return math.prod(shape)
