"""x -> InputRows(x) for a model whose caller hands in the input row by row.

Transpose(F(x)), Reshape(F(x)) -> F(Transpose(x)), F(Reshape(x)) before, for F element by element.
The rows are of [rows, columns, channels]: a Transpose that only brings the channels to the end
goes, and the interface has them there.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.binary_functions import FUNCTIONS as BINARY
from tinyc.compiler.ops.input_rows import INPUT_ROWS
from tinyc.compiler.ops.op import call_of
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.passes.fusions import ACCUMULATING
from tinyc.passes.layout import ELEMENTWISE
from tinyc.passes.rewrite import fresh_node, fresh_tensor, redirect, replace_nodes
from tinyc.passes.stages import Stage
from tinyc.passes.storage import Storage
from tinyc.targets import Target

STATE = "\tstate"  # the storage of what is remembered between two rows; no tensor has this name
CHANNELS_LAST = TransposeAttrs((0, 2, 3, 1))


def push_rows(graph: Graph, target: Target) -> Graph:
    """Raises CompileError("cannot-push-rows") when the model needs its input whole."""
    if len(graph.inputs) != 1:
        _refuse(
            f"the model has {len(graph.inputs)} inputs, and only one can be handed in by rows",
            f"inputs {', '.join(map(repr, graph.inputs)) or 'none'}",
            "use --io arena or --io caller",
        )
    graph = _without_transpose(_layout_first(graph, graph.inputs[0]), graph.inputs[0])
    name = _viewed(graph, graph.inputs[0])
    x, readers = graph.tensors[name], graph.readers[name]
    if not readers or not set(graph.outputs).isdisjoint((name, graph.inputs[0])):
        _refuse("no layer reads the input by rows", f"input '{name}'", "use --io arena")
    if len(x.shape) != 4 or x.shape[0] != 1 or x.shape[1] < 2:
        _refuse_reader(graph, readers[0])
    rows = replace(x, name=fresh_tensor(graph, f"{graph.inputs[0]}_window"))
    node = Node(
        fresh_node(graph, f"rows of {graph.inputs[0]}"), INPUT_ROWS.name, (name,), (rows.name,)
    )
    nodes = [
        replace(n, inputs=tuple(rows.name if i == name else i for i in n.inputs))
        for n in graph.nodes
    ]
    nodes.insert(graph.nodes.index(readers[0]), node)
    graph = graph.with_nodes(nodes, [rows])
    _check_readers(graph, rows.name, target)
    return graph


def _layout_first(graph: Graph, name: str) -> Graph:
    """A Reshape, or a Transpose of channels, comes before what goes element by element."""
    between: list[Node] = []
    tensors = [graph.tensors[name]]
    while (node := _only_reader(graph, tensors[-1].name)) is not None and node.op in ELEMENTWISE:
        between.append(node)
        tensors.append(graph.tensors[node.output])
    by_channel = any(t.quant is not None and t.quant.axis is not None for t in tensors)
    if not between or node is None or by_channel:
        return graph
    if node.attrs != CHANNELS_LAST and node.op != "Reshape":
        return graph
    result = graph.tensors[node.output]
    first = replace(
        result,
        name=fresh_tensor(graph, f"{name}_view"),
        dtype=tensors[0].dtype,
        quant=tensors[0].quant,
    )
    turned = [first, *(replace(t, shape=result.shape) for t in tensors[1:-1]), result]
    moved = [
        replace(n, inputs=(before.name,), outputs=(after.name,))
        for n, before, after in zip(between, turned, turned[1:], strict=False)
    ]
    layout = replace(node, inputs=(name,), outputs=(first.name,))
    return replace_nodes(graph, [*between, node], [layout, *moved], turned)


def _only_reader(graph: Graph, name: str) -> Node | None:
    """The node that reads a tensor, if nobody else sees it."""
    readers = graph.readers[name]
    return readers[0] if len(readers) == 1 and name not in graph.outputs else None


def _without_transpose(graph: Graph, name: str) -> Graph:
    """The interface has the channels last where all that reads it wants them there."""
    transpose = _only_reader(graph, name)
    if transpose is None or transpose.attrs != CHANNELS_LAST or transpose.output in graph.outputs:
        return graph
    turned = replace(graph.tensors[transpose.output], name=name)
    graph = redirect(graph, transpose.output, name, transpose)
    shape = list(turned.shape[1:])
    note = f"rows of the input '{name}' have the channels last, {shape}: the model has them first"
    tensors = {**graph.tensors, name: turned}
    return replace(graph, tensors=tensors, notes=(*graph.notes, note))


def _viewed(graph: Graph, name: str) -> str:
    """The input as its readers see it, behind a Reshape where there is one."""
    readers = graph.readers[name]
    if not readers or OPS[readers[0].op].kernel is not None:
        return name
    if len(readers) > 1:  # in another shape
        _refuse_reader(graph, readers[1])
    return _viewed(graph, readers[0].output)


def _check_readers(graph: Graph, rows: str, target: Target) -> None:
    """Every layer up to the last reader of the input must compute by rows, of pixels."""
    views, images = {rows}, {rows}
    for node in graph.nodes:
        if OPS[node.op].kernel is None and node.inputs[0] in views:
            views.add(node.output)
        if not images.isdisjoint(node.inputs):
            if node.op == "Transpose":
                _refuse_reader(graph, node)
            images.update(node.outputs if node.op in (*ELEMENTWISE, *BINARY) else ())
    positions = [i for i, n in enumerate(graph.nodes) if not views.isdisjoint(n.inputs)]
    for node in graph.nodes[: max(positions) + 1]:
        if OPS[node.op].kernel is not None and not _works_by_rows(graph, node, target):
            _refuse_reader(graph, node)


def _works_by_rows(graph: Graph, node: Node, target: Target) -> bool:
    op, call = OPS[node.op], call_of(graph, node)
    running = op.algorithms.get(ACCUMULATING)
    if running is not None and running.suits(call, target):
        return True
    windows = op.windows(call)
    return windows is not None and any(windows) and call.outputs[0].shape[1] > 1


def _refuse_reader(graph: Graph, node: Node) -> NoReturn:
    help = "use --io arena, or begin the model with convolutions or pools of several rows"
    if node.op == "Transpose":
        help = "feed the model in the order that its first layer needs, or use --io arena"
    origin = " + ".join(node.origin) or node.name
    _refuse(f"{node.op} needs the whole input before it can begin", f"node '{origin}'", help)


def _refuse(message: str, where: str, help: str) -> NoReturn:
    raise CompileError("cannot-push-rows", message, where, help)


def state_of(stage: Stage, storages: Sequence[Storage], end: int) -> Storage:
    """What is remembered of the stage between two rows: see `state_fields` of the emitter.

    A number of 4 bytes for each layer and each window; from before the first step to the `end`.
    """
    windows = [s for s in storages if {s.first, s.last} <= set(stage.steps) and not s.kept]
    return Storage(STATE, (), 4 * (len(stage.steps) + len(windows)), -1, end, True)
