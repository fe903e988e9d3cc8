"""How long planning takes, and the arenas it finds, for a network that is large for this."""

import time
from collections.abc import Iterator
from typing import get_args

from bench.shapes import mobilenet_v2
from bench.tables import table
from tinyc.autotune.choice import Limits, Optimize, problems_of
from tinyc.autotune.records import known_records
from tinyc.compiler.planning import plan_best
from tinyc.passes.storage import materialize_outputs
from tinyc.targets import load_target

TARGET = "cortex-m4"
PLENTY = 1 << 26  # bytes: more than any of the plans needs


def plans_section() -> Iterator[str]:
    yield "\n## Planning MobileNetV2 1.0 at 224 x 224 for the Cortex-M4, `--io arena`\n"
    yield "The layers up to the last block of 160 channels, random weights; seconds of CPU time.\n"
    graph, target = materialize_outputs(mobilenet_v2(1.0, 224)), load_target(TARGET)
    begin = time.process_time()
    problems = problems_of(graph, target, "arena", known_records(target))
    before = time.process_time() - begin
    rows = []
    for mode in get_args(Optimize):
        begin = time.process_time()
        limits = Limits(PLENTY, PLENTY)
        program, _ = plan_best(graph, target, "arena", problems, mode, limits)
        seconds = before + time.process_time() - begin
        plan = program.plan
        rows.append((mode, f"{plan.arena_bytes:,}", f"{plan.bound_bytes:,}", f"{seconds:.1f} s"))
    yield table("`--optimize` | arena B | no less than B | time", rows)
