"""Which tensors share bytes, and what each step of the schedule reads and writes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tinyc.compiler.graph import Graph, Node, elements
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.input_rows import INPUT_ROWS
from tinyc.compiler.ops.interleave import InterleaveAttrs
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import ROW, Window, call_of
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.targets.firmware import Io


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes that one tensor, or several that are aliases of each other, live in.

    name   the first tensor that is written there
    first  step that writes it; -1 for a graph input
    last   last step that reads it; the number of steps for a graph output
    kept   whether the caller reads it afterwards
    """

    name: str
    tensors: tuple[str, ...]
    bytes: int
    first: int
    last: int
    kept: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel over all its rows, top to bottom; names are those of storages.

    rows           output rows; 1 when the call is one piece
    band           rows that are computed together, in any order
    windows        rows that an output row reads, for the inputs that are read row by row; several
                   for an input that is read in several ways
    input_rows     how many rows those inputs have
    gathers        inputs of which all that a band reads is read before any of it is written
    accumulates    rows are those of the input; the scratch lives from the first to the last, and
                   the output is written with the last
    element_order  element i of the output is written right after element i of the inputs is read
    aligned_reads  the inputs for which `element_order` holds
    joins          its inputs are parts of one image, which layers compute in turns
    pushed         the caller decides when the next row comes, from the first to the last
    wait           calls of a streaming model that pass before it runs first
    """

    node: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    scratch_bytes: int
    rows: int = 1
    windows: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    input_rows: Mapping[str, int] = field(default_factory=dict)
    element_order: bool = False
    aligned_reads: frozenset[str] = frozenset()
    band: int = 1
    gathers: frozenset[str] = frozenset()
    accumulates: bool = False
    joins: bool = False
    pushed: bool = False
    wait: int = 0


def callers_arrays(graph: Graph, io: Io) -> set[str]:
    """The tensors that are arrays of the caller's, or in its state: outside the arena."""
    inputs = set() if io == "arena" else set(graph.inputs)
    return inputs | graph.remembered | (set(graph.outputs) if io == "caller" else set())


def materialize_outputs(graph: Graph) -> Graph:
    """Copy outputs that have no bytes of their own: constants, aliases of inputs and outputs."""
    roots = roots_of(graph)
    taken = {roots[name] for name in graph.inputs}
    for position, name in enumerate(graph.outputs):
        if graph.tensors[name].data is None and roots[name] not in taken:
            taken.add(roots[name])
        else:
            graph = _with_copy(graph, position)
    return _keep_last(graph)


def _keep_last(graph: Graph) -> Graph:
    """What is kept for the next run is written when nobody reads what lies there any more.

    One state that becomes another one is copied before any of them is written over.
    """
    roots = roots_of(graph)
    last = [n for n in graph.nodes if n.op == "Keep" and n.output in graph.remembered]
    copies: list[Node] = []
    kept, new = [], []
    for node in last:
        x = graph.tensors[node.inputs[0]]
        if roots[x.name] in graph.remembered:
            copy = replace(x, name=_unused(f"{x.name}_copy", graph))
            copies.append(Node(f"copy of {x.name}", "Keep", (x.name,), (copy.name,)))
            new.append(copy)
            node = replace(node, inputs=(copy.name,))
        kept.append(node)
    return graph.with_nodes([*(n for n in graph.nodes if n not in last), *copies, *kept], new)


def _with_copy(graph: Graph, position: int) -> Graph:
    """The output at `position` keeps its name, where it can, and becomes a copy.

    Of no elements there is nothing to copy: that output is an alias.
    """
    name = graph.outputs[position]
    output = graph.tensors[name]
    source = replace(output, name=_unused(f"{name}_source", graph))
    copy = replace(output, data=None)
    if name in graph.inputs or name in graph.outputs[:position]:
        source, copy = output, replace(copy, name=_unused(f"{name}_copy", graph))

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(source.name if n == name else n for n in names)

    nodes = [replace(n, inputs=renamed(n.inputs), outputs=renamed(n.outputs)) for n in graph.nodes]
    op, attrs = (
        ("Concat", ConcatAttrs(0)) if copy.elements else ("Reshape", ReshapeAttrs(copy.shape))
    )
    nodes.append(Node(f"copy of {name}", op, (source.name,), (copy.name,), attrs))
    outputs = (*graph.outputs[:position], copy.name, *graph.outputs[position + 1 :])
    return replace(graph, outputs=outputs).with_nodes(nodes, new=(source, copy))


def steps_of(
    graph: Graph, kernels: Mapping[str, Kernel], streamed: Collection[str] = ()
) -> tuple[Step, ...]:
    """The kernel calls in execution order; aliases are no steps.

    streamed  nodes that run row by row: their outputs never lie over their inputs
    """
    roots = _shared_roots(graph, kernels, streamed)
    return tuple(
        _step(graph, node, kernels[node.name], roots)
        for node in graph.nodes
        if node.name in kernels
    )


def storages_of(
    graph: Graph,
    steps: Sequence[Step],
    kernels: Mapping[str, Kernel],
    streamed: Collection[str] = (),
) -> tuple[Storage, ...]:
    """Every storage that holds an activation, in the order of first writing."""
    roots = _shared_roots(graph, kernels, streamed)
    members: dict[str, list[str]] = {}
    for name, tensor in graph.tensors.items():
        if tensor.data is None:
            members.setdefault(roots[name], []).append(name)
    storages = []
    for root, names in members.items():
        written = [i for i, s in enumerate(steps) if root in s.writes]
        read = [i for i, s in enumerate(steps) if root in s.reads]
        kept = any(n in graph.outputs for n in names)
        first = written[0] if written else -1
        last = len(steps) if kept else max(read, default=first)
        storages.append(Storage(root, tuple(names), graph.tensors[root].bytes, first, last, kept))
    return tuple(sorted(storages, key=lambda s: (s.first, s.name)))


def roots_of(graph: Graph) -> dict[str, str]:
    """The tensor whose bytes each tensor lives in."""
    roots = {name: name for name in graph.tensors}
    for node in graph.nodes:
        if OPS[node.op].kernel is None:
            roots[node.output] = roots[node.inputs[0]]
    return roots


def _shared_roots(
    graph: Graph, kernels: Mapping[str, Kernel], streamed: Collection[str]
) -> dict[str, str]:
    """The same, where outputs also lie over the dying inputs of kernels that work in place."""
    roots = roots_of(graph)
    callers = {roots[name] for name in (*graph.inputs, *graph.outputs)}
    for position, node in enumerate(graph.nodes):
        kernel = kernels.get(node.name)
        if kernel is None or not kernel.in_place or node.name in streamed:
            continue
        x, y = roots[node.inputs[0]], roots[node.output]
        later = {roots[t] for n in graph.nodes[position + 1 :] for t in n.inputs}
        if x not in later and callers.isdisjoint((x, y)):
            roots = {tensor: x if root == y else root for tensor, root in roots.items()}
    return roots


def _step(graph: Graph, node: Node, kernel: Kernel, roots: Mapping[str, str]) -> Step:
    call, op = call_of(graph, node), OPS[node.op]
    activations = [t for t in call.inputs if t.data is None]
    reads = tuple(dict.fromkeys(roots[t.name] for t in activations))
    writes = tuple(roots[t.name] for t in call.outputs)
    wait = graph.waits.get(node.name, 0)
    base = Step(node.name, reads, writes, kernel.scratch_bytes, wait=wait)
    if kernel.accumulates:
        (read,) = reads
        return replace(
            base, rows=kernel.rows, windows={read: (ROW,)}, input_rows={read: kernel.rows},
            accumulates=True,
        )  # fmt: skip
    windows = op.windows(call) if kernel.rows else None
    if windows is not None:
        rowwise: dict[str, tuple[Window, ...]] = {}
        input_rows: dict[str, int] = {}
        inputs = [(t, w) for t, w in zip(call.inputs, windows, strict=True) if t.data is None]
        whole = {roots[t.name] for t, window in inputs if window is None}
        for tensor, window in inputs:
            name = roots[tensor.name]
            if window is not None and name not in whole:
                rowwise[name] = (*rowwise.get(name, ()), window)
                input_rows[name] = tensor.shape[1]
        gathered = roots[activations[0].name] if activations else ""  # of constants alone
        once = [roots[t.name] for t in activations].count(gathered) == 1
        base = replace(
            base, rows=kernel.rows, band=kernel.band, windows=rowwise, input_rows=input_rows,
            gathers=frozenset({gathered} if kernel.gathers and once else ()),
            joins=joins(node), pushed=op is INPUT_ROWS,
        )  # fmt: skip
    if op.in_place and len(writes) == 1:
        output = call.output
        aligned = {
            roots[t.name]
            for t in activations
            if t.shape == output.shape and t.bytes == output.bytes
        }
        return replace(base, element_order=True, aligned_reads=frozenset(aligned))
    return base


def joins(node: Node) -> bool:
    """Whether several inputs hold parts of the output's rows."""
    return isinstance(node.attrs, InterleaveAttrs) and elements(node.attrs.inputs) > 1


def _unused(name: str, graph: Graph) -> str:
    while name in graph.tensors:
        name += "_"
    return name
