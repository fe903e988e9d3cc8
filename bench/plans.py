"""How long planning takes, and the arenas it finds, for networks that are large for this."""

import time
from collections.abc import Iterator
from typing import get_args

from bench.shapes import mobilenet_v2
from bench.tables import table
from tests.nets import NetBuilder
from tinyc.autotune.choice import Limits, Optimize
from tinyc.autotune.records import known_records
from tinyc.compiler.graph import Graph
from tinyc.compiler.planning import plan_best, task_of
from tinyc.passes.storage import materialize_outputs
from tinyc.targets import load_target

TARGET = "cortex-m4"
PLENTY = 1 << 26  # bytes: more than any of the plans needs


def branches() -> Graph:
    """19 blocks of four branches that are joined, three of them with stride 2."""
    b = NetBuilder(32, 32, 3)
    x = b.conv("x", 16, 3)
    for block in range(19):
        stride = 2 if block in (4, 9, 14) else 1
        narrow = b.conv(x, 6, 1, stride)
        middle = b.conv(b.conv(x, 4), 6, 3, stride)
        wide = b.conv(b.conv(b.conv(x, 3), 4, 3), 4, 3, stride)
        pooled = b.conv(b.pool("Max", x, 3, stride), 3)
        x = b.conv(b.concat([narrow, middle, wide, pooled]), 16 + 8 * (block // 5))
    return b.graph(b.classes(x, 10))


def tower() -> Graph:
    """65 inverted bottlenecks."""
    b = NetBuilder(48, 48, 3)
    x = b.conv("x", 8, 3, 2)
    for block in range(65):
        x = b.inverted(x, 8 + 8 * (block // 20), 2 if block in (20, 40) else 1)
    return b.graph(b.classes(x, 10))


NETS = {
    "MobileNetV2 at 224 x 224, to its last 160 channels": lambda: mobilenet_v2(1.0, 224),
    "19 blocks of four branches": branches,
    "65 inverted bottlenecks": tower,
}


def plans_section() -> Iterator[str]:
    yield f"\n## Planning large networks for the {TARGET}, `--io arena`\n"
    yield "Random weights; seconds of CPU time of the whole choice, each mode by itself.\n"
    rows = [row for name, net in NETS.items() for row in _rows(name, net())]
    yield table("network | tensors | `--optimize` | arena B | no less than B | time", rows)


def _rows(name: str, graph: Graph) -> Iterator[tuple[str, ...]]:
    graph, target, limits = materialize_outputs(graph), load_target(TARGET), Limits(PLENTY, PLENTY)
    activations = sum(t.data is None for t in graph.tensors.values())
    begin = time.process_time()
    task = task_of(graph, target, "arena", known_records(target), limits)
    before = time.process_time() - begin
    for mode in get_args(Optimize):
        begin = time.process_time()
        plan = plan_best(task, mode)[0].plan
        seconds = before + time.process_time() - begin
        yield (
            name, str(activations), mode, f"{plan.arena_bytes:,}", f"{plan.bound_bytes:,}",
            f"{seconds:.1f} s",
        )  # fmt: skip
