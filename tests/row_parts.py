"""A layer's kernels called for their rows in several parts, many of them in one program."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tests.harness import STRICT_HOST
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.targets import load_target
from tinyc.targets.firmware.program import Port, Program
from tinyc.targets.runner import run_program

CALL = re.compile(r"^  (\w+\(.*), 0, (\d+)\);$", re.MULTILINE)

Variant = tuple[Schedule, Sequence[int]]  # a kernel, and where its parts begin and the last ends


def parts_of(rows: int, size: int) -> list[int]:
    """Where parts of `size` rows begin, and where the last one ends."""
    return [*range(0, rows, size), rows]


def odd_parts(rows: int) -> list[int]:
    """Parts of 1, 2, 3, ... rows."""
    ends = [n * (n + 1) // 2 for n in range(rows)]
    return [*(e for e in ends if e < rows), rows]


def run_parts(
    graph: Graph, samples: Sequence[Mapping[str, Array]], target: str, on: str,
    variants: Sequence[Variant],
) -> list[list[Array]]:  # fmt: skip
    """By sample, the output of the only node by every variant; `on` as in `harness.run_c`."""
    copies = _copies(graph, len(variants))
    schedules = {f"n{i}": schedule for i, (schedule, _) in enumerate(variants)}
    artifact = emit_artifact(plan_program(copies, load_target(target), schedules=schedules))
    source = f"{artifact.name}.c"
    text = artifact.files[source]
    assert isinstance(text, str)
    program = Program(
        artifact.name,
        {**artifact.files, source: _split(text, [cuts for _, cuts in variants])},
        tuple(Port(p.c_name, C_TYPES[p.dtype], p.bytes) for p in artifact.report.inputs),
        tuple(Port(p.c_name, C_TYPES[p.dtype], p.bytes) for p in artifact.report.outputs),
        "caller",
    )
    inputs = [p.name for p in artifact.report.inputs]
    data = [tuple(np.ascontiguousarray(s[n]).tobytes() for n in inputs) for s in samples]
    execution = run_program(program, STRICT_HOST if on == "host" else load_target(on), data)
    y = graph.tensors[graph.outputs[0]]
    return [
        [np.frombuffer(bytes_, y.dtype.value).reshape(y.shape) for bytes_ in outputs]
        for outputs in execution.outputs
    ]


def _copies(graph: Graph, count: int) -> Graph:
    """The only node several times, of the same inputs."""
    ((node,), (name,)) = graph.nodes, graph.outputs
    outputs = tuple(f"y{i}" for i in range(count))
    nodes = (replace(node, name=f"n{i}", outputs=(y,)) for i, y in enumerate(outputs))
    tensors = {y: replace(graph.tensors[name], name=y) for y in outputs}
    return replace(graph, outputs=outputs, nodes=tuple(nodes), tensors={**graph.tensors, **tensors})


def _split(source: str, cuts: Sequence[Sequence[int]]) -> str:
    """The C with each call of a kernel with rows made part by part."""
    places = iter(cuts)

    def parts(found: re.Match[str]) -> str:
        ends = next(places)
        assert int(found[2]) == ends[-1], f"the kernel has {found[2]} rows"
        return "\n".join(f"  {found[1]}, {b}, {e});" for b, e in itertools.pairwise(ends))

    text = CALL.sub(parts, source)
    assert next(places, None) is None, "every variant is a call"
    return text
