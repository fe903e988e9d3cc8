"""How many bytes of every buffer and table a run reads and writes, about: what fast memory saves.

Estimated from shapes, before any kernel runs; it is good enough to compare memories by:

- An output is written once.
- An input that is read by rows is read as often as its windows overlap: rows x window. Others are
  read once.
- A layer that multiplies reads its main operand for every product, but a value that was loaded
  serves PRODUCTS of them. The operand is the scratch, which was filled from the input by its
  windows, or the input itself where there is no scratch.
- Its tables are read in one pass for every PRODUCTS positions of the output.
- Other scratch is written and read as often as the input is read.
- A table of a layer that does not multiply is looked into once for each element of the output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, call_of
from tinyc.passes.claims import scratch_name
from tinyc.passes.storage import Step, Storage

PRODUCTS = 4  # of most blocks of the kernels, in both directions


@dataclass(frozen=True, slots=True)
class Table:
    """A constant array; equal arrays are one, with the name of the first."""

    name: str
    bytes: int
    accesses: int


def table_name(node: str, number: int) -> str:
    """Of a node's constant; no tensor has this name, ONNX has no tab in names."""
    return f"{node}\ttable {number}"


def accesses_of(
    graph: Graph, steps: Sequence[Step], storages: Sequence[Storage]
) -> Mapping[str, int]:
    """Bytes read and written by buffer."""
    sizes = {s.name: s.bytes for s in storages}
    nodes = {node.name: node for node in graph.nodes}
    total = dict.fromkeys(sizes, 0)
    for step in steps:
        for name, count in _of_step(call_of(graph, nodes[step.node]), step, sizes).items():
            total[name] = total.get(name, 0) + count
    return total


def tables_of(graph: Graph, kernels: Mapping[str, Kernel]) -> tuple[Table, ...]:
    """Every constant array, in the order of first use."""
    tables: dict[tuple[str, bytes], Table] = {}
    for node in graph.nodes:
        kernel = kernels.get(node.name)
        for number, constant in enumerate(kernel.constants if kernel else ()):
            array = constant.array
            key, count = (str(array.dtype), array.tobytes()), _reads(call_of(graph, node), constant)
            known = tables.get(key, Table(table_name(node.name, number), array.nbytes, 0))
            tables[key] = replace(known, accesses=known.accesses + count)
    return tuple(tables.values())


def _of_step(call: Call, step: Step, sizes: Mapping[str, int]) -> Mapping[str, int]:
    counts = {name: sizes[name] for name in step.writes}
    for name in step.reads:
        counts[name] = counts.get(name, 0) + _read_by_rows(step, name, sizes[name])
    scratch = scratch_name(step.node)
    macs = OPS[call.node.op].macs(call)
    if not step.reads:
        return counts
    main = step.reads[0]
    loads = macs * call.inputs[0].dtype.size // PRODUCTS
    filled = _read_by_rows(step, main, sizes[main])
    if step.scratch_bytes:
        counts[scratch] = filled + (loads if macs else filled)
    elif macs:
        counts[main] += max(loads - filled, 0)
    return counts


def _read_by_rows(step: Step, name: str, size: int) -> int:
    windows = step.windows.get(name)
    if not windows:
        return size
    row_bytes = size // step.input_rows[name]
    return sum(step.rows * window.size * row_bytes for window in windows)


def _reads(call: Call, constant: Constant) -> int:
    output = call.outputs[0]
    if not OPS[call.node.op].macs(call):
        return output.elements * constant.array.itemsize
    positions = output.elements // output.shape[-1] if output.shape else 1
    return constant.array.nbytes * -(-positions // PRODUCTS)
