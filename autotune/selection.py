"""One option for each group of equal nodes, so that the whole costs least.

Flash is shared: the nodes of a group are one function, and blocks of equal name are one function
whoever calls them. So options are not chosen one by one but by local search, from several starts.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from tinyc.autotune.options import Option
from tinyc.compiler.graph import Array
from tinyc.passes.fusions import Streamable

OTHER_CODE_BYTES = 2048  # what no option changes: pools, softmax, the run function

Picks = tuple[int, ...]  # an index into the options of each group


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one workload, which get one schedule.

    passing_bytes  what else is in the arena while a node runs whose inputs, all in the arena, it
                   is the last to read; None: there is no such node
    apart_bytes    all that is in the arena while another node runs, but for its scratch; None:
                   there is no such node
    streamed       the nodes that run row by row; then all of them do
    """

    workload: str
    nodes: tuple[str, ...]
    passing_bytes: int | None
    apart_bytes: int | None
    options: tuple[Option, ...]
    streamed: tuple[Streamable, ...] = ()

    def cycles(self, option: Option) -> int:
        """Of all its nodes; those that stream are called more often, and move rows."""
        calls = sum(layer.cycles for layer in self.streamed) // option.band
        return option.cycles * len(self.nodes) + calls

    def ram_bytes(self, option: Option) -> int:
        """About: the arena that holds the largest step of its nodes that run alone."""
        alone = 0 if self.passing_bytes is None else self.passing_bytes + option.arena_bytes
        apart = 0 if self.apart_bytes is None else self.apart_bytes + option.scratch_bytes
        return max(alone, apart)

    def streams(self, option: Option) -> Iterator[tuple[int, int, int]]:
        """For each node that streams: the stage, the bytes at its calls, what its band adds."""
        for layer in self.streamed:
            at_calls = layer.live_bytes + option.scratch_bytes
            yield layer.stream, at_calls, (option.band - 1) * layer.row_bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """What the nodes with a choice cost together; flash with their tables and code.

    The numbers of one set of options, or arrays of those of many.
    """

    cycles: Any
    flash_bytes: Any
    ram_bytes: Any


Objective = Callable[[Cost], Any]  # of arrays, an array


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups to choose for, and the costs of their options as arrays."""

    groups: tuple[Group, ...]

    @cached_property
    def blocks(self) -> dict[str, int]:
        """A number for every block."""
        names = (name for g in self.groups for option in g.options for name in option.blocks)
        return {name: i for i, name in enumerate(dict.fromkeys(names))}

    @cached_property
    def block_bytes(self) -> Array:
        sizes = np.zeros(len(self.blocks), np.int64)
        for group in self.groups:
            for option in group.options:
                for name, size in option.blocks.items():
                    sizes[self.blocks[name]] = max(sizes[self.blocks[name]], size)
        return sizes

    @cached_property
    def columns(self) -> tuple["Columns", ...]:
        stages = max((s.stream for g in self.groups for s in g.streamed), default=-1) + 1
        return tuple(Columns.of(group, self.blocks, stages) for group in self.groups)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What the options of a group cost; arrays [options], or [options, blocks or stages].

    flash     without blocks
    uses      the blocks that each calls
    at_calls  of each stage that streams, the most bytes at a call
    added     what the bands add to the windows of each stage
    """

    cycles: Array
    flash: Array
    ram: Array
    uses: Array
    at_calls: Array
    added: Array

    @staticmethod
    def of(group: Group, blocks: dict[str, int], stages: int) -> "Columns":
        options = group.options
        uses = np.zeros((len(options), len(blocks)), np.int64)
        at_calls = np.zeros((len(options), stages), np.int64)
        added = np.zeros((len(options), stages), np.int64)
        for i, option in enumerate(options):
            uses[i, [blocks[name] for name in option.blocks]] = 1
            for stage, most, more in group.streams(option):
                at_calls[i, stage] = max(at_calls[i, stage], most)
                added[i, stage] += more
        flash = [o.tables_bytes * len(group.nodes) + o.own_bytes for o in options]
        return Columns(
            np.array([group.cycles(o) for o in options]),
            np.array(flash),
            np.array([group.ram_bytes(o) for o in options]),
            uses, at_calls, added,
        )  # fmt: skip


def select(groups: Groups, objective: Objective) -> Picks:
    """The best of the local optima that the starts lead to."""
    found = [_descend(groups, start, objective) for start in _starts(groups)]
    return min(found, key=lambda picks: objective(cost_of(groups, picks)))


def least_cost(groups: Groups) -> Cost:
    """No choice costs less of anything: the least of each by itself, blocks left out."""
    columns = groups.columns
    ram = [np.maximum(c.ram, c.at_calls.max(axis=1, initial=0)).min() for c in columns]
    return Cost(
        max(int(sum(c.cycles.min() for c in columns)), 1),
        OTHER_CODE_BYTES + int(sum(c.flash.min() for c in columns)),
        max(int(max(ram, default=0)), 1),
    )


def cost_of(groups: Groups, picks: Picks) -> Cost:
    """What the groups cost with these options."""
    if not picks:
        return Cost(1, OTHER_CODE_BYTES, 1)
    cost = _costs(groups, _picked(groups, picks), 0)
    return Cost(*(int(v[picks[0]]) for v in (cost.cycles, cost.flash_bytes, cost.ram_bytes)))


COLUMNS = tuple(f.name for f in fields(Columns))


def _picked(groups: Groups, picks: Picks) -> Columns:
    """What the picked options cost; a row is a group."""
    chosen = list(zip(groups.columns, picks, strict=True))
    return Columns(*(np.array([getattr(c, name)[p] for c, p in chosen]) for name in COLUMNS))


def _changed(picked: Columns, groups: Groups, group: int, pick: int) -> Columns:
    """With another option for one group."""
    copies = {name: getattr(picked, name).copy() for name in COLUMNS}
    for name, values in copies.items():
        values[group] = getattr(groups.columns[group], name)[pick]
    return Columns(**copies)


def _costs(groups: Groups, picked: Columns, free: int) -> Cost:
    """What all cost with each option of the group `free`, and the others as picked."""
    mine = groups.columns[free]
    rest = np.arange(len(groups.columns)) != free
    cycles = mine.cycles + picked.cycles.sum(where=rest)
    present = picked.uses.any(axis=0, where=rest[:, None])
    flash = mine.flash + picked.flash.sum(where=rest) + OTHER_CODE_BYTES
    flash = flash + (mine.uses | present) @ groups.block_bytes
    at_calls = picked.at_calls.max(axis=0, where=rest[:, None], initial=0)
    added = picked.added.sum(axis=0, where=rest[:, None])
    streams = np.maximum(mine.at_calls, at_calls) + mine.added + added
    ram = np.maximum(mine.ram, picked.ram.max(where=rest, initial=0))
    return Cost(np.maximum(cycles, 1), flash, np.maximum(ram, streams.max(axis=1, initial=1)))


def _starts(groups: Groups) -> list[Picks]:
    """Fewest cycles, least flash, least RAM of every group by itself."""

    def by(key: Callable[[Option], tuple[int, int]]) -> Picks:
        keys = [[key(option) for option in group.options] for group in groups.groups]
        return tuple(values.index(min(values)) for values in keys)

    return [
        by(lambda o: (o.cycles, o.flash_bytes)),
        by(lambda o: (o.flash_bytes, o.cycles)),
        by(lambda o: (o.arena_bytes, o.cycles)),
    ]


def _descend(groups: Groups, start: Picks, objective: Objective) -> Picks:
    """Change one group while that helps, then all groups that have it to one schedule."""
    picks = start
    while True:
        picks = _descend_one_by_one(groups, picks, objective)
        together = _with_best_for_all(groups, picks, objective)
        if together == picks:
            return picks
        picks = together


def _descend_one_by_one(groups: Groups, start: Picks, objective: Objective) -> Picks:
    picks, still = start, 0
    picked = _picked(groups, picks)
    for i in itertools.cycle(range(len(picks))):
        values = objective(_costs(groups, picked, i))
        best = int(np.argmin(values))
        if values[best] == values[picks[i]]:
            still += 1
        else:
            picks, still = (*picks[:i], best, *picks[i + 1 :]), 1
            picked = _changed(picked, groups, i, best)
        if still >= len(picks):
            break
    return picks


def _with_best_for_all(groups: Groups, picks: Picks, objective: Objective) -> Picks:
    """One schedule for all groups that have it, if one of them helps."""
    lowest = objective(cost_of(groups, picks))
    best = picks
    places = [{o.schedule: i for i, o in enumerate(group.options)} for group in groups.groups]
    count = Counter(schedule for place in places for schedule in place)
    for schedule in (s for s in count if count[s] > 1):
        changed = tuple(p.get(schedule, pick) for p, pick in zip(places, picks, strict=True))
        value = objective(cost_of(groups, changed))
        if value < lowest:
            best, lowest = changed, value
    return best
