"""What a model remembers from call to call: as ONNX says it, and as a graph does.

In the ONNX model a state is an input whose initializer has its first values, an output with its
next ones, and an entry of the metadata, "tinyc.state.<input>": "<output>". Two operators of the
domain "tinyc" have bodies of ONNX operators for whoever does not know them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx.helper import make_attribute_ref, make_function, make_node, make_opsetid

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph, Node, State, Tensor, read_only
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode, tensor_array
from tinyc.compiler.ops.shift import ShiftAttrs
from tinyc.compiler.ops.time_filter import TimeFilterAttrs

DOMAIN = "tinyc"
STATE = "tinyc.state."  # begins the keys of the metadata


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """The names of an input and an output, and what a reset makes of them."""

    before: str
    after: str
    initial: Array


def has_states(model: onnx.ModelProto) -> bool:
    return any(True for _ in _entries(model))


def _entries(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Pairs of an input and an output; protobuf gives bytes for what is no UTF-8."""
    for entry in model.metadata_props:
        if isinstance(entry.key, str) and entry.key.startswith(STATE):
            yield entry.key.removeprefix(STATE), entry.value


def remembered(model: onnx.ModelProto) -> tuple[Remembered, ...]:
    """The states of a model, in the order of its metadata.

    Raises CompileError("bad-model").
    """
    initial = {t.name: t for t in model.graph.initializer}
    inputs, outputs = ({v.name for v in side} for side in (model.graph.input, model.graph.output))
    found = []
    for before, after in _entries(model):
        where = f"state '{before}'"
        if before not in initial or before not in inputs or after not in outputs:
            raise CompileError(
                "bad-model", "a state needs an input, its initializer, and an output", where
            )
        found.append(Remembered(before, after, tensor_array(initial[before], where)))
    if len({s.after for s in found}) < len(found) or len({s.before for s in found}) < len(found):
        raise CompileError("bad-model", "two states are the same", f"'{found[0].before}'")
    return tuple(found)


def without_initializers(model: onnx.ModelProto, states: Sequence[Remembered]) -> onnx.ModelProto:
    """The model with states as inputs like the others."""
    if not states:
        return model
    names, copy = {s.before for s in states}, onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [t for t in copy.graph.initializer if t.name not in names]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return copy


def with_states(graph: Graph, states: Sequence[Remembered]) -> Graph:
    """Inputs and outputs become states: what is written last lies where the first values were.

    A Shift writes over the window that it reads; everything else is kept by a copy at the end.
    """
    if not states:
        return graph
    names = {name for s in states for name in (s.before, s.after)}
    nodes, tensors, found = list(graph.nodes), dict(graph.tensors), []
    for state in states:
        before, after = tensors[state.before], tensors[state.after]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise CompileError(
                "bad-model", f"it is {before.dtype}{list(before.shape)} before a call and "
                f"{after.dtype}{list(after.shape)} after it", f"state '{state.before}'",
            )  # fmt: skip
        name = after.name
        if not _moves_on(graph, state):
            name = f"{after.name} kept"
            while name in tensors:
                name += "'"
            tensors[name] = replace(after, name=name, data=None)
            nodes.append(Node(f"keep {after.name}", "Keep", (after.name,), (name,)))
        found.append(State(before.name, name, read_only(state.initial, before.dtype.value)))
    note = "it remembers tensors from call to call: reset the state to begin anew"
    return replace(
        graph,
        inputs=(*(n for n in graph.inputs if n not in names), *(s.before for s in found)),
        outputs=(*(n for n in graph.outputs if n not in names), *(s.after for s in found)),
        tensors=tensors,
        states=tuple(found),
        notes=(*graph.notes, note),
    ).with_nodes(nodes)


def _moves_on(graph: Graph, state: Remembered) -> bool:
    """Whether a Shift, which alone reads the state, writes the next one."""
    writer = graph.producer(state.after)
    if writer is None or writer.op != "Shift" or writer.inputs[0] != state.before:
        return False
    return graph.readers[state.before] == (writer,)


def read_shift(build: Builder, node: ModelNode) -> Tensor:
    """window [n, steps, ...] moves on by one step; both are stored alike."""
    window, x = build.operand(node, 0), build.operand(node, 1)
    fits = len(x.shape) > 1 and x.shape == (*window.shape[:1], 1, *window.shape[2:])
    if not fits or window.shape[1] < 2:
        node.malformed(f"a step {list(x.shape)} does not fit the window {list(window.shape)}")
    if window.dtype != x.dtype:
        node.malformed(f"a step of {x.dtype}, a window of {window.dtype}")
    if x.quant is not None:
        window = build.as_stored(node, window, x.quant)
    return build.add(node, "Shift", (window, x), ShiftAttrs(1), quant=x.quant)


def read_time_filter(build: Builder, node: ModelNode) -> Tensor:
    """x [batch, memory, filters] by constant weights [memory, filters], with a bias [units]."""
    x, w, bias = (build.operand(node, i) for i in range(3))
    if len(x.shape) != 3 or w.shape != x.shape[1:] or len(bias.shape) != 1:
        node.malformed(f"{list(x.shape)}, {list(w.shape)}, {list(bias.shape)} do not fit together")
    if any(build.real_constant(t) is None for t in (w, bias)):
        node.refuse("weights that are computed at run time are not supported")
    if not bias.elements or x.shape[2] % bias.elements:
        node.malformed(f"{x.shape[2]} filters for {bias.elements} units")
    return build.add(node, "TimeFilter", (x, w, bias), TimeFilterAttrs(x.shape[2] // bias.elements))


def _constant(name: str, *values: int) -> onnx.NodeProto:
    return make_node("Constant", [], [name], value_ints=list(values))


def _unit_shape() -> onnx.NodeProto:
    node = make_node("Constant", [], ["units"])
    node.attribute.append(make_attribute_ref("value_ints", onnx.AttributeProto.INTS))
    node.attribute[0].ref_attr_name = "units"
    return node


def bodies(opset: int) -> tuple[onnx.FunctionProto, ...]:
    """What the operators of the domain mean."""
    imports = [make_opsetid("", opset)]
    shift = make_function(
        DOMAIN, "Shift", ["window", "x"], ["y"],
        [_constant("one", 1), _constant("end", 1 << 31),
         make_node("Slice", ["window", "one", "end", "one"], ["rest"]),
         make_node("Concat", ["rest", "x"], ["y"], axis=1)],
        imports,
    )  # fmt: skip
    time_filter = make_function(
        DOMAIN, "TimeFilter", ["x", "w", "bias"], ["y"],
        [_constant("one", 1), _constant("last", -1), _unit_shape(),
         make_node("Mul", ["x", "w"], ["products"]),
         make_node("ReduceSum", ["products", "one"], ["filtered"], keepdims=0),
         make_node("Reshape", ["filtered", "units"], ["grouped"]),
         make_node("ReduceSum", ["grouped", "last"], ["sums"], keepdims=0),
         make_node("Add", ["sums", "bias"], ["y"])],
        imports, attributes=["units"],
    )  # fmt: skip
    return shift, time_filter
