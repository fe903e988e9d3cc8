"""Measures schedules of one call, a whole batch in one image, each against the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.autotune.candidates import Candidate, candidate, sample_of
from tinyc.autotune.records import Record, core_of
from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.workload import workload
from tinyc.targets import Target
from tinyc.targets.runner import Execution, measure_programs

FLOAT_TOLERANCE = 1e-4  # of the largest output; sums may be taken in another order


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that could not be measured, or computed something else: a bug of its kernel."""

    workload: str
    schedule: Schedule
    reason: str


def measure(
    call: Call, target: Target, schedules: Sequence[Schedule]
) -> tuple[Record | Failure, ...]:
    """One record or failure for each schedule. Runs in any process; the arguments are plain data.

    Raises CompileError when nothing can be measured: no compiler, no emulator.
    """
    text, sample = workload(call), sample_of(call)
    candidates = [candidate(call, target, s, f"c{i}") for i, s in enumerate(schedules)]
    programs = [c.program for c in candidates]
    data = tuple(array.tobytes() for array in sample.values())
    expected = _expected(call, sample)
    return tuple(
        _judged(c, execution, expected, text, target)
        for c, execution in zip(candidates, measure_programs(programs, target, data), strict=True)
    )


def _expected(call: Call, sample: Mapping[str, Array]) -> Array:
    values = [sample[t.name] if t.data is None else t.data for t in call.inputs]
    (output,) = OPS[call.node.op].reference(call, tuple(values))
    return output


def _judged(
    c: Candidate, execution: Execution | CompileError, expected: Array, text: str, target: Target
) -> Record | Failure:
    if isinstance(execution, CompileError):
        return Failure(text, c.schedule, execution.message)
    ((data,),) = execution.outputs
    computed = np.frombuffer(data, expected.dtype).reshape(expected.shape)
    if not _agree(computed, expected):
        return Failure(text, c.schedule, "its results are not those of the reference")
    assert execution.cycles is not None, "the target is emulated"
    sizes = execution.code_bytes_by_function
    blocks = {name: size for name, size in sorted(sizes.items()) if name in c.blocks}
    own = sum(sizes.values()) - sum(blocks.values()) - sizes.get(f"{c.program.prefix}_run", 0)
    return Record(
        core_of(target),
        execution.compiler,
        c.kernel,
        text,
        c.schedule,
        execution.cycles,
        c.tables_bytes,
        own,
        blocks,
        c.scratch_bytes,
        c.arena_bytes,
    )


def _agree(computed: Array, expected: Array) -> bool:
    if not np.issubdtype(expected.dtype, np.floating):
        return bool(np.array_equal(computed, expected))
    scale = float(np.abs(expected).max(initial=1e-30))
    return bool(np.abs(computed - expected).max(initial=0.0) <= FLOAT_TOLERANCE * scale)
