"""Plans of several memories: what lies in which region, and that it fits there."""

from dataclasses import replace

import numpy as np
import pytest

from tests.test_memory_plan import column
from tinyc.passes.accesses import Table
from tinyc.passes.claims import buffers_of, scratch_name
from tinyc.passes.memory_check import check_plan
from tinyc.passes.memory_plan import MemoryPlan, directed
from tinyc.passes.memory_regions import plan_regions
from tinyc.passes.stages import stage_of
from tinyc.passes.storage import Step, Storage
from tinyc.targets import Region, load_target

M4 = load_target("cortex-m4")


def test_what_is_accessed_most_per_byte_lies_in_the_fast_memory() -> None:
    steps = [Step("n0", ("x",), ("y",), 40), Step("n1", ("y",), ("z",), 40)]
    sizes = {"x": 100, "y": 60, "z": 100}
    storages = [
        Storage(name, (name,), size, i - 1, min(i + 1, 2), name == "z")
        for i, (name, size) in enumerate(sizes.items())
    ]
    stages = [stage_of(steps, [i], [1]) for i in range(2)]
    accesses = {"x": 100, "y": 600, "z": 300, "n0\tscratch": 800, "n1\tscratch": 20}
    regions = (
        Region("slow", "ram", None, 1000, 8),
        Region("fast", "ram", None, 180, 0),
        Region("flash", "flash", None, 1000, 4),
    )
    tables = [Table("often", 20, 300), Table("large", 500, 9000), Table("seldom", 20, 10)]

    buffers = buffers_of(stages, steps, storages, 4)
    plan = plan_regions(buffers, tables, accesses, replace(M4, regions=regions))

    assert plan.regions == {"x": "slow", "z": "slow"}  # 40, 60 and a table of 24: the rest is short
    assert plan.copies == {"often": "fast", "seldom": "fast"}
    check_plan(plan, stages, steps, storages, 4)


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(40))
def test_random_plans_keep_within_their_regions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, storages, _ = column(rng)
    first = int(rng.integers(0, len(steps) - 1))
    stages = [stage_of(steps, [i], [steps[i].band]) for i in range(first)]
    together = range(first, len(steps))
    stages.append(stage_of(steps, together, [steps[i].band for i in together]))
    buffers = buffers_of(stages, steps, storages, 4)
    whole = sum(b.bytes for b in buffers)
    sizes = (int(rng.integers(8, whole)), int(rng.integers(8, whole)), whole + 64)
    regions = [Region(f"r{i}", "ram", None, size, i) for i, size in enumerate(sizes)]
    regions.append(Region("flash", "flash", None, 1 << 20, 2))
    tables = [Table(f"t{i}", int(n), int(n) * i) for i, n in enumerate(rng.integers(1, 60, 6))]
    accesses = {b.name: int(rng.integers(0, 1000)) for b in buffers}

    plan = plan_regions(buffers, tables, accesses, replace(M4, regions=tuple(regions)))

    check_plan(plan, directed(stages, plan), steps, storages, 4)
    used = {"r0": plan.arena_bytes, **plan.more_bytes}
    for table in tables:
        if table.name in plan.copies:
            used[plan.copies[table.name]] = used.get(plan.copies[table.name], 0) + table.bytes
            assert plan.copies[table.name] != "r2", "it is no faster than the flash"
    assert all(used.get(f"r{i}", 0) <= size for i, size in enumerate(sizes))


def test_the_checker_sees_what_leaves_its_region() -> None:
    x, y = Storage("x", ("x",), 8, -1, 0, False), Storage("y", ("y",), 8, 0, 1, True)
    step = Step("conv", ("x",), ("y",), 8)
    stages, scratch = [stage_of([step], [0], [1])], scratch_name("conv")
    plan = MemoryPlan(
        {"x": 0, "y": 0, scratch: 8}, 16, 16, regions={"y": "psram"}, more_bytes={"psram": 8}
    )
    check_plan(plan, stages, [step], [x, y], 4)

    with pytest.raises(AssertionError, match="'y' ends behind the arena"):
        check_plan(replace(plan, offsets={"x": 0, "y": 4, scratch: 8}), stages, [step], [x, y], 4)
    with pytest.raises(AssertionError, match="the scratch ends behind the arena"):
        check_plan(replace(plan, arena_bytes=12), stages, [step], [x, y], 4)
