"""Nodes of branching graphs in the order that needs the least memory at once.

x -> a1, b1 (large); a1 -> a2; b1 -> b2; a2, b2 -> y      runs as a1, a2, b1, b2, y
"""

from dataclasses import dataclass
from itertools import pairwise

from tinyc.compiler.graph import Graph, Node
from tinyc.passes.storage import roots_of
from tinyc.targets import Target

BEAM = 24  # partial orders that are kept after each node


@dataclass(frozen=True, slots=True, order=True)
class _Partial:
    """Some nodes in an order; the least peak comes first.

    done   the numbers of its nodes, as bits
    """

    peak_bytes: int
    live_bytes: int
    order: tuple[int, ...]
    done: int


def order_nodes(graph: Graph, target: Target) -> Graph:
    """The graph as it is unless another order has a smaller peak of live tensors."""
    if all(_reads(later, node) for node, later in pairwise(graph.nodes)):
        return graph  # there is no other order
    memory = _Memory.of(graph)
    found = memory.best()
    if found.peak_bytes >= memory.peak_of(range(len(graph.nodes))):
        return graph
    return graph.with_nodes([graph.nodes[i] for i in found.order])


def _reads(node: Node, earlier: Node) -> bool:
    return not set(earlier.outputs).isdisjoint(node.inputs)


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What the nodes of a graph need, by their numbers.

    before   nodes that must have run, as bits
    reads    storages that each reads and writes; `readers` of each storage, as bits
    kept     storages that live to the end
    """

    bytes: dict[str, int]
    before: tuple[int, ...]
    reads: tuple[frozenset[str], ...]
    writes: tuple[frozenset[str], ...]
    users: dict[str, int]
    kept: frozenset[str]
    first: int

    @staticmethod
    def of(graph: Graph) -> "_Memory":
        roots, number = roots_of(graph), {n.name: i for i, n in enumerate(graph.nodes)}
        size = {
            roots[t.name]: graph.tensors[roots[t.name]].bytes
            for t in graph.tensors.values()
            if t.data is None
        }
        reads = tuple(
            frozenset(roots[t] for t in n.inputs if roots[t] in size) for n in graph.nodes
        )
        writes = tuple(frozenset(roots[t] for t in n.outputs) for n in graph.nodes)
        users = dict.fromkeys(size, 0)
        for i, used in enumerate(zip(reads, writes, strict=True)):
            for name in used[0] | used[1]:
                users[name] |= 1 << i
        before, others = [], sum(1 << number[n.name] for n in graph.nodes if n.op != "Keep")
        for node in graph.nodes:
            before.append(sum(1 << number[name] for name in graph.view.predecessors(node.name)))
            if node.op == "Keep":  # it writes over what others read
                before[-1] = others
        kept = frozenset(roots[t] for t in graph.outputs)
        first = sum(size[name] for name in {roots[t] for t in graph.inputs})
        return _Memory(size, tuple(before), reads, writes, users, kept, first)

    def after(self, partial: _Partial, node: int) -> _Partial:
        """The order with one more node."""
        done = partial.done | 1 << node
        written = self.writes[node]
        new = sum(self.bytes[w] for w in written if not self.users[w] & partial.done
                  and w not in self.reads[node])  # fmt: skip
        live = partial.live_bytes + new
        dead = sum(
            self.bytes[name]
            for name in self.reads[node] | written
            if not self.users[name] & ~done and name not in self.kept
        )
        peak = max(partial.peak_bytes, live)
        return _Partial(peak, live - dead, (*partial.order, node), done)

    def peak_of(self, order: range) -> int:
        partial = _Partial(0, self.first, (), 0)
        for node in order:
            partial = self.after(partial, node)
        return partial.peak_bytes

    def best(self) -> _Partial:
        """By beam search: of the same nodes in several orders, the best one is kept."""
        beam = [_Partial(0, self.first, (), 0)]
        for _ in self.before:
            found: dict[int, _Partial] = {}
            for partial in beam:
                for node, needed in enumerate(self.before):
                    if partial.done >> node & 1 or needed & ~partial.done:
                        continue
                    longer = self.after(partial, node)
                    known = found.get(longer.done)
                    if known is None or longer < known:
                        found[longer.done] = longer
            beam = sorted(found.values())[:BEAM]
        return beam[0]
