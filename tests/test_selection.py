"""Options are chosen for the whole: shared code counts once, and the search finds the optimum."""

import random
from itertools import product
from typing import Any

import numpy as np
import pytest

from tinyc.autotune.schedule import Schedule
from tinyc.autotune.selection import Cost, Group, Groups, Option, cost_of, select


def option(
    name: str, cycles: int, tables: int = 0, own: int = 0, arena: int = 0, **blocks: int
) -> Option:
    return Option(Schedule(name), "measured", cycles, tables, own, blocks, 0, arena)


def balance(cost: Cost) -> Any:
    return np.log(cost.cycles) + np.log(cost.flash_bytes) + np.log(cost.ram_bytes)


def test_shared_blocks_and_functions_count_once() -> None:
    fast = option("fast", 10, tables=100, own=7, block=1000)
    one, other = Group("a", ("a1", "a2"), 50, 45, (fast,)), Group("b", ("b1",), None, 60, (fast,))

    cost = cost_of(Groups((one, other)), (0, 0))

    assert cost.cycles == 30 and cost.ram_bytes == 60
    assert cost.flash_bytes == cost_of(Groups(()), ()).flash_bytes + 3 * 100 + 2 * 7 + 1000


def test_a_block_that_pays_only_for_both_is_taken_for_both() -> None:
    options = (option("plain", 100, own=200), option("fast", 80, own=10, block=390))
    groups = tuple(Group(name, (name,), 0, None, options) for name in "ab")

    third = Group("c", ("c",), 0, None, options)
    assert select(Groups(groups), lambda cost: cost.flash_bytes) == (0, 0)
    assert select(Groups((*groups, third)), lambda cost: cost.flash_bytes) == (1, 1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_search_finds_the_optimum_of_small_problems(seed: int) -> None:
    chooser = random.Random(seed)

    def any_option(number: int) -> Option:
        blocks = {f"b{chooser.randrange(3)}": chooser.randrange(100, 900)}
        numbers = [chooser.randrange(10, 1000) for _ in range(4)]
        return option(f"s{number}", *numbers, **blocks)

    groups = Groups(tuple(
        Group(f"w{g}", (f"n{g}",), chooser.randrange(500), None, tuple(map(any_option, range(4))))
        for g in range(4)
    ))  # fmt: skip

    found = balance(cost_of(groups, select(groups, balance)))

    best = min(balance(cost_of(groups, p)) for p in product(range(4), repeat=4))
    assert found <= best + 0.02  # a percent or two: starts and moves are few
