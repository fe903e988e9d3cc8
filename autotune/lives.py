"""What is in the arena beside a layer, before its kernel is chosen."""

from collections.abc import Mapping

from tinyc.compiler.graph import Graph
from tinyc.compiler.ops.op import Call
from tinyc.passes.storage import callers_arrays
from tinyc.targets.firmware import Io

Lives = Mapping[str, tuple[int, int]]  # tensors in the arena: the steps that write and last read


def lives_of(graph: Graph, io: Io) -> Lives:
    place = {node.name: i for i, node in enumerate(graph.nodes)}
    callers = callers_arrays(graph, io)
    lives: dict[str, tuple[int, int]] = {}
    for name, tensor in graph.tensors.items():
        if tensor.data is None and name not in callers:
            readers = [place[n.name] for n in graph.readers[name]]
            producer = graph.producer(name)
            first = -1 if producer is None else place[producer.name]
            last = len(graph.nodes) if name in graph.outputs else max(readers, default=first)
            lives[name] = (first, last)
    return lives


def is_last_reader(graph: Graph, lives: Lives, call: Call) -> bool:
    """Whether all its activations are in the arena and nobody reads its inputs later."""
    step = graph.nodes.index(call.node)
    inputs = [t.name for t in call.inputs if t.data is None]
    return all(n in lives for n in (*inputs, *call.node.outputs)) and all(
        lives[n][1] == step for n in inputs
    )


def live_bytes(graph: Graph, lives: Lives, call: Call) -> int:
    """All that is in the arena during a call."""
    step = graph.nodes.index(call.node)
    live = [name for name, (first, last) in lives.items() if first <= step <= last]
    return sum(graph.tensors[name].bytes for name in live)


def passing_bytes(graph: Graph, lives: Lives, call: Call) -> int:
    """What of it the call neither reads nor writes."""
    return live_bytes(graph, lives, call) - sum(
        t.bytes for t in {t.name: t for t in (*call.inputs, *call.outputs)}.values()
        if t.data is None
    )  # fmt: skip
