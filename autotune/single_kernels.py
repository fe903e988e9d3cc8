"""Cycles of the layers that stand for each other and have one kernel each, so no records.

A ConvTranspose is chosen against its phases, which are Conv2Ds, and the Interleave that joins them.
"""

from tinyc.autotune.options import UNKNOWN_CYCLES
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, call_of
from tinyc.targets import Target

CYCLES_PER_BYTE = 1  # of an image that is joined: 0.4 to 1.1 on Cortex-M4 (docs/kernels.md)


def cycles_of(graph: Graph, target: Target) -> int:
    """Of all such layers, about."""
    return sum(_cycles(call_of(graph, node), target) for node in graph.nodes)


def _cycles(call: Call, target: Target) -> int:
    if call.node.op == "Interleave":
        return call.output.bytes * CYCLES_PER_BYTE
    if call.node.op == "ConvTranspose":
        return int(OPS["ConvTranspose"].macs(call) * _per_product(call, target))
    return 0


def _per_product(call: Call, target: Target) -> float:
    """Measured (docs/kernels.md): int8 3.6 to 5.8 on Cortex-M4, 4.7 to 5.8 on rv32imc, 7.8 to 10.4
    on Cortex-M0+; floats 4.1 to 5.2 on Cortex-M4. Without an FPU a product of floats takes as long
    as in a Conv2D, of which nothing is on record either.
    """
    if not call.quantized:
        return 4.7 if "fpu" in target.features else UNKNOWN_CYCLES
    return 9.0 if "thumb1" in target.features else 5.0
