"""How tensors move along time while a model is turned into one that is called step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil, gcd
from typing import NoReturn

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType, Graph, Node, Shape, State, Tensor
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.shift import ShiftAttrs
from tinyc.compiler.ops.slice import SliceAttrs

WHOLE = "needs all steps at once"


@dataclass(frozen=True, slots=True)
class Flow:
    """What the calls give of a tensor: call n has its rows from n * rows - delay + lead on.

    axis    of time; None: what the tensor is if the sequence ends with this call
    rows    along the axis in each call
    delay   a multiple of `rows`; in the first delay / rows calls there is nothing yet
    total   rows in the whole model
    lead    rows of padding before the first row that a call gives
    fill    what they are, as it is stored
    """

    axis: int | None
    rows: int
    delay: int
    total: int
    lead: int = 0
    fill: float = 0.0

    @property
    def wait(self) -> int:
        """Calls that pass before there is something."""
        return self.delay // self.rows


class Indivisible(Exception):
    """So many rows of a call are no whole number of a stride; `factor` times as many would be."""

    def __init__(self, node: Node, rows: int, stride: int) -> None:
        super().__init__()
        self.node = node
        self.factor = stride // gcd(rows, stride)


@dataclass(slots=True)
class Stream:
    """The graph of one call while it grows.

    calls  of the whole model's sequence; 0: it is no whole number of calls
    """

    whole: Graph
    calls: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def shape(self, name: str) -> Shape:
        """In the whole model."""
        return self.whole.tensors[name].shape

    def tensor(self, name: str) -> Tensor:
        """In one call."""
        return self.tensors[name]

    def axis(self, name: str) -> int | None:
        flow = self.flows.get(name)
        return None if flow is None else flow.axis

    def refuse(self, node: Node, message: str, help: str = "") -> NoReturn:
        origin = " + ".join(node.origin) or node.name
        raise CompileError(
            "cannot-stream", f"{node.op} {message}", f"node '{origin}'",
            help or "compile the model for whole sequences, without --stream",
        )  # fmt: skip

    def emit(
        self,
        node: Node,
        inputs: Sequence[str] | None = None,
        attrs: object = None,
        flow: Flow | None = None,
        op: str = "",
    ) -> None:
        """The node in one call; its outputs keep their names, and have `flow`."""
        names = node.inputs if inputs is None else tuple(inputs)
        attrs = node.attrs if attrs is None else attrs
        new = replace(node, op=op or node.op, inputs=names, attrs=attrs)
        types = OPS[new.op].infer(_real([self.tensors[name] for name in names]), attrs)
        for name, (shape, _) in zip(node.outputs, types, strict=True):
            self.tensors[name] = replace(self.whole.tensors[name], shape=shape)
            if flow is not None:
                self.flows[name] = flow
        self.nodes.append(new)
        ready = [self.flows[n].wait for n in names if n in self.flows]
        self.waits[node.name] = flow.wait if flow is not None else max(ready, default=0)

    def fresh(self, hint: str) -> str:
        name = hint
        while name in self.tensors or name in self.whole.tensors:
            name += "'"
        return name

    def state(self, hint: str, like: Tensor, shape: Shape, initial: Array) -> tuple[str, str]:
        """A new state: the names of its tensors before and after a call."""
        before, after = self.fresh(f"{hint} before"), self.fresh(f"{hint} after")
        for name in (before, after):
            self.tensors[name] = replace(like, name=name, shape=shape, data=None)
        values = np.ascontiguousarray(np.broadcast_to(initial, shape), like.dtype.value)
        self.states.append(State(before, after, values))
        return before, after

    def history(self, node: Node, name: str, rows: int, fill: Array) -> str:
        """The tensor with `rows` of the rows before it; less than 0: without its first ones."""
        flow, x = self.flows[name], self.tensors[name]
        assert flow.axis is not None, f"'{name}' has rows"
        if rows == 0:
            return name
        if rows < 0:
            return self.cut(node, name, -rows, flow.rows + rows)
        shape = with_rows(x.shape, flow.axis, flow.rows + rows)
        before, after = self.state(f"{name} window", x, shape, fill)
        self._own(node, "Shift", (before, name), after, ShiftAttrs(flow.axis), flow)
        return after

    def cut(self, node: Node, name: str, first: int, rows: int) -> str:
        """Some rows of a tensor."""
        flow, x = self.flows[name], self.tensors[name]
        assert flow.axis is not None, f"'{name}' has rows"
        starts = with_rows((0,) * len(x.shape), flow.axis, first)
        shape = with_rows(x.shape, flow.axis, rows)
        result = self.fresh(f"{name} part")
        self.tensors[result] = replace(x, name=result, shape=shape)
        attrs = SliceAttrs(starts, (1,) * len(x.shape), shape)
        self._own(node, "Slice", (name,), result, attrs, flow)
        return result

    def _own(
        self, node: Node, op: str, inputs: tuple[str, ...], result: str, attrs: object, flow: Flow
    ) -> None:
        """A node that the model does not have, for `node`."""
        taken = {n.name for n in (*self.nodes, *self.whole.nodes)}
        name = f"{op} for {node.name}"
        while name in taken:
            name += "'"
        self.nodes.append(Node(name, op, inputs, (result,), attrs, node.origin))
        self.flows[result] = flow
        self.waits[name] = flow.wait

    def delayed(self, node: Node, name: str, delay: int) -> str:
        """The tensor `delay` rows late."""
        flow = self.flows[name]
        rows = delay - flow.delay
        if rows == 0:
            return name
        zero = np.zeros((), self.tensors[name].dtype.value)
        window = self.history(node, name, rows, zero)  # what it begins with is never read
        part = self.cut(node, window, 0, flow.rows)
        late = replace(flow, delay=delay)
        self.flows[part] = late
        self.waits[self.nodes[-1].name] = late.wait
        return part

    def is_complete(self, flow: Flow) -> bool:
        """Whether the last call of the whole sequence gives the tensor's last row."""
        return self.calls > 0 and self.calls * flow.rows - flow.delay == flow.total

    def alias(self, node: Node, name: str, flow: Flow) -> None:
        """The node's output is its input."""
        attrs = ReshapeAttrs(self.tensors[name].shape)
        self.emit(node, (name,), attrs, flow, op="Reshape")


def _real(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Operands as `Op.infer` wants them: floats where stored integers stand for reals."""
    return tuple(
        t if t.quant is None else replace(t, dtype=DType.FLOAT32, data=None, quant=None)
        for t in tensors
    )


def with_rows(values: Shape, position: int, value: int) -> Shape:
    """A shape, or starts, with another value on the axis of time."""
    return (*values[:position], value, *values[position + 1 :])


def only_flow(stream: Stream, node: Node) -> tuple[Flow, int]:
    """The flow of the first input, and its axis of time."""
    flow = stream.flows[node.inputs[0]]
    assert flow.axis is not None, f"'{node.name}' has rows"
    return flow, flow.axis


def whole_calls(delay: int, rows: int) -> int:
    """The next delay of whole calls, of `rows` rows each."""
    return ceil(delay / rows) * rows
