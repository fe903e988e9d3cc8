"""The planner against the checker, on random and on real problems."""

import numpy as np
import pytest

from tinyc.compiler.ops.op import Window
from tinyc.passes.memory_check import check_plan
from tinyc.passes.memory_plan import MemoryPlan, buffers_of, plan_memory
from tinyc.passes.storage import Step, Storage


def plan(steps: list[Step], storages: list[Storage], alignment: int = 4) -> MemoryPlan:
    return plan_memory(buffers_of(steps, storages), alignment)


def chain(sizes: list[int]) -> tuple[list[Step], list[Storage]]:
    """Tensors t0, t1, ...; each step reads one and writes the next."""
    last = len(sizes) - 1
    storages = [
        Storage(f"t{i}", (f"t{i}",), n, i - 1, min(i, last) if i < last else last, i == last)
        for i, n in enumerate(sizes)
    ]
    steps = [Step(f"n{i}", (f"t{i}",), (f"t{i + 1}",), 0) for i in range(last)]
    return steps, storages


def test_buffers_that_never_meet_share_bytes() -> None:
    steps, storages = chain([8, 8, 8, 8])

    result = plan(steps, storages)

    assert result.arena_bytes == 16
    check_plan(result, steps, storages, 4)


def test_an_output_runs_into_its_dying_input_row_by_row() -> None:
    x = Storage("x", ("x",), 64, -1, 0, False)
    y = Storage("y", ("y",), 64, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 0, 8, {"x": Window(3, 1, 1)}, {"x": 8})

    result = plan([step], [x, y])

    assert result.arena_bytes == 64 + 16  # two rows of 8 bytes ahead of the oldest row needed
    check_plan(result, [step], [x, y], 4)


def test_elementwise_works_in_place() -> None:
    x = Storage("x", ("x",), 64, -1, 0, False)
    y = Storage("y", ("y",), 64, 0, 1, True)
    step = Step("add", ("x",), ("y",), 0, element_order=True, aligned_reads=frozenset({"x"}))

    result = plan([step], [x, y])

    assert result.arena_bytes == 64
    check_plan(result, [step], [x, y], 4)


def test_the_checker_sees_an_overwritten_row() -> None:
    x = Storage("x", ("x",), 64, -1, 0, False)
    y = Storage("y", ("y",), 64, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 0, 8, {"x": Window(3, 1, 1)}, {"x": 8})
    too_tight = MemoryPlan({"x": 8, "y": 0}, 72, 72)

    with pytest.raises(AssertionError, match=r"conv reads 'x' byte \d+: overwritten"):
        check_plan(too_tight, [step], [x, y], 4)


def test_the_checker_sees_scratch_that_is_overwritten() -> None:
    x, y = Storage("x", ("x",), 8, -1, 0, False), Storage("y", ("y",), 8, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 8)
    overlapping = MemoryPlan({"x": 0, "y": 8, "conv\tscratch": 12}, 20, 20)

    with pytest.raises(AssertionError, match="overwrites its scratch"):
        check_plan(overlapping, [step], [x, y], 4)


def test_the_checker_sees_a_misaligned_buffer() -> None:
    steps, storages = chain([8, 8])

    with pytest.raises(AssertionError, match="is not aligned"):
        check_plan(MemoryPlan({"t0": 0, "t1": 9}, 17, 16), steps, storages, 4)


@pytest.mark.parametrize("seed", range(200))
def test_random_plans_are_sound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 14))
    tensors = {f"t{i}": int(rng.integers(1, 9)) * 8 for i in range(count + 1)}
    steps, uses = [], {name: [] for name in tensors}
    for i in range(count):
        reads = sorted({f"t{i}", f"t{int(rng.integers(0, i + 1))}"})
        rows, kind = 1, rng.integers(0, 3)
        windows, input_rows, aligned = {}, {}, frozenset()
        if kind == 1:
            rows = 8
            stride = int(rng.integers(1, 3))
            window = Window(int(rng.integers(1, 4)), stride, int(rng.integers(0, 2)))
            windows, input_rows = {f"t{i}": window}, {f"t{i}": 8}
        if kind == 2:
            aligned = frozenset(n for n in reads if tensors[n] == tensors[f"t{i + 1}"])
        steps.append(
            Step(f"n{i}", tuple(reads), (f"t{i + 1}",), int(rng.integers(0, 3)) * 4, rows,
                 windows, input_rows, kind == 2, aligned)
        )  # fmt: skip
        for name in reads:
            uses[name].append(i)
    kept = f"t{count}"
    storages = [
        Storage(
            n, (n,), size, i - 1, count if n == kept else max(uses[n], default=i - 1), n == kept
        )
        for i, (n, size) in enumerate(tensors.items())
    ]

    result = plan(steps, storages)

    check_plan(result, steps, storages, 4)
    assert result.arena_bytes >= result.bound_bytes
