"""The planner against the checker, on random and on real problems."""

from dataclasses import replace

import numpy as np
import pytest

from tinyc.compiler.ops.op import Window
from tinyc.passes.claims import buffers_of
from tinyc.passes.memory_check import check_plan
from tinyc.passes.memory_plan import MemoryPlan, directed, plan_memory
from tinyc.passes.stages import Stage, stage_of
from tinyc.passes.storage import Step, Storage


def alone(steps: list[Step]) -> list[Stage]:
    """Every step by itself."""
    return [stage_of(steps, [i], [step.band]) for i, step in enumerate(steps)]


def plan(steps: list[Step], storages: list[Storage], alignment: int = 4) -> MemoryPlan:
    return plan_memory(buffers_of(alone(steps), steps, storages, alignment), alignment)


def check(
    result: MemoryPlan, steps: list[Step], storages: list[Storage], alignment: int = 4
) -> None:
    check_plan(result, directed(alone(steps), result), steps, storages, alignment)


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
    check(result, steps, storages)


def test_an_output_runs_into_its_dying_input_row_by_row() -> None:
    x = Storage("x", ("x",), 64, -1, 0, False)
    y = Storage("y", ("y",), 64, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 0, 8, {"x": (Window(3, 1, 1),)}, {"x": 8})

    result = plan([step], [x, y])

    assert result.arena_bytes == 64 + 16  # two rows of 8 bytes ahead of the oldest row needed
    check(result, [step], [x, y])


def test_elementwise_works_in_place() -> None:
    x = Storage("x", ("x",), 64, -1, 0, False)
    y = Storage("y", ("y",), 64, 0, 1, True)
    step = Step("add", ("x",), ("y",), 0, element_order=True, aligned_reads=frozenset({"x"}))

    result = plan([step], [x, y])

    assert result.arena_bytes == 64
    check(result, [step], [x, y])


def test_the_checker_sees_an_overwritten_row() -> None:
    x = Storage("x", ("x",), 64, -1, 0, False)
    y = Storage("y", ("y",), 64, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 0, 8, {"x": (Window(3, 1, 1),)}, {"x": 8})
    too_tight = MemoryPlan({"x": 8, "y": 0}, 72, 72)

    with pytest.raises(AssertionError, match=r"conv reads 'x' byte \d+: overwritten"):
        check(too_tight, [step], [x, y])


def test_the_checker_sees_scratch_that_is_overwritten() -> None:
    x, y = Storage("x", ("x",), 8, -1, 0, False), Storage("y", ("y",), 8, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 8)
    overlapping = MemoryPlan({"x": 0, "y": 8, "conv\tscratch": 12}, 20, 20)

    with pytest.raises(AssertionError, match="overwrites its scratch"):
        check(overlapping, [step], [x, y])


def test_the_checker_sees_a_misaligned_buffer() -> None:
    steps, storages = chain([8, 8])

    with pytest.raises(AssertionError, match="is not aligned"):
        check(MemoryPlan({"t0": 0, "t1": 9}, 17, 16), steps, storages)


@pytest.mark.sampled
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
            windows, input_rows = {f"t{i}": (window,)}, {f"t{i}": 8}
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

    check(result, steps, storages)
    assert result.arena_bytes >= result.bound_bytes


def column(rng: np.random.Generator) -> tuple[list[Step], list[Storage], dict[int, list[int]]]:
    """Layers with windows of every kind, shortcuts and sums, in one stage, more behind it."""
    heights, steps, uses = [int(rng.integers(4, 20))], [], {0: []}
    sizes = [heights[0] * int(rng.integers(1, 12))]
    for i in range(int(rng.integers(2, 8))):
        window = Window(int(rng.integers(1, 5)), int(rng.integers(1, 3)), int(rng.integers(0, 2)))
        height = max((heights[i] + window.before - 1) // window.stride + 1, 1)
        row_bytes = int(rng.integers(1, 12))
        reads, windows, rows = [f"t{i}"], {f"t{i}": (window,)}, {f"t{i}": heights[i]}
        uses[i].append(i)
        same = [j for j in range(i) if heights[j] == height]
        if same and rng.integers(0, 2):
            other = int(rng.choice(same))
            reads.append(f"t{other}")
            windows[f"t{other}"], rows[f"t{other}"] = (Window(),), height
            uses[other].append(i)
        step = Step(f"n{i}", tuple(reads), (f"t{i + 1}",), int(rng.integers(0, 3)) * 4, height,
                    windows, rows, band=int(rng.integers(1, 4)))  # fmt: skip
        if rng.integers(0, 6) == 0:
            step = replace(step, windows={}, input_rows={})
        steps.append(step)
        heights.append(height)
        sizes.append(height * row_bytes)
        uses[i + 1] = []
    last = len(steps)
    storages = [
        Storage(f"t{i}", (f"t{i}",), n, i - 1, last if i == last else max(uses[i]), i == last)
        for i, n in enumerate(sizes)
    ]
    return steps, storages, uses


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(300))
def test_random_streams_are_sound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, storages, _ = column(rng)
    first = int(rng.integers(0, len(steps) - 1))
    together = range(first, int(rng.integers(first + 2, len(steps) + 1)))
    stages = [stage_of(steps, [i], [steps[i].band]) for i in range(len(steps)) if i < first]
    stages.append(stage_of(steps, together, [steps[i].band for i in together]))
    stages += [stage_of(steps, [i], [steps[i].band]) for i in range(together.stop, len(steps))]

    result = plan_memory(buffers_of(stages, steps, storages, 4), 4)

    check_plan(result, directed(stages, result), steps, storages, 4)
    assert result.arena_bytes >= result.bound_bytes


def test_a_million_rows_are_planned_several_bands_at_a_time() -> None:
    rows = 1_000_000
    x = Storage("x", ("x",), 4 * rows, -1, 0, False)
    y = Storage("y", ("y",), 4 * rows, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 0, rows, {"x": (Window(3, 1, 1),)}, {"x": rows}, band=2)

    result = plan([step], [x, y])

    assert 4 * rows < result.arena_bytes < 4 * rows + 2048
    check(result, [step], [x, y])
